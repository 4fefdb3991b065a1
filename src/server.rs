//! The application's side of FastCGI: a [`Server`] that answers requests, and the [`Connection`]
//! that it is made of.

mod activity;
mod config;
mod connection;
mod input;
mod output;
mod pool;
mod request;
mod stdin;
mod worker;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

pub use self::config::{Config, Overload};
pub use self::connection::Connection;
pub use self::output::Output;
pub use self::request::Request;
pub use self::stdin::Stdin;

use self::pool::Pool;
pub(crate) use self::worker::answer;
use self::worker::Worker;
use crate::error::{Error, Result};
use crate::net::{Address, AllowList, Listener};

/// What a handler returns: any error, which ends the request with a `Status: 500`.
pub type HandlerResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// An application: threads that accept connections and give each request to a handler.
///
/// ```no_run
/// // It would serve for ever.
/// use std::io::Write;
///
/// fcgi::Server::bind("127.0.0.1:9000")?.serve(|request| {
///     let query = request.params.get("QUERY_STRING").unwrap_or("");
///     write!(request.stdout, "Content-Type: text/plain\r\n\r\nYou asked for {query}.\n")?;
///     Ok(())
/// })?;
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// Each connection has a thread while it is open, and serves one request at a time; so does a kept
/// one between requests, unless its thread is needed for a newcomer: then the connection is closed,
/// which no request can suffer from.
///
/// A handler that returns an error or panics ends its request with a message on stderr and, if
/// nothing of the response has left yet, a `Status: 500`; the server goes on. (A program built with
/// `panic = "abort"` ends.)
///
/// Where the environment has `FCGI_WEB_SERVER_ADDRS`, only connections over TCP from the addresses
/// in it are served (section 3.2).
pub struct Server {
    pool: Arc<Pool>,
    config: Config,
    /// The addresses that may connect, where they are limited.
    allowed: Option<AllowList>,
    report: Box<Report>,
}

/// Where errors go that belong to no request.
type Report = dyn Fn(&Error) + Send + Sync;

impl Server {
    /// Listens on an address, such as `127.0.0.1:9000`, `[::1]:9000`, `:9000` or
    /// `unix:/run/app.sock`; every form is with [`Address`]. The socket file of a server that
    /// has ended is replaced.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`], [`Error::InvalidAllowList`] for a bad `FCGI_WEB_SERVER_ADDRS`,
    /// and what the system reports.
    pub fn bind(address: &str) -> Result<Self> {
        Self::new(Listener::bind(&address.parse::<Address>()?)?)
    }

    /// Listens on the socket that a web server or process manager has left on descriptor 0 (section
    /// 2.2).
    ///
    /// # Errors
    /// [`Error::NotListening`] if there is none, [`Error::InvalidAllowList`] for a bad
    /// `FCGI_WEB_SERVER_ADDRS`.
    pub fn from_stdin() -> Result<Self> {
        Self::new(Listener::from_stdin()?)
    }

    /// Listens on a socket of the caller's.
    ///
    /// # Errors
    /// [`Error::InvalidAllowList`] for a bad `FCGI_WEB_SERVER_ADDRS`.
    pub fn new(listener: impl Into<Listener>) -> Result<Self> {
        Ok(Self {
            allowed: AllowList::from_env()?,
            pool: Arc::new(Pool::new(listener.into())),
            config: Config::default(),
            report: Box::new(report_to_stderr),
        })
    }

    /// Sets the bounds.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Limits the peers that may connect to a list, in place of `FCGI_WEB_SERVER_ADDRS`.
    pub fn allow(mut self, list: AllowList) -> Self {
        self.allowed = Some(list);
        self
    }

    /// Sets where errors go that belong to no request: connections that break off or send what is
    /// not FastCGI, and `accept` failing. Default: a line each on the process's stderr.
    pub fn on_error(mut self, report: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.report = Box::new(report);
        self
    }

    /// The address that is listened on; it tells the port that was chosen for port 0.
    ///
    /// # Errors
    /// What the system reports.
    pub fn local_address(&self) -> Result<Address> {
        self.pool.listener.local_address()
    }

    /// A handle that can stop the server from elsewhere.
    pub fn handle(&self) -> Handle {
        Handle { pool: Arc::clone(&self.pool) }
    }

    /// Serves requests with `handler` until [`Handle::shutdown`] is called.
    ///
    /// # Errors
    /// What keeps it from starting (`InvalidInput` for a time-out of zero), or makes `accept` fail
    /// for good. Everything else is waited out and reported ([`on_error`](Self::on_error)).
    pub fn serve<H>(self, handler: H) -> Result<()>
    where
        H: Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'static,
    {
        let Self { pool, config, allowed, report } = self;
        config.check()?;
        Worker { pool, config: Arc::new(config), allowed, report, handler: Box::new(handler) }.run()
    }
}

/// Writes to stderr, which may be gone: a program that a web server starts has none to speak of
/// (section 2.2).
fn report_to_stderr(error: &Error) {
    let _ = writeln!(io::stderr(), "fcgi: {error}");
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listener", &self.pool.listener)
            .field("config", &self.config)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// Stops a [`Server`] from another thread, such as one that waits for signals.
///
/// ```
/// let server = fcgi::Server::bind("127.0.0.1:0")?;
/// let handle = server.handle();
/// let serving = std::thread::spawn(|| server.serve(|_request| Ok(())));
/// handle.shutdown();
/// serving.join().expect("the server's thread")?;
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    pool: Arc<Pool>,
}

impl Handle {
    /// Makes the server stop: it accepts nothing more and takes its socket file away, closes the
    /// connections that are idle and, as soon as their request has ended, the others; then
    /// [`Server::serve`] returns. Requests that take longer than [`Config::shutdown_timeout`]
    /// are cut off.
    ///
    /// Returns at once. A listening socket from [`Server::from_stdin`] may serve other processes
    /// and stays open; threads that wait for it notice within half a second.
    pub fn shutdown(&self) {
        self.pool.stop();
    }
}
