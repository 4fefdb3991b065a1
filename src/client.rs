//! The web server's side of FastCGI: a [`Client`] that sends requests, and the [`Connection`] that it is made of.

mod config;
mod connection;
mod idle;
mod stdin;
mod stdout;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;

pub use self::config::Config;
pub use self::connection::{Connection, Exchange};
pub use self::stdin::Stdin;
pub use self::stdout::{Completion, Stdout};

use self::idle::Idle;
use crate::cgi::Head;
use crate::error::{Error, Result};
use crate::net::Address;
use crate::params::Params;
use crate::record::Role;

/// The part of a body that is sent together with the beginning of its request: a small request leaves in one write.
const FIRST_PIECE: usize = 32 * 1024;

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
/// A client may be shared by threads; each request has a connection to itself. With [`keep_alive`](Self::keep_alive)
/// connections are used again. One that the application has closed meanwhile is replaced: before it is used, when it was
/// idle for a while, and after the request was sent on it, when no byte of an answer has come and the request may be
/// repeated: all of it was sent at once, and its `REQUEST_METHOD` is one that RFC 9110 calls idempotent.
#[derive(Debug)]
pub struct Client {
    address: Address,
    config: Arc<Config>,
    idle: Idle,
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
    /// The response head, and the body behind it.
    ///
    /// # Errors
    /// Those of a malformed head, and [`Error::InvalidContentLength`] where the body has another length than the head says.
    pub fn split_head(&self) -> Result<(Head, &[u8])> {
        todo!()
    }
}

impl Client {
    /// A client of the application at an address, such as `127.0.0.1:9000` or `unix:/run/php/php-fpm.sock`; every form is
    /// with [`Address`]. Nothing is connected yet.
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

    /// Sends a request and returns the whole response, of up to [`Config::max_response`] bytes. If the params lack
    /// `CONTENT_LENGTH` and there is a body, it is added.
    ///
    /// # Errors
    /// As [`send`](Self::send), [`Error::ResponseTooLarge`], and [`Error::StreamTooShort`] or [`Error::StreamTooLong`] if
    /// `CONTENT_LENGTH` is there and not the length of the body; then nothing was sent.
    pub fn fetch(&self, params: &Params, body: &[u8]) -> Result<Reply> {
        let announced = params.content_length();
        if announced.is_none() && !body.is_empty() {
            let mut params = params.clone();
            params.set("CONTENT_LENGTH", body.len().to_string())?;
            return self.fetch(&params, body);
        }
        check_length(announced, body.len() as u64)?;
        let max = self.config.max_response;
        let mut stdout = Vec::new();
        let ((), completion) = self.send(params, body, |response| {
            (&mut response.stdout).take(max as u64 + 1).read_to_end(&mut stdout)?;
            if stdout.len() > max {
                return Err(Error::ResponseTooLarge(max).into());
            }
            Ok(())
        })?;
        Ok(Reply { stdout, completion })
    }

    /// Sends a request whose body is read from `body`, and gives the response to `receive` as it comes: both directions
    /// flow at once, and neither is held in memory. What `receive` leaves unread is read and dropped; to break off it
    /// returns an error.
    ///
    /// At most `CONTENT_LENGTH` bytes of the body are sent. If the application ends the request before it has read them,
    /// the response counts all the same.
    ///
    /// A small body is sent by this thread. A larger one is sent by a thread of its own while this one runs `receive`; it
    /// is waited for, so reading `body` must end by itself.
    ///
    /// # Errors
    /// [`Error::Refused`], each status a value of its own; [`Error::UnexpectedEof`] if the application closes before the
    /// request has ended, whatever came before; [`Error::TimedOut`]; other protocol errors; what connecting reports, what
    /// reading `body` reports, and what `receive` returns.
    pub fn send<T>(
        &self,
        params: &Params,
        body: impl Read + Send,
        receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
    ) -> Result<(T, Completion)> {
        self.run(Role::Responder, params, body, None::<io::Empty>, receive)
    }

    /// Sends a request to a filter (section 6.4): like [`send`](Self::send), with the file that it works on behind the
    /// body. Its length must be among the params as `FCGI_DATA_LENGTH`, and its time as `FCGI_DATA_LAST_MOD`.
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
        self.run(Role::Filter, params, body, Some(data), receive)
    }
}
