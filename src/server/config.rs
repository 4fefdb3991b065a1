use std::io;
use std::time::Duration;

use crate::record::Role;

/// What a [`Server`](super::Server) does about a connection for which it has no thread left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overload {
    /// Let it wait until another connection ends; those behind it wait in the system's backlog.
    #[default]
    Wait,
    /// Answer its requests with
    /// [`ProtocolStatus::Overloaded`](crate::record::ProtocolStatus::Overloaded), so that the web
    /// server can turn to another application at once.
    Reject,
}

/// The bounds that an application keeps, each with its default.
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
    /// The connections that are held at once, each with its thread; also what GET_VALUES answers
    /// as FCGI_MAX_CONNS and FCGI_MAX_REQS. Default 256: more than web servers keep open by
    /// themselves. Each takes some 30 KiB of memory, and up to 200 KiB more once bodies and
    /// responses on it are large.
    pub max_connections: usize,
    /// What happens to a connection beyond that, when none of the others is idle. Default
    /// [`Overload::Wait`].
    pub overload: Overload,
    /// The roles that requests may ask for; others are answered with UNKNOWN_ROLE. Default:
    /// [`Role::Responder`] alone, because a responder's answer to an authorizer's request
    /// would allow what it did not look at.
    pub roles: Vec<Role>,
    /// The most bytes that the params of a request may take. Default 256 KiB: web servers accept a
    /// quarter of that in header fields. Beyond it the answer is `Status: 431`, and the
    /// connection is closed.
    pub max_params: usize,
    /// How long a read inside a request may wait. Default 60 seconds, as in the common web
    /// servers.
    pub read_timeout: Option<Duration>,
    /// How long a write may wait for the web server to take anything at all. Default 60 seconds.
    pub write_timeout: Option<Duration>,
    /// How long a kept connection may be idle. Default `None`: it gives way when its thread is
    /// needed.
    pub idle_timeout: Option<Duration>,
    /// The requests served on a kept connection before it is closed. Default `None`: any number.
    pub max_requests: Option<u64>,
    /// The bytes of input that are read and dropped before a connection is closed, so that closing
    /// it does not destroy the answer on its way. Default 16 MiB: an upload that was refused
    /// unread fits, and the time is limited too.
    pub drain_bytes: u64,
    /// The longest time that this takes. Default 1 second.
    pub drain_time: Duration,
    /// How long [`Handle::shutdown`](super::Handle::shutdown) waits for requests to end before it
    /// cuts them off. Default 8 seconds: process managers tend to wait ten before they kill.
    pub shutdown_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 256,
            overload: Overload::Wait,
            roles: vec![Role::Responder],
            max_params: 256 * 1024,
            read_timeout: Some(Duration::from_secs(60)),
            write_timeout: Some(Duration::from_secs(60)),
            idle_timeout: None,
            max_requests: None,
            drain_bytes: 16 * 1024 * 1024,
            drain_time: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(8),
        }
    }
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`max_connections`](Self::max_connections); at least 1.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max.max(1);
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

    /// Sets [`idle_timeout`](Self::idle_timeout); `None` waits for ever.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
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

    /// Checks what the system would refuse later, connection by connection.
    pub(super) fn check(&self) -> io::Result<()> {
        for (name, timeout) in [
            ("read", self.read_timeout),
            ("write", self.write_timeout),
            ("idle", self.idle_timeout),
        ] {
            if timeout == Some(Duration::ZERO) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the {name} time-out is zero"),
                ));
            }
        }
        Ok(())
    }
}
