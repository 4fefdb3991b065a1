use std::time::Duration;

/// The bounds that a [`Client`](super::Client) keeps, each with its default.
///
/// ```
/// use fcgi::client::Config;
/// use std::time::Duration;
///
/// let config = Config::new().keep_alive(true).read_timeout(Some(Duration::from_secs(5)));
/// assert_eq!(config.max_idle, 8);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether to ask the application to keep connections open, and to use them again. Default
    /// `false`: an application with few processes may serve nobody else meanwhile.
    pub keep_alive: bool,
    /// How long connecting over TCP may take, for each address of a host. Default 10 seconds.
    pub connect_timeout: Option<Duration>,
    /// How long a read may wait for the application to send anything at all; it waits once more if
    /// the application has taken any of the request's body meanwhile. Default 60 seconds, as
    /// in the common web servers.
    pub read_timeout: Option<Duration>,
    /// How long a write may wait for the application to take anything at all. Default 60 seconds.
    pub write_timeout: Option<Duration>,
    /// The most connections that carry a request at once; further requests wait for one of them,
    /// as long as connecting may take. What the application [says](super::Client::negotiate),
    /// or a refusal for ten seconds, can lower it. Default `None`: as many as there are
    /// requests.
    pub max_connections: Option<usize>,
    /// The idle connections that are kept; beyond it, the oldest is closed. Default 8.
    pub max_idle: usize,
    /// The most bytes of a response that [`fetch`](super::Client::fetch) holds. Default 64 MiB.
    pub max_response: usize,
    /// The most bytes of a response's stderr that are held; the rest is dropped and counted.
    /// Default 64 KiB.
    pub max_stderr: usize,
    /// The most bytes of a response head. Default 64 KiB.
    pub max_head: usize,
    /// The most fields of a response head. Default 256.
    pub max_head_fields: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep_alive: false,
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(60)),
            write_timeout: Some(Duration::from_secs(60)),
            max_connections: None,
            max_idle: 8,
            max_response: 64 * 1024 * 1024,
            max_stderr: 64 * 1024,
            max_head: 64 * 1024,
            max_head_fields: 256,
        }
    }
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`keep_alive`](Self::keep_alive).
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout); `None` waits as long as the system does.
    pub fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`read_timeout`](Self::read_timeout); `None` waits for ever.
    pub fn read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets [`write_timeout`](Self::write_timeout); `None` waits for ever.
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets [`max_connections`](Self::max_connections); at least 1.
    pub fn max_connections(mut self, max: Option<usize>) -> Self {
        self.max_connections = max.map(|max| max.max(1));
        self
    }

    /// Sets [`max_idle`](Self::max_idle).
    pub fn max_idle(mut self, max: usize) -> Self {
        self.max_idle = max;
        self
    }

    /// Sets [`max_response`](Self::max_response), in bytes.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.max_response = bytes;
        self
    }

    /// Sets [`max_stderr`](Self::max_stderr), in bytes.
    pub fn max_stderr(mut self, bytes: usize) -> Self {
        self.max_stderr = bytes;
        self
    }

    /// Sets [`max_head`](Self::max_head), in bytes, and [`max_head_fields`](Self::max_head_fields).
    pub fn max_head(mut self, bytes: usize, fields: usize) -> Self {
        self.max_head = bytes;
        self.max_head_fields = fields;
        self
    }
}
