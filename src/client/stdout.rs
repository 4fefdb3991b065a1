use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, Instant};

use super::cancel::CancelHandle;
use super::completion::{Completion, Stderr};
use super::deadline::Deadline;
use super::lease::{Lease, END_WAIT};
use super::socket::SocketReader;
use super::stdin::Stdin;
use crate::cgi::Head;
use crate::error::{Error, Result};
use crate::record::{Header, ProtocolStatus, RecordType, NULL_REQUEST_ID};
use crate::stream::{RecordReader, StreamLength, StreamReader, StreamSource, StreamState};

/// The response to a request, which is received as the STDOUT stream (FastCGI specification,
/// section 5.3).
///
/// Reading returns 0 bytes at the end of the response, and only there. Every other end is an error,
/// inside an [`io::Error`]:
///
/// | What happens | Error |
/// | --- | --- |
/// | the connection closes before the response has ended | [`Error::UnexpectedEof`] |
/// | the application refuses the request | [`Error::Refused`] |
/// | the application sends nothing for [`Config::read_timeout`] | [`Error::TimedOut`] |
/// | the connection closes after writing the body has timed out | [`Error::TimedOut`] |
/// | a record arrives that does not belong to a response | [`Error::UnexpectedRecord`] |
///
/// The methods of [`BufRead`] return the data without copying it.
///
/// What the application writes to STDERR in the meantime is kept, up to [`Config::max_stderr`]
/// bytes, or written to [another writer](Self::stderr_to).
///
/// ```
/// use fcgi::client::Stdout;
/// use std::io::Read;
///
/// fn read_text(stdout: &mut Stdout<'_>) -> fcgi::Result<(u16, String)> {
///     let head = stdout.read_head()?;
///     let mut body = String::new();
///     stdout.read_to_string(&mut body)?;
///     Ok((head.status(), body))
/// }
/// ```
///
/// If the response of an exchange that [`Client::begin`](crate::Client::begin) has returned is
/// dropped, its connection goes back to the pool if the response was read to its end and the body
/// has been sent. Otherwise the request is canceled.
///
/// [`Config::max_stderr`]: super::Config::max_stderr
/// [`Config::read_timeout`]: super::Config::read_timeout
#[must_use = "the request is incomplete until its response has been finished"]
pub struct Stdout<'a> {
    stream: StreamReader<ResponseRecords<'a>>,
}

/// The records of a response.
struct ResponseRecords<'a> {
    lease: Lease<'a>,
    request_id: u16,
    /// Whether STDOUT has ended.
    has_ended: bool,
    /// The application status, once END_REQUEST has been received.
    app_status: Option<u32>,
    stderr: Stderr<'a>,
    /// The handle that `Stdout::cancel_handle` returns. Invariant: it is disarmed once END_REQUEST
    /// has been received.
    cancel_handle: Option<CancelHandle>,
}

impl<'a> Stdout<'a> {
    pub(super) fn new(lease: Lease<'a>, cancel_handle: Option<CancelHandle>) -> Self {
        let transport = lease.transport();
        let records = ResponseRecords {
            request_id: transport.request_id(),
            has_ended: false,
            app_status: None,
            stderr: Stderr::kept(transport.config().max_stderr),
            cancel_handle,
            lease,
        };
        Self { stream: StreamReader::new(records, StreamState::Open) }
    }

    /// Writes STDERR to `writer` from now on. That happens while the response is read, and an error
    /// of `writer` is an error of the read. What was received earlier is in [`Completion::stderr`].
    ///
    /// ```
    /// use fcgi::{Client, Params};
    /// use std::io;
    ///
    /// fn copy_response(client: &Client, params: &Params) -> fcgi::Result<u64> {
    ///     let (copied, _completion) = client.send(params, io::empty(), |response| {
    ///         response.stdout.stderr_to(io::stderr());
    ///         io::copy(&mut response.stdout, &mut io::stdout())
    ///     })?;
    ///     Ok(copied)
    /// }
    /// ```
    pub fn stderr_to(&mut self, writer: impl Write + Send + 'a) {
        self.stream.source_mut().stderr.write_to(Box::new(writer));
    }

    /// Returns a handle that cancels the request from another thread.
    pub fn cancel_handle(&mut self) -> CancelHandle {
        let records = self.stream.source_mut();
        let socket = records.lease.transport().socket();
        let handle = records.cancel_handle.get_or_insert_with(|| CancelHandle::new(socket)).clone();
        if self.is_complete() {
            handle.disarm();
        }
        handle
    }

    /// Reads the response head (RFC 3875, section 6). Later reads return the response body.
    ///
    /// # Errors
    /// [`Error::HeadTooLarge`] beyond [`Config::max_head`], [`Error::TooManyFields`] beyond
    /// [`Config::max_head_fields`], [`Error::IncompleteHead`], the errors of a malformed head, and
    /// the errors of reading.
    ///
    /// [`Config::max_head`]: super::Config::max_head
    /// [`Config::max_head_fields`]: super::Config::max_head_fields
    pub fn read_head(&mut self) -> Result<Head> {
        let config = self.stream.source().lease.transport().config();
        let mut parser = config.head_parser();
        parser.read(self)?;
        parser.finish()
    }

    /// Reads and drops the rest of the response, and waits for the end of the request.
    ///
    /// # Errors
    /// The errors of reading.
    pub fn finish(mut self) -> Result<Completion> {
        self.complete()
    }

    /// Reads the rest of the response like [`finish`](Self::finish), but keeps the connection.
    pub(super) fn complete(&mut self) -> Result<Completion> {
        loop {
            let records = self.stream.source_mut();
            if let Some(app_status) = records.app_status {
                return Ok(records.stderr.complete(app_status));
            }
            self.stream.next_record()?;
        }
    }

    /// Returns whether END_REQUEST was received.
    pub(super) fn is_complete(&self) -> bool {
        self.stream.source().app_status.is_some()
    }

    /// Ends a request whose response is complete. Its connection can carry another one if the body
    /// has been sent to its end, too.
    // A call costs 1 % of the instructions of a small request.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn end_request(&mut self, mut stdin: Stdin) {
        let transport = self.stream.source_mut().lease.transport_mut();
        // The caller may have exchanged the stdin or stdout of two requests.
        let is_same_request = stdin.socket().is_same(transport.socket());
        transport.end_request(is_same_request && stdin.is_finished());
        transport.keep_buffer(stdin.take_buffer());
    }

    /// Returns whether the connection ended before the response did, such as after the request was
    /// canceled. An application that closes it without reading the whole body resets it.
    #[cold]
    pub(super) fn is_cut_off(&self) -> bool {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
        self.stream.last_error().is_some_and(|error| {
            matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted)
        })
    }

    /// Notes that the request has failed. The application may serve too many others: it refuses the
    /// request for that reason, or sends nothing on a new connection until the read timeout.
    #[cold]
    pub(super) fn note_failure(&mut self) {
        let is_transient = self.stream.last_error().is_some_and(Error::is_transient);
        let is_read_timeout = matches!(
            self.stream.last_error(),
            Some(Error::TimedOut(timeout)) if timeout.operation == "read"
        );
        let transport = self.stream.source_mut().lease.transport_mut();
        if is_transient || is_read_timeout && transport.may_be_unaccepted() {
            transport.set_overloaded();
        }
    }

    /// Ends the request on a connection of a client's pool. If its end has been received, or
    /// follows in a moment, the connection may be reusable.
    #[cold]
    fn end_pooled_request(&mut self) {
        if matches!(self.stream.state(), StreamState::Failed(_)) {
            return self.note_failure();
        }
        let has_started = !self.stream.source().lease.must_start();
        if has_started && !self.is_complete() {
            self.read_late_end();
        }
        if self.is_complete() {
            self.stream.source_mut().lease.end_request();
        }
    }

    /// Reads the end of a request whose response has been read to its end, if it arrives within a
    /// moment. After an error or more of the response, the connection is closed.
    fn read_late_end(&mut self) {
        let records = self.stream.source_mut();
        if records.reader().content_left() > 0 {
            return;
        }
        let wait = if records.has_ended { END_WAIT } else { Duration::ZERO };
        let end = Deadline::new(Instant::now(), Some(wait));
        records.reader_mut().get_mut().start(end, false);
        while records.app_status.is_none() && matches!(records.next_record(), Ok(false)) {}
    }
}

impl Drop for Stdout<'_> {
    fn drop(&mut self) {
        if self.stream.source().lease.is_pooled() {
            self.end_pooled_request();
        }
    }
}

impl ResponseRecords<'_> {
    /// Handles a record of this request. Returns whether STDOUT continues; `None` if the record
    /// does not decide that.
    fn handle(&mut self, header: Header) -> Result<Option<bool>> {
        match header.record_type {
            RecordType::Stderr => self.read_stderr().map(|()| None),
            RecordType::Stdout if !self.has_ended => {
                self.has_ended = header.content_len == 0;
                Ok(Some(!self.has_ended))
            }
            RecordType::EndRequest => self.end().map(|()| Some(false)),
            _ => Err(header.unexpected()),
        }
    }

    fn end(&mut self) -> Result<()> {
        let end = self.reader_mut().read_end_request()?;
        if let Some(handle) = &self.cancel_handle {
            handle.disarm();
        }
        if end.protocol_status != ProtocolStatus::RequestComplete {
            return Err(Error::Refused(end.protocol_status));
        }
        self.app_status = Some(end.app_status);
        Ok(())
    }

    fn read_stderr(&mut self) -> Result<()> {
        let reader = &mut self.lease.transport_mut().reader;
        while reader.content_left() > 0 {
            let content = reader.fill_content()?;
            let len = content.len();
            self.stderr.push(content)?;
            reader.consume(len);
        }
        Ok(())
    }
}

impl StreamSource for ResponseRecords<'_> {
    type Input = SocketReader;

    fn reader(&self) -> &RecordReader<SocketReader> {
        &self.lease.transport().reader
    }

    fn reader_mut(&mut self) -> &mut RecordReader<SocketReader> {
        &mut self.lease.transport_mut().reader
    }

    fn next_record(&mut self) -> Result<bool> {
        if self.lease.must_start() {
            self.lease.start()?;
        }
        loop {
            let Some(header) = self.reader_mut().next_header()? else {
                return Err(Error::UnexpectedEof("a response"));
            };
            // Records with the null id do not belong to any request, whatever their type.
            if header.request_id == NULL_REQUEST_ID {
                continue;
            }
            if header.request_id != self.request_id {
                return Err(header.unexpected());
            }
            if let Some(continues) = self.handle(header)? {
                return Ok(continues);
            }
        }
    }

    /// The caller that parses the head compares `Content-Length`; [`Reply::body`] does.
    ///
    /// [`Reply::body`]: super::Reply::body
    fn length(&self) -> StreamLength {
        StreamLength::Any
    }
}

impl Read for Stdout<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.read(out)
    }
}

impl BufRead for Stdout<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.stream.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.stream.consume(amount);
    }
}

impl fmt::Debug for Stdout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdout")
            .field("request_id", &self.stream.source().request_id)
            .field("state", &self.stream.state())
            .field("received", &self.stream.received())
            .finish_non_exhaustive()
    }
}
