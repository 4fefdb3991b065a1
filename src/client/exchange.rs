use std::io;

use super::completion::Completion;
use super::socket::SocketWriter;
use super::stdin::Stdin;
use super::stdout::Stdout;
use crate::error::Result;

/// A request in progress on a [`Connection`](super::Connection).
///
/// The body and the response are separate fields, so that two threads can use them at the same
/// time. That is necessary if the application answers before it has read the whole body, and both
/// directions exceed the buffers of the operating system.
/// [`Client::send`](crate::Client::send) does it.
///
/// An exchange that is dropped without being [finished](Self::finish) leaves its connection
/// unusable.
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
pub struct Exchange<'a> {
    /// The body of the request.
    pub stdin: Stdin,
    /// The response.
    pub stdout: Stdout<'a>,
    pub(super) reuse: &'a mut Reuse,
}

/// What a request returns to its connection, so that the next request can use it.
#[derive(Debug)]
pub(super) struct Reuse {
    /// Each request writes with a clone.
    pub(super) writer: SocketWriter,
    /// Memory for the records of the next request.
    pub(super) buffer: Vec<u8>,
    /// Whether the application has been asked to keep the connection open.
    pub(super) keep_alive: bool,
    /// Whether another request may begin. Invariant: false from the start of a request until both
    /// of its directions have ended with `keep_alive` set. A request that ends otherwise leaves it
    /// false.
    pub(super) is_idle: bool,
    /// Whether the latest request has failed because the application serves too many others.
    pub(super) is_overloaded: bool,
}

impl Reuse {
    pub(super) fn new(keep_alive: bool, writer: SocketWriter) -> Self {
        Self { writer, buffer: Vec::new(), keep_alive, is_idle: true, is_overloaded: false }
    }

    /// Keeps the larger of two buffers.
    #[inline]
    pub(super) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.buffer.capacity() {
            self.buffer = buffer;
        }
    }

    /// Ends a request whose response is complete. Its connection can carry another one if the
    /// body has been sent to its end, too.
    #[inline]
    pub(super) fn end_request(&mut self, mut stdin: Stdin) {
        self.is_idle = self.keep_alive && stdin.is_finished();
        self.keep_buffer(stdin.take_buffer());
    }
}

impl<'a> Exchange<'a> {
    /// Ends the body if it has not been finished, reads and drops the rest of the response, and
    /// waits for END_REQUEST.
    ///
    /// # Errors
    /// The errors of reading [`Stdout`]. If the body cannot be written but the response is
    /// complete, that is not an error.
    pub fn finish(mut self) -> Result<Completion> {
        if !self.stdout.is_complete() {
            // An error is ignored: the response is valid, or reading it reports why not.
            let _ = self.stdin.finish();
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
        let completion = self.stdout.finish()?;
        self.reuse.end_request(self.stdin);
        Ok(completion)
    }

    /// Returns the body and the response as separate values, for threads that end independently.
    /// When the response has been [finished](Stdout::finish), the body may be dropped or remain
    /// with its thread. The connection cannot carry another request.
    pub fn into_parts(self) -> (Stdin, Stdout<'a>) {
        (self.stdin, self.stdout)
    }

    /// Cancels the request: shuts down both directions of the connection, so that a read or write
    /// that is waiting on it returns. To cancel from another thread, use
    /// [`Stdout::cancel_handle`].
    pub fn cancel(&self) {
        self.stdin.cancel();
    }
}
