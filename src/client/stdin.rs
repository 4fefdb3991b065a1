use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::shared_request::{BodyHandle, FirstSent, SharedRequest};
use super::socket::{Progress, SharedSocket, SocketWriter};
use crate::record::{Header, RecordType, MAX_ALIGNED_LEN};
use crate::stream::{RecordBuffer, StreamWriter};

/// The body of a request, which is sent as the STDIN stream (FastCGI specification, section 5.3).
///
/// Writes are buffered. The buffer is sent, together with the start of the request, when it is
/// full, on `flush`, and by [`finish`](Self::finish). An application may end the request before it
/// has read the whole body. Writing may then fail, but the response is still valid.
///
/// If the body of an exchange that [`Client::begin`](crate::Client::begin) has returned is dropped
/// before it is finished, the request is canceled, unless writing it has failed.
///
/// ```
/// use fcgi::client::Exchange;
/// use std::io::{self, Write};
///
/// fn send_form(exchange: &mut Exchange<'_>) -> io::Result<()> {
///     exchange.stdin.write_all(b"name=ferris")?;
///     exchange.stdin.finish()
/// }
/// ```
#[derive(Debug)]
#[must_use = "the application waits for the end of the body"]
pub struct Stdin {
    writer: StreamWriter<SocketWriter>,
    request_id: u16,
    state: State,
    /// `None` if the connection is not one of a client's pool.
    request: Option<BodyHandle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing has been sent, and `request` has to send its first part.
    Unsent,
    Open,
    /// The end of the input has been sent or is encoded in the buffer.
    Finished,
    /// A write has failed, so that a record may be incomplete. Nothing more can be sent.
    Failed,
}

impl Stdin {
    /// Creates the body of a new request. The whole records in `start` are sent before it.
    pub(super) fn new(socket: SocketWriter, request_id: u16, start: Vec<u8>) -> Self {
        let buffer = RecordBuffer::new(RecordType::Stdin, request_id, start);
        let writer = StreamWriter::with_buffer(socket, buffer);
        Self { writer, request_id, state: State::Open, request: None }
    }

    /// Creates the body of a new request on a connection of a client's pool.
    pub(super) fn pooled(
        socket: SocketWriter,
        request_id: u16,
        start: Vec<u8>,
        request: Arc<SharedRequest>,
    ) -> Self {
        let mut stdin = Self::new(socket, request_id, start);
        if request.must_send_first() {
            stdin.state = State::Unsent;
        }
        stdin.request = Some(BodyHandle::new(request));
        stdin
    }

    /// Creates the body of a request whose first part was written to the socket directly, which has
    /// left it in `state`.
    pub(super) fn resume(socket: SocketWriter, request_id: u16, state: State) -> Self {
        let mut stdin = Self::new(socket, request_id, Vec::new());
        stdin.state = state;
        stdin
    }

    /// Ends the body. Sends the buffer and the end of the stream in one write. If the body has
    /// already been finished, only the rest of the buffer is sent.
    ///
    /// # Errors
    /// `BrokenPipe` if an earlier write has failed, and any error of the connection.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.state == State::Unsent {
            return self.send_first(true);
        }
        if !self.is_finished() {
            self.check_open()?;
            self.writer.buffer_mut().end_stream();
            self.state = State::Finished;
        }
        let sent = self.writer.send();
        self.after_last_write(sent)
    }

    /// Ends the body and starts the DATA stream, the file that a filter processes (FastCGI
    /// specification, section 6.4). What is written from now on belongs to DATA. Call this only for
    /// [`Role::Filter`](crate::record::Role::Filter).
    ///
    /// ```
    /// use fcgi::client::Exchange;
    /// use std::io::{self, Write};
    ///
    /// fn send_file(exchange: &mut Exchange<'_>, file: &[u8]) -> io::Result<()> {
    ///     exchange.stdin.start_data()?;
    ///     exchange.stdin.write_all(file)?;
    ///     exchange.stdin.finish()
    /// }
    /// ```
    ///
    /// # Errors
    /// `BrokenPipe` if the body has already been finished or an earlier write has failed.
    pub fn start_data(&mut self) -> io::Result<()> {
        self.check_open()?;
        self.writer.buffer_mut().end_stream();
        self.writer.buffer_mut().switch_stream(RecordType::Data);
        Ok(())
    }

    /// Sends ABORT_REQUEST (FastCGI specification, section 5.4). The data in the buffer is dropped,
    /// and nothing can be written afterwards. May be called after `finish`.
    pub(super) fn abort(&mut self) -> io::Result<()> {
        if !self.is_finished() {
            self.check_open()?;
        }
        self.writer.buffer_mut().discard_open_record();
        self.start_sending()?;
        if let Some(request) = &self.request {
            request.stop_retries(self.writer.get_mut());
        }
        let abort = Header::new(RecordType::AbortRequest, self.request_id, 0);
        self.writer.buffer_mut().push_records(&abort.encode());
        self.state = State::Finished;
        let sent = self.writer.send();
        self.fail_on_error(sent)
    }

    /// Cancels the request: shuts down both directions of the connection.
    pub(super) fn cancel(&self) {
        match &self.request {
            Some(request) => request.cancel(),
            None => self.socket().cancel(),
        }
    }

    pub(super) fn socket(&self) -> &SharedSocket {
        self.writer.get_ref().socket()
    }

    /// Sends the buffer and then `data`, without copying it. With `is_last` the body ends.
    pub(crate) fn send(&mut self, data: &[u8], is_last: bool) -> io::Result<()> {
        match (data, is_last) {
            ([], true) => return self.finish(),
            ([], false) => return Ok(()),
            _ => {}
        }
        self.check_open()?;
        self.start_sending()?;
        if is_last {
            self.state = State::Finished;
        }
        let sent = self.writer.send_direct(data, is_last);
        self.after_last_write(sent)
    }

    /// Like [`send`](Self::send), for at most [`DIRECT_LEN`](crate::stream::DIRECT_LEN) bytes and
    /// with [`limit_wait`](Self::limit_wait) in effect. Returns false if the application stopped
    /// reading. What was not sent is then in the buffer, and is sent before anything else.
    pub(super) fn try_send(&mut self, data: &[u8], is_last: bool) -> io::Result<bool> {
        self.check_open()?;
        if is_last {
            self.state = State::Finished;
        }
        let sent = self.writer.try_send_direct(data, is_last);
        self.fail_on_error(sent)
    }

    /// Sends the first part of the request if that has not been done.
    fn start_sending(&mut self) -> io::Result<()> {
        if self.state == State::Unsent {
            return self.send_first(false);
        }
        Ok(())
    }

    /// Sends what is buffered as the first part of the request. With `is_last` the body ends.
    #[cold]
    fn send_first(&mut self, is_last: bool) -> io::Result<()> {
        let Some(request) = &mut self.request else { return Ok(()) };
        if is_last {
            self.writer.buffer_mut().end_stream();
        }
        let mut records = self.writer.buffer_mut().take_records();
        let sent = request.send_first(self.writer.get_mut(), &records, is_last);
        records.clear();
        self.writer.buffer_mut().swap_memory(&mut records);
        self.state = if is_last { State::Finished } else { State::Open };
        let sent = match sent {
            // This is not an error, even if the write was incomplete: `Pooled::start` waits for a
            // response, and sends the request again if none arrives.
            Ok(FirstSent { is_repeatable: true, .. }) => return Ok(()),
            Ok(FirstSent { progress: Progress::All, .. }) => Ok(()),
            Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(error.into()),
        };
        self.after_last_write(sent)
    }

    /// Sets how long [`try_send`](Self::try_send) may wait. Until
    /// [`clear_wait_limit`](Self::clear_wait_limit) no other method may send anything.
    pub(super) fn limit_wait(&mut self, max: Duration) -> io::Result<()> {
        self.writer.get_mut().limit_wait(max)
    }

    pub(super) fn clear_wait_limit(&mut self) {
        self.writer.get_mut().clear_wait_limit();
    }

    /// Returns the memory of the buffer for reuse. What was not sent is lost.
    #[inline]
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.writer.buffer_mut().take_memory()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    fn check_open(&self) -> io::Result<()> {
        let message = match self.state {
            State::Unsent | State::Open => return Ok(()),
            State::Finished => "the request body has already been finished",
            State::Failed => "an earlier write of the request body has failed",
        };
        Err(io::Error::new(io::ErrorKind::BrokenPipe, message))
    }

    /// Notes a failure, or the end of the body.
    fn after_last_write(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        match &mut self.request {
            Some(request) if self.state == State::Finished && outcome.is_ok() => {
                request.end_body(true);
            }
            _ => {}
        }
        self.fail_on_error(outcome)
    }

    fn fail_on_error<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.state = State::Failed;
            if let Some(request) = &mut self.request {
                request.end_body(false);
            }
        }
        outcome
    }
}

impl Write for Stdin {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check_open()?;
        if self.writer.buffer().open_content().len() + data.len() > MAX_ALIGNED_LEN {
            self.start_sending()?;
        }
        let written = self.writer.write(data);
        self.fail_on_error(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.start_sending()?;
        let flushed = self.writer.flush();
        self.fail_on_error(flushed)
    }
}
