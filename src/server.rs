//! The application side of FastCGI: a [`Server`] that answers requests, and the [`Connection`] that
//! it is built on.
//!
//! A web server connects to the application and sends a request. The server reads the params of the
//! request and calls the handler with a [`Request`]. The handler looks at what was requested, reads
//! the body if there is one, and writes a response. When it returns, the server sends what is
//! buffered and ends the request. The web server may keep the connection open for the next one.
//!
//! Each connection has a thread, and the handler runs in that thread: it may block, and it is
//! called several times at once. An error that it returns, or a panic, ends one request and nothing
//! else. The web server can disconnect at any time. Reads and writes then fail, and the handler
//! returns that error.
//!
//! ```
//! use fcgi::server::{HandlerResult, Request};
//! use fcgi::{ResponseHead, Server};
//!
//! fn hello(request: &mut Request) -> HandlerResult {
//!     request.respond(ResponseHead::text(), "Hello.\n")
//! }
//!
//! let server = Server::bind("127.0.0.1:0")?;
//! let handle = server.handle();
//! let serving = std::thread::spawn(|| server.serve(hello));
//! handle.shutdown();
//! serving.join().expect("the server's thread")?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! | To | Use |
//! | --- | --- |
//! | look up what was requested, read the body | [`Request`] |
//! | write a response in one call | [`Request::respond`], [`ResponseHead`](crate::ResponseHead) |
//! | end the response before the handler returns | [`Request::finish_early`] |
//! | answer with an error status, using `?` | [`StatusError`] |
//! | know which error becomes which status | [`HandlerResult`] |
//! | detect that a request was aborted | [`Request::is_aborted`], [`AbortHandle`] |
//! | send error pages of your own | [`Server::error_page`] |
//! | write an access log | [`Server::on_request_end`] |
//! | log errors of handlers | [`Server::on_request_end`], [`Outcome::Failed`] |
//! | log errors outside of a handler | [`Server::on_error`] |
//! | set limits and timeouts | [`Config`] |
//! | stop a server, set the mode of its socket | [`Handle`], [`Server::socket_mode`] |
//! | serve connections in a loop of your own | [`Connection`] |
//!
//! The guides begin with [your first application](crate::guide::first_application). Others describe
//! the [migration](crate::guide::migration) from other libraries, and [what a request
//! costs](crate::guide::costs).

mod abort;
mod close_reason;
mod config;
mod connection;
mod connection_state;
mod drain;
mod end_errors;
mod failure;
mod handler;
mod hooks;
mod http_request;
mod input;
mod lifecycle;
mod output;
mod pool;
mod report;
mod request;
mod respond;
mod sent;
mod slots;
mod status_error;
mod stdin;
mod timeouts;
mod worker;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

pub use self::abort::AbortHandle;
pub use self::close_reason::CloseReason;
pub use self::config::{Config, Overload};
pub use self::connection::Connection;
pub use self::failure::{Failure, HandlerResult};
pub(crate) use self::handler::{answer, Handler};
pub(crate) use self::hooks::Hooks;
pub use self::hooks::{EndedRequest, Outcome};
pub use self::output::Output;
pub use self::report::Report;
pub use self::request::Request;
pub use self::status_error::StatusError;
pub use self::stdin::Stdin;

use self::pool::Pool;
use self::worker::{OnError, Worker};
use crate::error::{Error, Result};
use crate::net::{Address, AllowList, Listener};

/// A FastCGI server that accepts connections and passes each request to a handler.
///
/// ```no_run
/// // Serves indefinitely.
/// use fcgi::{ResponseHead, Server};
///
/// Server::bind("127.0.0.1:9000")?.serve(|request| {
///     let query = request.query();
///     request.respond(ResponseHead::text(), format!("You asked for {query}.\n"))
/// })?;
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// # Threads
///
/// Every open connection has a thread, and serves one request at a time. A kept connection keeps
/// its thread between two requests. If all [`Config::max_connections`] slots are taken and another
/// connection is accepted, an idle connection is closed. A request in progress is never interrupted
/// to free a slot. Only a shutdown aborts it, after [`Config::shutdown_timeout`].
///
/// # Errors of a handler
///
/// If a handler returns an error or panics, the server continues. A message is written to the log
/// of the web server ([`Request::stderr`]), unless the error is a [`StatusError`] below 500 and no
/// part of the response was sent before. If no part was sent, the client receives `Status: 500`, or
/// another status that [`HandlerResult`] lists, with a short text or the page of
/// [`error_page`](Self::error_page). If a part was sent, the response ends there:
/// [`HandlerResult`](HandlerResult#responses-that-were-sent-in-part) describes what the client
/// receives. A program that is built with `panic = "abort"` ends when a handler panics.
///
/// A handler has also failed if it returns without an error and has written no response, unless the
/// request was aborted. In debug builds the same applies to a small response without a head (RFC
/// 3875, section 6). Like a debug assertion, this detects a programming error. Release builds skip
/// the check to save the search for the end of the head.
///
/// # What a program can observe
///
/// | What happens | Web server's log | [`on_request_end`] | [`on_error`] |
/// | --- | --- | --- | --- |
/// | a handler returns without an error | | [`Outcome::Finished`] | |
/// | a handler returns a [`StatusError`] below 500 | | [`Outcome::Finished`] | |
/// | the same after a part of a response was sent | the error | [`Outcome::Failed`] | |
/// | a handler returns another error or panics | the error | [`Outcome::Failed`] | |
/// | the same, and neither the response nor the error can be sent | | [`Outcome::NotSent`] | both |
/// | the same after [`finish_early`](Request::finish_early) | | [`Outcome::Failed`] | the error |
/// | a handler returns no response | the error | [`Outcome::Failed`] | the error |
/// | the function of [`error_page`](Self::error_page) fails | | as without it | its error |
/// | the web server aborts the request | | [`Outcome::Aborted`] | |
/// | `is_aborted` notices a close | | [`Outcome::Aborted`] | [`Error::Aborted`], if sending fails |
/// | a read fails because it has closed the connection | | [`Outcome::Aborted`] | the error |
/// | the response cannot be sent | | [`Outcome::NotSent`] | the error |
/// | the params or `CONTENT_LENGTH` exceed a limit | | [`Outcome::Rejected`] | the error |
/// | a request is refused with UNKNOWN_ROLE, OVERLOADED or CANT_MPX_CONN | | | |
/// | an address is [not allowed](#allowed-addresses) | | | the address, at most once a minute |
/// | a connection or `accept` fails outside of a request | | | the error |
///
/// [`on_request_end`]: Self::on_request_end
/// [`on_error`]: Self::on_error
///
/// # Allowed addresses
///
/// If the environment variable `FCGI_WEB_SERVER_ADDRS` is set, only TCP connections from the
/// addresses in it are served (FastCGI specification, section 3.2). A Unix socket is refused: its
/// peers have no IP address.
pub struct Server {
    listener: Arc<Listener>,
    pool: StopOnDrop,
    config: Config,
    /// The addresses that may connect. `None` allows every connection.
    allowed: Option<AllowList>,
    on_error: Box<OnError>,
    hooks: Hooks,
}

impl Server {
    /// Listens on an address, such as `127.0.0.1:9000`, `[::1]:9000`, `:9000` or
    /// `unix:/run/app.sock`. [`Address`] describes every form. The socket file of a server that has
    /// ended is replaced.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`], [`Error::InvalidAllowList`] for an invalid
    /// `FCGI_WEB_SERVER_ADDRS`, and any error of the system.
    pub fn bind<A: TryInto<Address>>(address: A) -> Result<Self>
    where
        Error: From<A::Error>,
    {
        Self::new(Listener::bind(address)?)
    }

    /// Listens on the socket that a web server or process manager passes as descriptor 0 (FastCGI
    /// specification, section 2.2).
    ///
    /// # Errors
    /// [`Error::NotListening`] if descriptor 0 is something else, and [`Error::InvalidAllowList`]
    /// for an invalid `FCGI_WEB_SERVER_ADDRS`.
    pub fn from_stdin() -> Result<Self> {
        Self::new(Listener::from_stdin()?)
    }

    /// Listens on a socket that the caller has created.
    ///
    /// # Errors
    /// [`Error::InvalidAllowList`] for an invalid `FCGI_WEB_SERVER_ADDRS`.
    ///
    /// ```
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = fcgi::Server::new(socket)?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn new(listener: impl Into<Listener>) -> Result<Self> {
        let listener = Arc::new(listener.into());
        Ok(Self {
            allowed: AllowList::from_env()?,
            pool: StopOnDrop(Arc::new(Pool::new(Arc::clone(&listener)))),
            listener,
            config: Config::default(),
            on_error: Box::new(write_to_stderr),
            hooks: Hooks::default(),
        })
    }

    /// Sets the permission bits of the socket file, such as `0o660`, which decide who may connect.
    /// [`Listener::set_mode`] describes it, and a guide says [who may open the
    /// socket](crate::guide::daemon#who-may-open-the-socket).
    ///
    /// # Errors
    /// The errors of [`Listener::set_mode`], such as `NotFound` for a TCP address.
    ///
    /// ```no_run
    /// // The directory /run/app must exist.
    /// let server = fcgi::Server::bind("unix:/run/app/app.sock")?.socket_mode(0o660)?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn socket_mode(self, mode: u32) -> Result<Self> {
        self.listener.set_mode(mode)?;
        Ok(self)
    }

    /// Sets the configuration. Default [`Config::default`].
    ///
    /// ```
    /// use fcgi::{server::Config, Server};
    ///
    /// let config = Config::new().max_connections(16).max_body(Some(8 * 1024 * 1024));
    /// let server = Server::bind("127.0.0.1:0")?.config(config);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
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
    /// - a connection that fails, receives invalid data, or exceeds a timeout other than the idle
    ///   timeout
    /// - a request that exceeds [`Config::max_params`] or [`Config::max_body`]
    /// - a handler that returns without an error, but has written no response, or has ignored an
    ///   error of reading the body
    /// - a handler that fails after [`Request::finish_early`], or whose error cannot be sent to the
    ///   log of the web server
    /// - an [`error_page`](Self::error_page) function that fails
    /// - a connection from an address that is not allowed, at most once a minute
    /// - a failure to accept connections or to start a thread
    ///
    /// By default, each is written to the process's stderr, on a line of its own.
    ///
    /// Any other error or panic of a handler is written to the log of the web server and does not
    /// reach this function. [`on_request_end`](Self::on_request_end) receives it as
    /// [`Outcome::Failed`]. A [`StatusError`] below 500 is neither logged nor reported, unless a
    /// part of the response was sent before.
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

    /// Sets a function that is called once for each request that has ended, after its handler has
    /// returned, whether it has succeeded or not. This includes requests that are rejected because
    /// their params or their `CONTENT_LENGTH` exceed a limit. The function is not called for
    /// requests that are refused with UNKNOWN_ROLE, OVERLOADED or CANT_MPX_CONN, or whose params do
    /// not arrive completely, such as those that are aborted before the handler is called.
    ///
    /// The next request on the connection waits until the function returns. By default there is no
    /// such function, and nothing is measured for it.
    ///
    /// ```
    /// let server = fcgi::Server::bind("127.0.0.1:0")?.on_request_end(|ended| {
    ///     let uri = ended.params.get("REQUEST_URI").unwrap_or("-");
    ///     let (status, bytes) = (ended.status.unwrap_or(0), ended.body_bytes);
    ///     println!("{uri:?} {status} {bytes} {:?} {}", ended.duration, ended.outcome);
    /// });
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn on_request_end(
        mut self,
        on_end: impl Fn(&EndedRequest<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_request_end = Some(Box::new(on_end));
        self
    }

    /// Sets a function that writes the response if a handler has failed: it returned an error, such
    /// as a [`StatusError`], wrote no response, or panicked.
    ///
    /// It is not called if a part of the response was sent. Otherwise what the handler has written
    /// is dropped, and the function writes another response. If it fails as well, its error is
    /// passed to [`on_error`](Self::on_error), and the default response is sent: [`Failure::text`].
    /// The failure of the handler is written to the log of the web server in any case, unless it is
    /// a [`StatusError`] below 500.
    ///
    /// Requests that are rejected because of [`Config::max_params`] or [`Config::max_body`], before
    /// a handler is called, are answered with the default response.
    ///
    /// ```
    /// use fcgi::ResponseHead;
    ///
    /// let server = fcgi::Server::bind("127.0.0.1:0")?.error_page(|request, failure| {
    ///     let page = format!("<!DOCTYPE html><title>Error</title><h1>{}</h1>", failure.status());
    ///     request.respond(failure.head(ResponseHead::html())?, page)
    /// });
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn error_page(
        mut self,
        page: impl Fn(&mut Request<'_>, &Failure<'_>) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.hooks.error_page = Some(Box::new(page));
        self
    }

    /// Returns the address that the server listens on, with the port that the system has chosen for
    /// port 0.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn local_address(&self) -> Result<Address> {
        self.listener.local_address()
    }

    /// Returns a handle with which another thread can stop the server.
    pub fn handle(&self) -> Handle {
        Handle { pool: Arc::clone(&self.pool.0) }
    }

    /// Passes requests to `handler` until [`Handle::shutdown`] is called.
    ///
    /// # Errors
    /// - `InvalidInput` if [`max_connections`](Config::max_connections) is 0, or if the read,
    ///   request, write or idle timeout is zero
    /// - `InvalidInput` for a Unix socket if there is a list of allowed addresses
    /// - an error of starting the first thread
    /// - an error after which `accept` cannot succeed again
    ///
    /// All other errors are [reported](Self::on_error), and the server continues.
    pub fn serve<H>(self, handler: H) -> Result<()>
    where
        H: Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'static,
    {
        // At the end, `owner` stops the pool, also after an error.
        let Self { listener, pool: owner, config, allowed, on_error, hooks } = self;
        let pool = Arc::clone(&owner.0);
        let checked = config.check().and_then(|()| check_socket(&listener, allowed.as_ref()));
        // From now on the pool decides when the socket is closed.
        drop(listener);
        checked?;
        let (config, handler) = (Arc::new(config), Box::new(handler));
        let last_disallowed_report = Mutex::default();
        Worker { pool, config, allowed, on_error, hooks, handler, last_disallowed_report }.run()
    }
}

/// Stops the pool and closes the listening socket when it is dropped. Handles keep the pool, but
/// not the socket.
struct StopOnDrop(Arc<Pool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
        self.0.close_socket();
    }
}

/// Checks that the socket can serve a peer on the list of allowed addresses.
fn check_socket(listener: &Listener, allowed: Option<&AllowList>) -> io::Result<()> {
    if allowed.is_none() || !listener.is_unix() {
        return Ok(());
    }
    let message = "a Unix socket cannot be used with a list of allowed addresses, because its \
                   peers have no IP address";
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
            .field("listener", &self.listener)
            .field("config", &self.config)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// A handle that stops a [`Server`] from another thread, such as one that waits for signals. A
/// guide shows how to [stop on SIGTERM](crate::guide::daemon).
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
    /// closed at once, the others after their current request. Then [`Server::serve`] returns.
    /// Requests that take longer than [`Config::shutdown_timeout`] are aborted. One second after
    /// that, `serve` returns even if a handler that does not use its streams is still running.
    ///
    /// On systems other than Linux, connections that arrive during the call may still be served. On
    /// systems other than Unix, a write that is blocked is not aborted before its timeout.
    ///
    /// The socket of [`Server::from_stdin`] may be shared with other processes, so it stays open.
    /// Threads that wait on it notice the shutdown within a few milliseconds. If the process cannot
    /// connect to the socket, for example because its file was removed, they notice it within half
    /// a second on Linux, and with the next connection on other systems.
    pub fn shutdown(&self) {
        self.pool.stop();
    }

    /// Returns whether the server was stopped. A handler that sends a stream without an end checks
    /// this to return early, as the guide about [events](crate::guide::streaming) shows.
    ///
    /// ```
    /// let server = fcgi::Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// assert!(!handle.is_shut_down());
    /// handle.shutdown();
    /// assert!(handle.is_shut_down());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn is_shut_down(&self) -> bool {
        self.pool.is_stopping()
    }
}
