use std::time::Duration;

use crate::cgi::HeadParser;

/// The limits and timeouts of a [`Client`](crate::Client) or a [`Connection`](super::Connection).
/// [A guide](crate::guide::limits) describes which to change.
///
/// ```
/// use fcgi::client::Config;
/// use std::time::Duration;
///
/// let config = Config::new().keep_alive(true).read_timeout(Some(Duration::from_secs(5)));
/// assert_eq!(config.max_idle, 8);
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct Config {
    /// Whether to ask the application to keep connections open, and to reuse them. Default `false`,
    /// because with many applications an idle connection occupies a process, which then serves no
    /// other client.
    ///
    /// Such an application, for example php-fpm, serves as many connections as it has processes.
    /// Set [`max_connections`](Self::max_connections) to that number or less. Otherwise a request
    /// may open a connection that no process accepts. If a new connection has not been answered
    /// after 100 ms, the client closes one of those that it keeps, and another one every 100 ms. No
    /// request is lost then, but some take 100 ms longer. The connections of other clients of the
    /// same application remain open.
    pub keep_alive: bool,
    /// How long a request may take, from the call to its end: waiting for a connection, connecting,
    /// sending the body and receiving the response. An application that makes slow progress never
    /// exceeds the other timeouts, but exceeds this one. The limit includes the time that the
    /// caller takes to process the response. A [`Connection`](super::Connection) counts from
    /// [`begin`](super::Connection::begin). `None` means no limit, and with zero every request
    /// fails. Resolving a host name is not limited. If a host has several addresses, connecting to
    /// each of them may take the time that is left.
    ///
    /// Default one hour: longer than the transfer of several gigabytes over a slow line.
    pub deadline: Option<Duration>,
    /// How long connecting may take, for each address of a host, and how long a request waits for a
    /// connection when [`max_connections`](Self::max_connections) are in use. With `None`, the
    /// operating system limits connecting, and only [`deadline`](Self::deadline) limits the wait.
    /// With zero, no connection can be opened. Default 10 seconds.
    ///
    /// `std` cannot limit connecting to a Unix socket, so another thread connects, which takes
    /// about 20 µs. A request connects without a thread, and without a limit, if it begins within
    /// one millisecond of an earlier request that opened a connection and was answered, and no
    /// other request is in progress. The application has accepted a connection in this millisecond,
    /// so its backlog is full only if other clients have filled it since.
    pub connect_timeout: Option<Duration>,
    /// How long a read waits for data from the application. If some of the request body has been
    /// sent in the meantime, the read waits again. `None` waits indefinitely. Zero is an error.
    /// Default 60 seconds, as in the common web servers.
    pub read_timeout: Option<Duration>,
    /// How long a write waits for the application to read anything. `None` waits indefinitely. Zero
    /// is an error. Default 60 seconds, as in the common web servers.
    pub write_timeout: Option<Duration>,
    /// The maximum number of connections that carry a request at a time. 0 is treated as 1. Further
    /// requests wait in the order of their arrival, for at most
    /// [`connect_timeout`](Self::connect_timeout). A request occupies its connection, which may be
    /// a new one, before its body is read for the first time, so a slow body occupies it as well.
    ///
    /// The limit can be lowered by [`Client::negotiate`](crate::Client::negotiate). A refusal of
    /// the application lowers it for 10 seconds, and so does, with
    /// [`keep_alive`](Self::keep_alive), a read timeout on a new connection.
    ///
    /// Default `None`. This means 256 with `keep_alive`, the number of connections that a
    /// [`Server`](crate::Server) serves at a time by default. Without `keep_alive` it means one
    /// connection for each request, because most applications queue what they cannot serve at once.
    pub max_connections: Option<usize>,
    /// How long a connection may be idle. `None` means no limit. After that time the connection is
    /// not used again, and it is closed when the next request begins. Default 10 seconds: with many
    /// applications an idle connection occupies a process, and the cost of connecting again every
    /// 10 seconds is negligible.
    ///
    /// No thread watches idle connections. A client that sends no more requests should call
    /// [`Client::close_idle`](crate::Client::close_idle).
    pub idle_timeout: Option<Duration>,
    /// The maximum number of idle connections that are kept. Beyond that, the one that has been
    /// idle longest is closed. Default 8.
    pub max_idle: usize,
    /// The maximum number of bytes of a response that [`Client::fetch`](crate::Client::fetch) reads
    /// into memory. Default 64 MiB.
    pub max_response: usize,
    /// The maximum number of bytes of STDERR that are kept for each response. The rest is dropped
    /// and counted. Default 64 KiB.
    pub max_stderr: usize,
    /// The maximum length of a response head, in bytes. Default 64 KiB.
    pub max_head: usize,
    /// The maximum number of fields of a response head. Default 1024.
    pub max_head_fields: usize,
    /// Whether the parser of response heads is [strict](HeadParser::strict). Default `false`, as in
    /// web servers: heads that break RFC 3875 in one of the ways that
    /// [`cgi`](crate::cgi#response-heads) lists are accepted.
    pub strict_heads: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep_alive: false,
            deadline: Some(Duration::from_secs(60 * 60)),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(60)),
            write_timeout: Some(Duration::from_secs(60)),
            max_connections: None,
            idle_timeout: Some(Duration::from_secs(10)),
            max_idle: 8,
            max_response: 64 * 1024 * 1024,
            max_stderr: 64 * 1024,
            max_head: 64 * 1024,
            max_head_fields: 1024,
            strict_heads: false,
        }
    }
}

impl Config {
    /// Returns the default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`keep_alive`](Self::keep_alive).
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Sets [`deadline`](Self::deadline). With `None`, only the other timeouts apply.
    pub fn deadline(mut self, max: Option<Duration>) -> Self {
        self.deadline = max;
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout). With `None`, the operating system limits
    /// connecting, and only [`deadline`](Self::deadline) limits the wait.
    pub fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`read_timeout`](Self::read_timeout). `None` waits indefinitely.
    pub fn read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets [`write_timeout`](Self::write_timeout). `None` waits indefinitely.
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets [`max_connections`](Self::max_connections).
    pub fn max_connections(mut self, max: Option<usize>) -> Self {
        self.max_connections = max;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout). `None` keeps idle connections indefinitely.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
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

    /// Sets [`strict_heads`](Self::strict_heads).
    pub fn strict_heads(mut self, strict_heads: bool) -> Self {
        self.strict_heads = strict_heads;
        self
    }

    /// Returns a parser of response heads as configured.
    pub(super) fn head_parser(&self) -> HeadParser {
        let parser = HeadParser::new().max_bytes(self.max_head).max_fields(self.max_head_fields);
        parser.strict(self.strict_heads)
    }
}
