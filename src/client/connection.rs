use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Config;
use super::connect::connect;
use super::deadline::Deadline;
use super::exchange::Exchange;
use super::transport::Transport;
use crate::error::Result;
use crate::net::{Address, Stream};
use crate::params::Params;
use crate::record::Role;

/// A connection to an application, which carries one request after another.
///
/// Use it to control when the body is written and the response is read. [`Client`](crate::Client)
/// does both and keeps a pool of connections.
///
/// ```
/// use fcgi::{client::Connection, record::Role, Params};
/// use std::io::{Read, Write};
///
/// fn ask(connection: &mut Connection, params: &Params) -> fcgi::Result<Vec<u8>> {
///     let mut exchange = connection.begin(Role::Responder, params)?;
///     exchange.stdin.write_all(b"name=ferris")?;
///     exchange.stdin.finish()?;
///     let mut response = Vec::new();
///     exchange.stdout.read_to_end(&mut response)?;
///     exchange.finish()?;
///     Ok(response)
/// }
/// ```
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
}

impl Connection {
    /// Connects to the application at `address`.
    ///
    /// ```no_run
    /// // An application must be listening.
    /// use fcgi::client::{Config, Connection};
    /// use std::sync::Arc;
    ///
    /// let config = Arc::new(Config::new().keep_alive(true));
    /// let connection = Connection::connect(&"127.0.0.1:9000".parse()?, config)?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect). Its source is
    /// [`Error::TimedOut`](crate::Error::TimedOut) after [`Config::connect_timeout`]. If nothing
    /// listens at the address, the error is returned at once.
    pub fn connect(address: &Address, config: Arc<Config>) -> Result<Self> {
        let max = config.connect_timeout.unwrap_or(Duration::MAX);
        let stream = connect(address, max)?;
        let address = Some(Arc::new(address.clone()));
        Ok(Self { transport: Transport::open(stream, address, config, None)? })
    }

    /// Creates a connection from a stream that is already connected.
    ///
    /// # Errors
    /// An I/O error if the timeouts cannot be set. A timeout of zero is `InvalidInput`.
    pub fn new(stream: impl Into<Stream>, config: Arc<Config>) -> Result<Self> {
        Ok(Self { transport: Transport::open(stream.into(), None, config, None)? })
    }

    /// Begins a request. Nothing is sent until the body is written, flushed or finished; see
    /// [`Stdin`](super::Stdin). [`Config::deadline`] is counted from this call.
    ///
    /// # Errors
    /// `NotConnected` if the connection is not [reusable](Self::is_reusable).
    pub fn begin(&mut self, role: Role, params: &Params) -> Result<Exchange<'_>> {
        let start = self.transport.encode_start(role, params)?;
        let deadline = Deadline::new(Instant::now(), self.transport.config().deadline);
        self.transport.start_timers(deadline, false);
        Ok(Exchange::lent(&mut self.transport, start))
    }

    /// Shuts down both directions of the connection. Otherwise the body of a request, which another
    /// thread may keep, holds the socket open.
    pub(crate) fn shut_down(&self) {
        self.transport.socket().cancel();
    }

    /// Returns whether the connection can carry another request: the previous requests have ended
    /// in both directions, the application has been asked to keep the connection open, and it has
    /// sent nothing after the last response.
    pub fn is_reusable(&self) -> bool {
        self.transport.is_reusable()
    }
}
