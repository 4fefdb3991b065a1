use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::abort::{is_consequence, AbortHandle};
use super::close_reason::CloseReason;
use super::connection_state::ConnectionState;
use super::end_errors::EndErrors;
use super::input::AcceptedRequest;
use super::lifecycle::RequestOutcome;
use super::output::Output;
use super::status_error::StatusError;
use super::stdin::Stdin;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{EndRequest, Header, ProtocolStatus, RecordType, Role, HEADER_LEN};
use crate::stream::{RecordBuffer, StreamWriter};

/// A request and its response. As in [`std::process::Child`], the streams are public fields.
///
/// The guides show how to [read forms and uploads](crate::guide::forms) and how to [send long
/// responses](crate::guide::streaming).
///
/// [`respond`](Self::respond) writes a whole response. [`method`](Self::method),
/// [`path`](Self::path), [`header`](Self::header) and others look up what was requested.
/// [`expect_method`](Self::expect_method) and others check it:
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use fcgi::ResponseHead;
///
/// fn greet(request: &mut Request) -> HandlerResult {
///     let browser = request.header("User-Agent").unwrap_or("unknown");
///     request.respond(ResponseHead::text(), format!("Your browser is {browser}.\n"))
/// }
/// ```
///
/// The streams are fields, so that they can be used side by side:
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use std::io::{self, Write};
///
/// fn echo(request: &mut Request) -> HandlerResult {
///     request.stdout.write_all(b"Content-Type: application/octet-stream\r\n\r\n")?;
///     for (name, _value) in request.params {
///         request.stderr.write_all(name)?;
///     }
///     io::copy(&mut request.stdin, &mut request.stdout)?;
///     Ok(())
/// }
/// ```
///
/// # The end of a request
///
/// A [`Server`](super::Server) ends the request when its handler returns.
/// [`finish_early`](Self::finish_early) ends it before that. Without a server,
/// [`finish`](Self::finish) and [`fail`](Self::fail) end it. If a request is dropped instead, the
/// connection is closed and the web server receives an incomplete response.
///
/// A response that fails after a part of it was sent may look complete to the client:
/// [`HandlerResult`](super::HandlerResult#responses-that-were-sent-in-part) describes what to do.
#[derive(Debug)]
pub struct Request<'a> {
    /// The role that the web server requests. It is one of [`Config::roles`](super::Config::roles).
    pub role: Role,
    /// The params: the CGI variables of the HTTP request (RFC 3875, section 4.1), and those that
    /// the web server is configured to add.
    pub params: &'a Params,
    /// The body of the HTTP request. For a filter, [`data`](Stdin::data) continues with the file.
    pub stdin: Stdin<'a>,
    /// The response: header fields (RFC 3875, section 6), an empty line and the body. It is
    /// buffered. `flush` sends what is buffered.
    pub stdout: StreamWriter<Output<'a>>,
    /// Messages for the log of the web server. They are buffered, and sent by `flush` or at the end
    /// of the request.
    pub stderr: StreamWriter<Output<'a>>,
    /// The application status in END_REQUEST, like the exit status of a CGI program. Default 0.
    pub app_status: u32,
    id: u16,
    request_end: &'a mut RequestEnd,
}

/// How a request has ended, if it has, and the memory of its buffers.
#[derive(Debug, Default)]
pub(super) struct RequestEnd {
    pub(super) outcome: RequestOutcome,
    early: EarlyEnd,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl RequestEnd {
    /// Creates the end of a request that has not begun, with memory for its buffers.
    pub(super) fn with_memory(stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        Self { stdout, stderr, ..Self::default() }
    }
}

/// What [`Request::finish_early`] leaves to be reported when the handler returns. No other request
/// follows on the connection.
#[derive(Debug, Default)]
struct EarlyEnd {
    errors: EndErrors,
    /// Whether the handler had noticed that the web server had aborted the request.
    was_aborted: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        request: AcceptedRequest,
        params: &'a Params,
        stdin: Stdin<'a>,
        state: &'a ConnectionState,
        request_end: &'a mut RequestEnd,
    ) -> Self {
        let AcceptedRequest { id, begin } = request;
        request_end.outcome = RequestOutcome::Unfinished;
        let writer = |record_type, memory: &mut Vec<u8>| {
            memory.clear();
            let buffer = RecordBuffer::new(record_type, id, std::mem::take(memory));
            StreamWriter::with_buffer(state.output(), buffer)
        };
        let stdout = writer(RecordType::Stdout, &mut request_end.stdout);
        let stderr = writer(RecordType::Stderr, &mut request_end.stderr);
        Self { role: begin.role, params, stdin, stdout, stderr, app_status: 0, id, request_end }
    }

    /// Returns whether the web server has aborted the request (FastCGI specification, section 5.4)
    /// or closed the connection, which web servers do when the client has disconnected. It also
    /// returns `true` after a read of [`stdin`](Self::stdin) has failed, unless the length of the
    /// body was the cause.
    ///
    /// Does not wait. A handler that writes a long response can check this from time to time and
    /// return early. An aborted request still has to be ended. The check takes at least three
    /// system calls. It does not detect an abort that follows more than 128 KiB of unread body.
    ///
    /// A web server that has only shut down its write half still receives the response. On a Unix
    /// socket under Linux that is not an abort. Over TCP the two cannot be distinguished:
    /// [`Config::peers_half_close`](super::Config::peers_half_close) decides.
    pub fn is_aborted(&mut self) -> bool {
        !self.has_ended() && self.stdin.is_aborted()
    }

    /// Returns a handle with which any thread can check whether the request was aborted, while the
    /// handler is busy.
    ///
    /// It may be used at any time: it does not affect what the request reads and writes. Clones of
    /// the connection's [`Stream`](crate::net::Stream) must not be used meanwhile.
    pub fn abort_handle(&mut self) -> AbortHandle {
        if self.has_ended() {
            return AbortHandle::ended();
        }
        self.stdin.abort_handle()
    }

    /// Returns when the file that a filter processes was last modified (`FCGI_DATA_LAST_MOD`,
    /// FastCGI specification, section 6.4). Returns `None` if the web server did not send it.
    pub fn data_last_modified(&self) -> Option<SystemTime> {
        let seconds = self.params.decimal("FCGI_DATA_LAST_MOD")?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// Ends the request: sends the rest of both streams, their ends and END_REQUEST with
    /// [`app_status`](Self::app_status), in one write.
    ///
    /// Does nothing after [`finish_early`](Self::finish_early).
    ///
    /// # Errors
    /// Any error of the connection, which can no longer be used. Reading [`stdin`](Self::stdin) may
    /// have returned the same error before.
    pub fn finish(mut self) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        self.end()
    }

    /// Ends the request as failed.
    ///
    /// The reason is written to stderr, and [`app_status`](Self::app_status) becomes 1 if it is 0.
    /// If no part of the response was sent, `Status: 500` is sent in its place. The reason is not
    /// sent to the client. To send a page of your own, write it and call [`finish`](Self::finish)
    /// instead.
    ///
    /// If a part was sent, the response ends there. nginx and lighttpd pass it to the client as a
    /// complete response with status 200:
    /// [`HandlerResult`](super::HandlerResult#responses-that-were-sent-in-part) describes what to
    /// do.
    ///
    /// # Errors
    /// The errors of [`finish`](Self::finish), and [`Error::RequestEnded`] after
    /// [`finish_early`](Self::finish_early).
    pub fn fail(mut self, reason: impl fmt::Display) -> Result<()> {
        if self.has_ended() {
            return Err(Error::RequestEnded);
        }
        self.log_failure(&reason.to_string());
        self.replace_response(&StatusError::failed());
        self.end()
    }

    /// Ends the request as [`finish`](Self::finish) does, so that the client has its response while
    /// the handler continues to work. The handler may write a log, for example, or remove files.
    ///
    /// The streams cannot be used after that: reads and writes fail with [`Error::RequestEnded`].
    /// An error that the handler returns, and a panic, can no longer change the response. They are
    /// passed to [`Server::on_error`](super::Server::on_error).
    ///
    /// The connection is not kept. The web server would otherwise send its next request on it, and
    /// that would wait until the handler returns. The handler also keeps its thread, and its slot
    /// among [`Config::max_connections`](super::Config::max_connections).
    ///
    /// If [`run`](crate::run) responds to a CGI call, the web server waits for the end of the
    /// process all the same.
    ///
    /// # Errors
    /// - [`Error::NoResponse`] if no response was written, or the error of reading the body, if
    ///   there was one; the request has not ended then
    /// - [`Error::IncompleteHead`] in debug builds, if a small response has no complete head; the
    ///   request has not ended then
    /// - [`Error::RequestEnded`] if the request has ended already
    /// - the errors of [`finish`](Self::finish)
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn order(request: &mut Request) -> HandlerResult {
    ///     let order = request.stdin.read_limited(64 * 1024)?;
    ///     request.respond(ResponseHead::text().status(202)?, "Your order has been accepted.\n")?;
    ///     request.finish_early()?;
    ///     send_mail(&order)
    /// }
    /// # fn send_mail(_order: &[u8]) -> HandlerResult { Ok(()) }
    /// ```
    pub fn finish_early(&mut self) -> Result<()> {
        if self.has_ended() {
            return Err(Error::RequestEnded);
        }
        if let Some(error) = self.response_error() {
            return Err(error);
        }
        let ended = self.end();
        self.close_early(&ended);
        ended
    }

    /// Makes every further use of the streams fail. Shuts down the write half, so that the web
    /// server does not wait for the handler. Keeps the errors: the handler may ignore them.
    #[cold]
    fn close_early(&mut self, ended: &Result<()>) {
        let errors = self.end_errors(ended.as_ref().map(drop).map_err(Error::duplicate));
        let was_aborted = self.stdin.was_aborted_by_peer();
        self.request_end.early = EarlyEnd { errors, was_aborted };
        if let RequestOutcome::Finished { close_reason, .. } = &mut self.request_end.outcome {
            close_reason.get_or_insert(CloseReason::FinishedEarly);
        }
        self.stdout.get_ref().shut_down();
        self.stdout.fail_with(&Error::RequestEnded);
        self.stderr.fail_with(&Error::RequestEnded);
        self.stdin.fail_with(&Error::RequestEnded);
    }

    /// Returns whether END_REQUEST was sent, or could not be sent.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.request_end.outcome, RequestOutcome::Unfinished)
    }

    /// Returns whether the response could not be sent.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self.request_end.outcome, RequestOutcome::Failed { .. })
    }

    /// Returns whether the handler has noticed that the web server has aborted the request or
    /// closed the connection, before the request ended.
    pub(super) fn was_aborted_by_peer(&self) -> bool {
        if self.has_ended() {
            return self.request_end.early.was_aborted;
        }
        self.stdin.was_aborted_by_peer()
    }

    /// Returns whether no write has failed, and the request was not aborted, as far as is known.
    pub(super) fn is_usable(&self) -> bool {
        self.stdout.check_usable().is_ok()
            && self.stderr.check_usable().is_ok()
            && self.stdin.check_peer().is_ok()
    }

    /// Returns the errors that [`finish_early`](Self::finish_early) has left to be reported.
    #[cold]
    pub(super) fn take_early_errors(&mut self) -> EndErrors {
        std::mem::take(&mut self.request_end.early.errors)
    }

    /// Returns the errors that are left to be reported if the end of the request had this result:
    /// also the error of reading the body, which the handler has ignored.
    #[cold]
    pub(super) fn end_errors(&self, ended: Result<()>) -> EndErrors {
        let mut errors = EndErrors::new(ended);
        if let Some(error) = self.stdin.failure() {
            errors.add(error.duplicate());
        }
        errors
    }

    /// Ends the request like [`finish`](Self::finish). Nothing may be written after that.
    pub(super) fn end(&mut self) -> Result<()> {
        self.stdin.end_abort_handle();
        let last_records = self.last_records();
        self.stdout.buffer_mut().push_records(&last_records);
        if !self.stderr.is_unused() {
            self.stderr.buffer_mut().end_stream();
        }
        if let Err(error) = self.stdout.send_after(self.stderr.buffer().ready_bytes()) {
            return Err(self.set_unsent(error));
        }
        self.request_end.outcome = RequestOutcome::Finished {
            close_reason: self.stdin.close_reason(),
            has_whole_input: self.stdin.has_whole_input(),
        };
        self.return_buffers();
        self.stdin.check_connection()
    }

    /// Records that the response could not be sent. Returns the cause, which was noticed first:
    /// after most errors, writing fails with a broken pipe or a reset.
    #[cold]
    fn set_unsent(&mut self, error: io::Error) -> Error {
        let mut error = Error::from(error);
        if is_consequence(&error) {
            error = self.stderr.check_usable().err().map_or(error, Error::from);
        }
        if is_consequence(&error) {
            error = self.stdin.check_peer().err().unwrap_or(error);
        }
        self.request_end.outcome = RequestOutcome::Failed { reason: (&error).into() };
        self.return_buffers();
        error
    }

    #[inline]
    fn return_buffers(&mut self) {
        self.stdout.buffer_mut().swap_memory(&mut self.request_end.stdout);
        self.stderr.buffer_mut().swap_memory(&mut self.request_end.stderr);
    }

    /// Writes the reason of a failure to stderr, and makes the app status at least 1.
    #[cold]
    pub(super) fn log_failure(&mut self, reason: &str) {
        // The log of the web server consists of lines. The reason must not forge one.
        let mut line: String =
            reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.push('\n');
        // An error is ignored: the end of the request returns it.
        let _ = self.stderr.write_all(line.as_bytes());
        self.app_status = self.app_status.max(1);
    }

    /// Replaces the response, unless a part was sent.
    #[cold]
    pub(super) fn replace_response(&mut self, response: &StatusError) {
        if self.stdout.has_sent() {
            return;
        }
        self.stdout.buffer_mut().discard_open_record();
        let is_head = self.method() == "HEAD";
        // An error is ignored: the end of the request returns it.
        let _ = response.write_to(is_head, &mut self.stdout);
    }

    /// Returns an error if the handler wrote no response and the request was not aborted.
    #[inline]
    pub(super) fn response_error(&mut self) -> Option<Error> {
        if self.stdout.has_sent() || self.has_buffered_response() {
            return None;
        }
        self.missing_response()
    }

    /// Returns whether a response is buffered. In debug builds its head must be complete. The web
    /// server checks the head anyway, so release builds skip this check.
    fn has_buffered_response(&self) -> bool {
        if cfg!(debug_assertions) {
            has_head(self.stdout.buffer().open_content())
        } else {
            !self.stdout.is_unused()
        }
    }

    /// Returns why there is no response. Returns `None` if the request was aborted.
    #[cold]
    fn missing_response(&mut self) -> Option<Error> {
        match self.stdin.failure().map(Error::duplicate) {
            Some(Error::Aborted) => None,
            Some(error) => Some(error),
            None if self.stdin.is_aborted() => None,
            None if self.stdout.is_unused() => Some(Error::NoResponse),
            None => Some(Error::IncompleteHead),
        }
    }

    /// Returns the empty record that ends stdout, and END_REQUEST.
    fn last_records(&self) -> [u8; HEADER_LEN + 16] {
        let end = EndRequest {
            app_status: self.app_status,
            protocol_status: ProtocolStatus::RequestComplete,
        };
        let mut records = [0; HEADER_LEN + 16];
        records[..HEADER_LEN]
            .copy_from_slice(&Header::new(RecordType::Stdout, self.id, 0).encode());
        records[HEADER_LEN..].copy_from_slice(&end.encode_record(self.id));
        records
    }
}

/// Returns whether a response contains the empty line that ends its head.
fn has_head(response: &[u8]) -> bool {
    let mut lines = response.split_inclusive(|byte| *byte == b'\n');
    lines.any(|line| matches!(line, b"\n" | b"\r\n"))
}
