//! The application side of FastCGI: a [`Server`] that answers requests, and the [`Connection`] that
//! it is built on.
//!
//! | To | Use |
//! | --- | --- |
//! | answer requests in threads | [`Server`] |
//! | read the params and the body, and write the response | [`Request`] |
//! | notice that nobody waits for the response | [`Request::is_aborted`], [`AbortHandle`] |
//! | change a bound, such as a timeout | [`Config`] |
//! | stop a server | [`Handle`] |
//! | serve connections in a loop of your own | [`Connection`] |
//!
//! ```
//! use fcgi::server::{HandlerResult, Request};
//! use fcgi::Server;
//! use std::io::Write;
//!
//! fn hello(request: &mut Request) -> HandlerResult {
//!     write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello.\n")?;
//!     Ok(())
//! }
//!
//! let server = Server::bind("127.0.0.1:0")?;
//! let handle = server.handle();
//! let serving = std::thread::spawn(|| server.serve(hello));
//! handle.shutdown();
//! serving.join().expect("the server's thread")?;
//! # Ok::<(), fcgi::Error>(())
//! ```

mod abort_handle;
mod close_reason;
mod config;
mod connection;
mod handler;
mod input;
mod lifecycle;
mod linger;
mod output;
mod pool;
mod report;
mod request;
mod stdin;
mod timeouts;
mod worker;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

pub use self::abort_handle::AbortHandle;
pub use self::close_reason::CloseReason;
pub use self::config::{Config, Overload};
pub use self::connection::Connection;
pub(crate) use self::handler::answer;
pub use self::handler::HandlerResult;
pub use self::output::Output;
pub use self::report::Report;
pub use self::request::Request;
pub use self::stdin::Stdin;

use self::pool::Pool;
use self::worker::{OnError, Worker};
use crate::error::{Error, Result};
use crate::net::{Address, AllowList, Listener};

/// An application: threads that accept connections and pass each request to a handler.
///
/// ```no_run
/// // It serves indefinitely.
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
/// # Threads
///
/// Every open connection has a thread, and serves one request at a time. A kept connection keeps
/// its thread between two requests. If all [`Config::max_connections`] slots are taken and another
/// connection is accepted, an idle connection is closed. A request that has begun is never
/// interrupted.
///
/// # Errors of a handler
///
/// If a handler returns an error or panics, a message is written to the log of the web server
/// ([`Request::stderr`]), and the server continues. If no part of the response was sent, the client
/// receives `Status: 500`. A program that is built with `panic = "abort"` ends when a handler
/// panics.
///
/// A handler has also failed if it returns without an error and has written no response, unless the
/// request was aborted. In debug builds the same applies to a small response without a head (RFC
/// 3875, section 6). This finds a mistake of the program, like an assertion. A release build leaves
/// it to the web server, so that no response is searched for its head.
///
/// # Allowed addresses
///
/// If the environment variable `FCGI_WEB_SERVER_ADDRS` is set, only TCP connections from the
/// addresses in it are served (FastCGI specification, section 3.2). A Unix socket is refused: its
/// peers have no address.
pub struct Server {
    pool: Arc<Pool>,
    config: Config,
    /// The addresses that may connect. `None` allows every connection.
    allowed: Option<AllowList>,
    on_error: Box<OnError>,
}

impl Server {
    /// Listens on an address, such as `127.0.0.1:9000`, `[::1]:9000`, `:9000` or
    /// `unix:/run/app.sock`. [`Address`] describes every form. The socket file of a server that has
    /// ended is replaced.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`],
    /// [`Error::InvalidAllowList`] for an invalid
    /// `FCGI_WEB_SERVER_ADDRS`, and any error of the system.
    pub fn bind(address: &str) -> Result<Self> {
        Self::new(Listener::bind(&address.parse::<Address>()?)?)
    }

    /// Listens on the socket that a web server or process manager passes as descriptor 0 (FastCGI
    /// specification, section 2.2).
    ///
    /// # Errors
    /// [`Error::NotListening`] if descriptor 0 is something else, and
    /// [`Error::InvalidAllowList`] for an invalid
    /// `FCGI_WEB_SERVER_ADDRS`.
    pub fn from_stdin() -> Result<Self> {
        Self::new(Listener::from_stdin()?)
    }

    /// Listens on a socket that the caller has created.
    ///
    /// # Errors
    /// [`Error::InvalidAllowList`] for an invalid
    /// `FCGI_WEB_SERVER_ADDRS`.
    ///
    /// ```
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = fcgi::Server::new(socket)?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn new(listener: impl Into<Listener>) -> Result<Self> {
        Ok(Self {
            allowed: AllowList::from_env()?,
            pool: Arc::new(Pool::new(listener.into())),
            config: Config::default(),
            on_error: Box::new(write_to_stderr),
        })
    }

    /// Sets the bounds.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the addresses that may connect, instead of those in `FCGI_WEB_SERVER_ADDRS`.
    /// [`serve`](Self::serve) refuses a Unix socket then.
    pub fn allow(mut self, list: AllowList) -> Self {
        self.allowed = Some(list);
        self
    }

    /// Sets a function that is called, once, for each error that would otherwise remain unnoticed:
    ///
    /// - a connection that fails, times out or receives invalid data
    /// - a handler that returns without an error, but has written no response, or has ignored an
    ///   error of reading the body
    /// - a failure to accept connections
    ///
    /// By default, each is written to the process's stderr, on a line of its own.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (sender, _errors) = mpsc::channel();
    /// let server = fcgi::Server::bind("127.0.0.1:0")?
    ///     .on_error(move |report| drop(sender.send(report.to_string())));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn on_error(mut self, on_error: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.on_error = Box::new(on_error);
        self
    }

    /// Returns the address that the server listens on, with the port that the system has chosen for
    /// port 0.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn local_address(&self) -> Result<Address> {
        self.pool.listener.local_address()
    }

    /// Returns a handle with which another thread can stop the server.
    pub fn handle(&self) -> Handle {
        Handle { pool: Arc::clone(&self.pool) }
    }

    /// Passes requests to `handler` until [`Handle::shutdown`] is called.
    ///
    /// # Errors
    /// `InvalidInput` for a bound of zero, or for a Unix socket if there is a list of allowed
    /// addresses. An error of starting the first thread, and an error after which `accept` cannot
    /// succeed again. All other errors are [reported](Self::on_error), and the server continues.
    pub fn serve<H>(self, handler: H) -> Result<()>
    where
        H: Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'static,
    {
        let Self { pool, config, allowed, on_error } = self;
        let stopper = Arc::clone(&pool);
        let checked = config.check().and_then(|()| check_socket(&pool.listener, allowed.as_ref()));
        let served = checked.map_err(Error::from).and_then(|()| {
            let (config, handler) = (Arc::new(config), Box::new(handler));
            Worker { pool, config, allowed, on_error, handler }.run()
        });
        // If the server has not started, a handle may keep the listening socket open.
        stopper.stop();
        served
    }
}

/// Checks that the socket can serve a peer on the list of allowed addresses.
fn check_socket(listener: &Listener, allowed: Option<&AllowList>) -> io::Result<()> {
    if allowed.is_none() || !listener.is_unix() {
        return Ok(());
    }
    let message = "peers of a Unix socket have no address, so FCGI_WEB_SERVER_ADDRS allows none";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Writes a report to stderr. Errors are ignored: the descriptor is closed in a program that a web
/// server has started (FastCGI specification, section 2.2).
fn write_to_stderr(report: &Report<'_>) {
    let _ = writeln!(io::stderr(), "fcgi: {report}");
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

/// A handle that stops a [`Server`] from another thread, such as one that waits for signals.
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
    /// Stops the server, without waiting for its requests to end.
    ///
    /// The server accepts no more connections and removes its socket file. Idle connections are
    /// closed, and the others after their request. Then [`Server::serve`] returns. Requests that
    /// take longer than [`Config::shutdown_timeout`] are aborted.
    ///
    /// The socket of [`Server::from_stdin`] may be shared with other processes, so it stays open.
    /// Threads that wait on it notice the shutdown within half a second.
    pub fn shutdown(&self) {
        self.pool.stop();
    }
}
