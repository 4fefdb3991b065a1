use std::fmt;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::activity::Activity;
use super::input::Input;
use super::request::{Ending, Outcome, Request};
use super::stdin::{last_stream, Stdin};
use super::Config;
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::params::Params;
use crate::record::{BeginRequest, ProtocolStatus, RecordType, Role};

/// A connection from a web server, for those who want a loop of their own: one request after the
/// other, in this thread.
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
/// Its buffers, and the params of its requests, are used again from one request to the next. When
/// it is dropped behind the last answer, it waits a little for the web server to take that answer:
/// it ends its own side, reads and drops what is still on the way ([`Config::drain_bytes`],
/// [`Config::drain_time`]), and closes then. Clones of its stream are of no use after that.
pub struct Connection {
    stream: Stream,
    input: Input,
    params: Params,
    ending: Ending,
    config: Arc<Config>,
    activity: Arc<Activity>,
    state: State,
    /// The requests that were begun.
    requests: u64,
    /// When the last request was answered, if more of its input was still to come then.
    answered: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between requests.
    Waiting,
    /// A request was handed out; whether the connection stays open after it is the web server's
    /// wish.
    InRequest { keep_conn: bool },
    /// All was said; the web server may still be sending.
    Answered { has_whole_input: bool },
    /// There is nothing more to do.
    Closed,
}

/// How long to rest between two looks at a connection whose reading side was shut down.
const DEAF_PAUSE: Duration = Duration::from_millis(5);

/// The memory that a connection leaves to the next one of its thread.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    input: Vec<u8>,
    params: Params,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A request whose params have come.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    request_id: u16,
    begin: BeginRequest,
}

impl Connection {
    /// A connection with the default bounds.
    ///
    /// # Errors
    /// What setting the time-outs reports.
    pub fn new(stream: impl Into<Stream>) -> Result<Self> {
        Self::with_config(stream, Arc::new(Config::default()))
    }

    /// A connection with bounds that it may share with others. Those on the number of connections
    /// mean nothing here, but that GET_VALUES is answered with them.
    ///
    /// # Errors
    /// What setting the time-outs reports: `InvalidInput` for one of zero.
    pub fn with_config(stream: impl Into<Stream>, config: Arc<Config>) -> Result<Self> {
        config.check()?;
        let stream = stream.into();
        stream.set_write_timeout(config.write_timeout)?;
        let activity = Arc::new(Activity::new(stream.clone(), Arc::default()));
        Ok(Self::with_buffers(stream, config, activity, Buffers::default()))
    }

    /// A connection whose write time-out was set, with the memory of one that has ended.
    pub(super) fn with_buffers(
        stream: Stream,
        config: Arc<Config>,
        activity: Arc<Activity>,
        buffers: Buffers,
    ) -> Self {
        let Buffers { input, params, stdout, stderr } = buffers;
        Self {
            input: Input::new(stream.clone(), &config, input),
            stream,
            params,
            ending: Ending { stdout, stderr, outcome: Outcome::default() },
            config,
            activity,
            state: State::Waiting,
            requests: 0,
            answered: None,
        }
    }

    /// Waits for the next request; `None` when the connection has ended, because the web server
    /// closed it or did not ask for it to be kept, or because it was idle for too long.
    ///
    /// # Errors
    /// Whatever ends a connection in another way: [`Error::UnexpectedEof`] or [`Error::TimedOut`]
    /// inside a request's params, [`Error::ParamsTooLarge`] (answered with `Status: 431`),
    /// [`Error::InvalidParams`], [`Error::UnexpectedRecord`], [`Error::UnsupportedVersion`],
    /// [`Error::Unfinished`] if the request before was dropped. The connection is then of no
    /// more use.
    pub fn next_request(&mut self) -> Result<Option<Request<'_>>> {
        let begun = self.wait_for_request()?;
        Ok(begun.map(|begun| self.request(begun)))
    }

    /// [`next_request`](Self::next_request) up to where its params have come.
    pub(super) fn wait_for_request(&mut self) -> Result<Option<Begun>> {
        self.settle()?;
        if self.state != State::Waiting {
            return Ok(None);
        }
        let begun = match self.begin() {
            Ok(Some(begun)) => begun,
            Ok(None) => return self.end_waiting(None),
            Err(error) => return self.end_waiting(Some(error)),
        };
        self.requests += 1;
        self.state = State::InRequest { keep_conn: begun.begin.keep_conn() };
        Ok(Some(begun))
    }

    /// The request whose params have come.
    #[inline]
    pub(super) fn request(&mut self, begun: Begun) -> Request<'_> {
        let Begun { request_id, begin } = begun;
        let stdin = Stdin::new(&mut self.input, request_id, begin.role, &self.params);
        Request::new((request_id, begin.role), &self.params, stdin, &self.stream, &mut self.ending)
    }

    /// Refuses the next request with [`ProtocolStatus::Overloaded`], whatever it is, and closes the
    /// connection. For the request it waits no longer than [`Config::read_timeout`], whatever
    /// else comes.
    ///
    /// # Errors
    /// As [`next_request`](Self::next_request).
    pub fn reject(mut self) -> Result<()> {
        self.settle()?;
        if self.state != State::Waiting {
            return Ok(());
        }
        self.state = State::Closed;
        if let Some(timeout) = self.config.read_timeout {
            self.input.reader.get_mut().end_after(timeout);
        }
        if let Some(header) = self.input.next_begin()? {
            self.input.end_request(header.request_id, ProtocolStatus::Overloaded)?;
            self.state = State::Answered { has_whole_input: false };
        }
        Ok(())
    }

    /// Ends the connection, and gives its memory back.
    pub(super) fn into_buffers(mut self) -> Buffers {
        let ending = &mut self.ending;
        let (stdout, stderr) =
            (std::mem::take(&mut ending.stdout), std::mem::take(&mut ending.stderr));
        Buffers {
            input: self.input.reader.take_buffer(),
            params: std::mem::take(&mut self.params),
            stdout,
            stderr,
        }
    }

    /// Draws the conclusions from how the last request ended.
    fn settle(&mut self) -> Result<()> {
        let State::InRequest { keep_conn } = self.state else {
            return Ok(());
        };
        let outcome = self.ending.outcome;
        let may_stay =
            keep_conn && self.config.max_requests.map_or(true, |max| self.requests < max);
        if let Outcome::Finished { has_whole_input, .. } = outcome {
            self.answered = (!has_whole_input).then(Instant::now);
        }
        self.state = match outcome {
            Outcome::Finished { is_in_step: true, .. } if may_stay && self.activity.end() => {
                State::Waiting
            }
            Outcome::Finished { has_whole_input, .. } => State::Answered { has_whole_input },
            Outcome::Unfinished | Outcome::Failed => State::Closed,
        };
        if outcome == Outcome::Unfinished {
            return Err(Error::Unfinished);
        }
        Ok(())
    }

    /// Waits for a request with a role that we have, and for its params.
    fn begin(&mut self) -> Result<Option<Begun>> {
        while self.state == State::Waiting {
            let Some(header) = self.input.next_begin()? else {
                return Ok(None);
            };
            let begin = self.input.reader.read_begin_request()?;
            let request_id = header.request_id;
            if !self.activity.begin()
                && !self.input.has_whole_request(request_id, last_stream(begin.role))?
            {
                return Ok(None);
            }
            if !self.config.roles.contains(&begin.role) {
                self.input.end_request(request_id, ProtocolStatus::UnknownRole)?;
            } else if self.read_params(request_id, begin)? {
                return Ok(Some(Begun { request_id, begin }));
            } else {
                self.input.end_request(request_id, ProtocolStatus::RequestComplete)?;
            }
            self.pass_over(begin.keep_conn());
        }
        Ok(None)
    }

    /// The connection ends before another request was handed out. Where that was our own wish, or
    /// it was idle for too long, it is no error.
    fn end_waiting(&mut self, error: Option<Error>) -> Result<Option<Begun>> {
        let is_wanted = match error {
            None => true,
            Some(Error::UnexpectedEof(_)) => self.activity.is_deaf(),
            Some(Error::TimedOut(_)) => self.input.is_idle(),
            Some(_) => false,
        };
        // Where it is our wish alone, the drop has a look at what may still be on its way.
        if self.state == State::Waiting && !self.activity.is_deaf() {
            self.state = State::Closed;
        }
        error.filter(|_| !is_wanted).map_or(Ok(None), Err)
    }

    /// After a request that no handler has seen: waits for the next, or closes.
    fn pass_over(&mut self, keep_conn: bool) {
        if !(keep_conn && self.activity.end()) {
            self.state = State::Answered { has_whole_input: false };
        }
    }

    /// Gathers the params of a request (section 5.2); false if it was aborted.
    fn read_params(&mut self, request_id: u16, begin: BeginRequest) -> Result<bool> {
        self.params.recycle();
        loop {
            let Some(header) = self.input.next(request_id)? else {
                return Err(Error::UnexpectedEof("a request's params"));
            };
            match header.record_type {
                RecordType::Params if header.content_len == 0 => {
                    self.params.index()?;
                    return Ok(true);
                }
                RecordType::Params => {
                    let len = self.params.as_bytes().len() + usize::from(header.content_len);
                    if len > self.config.max_params {
                        return self.refuse_params(request_id, begin.role);
                    }
                    self.input.reader.gather_into(&mut self.params)?;
                }
                RecordType::AbortRequest => return Ok(false),
                record_type @ (RecordType::BeginRequest | RecordType::Stdin | RecordType::Data) => {
                    return Err(Error::UnexpectedRecord { record_type, request_id });
                }
                // Types that no web server sends, or that nobody knows.
                _ => {}
            }
        }
    }

    /// Answers a request whose params are too large.
    fn refuse_params(&mut self, request_id: u16, role: Role) -> Result<bool> {
        self.params.clear();
        let stdin = Stdin::new(&mut self.input, request_id, role, &self.params);
        let mut request =
            Request::new((request_id, role), &self.params, stdin, &self.stream, &mut self.ending);
        request.replace_response(
            "431 Request Header Fields Too Large",
            "The request's header is too large.",
        )?;
        request.app_status = 1;
        request.finish()?;
        self.state = State::Answered { has_whole_input: false };
        Err(Error::ParamsTooLarge(self.config.max_params))
    }

    /// Ends our side, and gives the web server time to take the answer: data that comes for a
    /// closed socket would make the system throw the answer away. Where our reading side was
    /// shut down before, ending the other too would have that effect at once, and that there is
    /// nothing to read does not tell whether the web server has closed its side.
    fn linger(&mut self) -> Result<()> {
        let is_deaf = self.activity.is_deaf();
        let start = self.answered.filter(|_| is_deaf).unwrap_or_else(Instant::now);
        if !is_deaf {
            self.stream.shutdown(Shutdown::Write)?;
        }
        let mut scratch = [0; 8192];
        let mut drained = 0;
        while drained < self.config.drain_bytes {
            let left = self.config.drain_time.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            self.stream.set_read_timeout(Some(left))?;
            match (&self.stream).read(&mut scratch) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
                Ok(0) if is_deaf && self.stream.peer_ip().is_some() => thread::sleep(DEAF_PAUSE),
                Ok(0) => break,
                Ok(n) => drained += n as u64,
            }
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whoever asked for the connection has its answer by now; what fails here fails for nobody.
        let _ = self.settle();
        let has_whole_input = match self.state {
            State::Answered { has_whole_input } => has_whole_input,
            State::Waiting
                if self.answered.is_some_and(|then| then.elapsed() < self.config.drain_time) =>
            {
                false
            }
            _ => return,
        };
        if !(has_whole_input && self.stream.is_ready_to_close().unwrap_or(false)) {
            let _ = self.linger();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stream", &self.stream)
            .field("state", &self.state)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}
