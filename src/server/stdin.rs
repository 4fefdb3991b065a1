use std::io::{self, BufRead, Read};

use super::abort::{self, Abort, AbortCause, AbortHandle};
use super::close_reason::CloseReason;
use super::config::Config;
use super::input::{AcceptedRequest, Input};
use super::timeouts::TimedStream;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{RecordType, Role};
use crate::stream::{RecordReader, StreamLength, StreamReader, StreamSource, StreamState};

/// The body of a request: the STDIN stream (FastCGI specification, section 5.3).
///
/// Reading blocks until the web server sends data, and returns 0 bytes at the end of the body. A
/// body that does not have the announced length is an error, so a handler never mistakes a
/// truncated body for a complete one. A body without `CONTENT_LENGTH` may have any length up to
/// [`Config::max_body`]. The errors are inside an [`io::Error`]:
///
/// | What happens | Error |
/// | --- | --- |
/// | the body ends before `CONTENT_LENGTH` bytes | [`Error::StreamTooShort`] |
/// | the body continues after `CONTENT_LENGTH` bytes | [`Error::StreamTooLong`] |
/// | the body has no `CONTENT_LENGTH` and exceeds [`Config::max_body`] | [`Error::BodyTooLarge`] |
/// | the web server aborts the request | [`Error::Aborted`], of kind `ConnectionAborted` |
/// | the web server closes the connection | [`Error::UnexpectedEof`] |
/// | the web server sends nothing for [`Config::read_timeout`] | [`Error::TimedOut`] |
/// | the body takes longer than [`Config::request_timeout`] | [`Error::RequestTimedOut`] |
///
/// [`read_limited`](Self::read_limited) reads a body into memory, up to a limit. A guide shows how
/// to decode [forms, JSON and uploads](crate::guide::forms).
///
/// Data that the handler does not read is dropped. As a [`BufRead`] it returns its data without
/// copying it.
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use fcgi::ResponseHead;
/// use std::{fs::File, io};
///
/// fn store(request: &mut Request) -> HandlerResult {
///     let len = io::copy(&mut request.stdin, &mut File::create("/srv/upload")?)?;
///     request.respond(ResponseHead::text(), format!("{len} bytes\n"))
/// }
/// ```
#[derive(Debug)]
pub struct Stdin<'a> {
    stream: StreamReader<RequestRecords<'a>>,
}

/// The records of a request.
#[derive(Debug)]
struct RequestRecords<'a> {
    input: &'a mut Input,
    abort: &'a mut Abort,
    request_id: u16,
    role: Role,
    /// The stream that is being read: STDIN, and for a filter DATA after it.
    stream: RecordType,
    params: &'a Params,
    config: &'a Config,
}

impl<'a> Stdin<'a> {
    pub(super) fn new(
        input: &'a mut Input,
        abort: &'a mut Abort,
        request: AcceptedRequest,
        params: &'a Params,
        config: &'a Config,
    ) -> Self {
        let role = request.begin.role;
        let state = match role {
            // An authorizer has no body (FastCGI specification, section 6.3).
            Role::Authorizer => StreamState::Ended,
            _ => StreamState::Open,
        };
        abort.on_request();
        let records = RequestRecords {
            input,
            abort,
            request_id: request.id,
            role,
            stream: RecordType::Stdin,
            params,
            config,
        };
        Self { stream: StreamReader::new(records, state) }
    }

    /// Continues with the file that a filter processes: the DATA stream (FastCGI specification,
    /// section 6.4). Drops what has not been read of the body.
    ///
    /// Later reads return the file, whose announced length is `FCGI_DATA_LENGTH`. In a role other
    /// than [`Role::Filter`] there is no file, and reads return 0 bytes.
    ///
    /// ```no_run
    /// // Serves indefinitely: a filter that numbers the lines of a file.
    /// use fcgi::server::Config;
    /// use fcgi::{record::Role, ResponseHead, Server};
    /// use std::io::{BufRead, Write};
    ///
    /// let config = Config::new().roles(&[Role::Filter]);
    /// Server::bind("127.0.0.1:9000")?.config(config).serve(|request| {
    ///     ResponseHead::text().write_to(&mut request.stdout)?;
    ///     for (number, line) in (1..).zip(request.stdin.data()?.lines()) {
    ///         writeln!(request.stdout, "{number} {}", line?)?;
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of reading, except those of a wrong length.
    pub fn data(&mut self) -> io::Result<&mut Self> {
        if self.stream.source().stream == RecordType::Data {
            return Ok(self);
        }
        self.stream.skip_to_end()?;
        let records = self.stream.source_mut();
        if records.role == Role::Filter {
            records.stream = RecordType::Data;
            self.stream.reopen();
        }
        Ok(self)
    }

    /// Reads the rest of the body, which may have at most `max` bytes.
    ///
    /// A body that announces a greater length in `CONTENT_LENGTH` is not read at all.
    ///
    /// # Errors
    /// - [`Error::BodyTooLarge`] if there are more than `max` bytes; if the handler returns it, the
    ///   response is `413 Content Too Large`
    /// - any error of reading
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn count(request: &mut Request) -> HandlerResult {
    ///     let body = request.stdin.read_limited(1024 * 1024)?;
    ///     request.respond(ResponseHead::text(), format!("{} bytes\n", body.len()))
    /// }
    /// ```
    pub fn read_limited(&mut self, max: u64) -> Result<Vec<u8>> {
        let announced = self.stream.source().announced().unwrap_or(0);
        if announced.saturating_sub(self.received()) > max {
            return Err(Error::BodyTooLarge(max));
        }
        // Memory grows with what has arrived, not with what is announced.
        let mut body = Vec::new();
        self.take(max.saturating_add(1)).read_to_end(&mut body)?;
        if body.len() as u64 > max {
            return Err(Error::BodyTooLarge(max));
        }
        Ok(body)
    }

    /// Returns the number of bytes that have been read of the current stream.
    pub fn received(&self) -> u64 {
        self.stream.received()
    }

    /// Returns whether the web server has aborted the request or closed the connection, as far as
    /// that can be known without waiting.
    pub(super) fn is_aborted(&mut self) -> bool {
        let is_aborted = self.has_no_receiver() || self.finds_abort();
        if is_aborted {
            self.stream.source_mut().abort.set_noticed();
        }
        is_aborted
    }

    /// Returns a handle with which other threads can check whether the request was aborted.
    pub(super) fn abort_handle(&mut self) -> AbortHandle {
        let is_aborted = self.has_no_receiver();
        let RequestRecords { input, abort, config, .. } = self.stream.source_mut();
        let handle = abort.handle(input, config.peers_half_close);
        if is_aborted {
            abort.set_noticed();
        }
        handle
    }

    /// Makes every later read fail with this error.
    pub(super) fn fail_with(&mut self, error: &Error) {
        self.stream.fail_with(error);
    }

    /// Returns whether the web server has aborted the request, as [`Abort::is_by_peer`] describes.
    pub(super) fn was_aborted_by_peer(&self) -> bool {
        self.stream.source().abort.is_by_peer(self.stream.state(), self.stream.last_error())
    }

    /// Makes the abort handle return `false`.
    #[inline]
    pub(super) fn end_abort_handle(&mut self) {
        let RequestRecords { input, abort, .. } = self.stream.source_mut();
        abort.end_handle(input);
    }

    /// Returns whether all input of the request has arrived, whether or not it was read.
    #[inline]
    pub(super) fn has_whole_input(&self) -> bool {
        match self.stream.state() {
            StreamState::Open | StreamState::Ended => {
                let RequestRecords { input, request_id, role, .. } = self.stream.source();
                self.has_read_all() || input.has_buffered_end(*request_id, last_stream(*role))
            }
            StreamState::Aborted | StreamState::Failed(_) => false,
        }
    }

    /// Returns whether all input of the request was read.
    #[inline]
    fn has_read_all(&self) -> bool {
        let RequestRecords { role, stream, .. } = self.stream.source();
        matches!(self.stream.state(), StreamState::Ended)
            && (*role == Role::Authorizer || *stream == last_stream(*role))
    }

    /// Returns the reason to close the connection if reading the input has failed.
    #[inline]
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self.stream.state() {
            StreamState::Failed(error) => Some(CloseReason::from(&**error)),
            _ => None,
        }
    }

    /// Returns whether nothing receives the response, as [`Abort::has_no_receiver`] describes.
    fn has_no_receiver(&self) -> bool {
        self.stream.source().abort.has_no_receiver(self.stream.state())
    }

    /// Looks for an abort without waiting. Later reads fail if ABORT_REQUEST was found.
    fn finds_abort(&mut self) -> bool {
        let has_read_all = self.has_read_all();
        let RequestRecords { input, request_id, role, config, .. } = self.stream.source_mut();
        let has_whole_input =
            |input: &Input| has_read_all || input.has_buffered_end(*request_id, last_stream(*role));
        let cause = abort::find(input, *request_id, has_whole_input, config.peers_half_close);
        if cause == Some(AbortCause::Record) {
            self.stream.set_aborted();
        }
        cause.is_some()
    }

    /// Returns the last error that reading has returned.
    #[inline]
    pub(super) fn failure(&self) -> Option<&Error> {
        self.stream.last_error()
    }

    /// Returns an error if reading the input has failed.
    #[inline]
    pub(super) fn check_connection(&self) -> Result<()> {
        match self.stream.state() {
            StreamState::Failed(error) => Err(error.duplicate()),
            _ => Ok(()),
        }
    }

    /// Returns why the web server does not receive the response: the connection has failed, or the
    /// request was aborted.
    pub(super) fn check_peer(&self) -> Result<()> {
        self.check_connection()?;
        if self.has_no_receiver() {
            return Err(Error::Aborted);
        }
        Ok(())
    }
}

impl RequestRecords<'_> {
    /// Returns the name of the variable that announces the length of the current stream.
    fn length_variable(&self) -> &'static str {
        match self.stream {
            RecordType::Data => "FCGI_DATA_LENGTH",
            _ => "CONTENT_LENGTH",
        }
    }

    /// Returns the announced length of the current stream.
    fn announced(&self) -> Option<u64> {
        match self.role {
            Role::Authorizer => None,
            _ => self.params.decimal(self.length_variable()),
        }
    }
}

impl StreamSource for RequestRecords<'_> {
    type Input = TimedStream;

    fn reader(&self) -> &RecordReader<TimedStream> {
        self.input.reader()
    }

    fn reader_mut(&mut self) -> &mut RecordReader<TimedStream> {
        self.input.reader_mut()
    }

    fn next_record(&mut self) -> Result<bool> {
        loop {
            let header =
                self.input.next(self.request_id)?.ok_or(Error::UnexpectedEof("a request"))?;
            match header.record_type {
                record_type if record_type == self.stream => return Ok(header.content_len > 0),
                RecordType::AbortRequest => {
                    self.abort.set_noticed();
                    return Err(Error::Aborted);
                }
                RecordType::BeginRequest
                | RecordType::Params
                | RecordType::Stdin
                | RecordType::Data => return Err(header.unexpected()),
                // Types that no web server sends, and unknown ones.
                _ => {}
            }
        }
    }

    fn length(&self) -> StreamLength {
        if self.role == Role::Authorizer {
            return StreamLength::Any;
        }
        let limit = self.config.max_body.filter(|_| self.stream != RecordType::Data);
        match (self.announced(), limit) {
            (None, Some(limit)) => StreamLength::AtMost(limit),
            (announced, _) => StreamLength::announced(self.length_variable(), announced),
        }
    }
}

/// Returns the stream whose end is the end of the input.
pub(super) fn last_stream(role: Role) -> RecordType {
    match role {
        Role::Authorizer => RecordType::Params,
        Role::Filter => RecordType::Data,
        _ => RecordType::Stdin,
    }
}

impl Read for Stdin<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.read(out)
    }
}

impl BufRead for Stdin<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.stream.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.stream.consume(amount);
    }
}
