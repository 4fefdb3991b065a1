use std::io::{self, Read, Write};
use std::sync::Arc;

use super::completion::Completion;
use super::lease::{Lease, Pooled, PooledConnection};
use super::socket::Progress;
use super::stdin::Stdin;
use super::stdout::Stdout;
use super::transport::Transport;
use crate::error::Result;
use crate::stream::retry_interrupted;

/// The number of bytes of a body that are read and sent at a time. A write of this length is not
/// copied, except the first one.
const PIECE_LEN: usize = 16 * 1024;

/// A request in progress. [`Client::begin`](crate::Client::begin) returns one that owns its
/// connection, and [`Connection::begin`](super::Connection::begin) one that borrows it.
///
/// The body and the response are separate fields, so that two threads can use them at the same
/// time. That is necessary if the application answers before it has read the whole body, and both
/// directions exceed the buffers of the operating system, which hold about 200 KiB. A write of the
/// body then waits until the write timeout. [`Client::send`](crate::Client::send) uses two threads
/// if that is necessary.
///
/// If an exchange is dropped before it is [finished](Self::finish), a
/// [`Connection`](super::Connection) cannot be reused. A pooled connection is reused only if the
/// body was finished and the response was read to its end. Otherwise it is closed.
///
/// ```
/// use fcgi::{client::Connection, record::Role, Params};
/// use std::io;
///
/// fn download(connection: &mut Connection, params: &Params) -> fcgi::Result<u32> {
///     let mut exchange = connection.begin(Role::Responder, params)?;
///     exchange.stdin.finish()?;
///     io::copy(&mut exchange.stdout, &mut io::stdout())?;
///     Ok(exchange.finish()?.app_status)
/// }
/// ```
#[derive(Debug)]
#[must_use = "an exchange that is dropped before it is finished may close its connection"]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// The body of the request.
    pub stdin: Stdin,
    /// The response.
    pub stdout: Stdout<'a>,
}

impl<'a> Exchange<'a> {
    /// Creates the exchange of a new request. The whole records in `start` precede the body.
    pub(super) fn lent(transport: &'a mut Transport, start: Vec<u8>) -> Self {
        let stdin = Stdin::new(transport.writer(), transport.request_id(), start);
        Self { stdin, stdout: Stdout::new(Lease::Lent(transport), None) }
    }

    /// Continues a request whose first part has been written as far as `progress`. If `is_whole`,
    /// that was the whole request.
    #[inline]
    pub(super) fn resume(transport: &'a mut Transport, progress: Progress, is_whole: bool) -> Self {
        let (writer, request_id) = (transport.writer(), transport.request_id());
        let stdin = Stdin::resume(writer, request_id, progress, is_whole);
        Self { stdin, stdout: Stdout::new(Lease::Lent(transport), None) }
    }

    /// Creates the exchange of a new request on a connection of a client's pool.
    pub(super) fn pooled(mut pooled: Pooled, start: Vec<u8>) -> Self {
        let request = Arc::clone(pooled.request());
        let cancel_handle = request.cancel_handle().clone();
        let transport = pooled.transport_mut();
        let stdin = Stdin::pooled(transport.writer(), transport.request_id(), start, request);
        Self { stdin, stdout: Stdout::new(Lease::Pooled(Box::new(pooled)), Some(cancel_handle)) }
    }

    /// Reads `body` to its end, sends it, and ends the body of the request.
    ///
    /// An application may answer and close its end before it has read the whole body, and writing
    /// it then fails. That is not an error: the response is valid, or reading it reports why not.
    ///
    /// An application that keeps the connection open and does not read, because it waits until its
    /// response is read, makes this method wait until the write timeout.
    ///
    /// # Errors
    /// - any error of reading `body`
    /// - `InvalidInput` if the body of the request has already been finished
    /// - [`Error::TimedOut`](crate::Error::TimedOut), inside the I/O error, if the application
    ///   reads nothing for [`Config::write_timeout`](super::Config::write_timeout), or at the
    ///   deadline of the request
    /// - any other error of writing, unless it means that the application has closed the connection
    ///
    /// Call [`cancel`](Self::cancel) then, so that neither side mistakes a part for the whole.
    ///
    /// ```
    /// use fcgi::{record::Role, Client, Params};
    /// use std::io::Read;
    ///
    /// fn upload(client: &Client, params: &Params, body: impl Read) -> fcgi::Result<u16> {
    ///     let mut exchange = client.begin(Role::Responder, params)?;
    ///     exchange.send_body(body)?;
    ///     let status = exchange.stdout.read_head()?.status();
    ///     exchange.finish()?;
    ///     Ok(status)
    /// }
    /// ```
    pub fn send_body(&mut self, mut body: impl Read) -> io::Result<()> {
        let mut piece = [0; PIECE_LEN];
        loop {
            let len = retry_interrupted(|| body.read(&mut piece))?;
            let written = match len {
                0 => self.stdin.finish(),
                _ => self.stdin.write_all(&piece[..len]),
            };
            if !ignore_closed(written)? || len == 0 {
                return Ok(());
            }
        }
    }

    /// Ends the body if it has not been finished, reads and drops the rest of the response, and
    /// waits for END_REQUEST.
    ///
    /// # Errors
    /// The errors of reading [`Stdout`], and of writing the end of the body as
    /// [`send_body`](Self::send_body) returns them. If the application has closed the connection
    /// but the response is complete, that is not an error.
    pub fn finish(mut self) -> Result<Completion> {
        if !self.stdout.is_complete() {
            ignore_closed(self.stdin.finish())?;
        }
        self.complete()
    }

    /// Asks the application to abort the request (FastCGI specification, section 5.4) and waits for
    /// END_REQUEST. The rest of the response is dropped. If the application has already ended the
    /// request, nothing is sent.
    ///
    /// ```
    /// use fcgi::{client::Connection, record::Role, Params};
    /// use std::io::Read;
    ///
    /// fn first_byte(connection: &mut Connection, params: &Params) -> fcgi::Result<u8> {
    ///     let mut exchange = connection.begin(Role::Responder, params)?;
    ///     exchange.stdin.finish()?;
    ///     let mut byte = [0];
    ///     exchange.stdout.read_exact(&mut byte)?;
    ///     exchange.abort()?;
    ///     Ok(byte[0])
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of [`finish`](Self::finish). Many applications close the connection instead of
    /// answering, which is [`Error::UnexpectedEof`](crate::Error::UnexpectedEof).
    pub fn abort(mut self) -> Result<Completion> {
        if !self.stdout.is_complete() {
            match self.stdin.abort() {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error.into()),
                // Other errors are ignored: the application may have ended the request and closed
                // the connection. Reading the response shows that.
                Ok(()) | Err(_) => {}
            }
        }
        self.complete()
    }

    fn complete(mut self) -> Result<Completion> {
        let completion = self.stdout.complete()?;
        self.stdout.end_request(self.stdin);
        Ok(completion)
    }

    /// Returns the body and the response as separate values, for threads that end independently.
    /// When the response has been [finished](Stdout::finish), the body may be dropped or remain
    /// with its thread.
    ///
    /// A connection of a client's pool goes back to it if the body and the response have both been
    /// finished. If the application ends the request before the body has been sent, finishing the
    /// response closes the connection, which wakes a thread that is writing the body. A
    /// [`Connection`](super::Connection) cannot carry another request.
    pub fn into_parts(self) -> (Stdin, Stdout<'a>) {
        (self.stdin, self.stdout)
    }

    /// Cancels the request: shuts down both directions of the connection, so that a read or write
    /// that is waiting on it returns. To cancel from another thread, use [`Stdout::cancel_handle`].
    pub fn cancel(&self) {
        self.stdin.cancel();
    }
}

/// Ignores the error of a write to a connection that the application has closed: the response is
/// valid, or reading it reports why not. Returns whether the application can receive more.
///
/// # Errors
/// Any other error, such as a timeout. The application may still wait for the rest of the body, and
/// would take a part of it for all of it.
fn ignore_closed(written: io::Result<()>) -> io::Result<bool> {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    match written {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected => Ok(false),
            _ => Err(error),
        },
    }
}
