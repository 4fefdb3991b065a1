//! The web server's side of FastCGI: a [`Client`] that sends requests, and the [`Connection`] that
//! it is made of.

mod authorize;
mod body;
mod config;
mod connection;
mod connections;
mod cutter;
mod stdin;
mod stdout;
mod values;
mod wire;

use std::io::{self, BufRead, Read};
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use self::authorize::Authorization;
pub use self::config::Config;
pub use self::connection::{Connection, Exchange};
pub use self::cutter::Cutter;
pub use self::stdin::Stdin;
pub use self::stdout::{Completion, Stdout};
pub use self::values::Values;

pub(crate) use self::body::{Body, PumpError, Source};
use self::connections::Connections;
use self::wire::Wire;
use crate::cgi::Head;
use crate::error::{Error, Result};
use crate::net::Address;
use crate::params::Params;
use crate::record::Role;
use crate::stream::AnnouncedLength;

/// How long the end of a body may lag behind the end of its request before the body counts as
/// unfinished: the application may be quicker than the thread that has just sent the last of it.
const BODY_LAG: Duration = Duration::from_millis(5);

/// How long the application may pause in taking a body before another thread goes on sending it: it
/// may have begun to answer.
const PAUSE: Duration = Duration::from_millis(1);

/// Sends requests to an application.
///
/// ```no_run
/// // It needs an application that listens.
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
/// let (head, body) = reply.split_head()?;
/// println!("{}: {} bytes", head.status(), body.len());
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// A client may be shared by threads; each request has a connection to itself. With
/// [`keep_alive`](Self::keep_alive) connections are used again. One that the application has closed
/// meanwhile is replaced: before it is used, when it was idle for a while, and after the request
/// was sent on it, when no byte of an answer has come and the request may be repeated: all of it
/// was sent at once, and its `REQUEST_METHOD` is one that RFC 9110 calls idempotent.
#[derive(Debug)]
pub struct Client {
    address: Address,
    config: Arc<Config>,
    connections: Connections,
}

/// A response on its way, for [`Client::send`].
#[derive(Debug)]
pub struct Response<'a> {
    /// The response as the application sends it: head and body.
    pub stdout: Stdout<'a>,
}

impl Response<'_> {
    /// Reads the response head; [`stdout`](Self::stdout) then goes on with the body.
    ///
    /// # Errors
    /// As [`Stdout::read_head`].
    pub fn read_head(&mut self) -> Result<Head> {
        self.stdout.read_head()
    }
}

/// A whole response, for [`Client::fetch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The response as the application sent it: head and body.
    pub stdout: Vec<u8>,
    /// The rest of what is known of the request.
    pub completion: Completion,
}

impl Reply {
    /// The response head, and the body behind it; of a request that is no `HEAD`, whose response
    /// may announce a body that is not there: for that there is [`Head::parse`].
    ///
    /// # Errors
    /// Those of a malformed head, and [`Error::StreamTooShort`] or [`Error::StreamTooLong`] where
    /// the body has another length than the head says.
    pub fn split_head(&self) -> Result<(Head, &[u8])> {
        let (head, body) = Head::parse(&self.stdout)?;
        // A 304 tells the length that another status would have had (RFC 9110, section 8.6).
        if head.has_body("GET") {
            head.check_body(body.len() as u64)?;
        }
        Ok((head, body))
    }
}

impl Client {
    /// A client of the application at an address, such as `127.0.0.1:9000` or
    /// `unix:/run/php/php-fpm.sock`; every form is with [`Address`]. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`].
    pub fn new(address: &str) -> Result<Self> {
        Ok(Self::from(address.parse::<Address>()?))
    }

    /// Sets the bounds.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Arc::new(config);
        self
    }

    /// Sets [`Config::keep_alive`].
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        Arc::make_mut(&mut self.config).keep_alive = keep_alive;
        self
    }

    /// The address of the application.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and returns the whole response, of up to [`Config::max_response`] bytes. If
    /// the params lack `CONTENT_LENGTH` and there is a body, it is added.
    ///
    /// # Errors
    /// As [`send`](Self::send), [`Error::ResponseTooLarge`], and [`Error::StreamTooShort`] or
    /// [`Error::StreamTooLong`] if `CONTENT_LENGTH` is there and not the length of the body;
    /// then nothing was sent.
    pub fn fetch(&self, params: &Params, body: &[u8]) -> Result<Reply> {
        let announced = params.content_length();
        if announced.is_none() && !body.is_empty() {
            let mut params = params.clone();
            params.set("CONTENT_LENGTH", body.len().to_string())?;
            return self.fetch(&params, body);
        }
        AnnouncedLength::new("CONTENT_LENGTH", announced).check(body.len() as u64)?;
        self.fetch_as(Role::Responder, params, body)
    }

    fn fetch_as(&self, role: Role, params: &Params, body: &[u8]) -> Result<Reply> {
        let max = self.config.max_response;
        let mut stdout = Vec::new();
        let body = Body::new(Source::ready(body), None::<Source<io::Empty>>);
        let ((), completion) = self.run(role, params, body, |response| loop {
            let piece = response.stdout.fill_buf()?;
            let len = piece.len();
            if len == 0 {
                return Ok(());
            }
            if len > max - stdout.len() {
                return Err(Error::ResponseTooLarge(max).into());
            }
            stdout.extend_from_slice(piece);
            response.stdout.consume(len);
        })?;
        Ok(Reply { stdout, completion })
    }

    /// Sends a request whose body is read from `body`, and gives the response to `receive` as it
    /// comes: both directions flow at once, and neither is held in memory. What `receive`
    /// leaves unread is read and dropped; to break off it returns an error.
    ///
    /// At most `CONTENT_LENGTH` bytes of the body are sent; without it all of them are, but most
    /// applications then take it that there is no body (RFC 3875, section 4.1.2). If the
    /// application ends the request before it has read them, the response counts all the same.
    ///
    /// A small body is sent by this thread. A larger one is sent by a thread of its own while this
    /// one runs `receive`; it is waited for, so reading `body` must end by itself.
    ///
    /// # Errors
    /// [`Error::Refused`], each status a value of its own; [`Error::UnexpectedEof`] if the
    /// application closes before the request has ended, whatever came before;
    /// [`Error::TimedOut`]; other protocol errors; what connecting reports, what reading `body`
    /// reports, and what `receive` returns.
    pub fn send<T>(
        &self,
        params: &Params,
        body: impl Read + Send,
        receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
    ) -> Result<(T, Completion)> {
        self.send_as(Role::Responder, params, body, receive)
    }

    /// Like [`send`](Self::send), to an application in another role; for a filter there is
    /// [`filter`](Self::filter).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_as<T>(
        &self,
        role: Role,
        params: &Params,
        body: impl Read + Send,
        receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
    ) -> Result<(T, Completion)> {
        let body = Source::new(body, params.content_length());
        self.run(role, params, Body::new(body, None::<Source<io::Empty>>), receive)
    }

    /// Sends a request to a filter (section 6.4): like [`send`](Self::send), with the file that it
    /// works on behind the body. Its length must be among the params as `FCGI_DATA_LENGTH`, and
    /// its time as `FCGI_DATA_LAST_MOD`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn filter<T>(
        &self,
        params: &Params,
        body: impl Read + Send,
        data: impl Read + Send,
        receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
    ) -> Result<(T, Completion)> {
        let body = Source::new(body, params.content_length());
        let data = Source::new(data, params.decimal("FCGI_DATA_LENGTH"));
        self.run(Role::Filter, params, Body::new(body, Some(data)), receive)
    }

    /// Asks the application what it can do (section 4.1), on a connection of its own. It has a
    /// second to answer.
    ///
    /// # Errors
    /// Many applications do not answer: then it is [`Error::TimedOut`], [`Error::UnexpectedEof`] or
    /// [`Error::UnexpectedRecord`], and it must be taken to accept one request at a time on each
    /// connection.
    pub fn get_values(&self) -> Result<Values> {
        Values::ask(&self.address, self.config.connect_timeout)
    }

    /// Asks the application what it can do, and from then on opens no more connections than it
    /// accepts.
    ///
    /// # Errors
    /// As [`get_values`](Self::get_values); the bound stays as it was.
    pub fn negotiate(&self) -> Result<Values> {
        let values = self.get_values()?;
        self.connections.set_accepted(values.max_conns.into_iter().chain(values.max_reqs).min());
        Ok(values)
    }

    /// A new connection to the application.
    ///
    /// # Errors
    /// As [`Connection::connect`].
    pub fn connect(&self) -> Result<Connection> {
        Connection::connect(&self.address, Arc::clone(&self.config))
    }

    /// The way of a request, from its params to its end.
    fn run<T>(
        &self,
        role: Role,
        params: &Params,
        mut body: Body<'_, impl Read + Send, impl Read + Send>,
        receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
    ) -> Result<(T, Completion)> {
        let (permit, idle) = self.connections.take(&self.config)?;
        let is_reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Box::new(self.connect()?),
        };
        let mut first = connection.gather(role, params)?;
        let is_whole = body.gather_first_piece(&mut first)?;
        let first = first.into_records();

        let mut sent = connection.send(&first)?;
        if is_reused && connection.is_dead(sent, is_whole && is_idempotent(params))? {
            *connection = self.connect()?;
            sent = connection.send(&first)?;
        }
        let mut exchange = connection.resume(sent, is_whole);
        let is_whole = is_whole || self.push(&mut exchange, &mut body)?;
        let outcome = if is_whole {
            drop(body);
            receive_all(exchange, receive)
        } else {
            flow(exchange, body, receive)
        };
        connection.keep_buffer(first);
        if outcome.as_ref().is_err_and(Error::is_transient) {
            permit.application_is_short();
        } else if connection.is_reusable() {
            permit.keep(connection, &self.config);
        }
        outcome
    }

    /// Sends a body that is in memory in this thread, as long as the application takes it without a
    /// pause; true if nothing is left to send.
    fn push(
        &self,
        exchange: &mut Exchange<'_>,
        body: &mut Body<'_, impl Read, impl Read>,
    ) -> Result<bool> {
        if !body.is_pushable() {
            return Ok(false);
        }
        let timeout = self.config.write_timeout;
        exchange
            .stdin
            .set_pause(Some(timeout.map_or(PAUSE, |timeout| timeout.min(PAUSE))), timeout)?;
        let pushed = body.push(&mut exchange.stdin);
        exchange.stdin.set_pause(None, timeout)?;
        match pushed {
            Ok(is_whole) => Ok(is_whole),
            Err(PumpError::Read(error)) => Err(error.into()),
            // The response counts.
            Err(PumpError::Write) => Ok(true),
        }
    }
}

impl From<Address> for Client {
    fn from(address: Address) -> Self {
        Self { address, config: Arc::default(), connections: Connections::default() }
    }
}

/// Receives the response to a request that was sent whole.
fn receive_all<T>(
    exchange: Exchange<'_>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
) -> Result<(T, Completion)> {
    let mut response = Response { stdout: exchange.stdout };
    let value = receive(&mut response)?;
    let exchange = Exchange { stdout: response.stdout, ..exchange };
    Ok((value, exchange.complete()?))
}

/// Receives the response while another thread sends the rest of the body.
fn flow<T>(
    exchange: Exchange<'_>,
    body: Body<'_, impl Read + Send, impl Read + Send>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
) -> Result<(T, Completion)> {
    let Exchange { mut stdin, stdout, wire, keeps_conn, buffer, is_in_step } = exchange;
    let mut response = Response { stdout };
    let (tell_pumped, pumped) = mpsc::channel();
    let (pump, outcome) = thread::scope(|scope| {
        let pump = thread::Builder::new().spawn_scoped(scope, || {
            let guard = CutOnDrop(wire);
            let outcome = body.pump(&mut stdin);
            if !matches!(outcome, Err(PumpError::Read(_))) {
                guard.disarm();
            }
            let _ = tell_pumped.send(());
            outcome
        })?;
        let guard = CutOnDrop(wire);
        let outcome = receive(&mut response)
            .map_err(Error::from)
            .and_then(|value| Ok((value, response.stdout.finish()?)));
        if outcome.is_ok() && pumped.recv_timeout(BODY_LAG).is_ok() {
            guard.disarm();
        } else {
            drop(guard);
        }
        Ok::<_, io::Error>((pump.join(), outcome))
    })?;
    match pump {
        Err(panic) => resume_unwind(panic),
        Ok(Err(PumpError::Read(error))) if outcome.is_err() => return Err(error.into()),
        // The response counts.
        Ok(_) => {}
    }
    let outcome = outcome?;
    Exchange { stdin, stdout: response.stdout, wire, keeps_conn, buffer, is_in_step }.release();
    Ok(outcome)
}

/// Ends both directions of a connection when it is dropped, which wakes the thread that waits on
/// the other one: this one has failed or panicked and the request cannot be completed, or the
/// application reads no more of the body.
struct CutOnDrop<'a>(&'a Wire);

impl CutOnDrop<'_> {
    /// All is well on this thread.
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for CutOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Whether the request may reach the application twice (RFC 9110, section 9.2.2).
fn is_idempotent(params: &Params) -> bool {
    let method = params.get_bytes("REQUEST_METHOD").unwrap_or_default();
    [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"].contains(&method)
}
