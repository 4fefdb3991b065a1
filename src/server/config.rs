use std::io;
use std::time::Duration;

use crate::record::Role;

/// What a [`Server`](super::Server) does with a connection for which it has no slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overload {
    /// The connection waits until another one ends. Later connections wait in the backlog of the
    /// system.
    #[default]
    Wait,
    /// The connection's request is refused with
    /// [`ProtocolStatus::Overloaded`](crate::record::ProtocolStatus::Overloaded), so that the web
    /// server can choose another application at once. Do not use it behind Apache, which responds
    /// with an empty page and status 200.
    Reject,
}

/// The limits and timeouts of a [`Server`](super::Server). [A guide](crate::guide::limits)
/// describes which to change.
///
/// The order in which values are set makes no difference, and neither does whether a value is set
/// by its function or assigned to its field. [`Server::serve`](super::Server::serve) and
/// [`Connection::with_config`](super::Connection::with_config) check them.
///
/// ```
/// use fcgi::server::Config;
/// use std::time::Duration;
///
/// let config = Config::new().max_connections(16).idle_timeout(Some(Duration::from_secs(300)));
/// assert_eq!(config.max_params, 256 * 1024);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The number of connections that are served at a time, each in its own thread. GET_VALUES
    /// returns it as FCGI_MAX_CONNS and FCGI_MAX_REQS. Zero is an error.
    ///
    /// Default 256, which is more than web servers keep open. A connection takes about 30 KiB of
    /// memory, and up to 200 KiB more after large bodies and responses.
    pub max_connections: usize,
    /// The size of the stack of each thread, in bytes. `None` is the default of the standard
    /// library: 2 MiB, or the value of the environment variable `RUST_MIN_STACK`.
    ///
    /// Default `None`. The system reserves address space for the whole stack, and provides memory
    /// only for the part that is used. A smaller stack matters where address space is scarce, or
    /// where the system does not overcommit memory. A thread that exceeds its stack aborts the
    /// process.
    ///
    /// On x86_64 Linux the library needs less than 16 KiB, and 28 KiB in a debug build. A panic
    /// whose backtrace is printed needs 32 KiB. Add what the handler needs. The system may provide
    /// more than is asked for.
    ///
    /// The guide to [small systems](crate::guide::small_systems) has measurements.
    ///
    /// ```
    /// let config = fcgi::server::Config::new().stack_size(Some(64 * 1024));
    /// assert_eq!(config.stack_size, Some(65_536));
    /// ```
    pub stack_size: Option<usize>,
    /// What is done with further connections while none of the others is idle. Default
    /// [`Overload::Wait`].
    pub overload: Overload,
    /// The roles that requests may ask for. Others are refused with UNKNOWN_ROLE.
    ///
    /// Default [`Role::Responder`] alone: a responder that answers an authorizer's request with
    /// status 200 would allow a request that it has not checked.
    pub roles: Vec<Role>,
    /// The maximum length of the params of a request, in bytes. A longer request is answered with
    /// `Status: 431`, and the connection is closed.
    ///
    /// Default 256 KiB. Web servers accept about a quarter of that in header fields. Until the
    /// request ends, params of this length take up to 2 MiB of memory, if the pairs are empty.
    pub max_params: usize,
    /// The maximum length of the body of a request, in bytes. A filter's file does not count.
    /// `None` means no limit.
    ///
    /// A request with a greater `CONTENT_LENGTH` is answered with `Status: 413`, and the connection
    /// is closed. Without `CONTENT_LENGTH`, reading or skipping more than this fails with
    /// [`Error::BodyTooLarge`](crate::Error::BodyTooLarge). If the handler returns this error, the
    /// response is the same.
    ///
    /// Default `None`: memory is used only for what the handler keeps, and web servers have limits
    /// of their own.
    pub max_body: Option<u64>,
    /// How long a read inside a request may wait for input. `None` waits indefinitely. Zero is an
    /// error.
    ///
    /// Default 60 seconds, as in common web servers.
    pub read_timeout: Option<Duration>,
    /// How long the params of a request may take to arrive, and how long its body may take after
    /// that, a filter's file included. `None` means no limit. Zero is an error.
    ///
    /// Each read has its own limit, [`read_timeout`](Self::read_timeout). Without this one, a peer
    /// that sends a byte a minute could hold its slot indefinitely.
    ///
    /// The limit for the params starts when part of a request has been read and the rest has not
    /// arrived. The limit for the body starts when a part of it has to be waited for: what has
    /// arrived together with the params does not count. It includes the time that the handler
    /// spends between reads.
    ///
    /// Default one hour. Typical uploads are shorter, even if the web server forwards the body
    /// while it receives it.
    pub request_timeout: Option<Duration>,
    /// How long a write may wait for the web server to accept a byte. `None` waits indefinitely.
    /// Zero is an error.
    ///
    /// Default 60 seconds, as in common web servers.
    pub write_timeout: Option<Duration>,
    /// How long a connection may wait for the first byte of a request. `None` waits indefinitely.
    /// Zero is an error.
    ///
    /// Default `None`: an idle connection is closed anyway when its slot is needed.
    pub idle_timeout: Option<Duration>,
    /// Whether web servers may shut down their write half after the request, and still wait for the
    /// response. The end of the input of a TCP connection then does not count as an abort in
    /// [`Request::is_aborted`](super::Request::is_aborted).
    ///
    /// Default `false`: common web servers close the connection when the client has disconnected,
    /// and TCP does not distinguish the two. A response is always sent, whatever the value. On a
    /// Unix socket the value has no effect.
    pub peers_half_close: bool,
    /// The number of requests that are served on a kept connection before it is closed. Default
    /// `None`, which means no limit. 0 has the same effect as 1.
    pub max_requests: Option<u64>,
    /// The maximum number of bytes that are read and dropped before a connection is closed. Closing
    /// a connection that has unread input could destroy the response.
    ///
    /// Default 16 MiB, so that a large upload can be refused unread.
    pub drain_bytes: u64,
    /// The maximum time that is spent on draining. Default 1 second.
    pub drain_time: Duration,
    /// How long requests may take to end after [`Handle::shutdown`](super::Handle::shutdown),
    /// before they are aborted. One second after the abort, [`Server::serve`](super::Server::serve)
    /// returns even if a handler that does not use its streams is still running.
    ///
    /// Default 8 seconds: process managers commonly wait 10 seconds before they kill a process.
    pub shutdown_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 256,
            stack_size: None,
            overload: Overload::Wait,
            roles: vec![Role::Responder],
            max_params: 256 * 1024,
            max_body: None,
            read_timeout: Some(Duration::from_secs(60)),
            request_timeout: Some(Duration::from_secs(60 * 60)),
            write_timeout: Some(Duration::from_secs(60)),
            idle_timeout: None,
            peers_half_close: false,
            max_requests: None,
            drain_bytes: 16 * 1024 * 1024,
            drain_time: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(8),
        }
    }
}

impl Config {
    /// Creates a configuration with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`max_connections`](Self::max_connections).
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Sets [`stack_size`](Self::stack_size), in bytes.
    pub fn stack_size(mut self, bytes: Option<usize>) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets [`overload`](Self::overload).
    pub fn overload(mut self, overload: Overload) -> Self {
        self.overload = overload;
        self
    }

    /// Sets [`roles`](Self::roles).
    pub fn roles(mut self, roles: &[Role]) -> Self {
        self.roles = roles.to_vec();
        self
    }

    /// Sets [`max_params`](Self::max_params), in bytes.
    pub fn max_params(mut self, bytes: usize) -> Self {
        self.max_params = bytes;
        self
    }

    /// Sets [`max_body`](Self::max_body), in bytes.
    pub fn max_body(mut self, bytes: Option<u64>) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets [`read_timeout`](Self::read_timeout).
    pub fn read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets [`request_timeout`](Self::request_timeout).
    pub fn request_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets [`write_timeout`](Self::write_timeout).
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets [`peers_half_close`](Self::peers_half_close).
    pub fn peers_half_close(mut self, peers_half_close: bool) -> Self {
        self.peers_half_close = peers_half_close;
        self
    }

    /// Sets [`max_requests`](Self::max_requests).
    pub fn max_requests(mut self, max: Option<u64>) -> Self {
        self.max_requests = max;
        self
    }

    /// Sets [`drain_bytes`](Self::drain_bytes) and [`drain_time`](Self::drain_time).
    pub fn drain(mut self, bytes: u64, time: Duration) -> Self {
        self.drain_bytes = bytes;
        self.drain_time = time;
        self
    }

    /// Sets [`shutdown_timeout`](Self::shutdown_timeout).
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Returns an error for a value with which no connection could be served.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.max_connections == 0 {
            let message = "maximum number of connections is zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        for (name, timeout) in [
            ("read", self.read_timeout),
            ("request", self.request_timeout),
            ("write", self.write_timeout),
            ("idle", self.idle_timeout),
        ] {
            if timeout == Some(Duration::ZERO) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{name} timeout is zero"),
                ));
            }
        }
        Ok(())
    }
}
