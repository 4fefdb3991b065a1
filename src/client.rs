//! The web server side of FastCGI: a [`Client`] that sends requests to an application, and the
//! [`Connection`] that it is built on.
//!
//! A request consists of [`Params`], which are the variables of CGI, and a body. The response
//! consists of a head, such as `Content-Type: text/html` or `Status: 404`, and a body. The
//! application may also write messages for a log, and it ends the request with a status of its own:
//! both are in [`Completion`]. If the response ends in any other way, the result is an error, even
//! if most of the response has arrived.
//!
//! By default, each request has its own connection. Threads can share a client. With
//! [`Client::keep_alive`], it keeps connections and reuses them. Read what that means for
//! [php-fpm](crate::guide::php_fpm#kept-connections) first.
//!
//! ```
//! use fcgi::{Client, Params, ResponseHead, Server};
//!
//! let server = Server::bind("127.0.0.1:0")?;
//! let client = Client::from(server.local_address()?);
//! let handle = server.handle();
//! let serving = std::thread::spawn(|| {
//!     server.serve(|request| request.respond(ResponseHead::text(), "Hello.\n"))
//! });
//!
//! let params = Params::from_pairs([("REQUEST_METHOD", "GET")])?;
//! let reply = client.fetch(&params, b"")?;
//! assert_eq!(reply.status()?, 200);
//! assert_eq!(reply.text()?, "Hello.\n");
//!
//! handle.shutdown();
//! serving.join().expect("the server's thread")?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! | To | Use |
//! | --- | --- |
//! | send a request and get the response in memory | [`Client::fetch`], [`Reply`] |
//! | send or receive more than fits in memory | [`Client::send`] |
//! | write the body and read the response yourself | [`Client::begin`], [`Exchange`] |
//! | ask an authorizer, or send a file to a filter | [`Client::authorize`], [`Client::filter`] |
//! | convert an HTTP request to params | [`cgi::Environment`] |
//! | change a limit or a timeout | [`Config`] |
//! | know when the client sends a request again | [Retries](Client#retries) |
//! | know whether a request may be sent again | [`Error`](Error#which-requests-can-be-sent-again) |
//! | cancel a request from another thread | [`Stdout::cancel_handle`] |
//! | use one connection without a pool | [`Client::connect`], [`Connection`] |
//!
//! The guide about [php-fpm](crate::guide::php_fpm) begins with one request. It also has a reverse
//! proxy and a health check.
//!
//! The documentation of this module cites the [FastCGI specification] and [RFC 3875] (CGI/1.1).
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

mod attempt;
mod authorize;
mod body;
mod cancel;
mod close_requests;
mod completion;
mod config;
mod connect;
#[cfg(unix)]
mod connect_thread;
mod connection;
mod deadline;
mod duplex;
mod exchange;
mod fetch;
mod idle;
mod input;
mod lease;
mod limit;
mod pool;
mod queue;
mod reply;
mod reserved;
mod response;
mod retry;
mod shared_request;
mod socket;
mod stdin;
mod stdout;
mod timer;
mod transport;
mod values;

use std::sync::Arc;
use std::{io, result};

pub use self::authorize::Authorization;
pub use self::body::Body;
pub use self::cancel::CancelHandle;
pub use self::completion::Completion;
pub use self::config::Config;
pub use self::connection::Connection;
pub use self::exchange::Exchange;
pub use self::reply::Reply;
pub use self::response::Response;
pub use self::stdin::Stdin;
pub use self::stdout::Stdout;
pub use self::values::Values;

use self::input::Input;
use self::pool::Pool;
use crate::cgi;
use crate::error::{Error, Result};
use crate::net::Address;
use crate::params::Params;
use crate::record::Role;

/// A client that sends requests to an application.
///
/// A client can be shared by threads. Each request uses its own connection. With
/// [`keep_alive`](Self::keep_alive), connections are reused.
///
/// # Retries
///
/// The application may close a kept connection at any time. A kept connection is checked before it
/// is reused, and replaced if it has been closed. The check is left out if the request follows
/// another one within a millisecond, has an idempotent `REQUEST_METHOD` (RFC 9110, section 9.2.2),
/// and fits the first write. The first write holds up to 32 KiB of body. A request that is not
/// idempotent, or does not fit the first write, waits until the connection has been idle for 100
/// ms, because the application may be about to close it. It does not wait if the application is
/// known to keep connections open. The check before other requests never waits.
///
/// If the application closes the connection after the check, the request is sent again on a new
/// connection, but only if that is safe, in one of these cases:
/// - No part of the request could be sent.
/// - No byte of a response has arrived, the method is idempotent, and the whole request fits the
///   first write.
///
/// Otherwise the request fails.
///
/// ```no_run
/// // An application must be listening.
/// use fcgi::{Client, Params};
///
/// let client = Client::new("unix:/run/php/php-fpm.sock")?.keep_alive(true);
/// let params = Params::from_pairs([
///     ("REQUEST_METHOD", "POST"),
///     ("SCRIPT_FILENAME", "/var/www/index.php"),
///     ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
///     ("CONTENT_LENGTH", "11"),
/// ])?;
/// let reply = client.fetch(&params, b"name=ferris")?;
/// println!("{}: {}", reply.status()?, reply.text()?);
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Client {
    pool: Pool,
    /// The value that `keep_alive` has set, which overrides that of `config`.
    keep_alive: Option<bool>,
}

impl Client {
    /// Creates a client of the application at `address`, such as `127.0.0.1:9000` or
    /// `unix:/run/php/php-fpm.sock`. [`Address`] lists every form. No connection is opened yet.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`].
    pub fn new<A: TryInto<Address>>(address: A) -> Result<Self>
    where
        Error: From<A::Error>,
    {
        Ok(Self::from(address.try_into()?))
    }

    /// Replaces the whole configuration, except for a value that was set with
    /// [`keep_alive`](Self::keep_alive). The order of the two calls makes no difference.
    /// Connections of the old configuration are not reused: the idle ones are closed.
    ///
    /// ```
    /// use fcgi::client::{Client, Config};
    /// use std::time::Duration;
    ///
    /// let config = Config::new().connect_timeout(Some(Duration::from_secs(1))).keep_alive(true);
    /// let client = Client::new("127.0.0.1:9000")?.config(config);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn config(mut self, mut config: Config) -> Self {
        config.keep_alive = self.keep_alive.unwrap_or(config.keep_alive);
        self.pool.configure(|old| *old = config);
        self
    }

    /// Sets [`Config::keep_alive`], which describes the effect on applications with few processes,
    /// such as php-fpm. A later call of [`config`](Self::config) does not change it.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = Some(keep_alive);
        self.pool.configure(|config| config.keep_alive = keep_alive);
        self
    }

    /// Returns the address of the application.
    pub fn address(&self) -> &Address {
        self.pool.address()
    }

    /// Sends a request and returns the whole response, which may have up to
    /// [`Config::max_response`] bytes. [`Body`] lists the types that `body` may have. If the body
    /// is in memory or a regular file, and is not empty, and `params` lack `CONTENT_LENGTH`, it is
    /// added.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send), and [`Error::ResponseTooLarge`]. If `CONTENT_LENGTH` is
    /// not the length of a body in memory or of a regular file, nothing is sent and the error is
    /// [`Error::StreamTooShort`] or [`Error::StreamTooLong`].
    pub fn fetch<'b>(&self, params: &Params, body: impl Into<Body<'b>>) -> Result<Reply> {
        fetch::fetch(&self.pool, params, body.into())
    }

    /// Sends a request with this body, and calls `receive` with the response as soon as it begins.
    /// Both directions flow at the same time, and neither is held in memory. What `receive` leaves
    /// unread is read and dropped. To end the request early, return an error from `receive`.
    ///
    /// [`Body`] lists the types that `body` may have, such as `&[u8]`, `File` and [`io::Empty`].
    /// Pass another reader as `&mut reader` or with [`Body::from_reader`].
    ///
    /// At most `CONTENT_LENGTH` bytes of `body` are sent. Without `CONTENT_LENGTH`, all of it is
    /// sent, but most applications then assume that there is no body (RFC 3875, section 4.1.2). If
    /// `body` ends earlier than announced, the request ends there, and the application has to
    /// compare the lengths. If the application ends the request before it has read the whole body,
    /// the response is valid.
    ///
    /// This thread sends up to 2 MiB from memory or from a regular file, as long as the application
    /// keeps reading, and the first read of any other body. Another thread sends the rest while
    /// this one runs `receive`. `send` waits for that thread, so a read of `body` must not block
    /// indefinitely.
    ///
    /// ```no_run
    /// // An application must be listening.
    /// use fcgi::{Client, Params};
    /// use std::{fs::File, io};
    ///
    /// let client = Client::new("127.0.0.1:9000")?;
    /// let file = File::open("upload.bin")?;
    /// let len = file.metadata()?.len().to_string();
    /// let params = Params::from_pairs([("REQUEST_METHOD", "PUT"), ("CONTENT_LENGTH", &len)])?;
    /// let (status, completion) = client.send(&params, file, |response| -> fcgi::Result<_> {
    ///     let head = response.read_head()?;
    ///     io::copy(&mut response.stdout, &mut io::stdout())?;
    ///     Ok(head.status())
    /// })?;
    /// println!("HTTP status {status}, application status {}", completion.app_status);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Connect`] if no connection could be opened
    /// - [`Error::Refused`] if the application refuses the request
    /// - [`Error::UnexpectedEof`] if the application closes the
    ///   connection before the request has ended, even after a part of the response
    /// - [`Error::TimedOut`], also if the application does not read the body in time and then
    ///   closes the connection
    /// - the errors of other violations of the protocol and of reading `body`
    /// - the error that `receive` returns, which may be of any type that these errors convert to
    pub fn send<'b, T, E: From<Error>>(
        &self,
        params: &Params,
        body: impl Into<Body<'b>>,
        receive: impl FnOnce(&mut Response<'_>) -> result::Result<T, E>,
    ) -> result::Result<(T, Completion), E> {
        self.send_as(Role::Responder, params, body, receive)
    }

    /// Sends a request like [`send`](Self::send), to an application in another role. For a filter
    /// use [`filter`](Self::filter).
    ///
    /// # Errors
    /// The errors of [`send`](Self::send).
    pub fn send_as<'b, T, E: From<Error>>(
        &self,
        role: Role,
        params: &Params,
        body: impl Into<Body<'b>>,
        receive: impl FnOnce(&mut Response<'_>) -> result::Result<T, E>,
    ) -> result::Result<(T, Completion), E> {
        let input = Input::new(body.into(), || params.content_length());
        attempt::run(&self.pool, role, params, input, receive)
    }

    /// Begins a request on a connection of the client, for a caller that writes the body and reads
    /// the response itself. The exchange owns the connection, so it can be moved to another thread
    /// or into the response of an HTTP server.
    ///
    /// The connection is reused only if the body was finished and the response was read to its end.
    /// Call [`Exchange::finish`] if the body of the response is not read, such as after a request
    /// with the method `HEAD`. If the exchange or its response is dropped earlier, the request is
    /// canceled and the connection closed. Until then it counts as one of
    /// [`Config::max_connections`]. [`Config::deadline`] is counted from this call.
    ///
    /// Nothing is sent until the body is written, flushed or finished; see [`Stdin`]. A kept
    /// connection that turns out to be closed is replaced ([Retries](Self#retries)). Before the
    /// first read, the response therefore waits until a part of the request has been sent.
    ///
    /// Write the body before you read the response if the body is small, or if the application
    /// reads it before it answers:
    ///
    /// ```
    /// use fcgi::{record::Role, Client, Params};
    /// use std::io::{self, Read, Write};
    ///
    /// fn forward(
    ///     client: &Client,
    ///     params: &Params,
    ///     body: &mut dyn Read,
    ///     browser: &mut dyn Write,
    /// ) -> fcgi::Result<u32> {
    ///     let mut exchange = client.begin(Role::Responder, params)?;
    ///     io::copy(body, &mut exchange.stdin)?;
    ///     exchange.stdin.finish()?;
    ///     let head = exchange.stdout.read_head()?;
    ///     write!(browser, "HTTP/1.1 {} {}\r\n\r\n", head.status(), head.reason())?;
    ///     io::copy(&mut exchange.stdout, browser)?;
    ///     Ok(exchange.finish()?.app_status)
    /// }
    /// ```
    ///
    /// Otherwise let another thread write it. The thread ends when the response has been finished,
    /// even if the application does not read the whole body, unless it waits for a read of `body`:
    ///
    /// ```
    /// use fcgi::{record::Role, Client, Params};
    /// use std::io::{self, Read, Write};
    /// use std::thread;
    ///
    /// fn forward(
    ///     client: &Client,
    ///     params: &Params,
    ///     mut body: impl Read + Send,
    ///     browser: &mut dyn Write,
    /// ) -> fcgi::Result<u32> {
    ///     let (mut stdin, mut stdout) = client.begin(Role::Responder, params)?.into_parts();
    ///     thread::scope(|scope| {
    ///         scope.spawn(move || io::copy(&mut body, &mut stdin).and_then(|_| stdin.finish()));
    ///         io::copy(&mut stdout, browser)?;
    ///         Ok(stdout.finish()?.app_status)
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Connect`], and [`Error::ParamTooLong`].
    pub fn begin(&self, role: Role, params: &Params) -> Result<Exchange<'static>> {
        attempt::begin(&self.pool, role, params)
    }

    /// Sends a request to a filter (FastCGI specification, section 6.4) like [`send`](Self::send),
    /// with the file to process in `data`. `params` must contain the length of the file in bytes as
    /// `FCGI_DATA_LENGTH`, and the time of its last change in seconds since 1970 as
    /// `FCGI_DATA_LAST_MOD`.
    ///
    /// ```no_run
    /// // A filter must be listening.
    /// use fcgi::{Client, Params};
    /// use std::io;
    ///
    /// let client = Client::new("127.0.0.1:9000")?;
    /// let params = Params::from_pairs([
    ///     ("REQUEST_METHOD", "GET"),
    ///     ("FCGI_DATA_LAST_MOD", "1700000000"),
    ///     ("FCGI_DATA_LENGTH", "5"),
    /// ])?;
    /// client.filter(&params, io::empty(), &b"hello"[..], |response| {
    ///     io::copy(&mut response.stdout, &mut io::stdout())
    /// })?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`send`](Self::send).
    pub fn filter<'b, T, E: From<Error>>(
        &self,
        params: &Params,
        body: impl Into<Body<'b>>,
        data: impl Into<Body<'b>>,
        receive: impl FnOnce(&mut Response<'_>) -> result::Result<T, E>,
    ) -> result::Result<(T, Completion), E> {
        let input = Input::new(body.into(), || params.content_length())
            .with_data(data.into(), || params.decimal("FCGI_DATA_LENGTH"));
        attempt::run(&self.pool, Role::Filter, params, input, receive)
    }

    /// Asks an authorizer (FastCGI specification, section 6.3) whether a request is allowed. Params
    /// that an authorizer must not receive are left out, and there is no body.
    ///
    /// ```
    /// use fcgi::client::Authorization;
    /// use fcgi::{cgi, Client, Params};
    ///
    /// fn is_allowed(authorizer: &Client, params: &mut Params) -> fcgi::Result<bool> {
    ///     let Authorization::Allowed(variables) = authorizer.authorize(params)? else {
    ///         return Ok(false);
    ///     };
    ///     for (name, value) in &variables {
    ///         let name = std::str::from_utf8(name).expect("the name of a header field");
    ///         cgi::set_variable(params, name, value)?;
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of [`fetch`](Self::fetch), and those of a malformed response head. Treat
    /// every error as a denial.
    pub fn authorize(&self, params: &Params) -> Result<Authorization> {
        let params = cgi::params_for_authorizer(params.clone());
        let input = Input::new(io::empty().into(), || None);
        Authorization::from_reply(fetch::fetch_as(&self.pool, Role::Authorizer, &params, input)?)
    }

    /// Asks the application for its limits with GET_VALUES (FastCGI specification, section 4.1), on
    /// a new connection. Connecting and the answer may together take one second, or less if
    /// [`Config::deadline`] is shorter.
    ///
    /// # Errors
    /// [`Error::Connect`]. Many applications do not answer. The error is then [`Error::TimedOut`],
    /// [`Error::UnexpectedEof`] or [`Error::UnexpectedRecord`]. Assume that such an application
    /// serves one request at a time on each connection.
    ///
    /// ```
    /// let server = fcgi::Server::bind("127.0.0.1:0")?;
    /// let client = fcgi::Client::new(server.local_address()?)?;
    /// std::thread::spawn(|| server.serve(|_request| Ok(())));
    /// assert_eq!(client.get_values()?.mpxs_conns, Some(false));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn get_values(&self) -> Result<Values> {
        Values::ask(self.address(), self.pool.config(), self.pool.close_kept())
    }

    /// Asks the application for its limits, and from then on opens no more connections than it
    /// accepts.
    ///
    /// ```no_run
    /// // An application must be listening.
    /// let client = fcgi::Client::new("127.0.0.1:9000")?.keep_alive(true);
    /// match client.negotiate() {
    ///     Ok(values) => println!("at most {:?} connections", values.max_conns),
    ///     Err(error) => println!("the application does not answer the query: {error}"),
    /// }
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`get_values`](Self::get_values). The number of connections is then limited as
    /// before.
    pub fn negotiate(&self) -> Result<Values> {
        let values = self.get_values()?;
        self.pool.set_advertised_max(values.max_connections());
        Ok(values)
    }

    /// Closes the idle connections.
    ///
    /// ```
    /// use fcgi::Client;
    ///
    /// let client = Client::new("127.0.0.1:9000")?.keep_alive(true);
    /// // After a series of requests:
    /// client.close_idle();
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn close_idle(&self) {
        self.pool.close_idle();
    }

    /// Opens a connection to the application. It does not belong to the client's pool.
    ///
    /// # Errors
    /// The errors of [`Connection::connect`].
    pub fn connect(&self) -> Result<Connection> {
        Connection::connect(self.address(), Arc::clone(self.pool.config()))
    }
}

impl Drop for Client {
    /// Closes the idle connections. An exchange that still exists closes its own.
    fn drop(&mut self) {
        self.pool.shut_down();
    }
}

impl From<Address> for Client {
    fn from(address: Address) -> Self {
        Self { pool: Pool::new(address), keep_alive: None }
    }
}
