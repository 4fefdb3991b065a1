use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::abort::Abort;
use super::close_reason::CloseReason;
use super::config::Config;
use super::connection_state::ConnectionState;
use super::drain::drain_before_close;
use super::hooks::{EndedRequest, Outcome};
use super::input::{AcceptedRequest, Input};
use super::lifecycle::Lifecycle;
use super::request::{Request, RequestEnd};
use super::status_error::StatusError;
use super::stdin::{last_stream, Stdin};
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::params::{Params, ParamsDecoder};
use crate::record::{ProtocolStatus, RecordType, Role};

/// A connection from a web server, which carries one request after the other.
///
/// [`Server`](super::Server) uses one for each connection. Use it directly to serve connections in
/// a loop and threads of your own:
///
/// ```
/// use fcgi::{net::Listener, server::Connection};
/// use std::io::Write;
///
/// fn serve(listener: &Listener) -> fcgi::Result<()> {
///     while let Some(stream) = listener.accept()? {
///         let mut connection = Connection::new(stream)?;
///         while let Some(mut request) = connection.next_request()? {
///             write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello.\n")?;
///             request.finish()?;
///         }
///     }
///     Ok(())
/// }
/// ```
///
/// The buffers and the params are reused from one request to the next.
///
/// Dropping a connection closes it. If the web server may still be sending input of the last
/// request, the drop first shuts down the write half, then reads and drops input
/// ([`Config::drain_bytes`], [`Config::drain_time`]): otherwise the web server could lose the
/// response. Clones of its stream cannot be used after that.
pub struct Connection {
    lifecycle: Lifecycle,
    state: Arc<ConnectionState>,
    input: Input,
    abort: Abort,
    params: Params,
    request_end: RequestEnd,
    config: Arc<Config>,
    /// The role of the last request and the response to it, if it exceeded a bound.
    rejected: Option<(Role, StatusError)>,
}

/// The memory of a connection, which the next connection of the same thread reuses.
#[derive(Debug, Default)]
pub(super) struct ConnectionBuffers {
    input: Vec<u8>,
    params: Params,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Connection {
    /// Creates a connection with the default configuration.
    ///
    /// # Errors
    /// This function currently never returns an error.
    pub fn new(stream: impl Into<Stream>) -> Result<Self> {
        Self::with_config(stream, Arc::default())
    }

    /// Creates a connection with this configuration, which may be shared by several connections.
    ///
    /// [`max_connections`](Config::max_connections), [`overload`](Config::overload),
    /// [`stack_size`](Config::stack_size) and [`shutdown_timeout`](Config::shutdown_timeout) have
    /// no effect, except that GET_VALUES reports `max_connections`.
    ///
    /// # Errors
    /// `InvalidInput` if [`max_connections`](Config::max_connections) is 0, or if the read,
    /// request, write or idle timeout is zero.
    pub fn with_config(stream: impl Into<Stream>, config: Arc<Config>) -> Result<Self> {
        config.check()?;
        let state = ConnectionState::new(stream.into(), config.write_timeout, Arc::default());
        Ok(Self::with_buffers(Arc::new(state), config, ConnectionBuffers::default()))
    }

    /// Creates a connection that reuses memory.
    pub(super) fn with_buffers(
        state: Arc<ConnectionState>,
        config: Arc<Config>,
        buffers: ConnectionBuffers,
    ) -> Self {
        let ConnectionBuffers { input, params, stdout, stderr } = buffers;
        Self {
            lifecycle: Lifecycle::new(Arc::clone(&state)),
            input: Input::new(Arc::clone(&state), &config, input),
            abort: Abort::default(),
            state,
            params,
            request_end: RequestEnd::with_memory(stdout, stderr),
            config,
            rejected: None,
        }
    }

    /// Waits for the next request. Returns `None` if the connection has ended, for a
    /// [reason](Self::close_reason) that is not an error.
    ///
    /// # Errors
    /// The connection cannot be used after an error:
    ///
    /// - [`Error::UnexpectedEof`], [`Error::TimedOut`] or [`Error::RequestTimedOut`] inside the
    ///   params of a request
    /// - [`Error::ParamsTooLarge`]; the request is answered with `Status: 431`
    /// - [`Error::BodyTooLarge`]; the request is answered with `Status: 413`
    /// - [`Error::InvalidParams`], [`Error::InvalidBodyLength`], [`Error::InvalidRequestId`],
    ///   [`Error::UnexpectedRecord`], [`Error::UnsupportedVersion`]
    /// - [`Error::RequestNotFinished`] if the last request was dropped
    /// - any error of the stream
    pub fn next_request(&mut self) -> Result<Option<Request<'_>>> {
        let accepted = self.wait_for_request()?;
        Ok(accepted.map(|accepted| self.request(accepted)))
    }

    /// Returns why the connection is to be closed. Returns `None` while requests may follow.
    ///
    /// ```
    /// use fcgi::server::{CloseReason, Connection};
    /// # #[cfg(unix)] {
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (application, web_server) = UnixStream::pair()?;
    /// let mut connection = Connection::new(application)?;
    /// assert_eq!(connection.close_reason(), None);
    ///
    /// drop(web_server);
    /// assert!(connection.next_request()?.is_none());
    /// assert_eq!(connection.close_reason(), Some(CloseReason::EndOfInput));
    /// # }
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.lifecycle.close_reason_after(self.request_end.outcome, self.config.max_requests)
    }

    /// Refuses the next request with [`ProtocolStatus::Overloaded`], regardless of its role, and
    /// closes the connection. Waits for the request no longer than [`Config::read_timeout`], even
    /// if other records arrive.
    ///
    /// # Errors
    /// The errors of [`next_request`](Self::next_request).
    pub fn reject(mut self) -> Result<()> {
        self.refuse_next()
    }

    /// Refuses the next request like [`reject`](Self::reject). The connection is to be dropped
    /// after that.
    #[cold]
    pub(super) fn refuse_next(&mut self) -> Result<()> {
        self.apply_last_outcome()?;
        if !self.lifecycle.is_waiting() {
            return Ok(());
        }
        if let Some(timeout) = self.config.read_timeout {
            self.input.reader_mut().get_mut().set_deadline(timeout);
        }
        let header = match self.input.next_begin() {
            Ok(Some(header)) => header,
            ended => return self.on_end_of_input(ended.err()),
        };
        // Whether the rest of the request arrives does not matter.
        self.lifecycle.on_begin();
        let sent = self.input.end_request(header.request_id, ProtocolStatus::Overloaded);
        if let Err(error) = sent {
            return self.on_end_of_input(Some(error));
        }
        self.lifecycle.on_last_response(CloseReason::Overloaded);
        Ok(())
    }

    /// Records an error after which the connection closes. Returns the reason for the close.
    pub(super) fn on_failure(&mut self, error: &Error) -> CloseReason {
        // If the last request was answered, the close must not destroy the response.
        let _ = self.apply_last_outcome();
        self.lifecycle.on_failure(error)
    }

    /// Waits for the first bytes of a new connection, which then keeps its slot.
    pub(super) fn wait_for_input(&mut self) -> Result<()> {
        match self.input.read_first() {
            Ok(n) if n > 0 => Ok(()),
            ended => self.on_end_of_input(ended.err().map(Error::from)),
        }
    }

    /// Waits for the params of the next request.
    pub(super) fn wait_for_request(&mut self) -> Result<Option<AcceptedRequest>> {
        self.apply_outcome()?;
        if !self.lifecycle.is_waiting() {
            return Ok(None);
        }
        match self.receive_request() {
            Ok(Some(accepted)) => {
                self.lifecycle.on_params(accepted.begin.keep_conn());
                Ok(Some(accepted))
            }
            ended => self.on_end_of_input(ended.err()).map(|()| None),
        }
    }

    /// Records that the input has ended, or that a read or the write of an answer has failed.
    /// Returns the error, unless the connection was closed on purpose.
    fn on_end_of_input(&mut self, error: Option<Error>) -> Result<()> {
        self.lifecycle.on_end_of_input(error, self.input.is_idle())
    }

    /// Returns the request whose params were received.
    #[inline]
    pub(super) fn request(&mut self, accepted: AcceptedRequest) -> Request<'_> {
        let Self { input, abort, params, state, request_end, config, .. } = self;
        let stdin = Stdin::new(input, abort, accepted, params, config);
        Request::new(accepted, params, stdin, state, request_end)
    }

    /// Ends the connection, drains its input, and returns its memory.
    pub(super) fn into_buffers(mut self) -> ConnectionBuffers {
        ConnectionBuffers {
            input: self.input.reader_mut().take_memory(),
            params: std::mem::take(&mut self.params),
            stdout: std::mem::take(&mut self.request_end.stdout),
            stderr: std::mem::take(&mut self.request_end.stderr),
        }
    }

    /// Applies the outcome of the last request, if it was not applied.
    // A call costs 1 % of the instructions of a small request.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn apply_outcome(&mut self) -> Result<()> {
        let applied = self.lifecycle.on_end(self.request_end.outcome, self.config.max_requests);
        if applied.is_err() {
            // The request was dropped, so it has not ended its handle.
            self.abort.end_handle(&mut self.input);
        }
        applied
    }

    /// Calls [`apply_outcome`](Self::apply_outcome) without inlining it, where no request follows.
    #[inline(never)]
    fn apply_last_outcome(&mut self) -> Result<()> {
        self.apply_outcome()
    }

    /// Waits for a request in a configured role, and for its params. Returns `None` if the
    /// connection is to be closed.
    fn receive_request(&mut self) -> Result<Option<AcceptedRequest>> {
        while self.lifecycle.is_waiting() {
            // An idle connection does not hold the memory of a large request.
            self.params.free_excess();
            let Some(header) = self.input.next_begin()? else {
                return Ok(None);
            };
            let begin = self.input.reader_mut().read_begin_request()?;
            let accepted = AcceptedRequest { id: header.request_id, begin };
            if !self.lifecycle.on_begin()
                && !self.input.buffer_request(accepted.id, last_stream(begin.role))?
            {
                return Ok(None);
            }
            let status = if !self.config.roles.contains(&begin.role) {
                ProtocolStatus::UnknownRole
            } else if self.read_params(accepted)? {
                self.check_body_len(accepted)?;
                self.input.reader_mut().get_mut().reset_clock();
                return Ok(Some(accepted));
            } else {
                ProtocolStatus::RequestComplete
            };
            self.input.end_request(accepted.id, status)?;
            self.lifecycle.on_end_without_handler(begin.keep_conn());
        }
        Ok(None)
    }

    /// Reads the PARAMS stream (FastCGI specification, section 5.2). Returns `false` if the request
    /// was aborted.
    fn read_params(&mut self, accepted: AcceptedRequest) -> Result<bool> {
        let mut decoder = ParamsDecoder::new(std::mem::take(&mut self.params));
        loop {
            let Some(header) = self.input.next(accepted.id)? else {
                return Err(Error::UnexpectedEof("a request's params"));
            };
            match header.record_type {
                RecordType::Params if header.content_len == 0 => {
                    self.params = decoder.finish()?;
                    return Ok(true);
                }
                RecordType::Params => {
                    if decoder.len() + usize::from(header.content_len) > self.config.max_params {
                        self.params = decoder.finish_whole_pairs();
                        let error = Error::ParamsTooLarge(self.config.max_params);
                        return Err(self.reject_request(
                            accepted,
                            StatusError::params_too_large(),
                            error,
                        ));
                    }
                    self.input.reader_mut().decode_params(&mut decoder)?;
                }
                RecordType::AbortRequest => return Ok(false),
                record_type @ (RecordType::BeginRequest | RecordType::Stdin | RecordType::Data) => {
                    return Err(Error::UnexpectedRecord { record_type, request_id: accepted.id });
                }
                // Types that no web server sends, and unknown ones.
                _ => {}
            }
        }
    }

    /// Rejects a request that announces a body above the limit.
    #[inline]
    fn check_body_len(&mut self, accepted: AcceptedRequest) -> Result<()> {
        match self.config.max_body {
            None => Ok(()),
            Some(max) => self.limit_body(accepted, max),
        }
    }

    #[inline(never)]
    fn limit_body(&mut self, accepted: AcceptedRequest, max: u64) -> Result<()> {
        if announced_body(&self.params, accepted.begin.role) <= max {
            return Ok(());
        }
        let error = Error::BodyTooLarge(max);
        Err(self.reject_request(accepted, StatusError::body_too_large(), error))
    }

    /// Answers a request that exceeds a bound, and closes the connection. Returns the error, or the
    /// one of sending the response.
    #[cold]
    fn reject_request(
        &mut self,
        accepted: AcceptedRequest,
        response: StatusError,
        error: Error,
    ) -> Error {
        let sent = self.send_rejection(accepted, &response);
        self.rejected = Some((accepted.begin.role, response));
        if let Err(failed) = sent {
            self.lifecycle.on_failure(&failed);
            return failed;
        }
        self.lifecycle.on_last_response(CloseReason::from(&error));
        error
    }

    fn send_rejection(&mut self, accepted: AcceptedRequest, response: &StatusError) -> Result<()> {
        let mut request = self.request(accepted);
        request.replace_response(response);
        request.app_status = 1;
        request.finish()
    }

    /// Describes the request that was rejected with this error, if there is one.
    pub(super) fn rejected<'a>(&'a self, error: &'a Error) -> Option<EndedRequest<'a>> {
        let (role, response) = self.rejected.as_ref()?;
        let is_head = self.params.get_bytes("REQUEST_METHOD") == Some(b"HEAD");
        Some(EndedRequest {
            role: *role,
            params: &self.params,
            status: Some(response.status()),
            body_bytes: if is_head { 0 } else { response.body_len() as u64 },
            app_status: 1,
            started: SystemTime::now(),
            duration: Duration::ZERO,
            outcome: match error {
                Error::ParamsTooLarge(_) | Error::BodyTooLarge(_) => Outcome::Rejected(error),
                not_sent => Outcome::NotSent(not_sent),
            },
        })
    }
}

/// Returns the length of the body that the params announce, and 0 if they announce none. An
/// authorizer has no body, but some web servers pass the length of the client's.
fn announced_body(params: &Params, role: Role) -> u64 {
    match role {
        Role::Authorizer => 0,
        _ => params.decimal("CONTENT_LENGTH").unwrap_or(0),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Errors are ignored: the response was sent, or the connection has failed.
        let _ = self.apply_last_outcome();
        let _ = drain_before_close(&self.state, self.lifecycle.close_mode(), &self.config);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stream", self.state.stream())
            .field("lifecycle", &self.lifecycle)
            .finish_non_exhaustive()
    }
}
