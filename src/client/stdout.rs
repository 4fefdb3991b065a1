use std::fmt;
use std::io::{self, BufRead, Read, Write};

use super::cancel::CancelHandle;
use super::completion::{Completion, Stderr};
use super::config::Config;
use super::socket::SocketReader;
use crate::cgi::{Head, HeadParser};
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
pub struct Stdout<'a> {
    stream: StreamReader<ResponseRecords<'a>>,
    config: &'a Config,
}

/// The records of a response.
struct ResponseRecords<'a> {
    reader: &'a mut RecordReader<SocketReader>,
    request_id: u16,
    /// Whether STDOUT has ended.
    has_ended: bool,
    /// The application status, once END_REQUEST has been received.
    app_status: Option<u32>,
    stderr: Stderr<'a>,
    /// The handle that `Stdout::cancel_handle` has returned. Invariant: it is disarmed once
    /// END_REQUEST has been received.
    cancel_handle: Option<CancelHandle>,
}

impl<'a> Stdout<'a> {
    pub(super) fn new(
        reader: &'a mut RecordReader<SocketReader>,
        request_id: u16,
        config: &'a Config,
    ) -> Self {
        let records = ResponseRecords {
            reader,
            request_id,
            has_ended: false,
            app_status: None,
            stderr: Stderr::kept(config.max_stderr),
            cancel_handle: None,
        };
        Self { stream: StreamReader::new(records, StreamState::Open), config }
    }

    /// Writes STDERR to `writer` from now on. That happens while the response is read, and an error
    /// of `writer` is an error of the read.
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
        self.stream.source_mut().stderr = Stderr::Written(Box::new(writer));
    }

    /// Returns a handle that cancels the request from another thread.
    pub fn cancel_handle(&mut self) -> CancelHandle {
        let records = self.stream.source_mut();
        let socket = records.reader.get_ref().socket();
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
    pub fn read_head(&mut self) -> Result<Head> {
        let mut parser = HeadParser::new()
            .max_bytes(self.config.max_head)
            .max_fields(self.config.max_head_fields);
        parser.read(self)?;
        parser.finish()
    }

    /// Reads and drops the rest of the response, and waits for the end of the request.
    ///
    /// # Errors
    /// The errors of reading.
    pub fn finish(&mut self) -> Result<Completion> {
        loop {
            let records = self.stream.source_mut();
            if let Some(app_status) = records.app_status {
                return Ok(records.stderr.complete(app_status));
            }
            self.stream.next_record()?;
        }
    }

    /// Returns whether reading has failed because the application serves too many other requests:
    /// it has refused this one, or not accepted the connection while it serves kept ones.
    pub(super) fn has_met_overload(&self) -> bool {
        match self.stream.failure() {
            Some(Error::TimedOut(_)) => {
                let reader = self.stream.source().reader.get_ref();
                self.config.keep_alive && reader.is_unanswered()
            }
            failure => failure.is_some_and(Error::is_transient),
        }
    }

    /// Returns whether END_REQUEST was received.
    pub(super) fn is_complete(&self) -> bool {
        self.stream.source().app_status.is_some()
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
            _ => Err(unexpected(header)),
        }
    }

    fn end(&mut self) -> Result<()> {
        let end = self.reader.read_end_request()?;
        if end.protocol_status != ProtocolStatus::RequestComplete {
            return Err(Error::Refused(end.protocol_status));
        }
        self.app_status = Some(end.app_status);
        if let Some(handle) = &self.cancel_handle {
            handle.disarm();
        }
        Ok(())
    }

    fn read_stderr(&mut self) -> Result<()> {
        while self.reader.content_left() > 0 {
            let content = self.reader.fill_content()?;
            let len = content.len();
            self.stderr.push(content)?;
            self.reader.consume(len);
        }
        Ok(())
    }
}

impl StreamSource for ResponseRecords<'_> {
    type Input = SocketReader;

    fn reader(&self) -> &RecordReader<SocketReader> {
        self.reader
    }

    fn reader_mut(&mut self) -> &mut RecordReader<SocketReader> {
        self.reader
    }

    fn next_record(&mut self) -> Result<bool> {
        loop {
            let Some(header) = self.reader.next_header()? else {
                return Err(Error::UnexpectedEof("a response"));
            };
            // Records with the null id do not belong to any request, whatever their type.
            if header.request_id == NULL_REQUEST_ID {
                continue;
            }
            if header.request_id != self.request_id {
                return Err(unexpected(header));
            }
            if let Some(continues) = self.handle(header)? {
                return Ok(continues);
            }
        }
    }

    /// `Content-Length` is compared by the reader of the head.
    fn length(&self) -> StreamLength {
        StreamLength::Any
    }
}

fn unexpected(header: Header) -> Error {
    Error::UnexpectedRecord { record_type: header.record_type, request_id: header.request_id }
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
