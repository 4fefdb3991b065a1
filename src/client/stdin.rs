use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::shared_request::{BodyHandle, BodyStart, SharedRequest};
use super::socket::{Progress, SharedSocket, SocketWriter};
use crate::error::Error;
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

/// Whether more of a body can be written. A write that has failed does not change this: `writer`
/// then sends nothing more, and repeats the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end of the input has been sent or is encoded in the buffer.
    Finished,
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
        let request = Some(BodyHandle::new(request));
        Self { request, ..Self::new(socket, request_id, start) }
    }

    /// Creates the body of a request whose first part has been written to the socket directly, as
    /// far as `progress`. If `is_whole`, that was the whole request.
    pub(super) fn resume(
        socket: SocketWriter,
        request_id: u16,
        progress: Progress,
        is_whole: bool,
    ) -> Self {
        let mut stdin = Self::new(socket, request_id, Vec::new());
        if progress != Progress::All {
            stdin.writer.fail_with(&closed());
        } else if is_whole {
            stdin.state = State::Finished;
        }
        stdin
    }

    /// Ends the body. Sends the buffer and the end of the stream in one write. If the body has
    /// already been finished, only the rest of the buffer is sent.
    ///
    /// # Errors
    /// The error of an earlier write that has failed, and any error of the connection.
    pub fn finish(&mut self) -> io::Result<()> {
        self.writer.check_usable()?;
        if self.send_first(true)? {
            return Ok(());
        }
        if self.state == State::Open {
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
    /// `InvalidInput` if the body has already been finished, and the error of an earlier write that
    /// has failed.
    pub fn start_data(&mut self) -> io::Result<()> {
        self.check_open()?;
        self.writer.buffer_mut().end_stream();
        self.writer.buffer_mut().switch_stream(RecordType::Data);
        Ok(())
    }

    /// Sends ABORT_REQUEST (FastCGI specification, section 5.4). The data in the buffer is dropped,
    /// and nothing can be written afterwards. May be called after `finish`.
    pub(super) fn abort(&mut self) -> io::Result<()> {
        self.writer.check_usable()?;
        self.writer.buffer_mut().discard_open_record();
        self.send_first(false)?;
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
        self.send_first(false)?;
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

    /// Sends what is buffered as the first part of the request, unless that has been done. With
    /// `is_last` the body ends. Returns whether it was sent now.
    fn send_first(&mut self, is_last: bool) -> io::Result<bool> {
        let Some(request) = self.request.as_mut().filter(|request| request.must_send_first())
        else {
            return Ok(false);
        };
        if is_last {
            self.writer.buffer_mut().end_stream();
            self.state = State::Finished;
        }
        let mut records = self.writer.buffer_mut().take_records();
        let sent = request.send_first(self.writer.get_mut(), &records, is_last);
        records.clear();
        self.writer.buffer_mut().swap_memory(&mut records);
        let failure = match sent {
            // This is not an error, even if the write was incomplete: `Pooled::start` waits for a
            // response, and sends the request again if none arrives.
            Ok(BodyStart { is_repeatable: true, .. }) => return Ok(true),
            Ok(BodyStart { progress: Progress::All, .. }) => {
                return self.after_last_write(Ok(())).map(|()| true);
            }
            Ok(_) => closed(),
            Err(error) => error,
        };
        self.writer.fail_with(&failure);
        self.fail_on_error(Err(failure.into()))
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

    /// Returns whether the end of the body has been sent, or is in the buffer.
    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished && self.writer.check_usable().is_ok()
    }

    /// Checks that more of the body can be written.
    fn check_open(&self) -> io::Result<()> {
        self.writer.check_usable()?;
        if self.state == State::Open {
            return Ok(());
        }
        let message = "the request body has already been finished";
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
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
            self.send_first(false)?;
        }
        let written = self.writer.write(data);
        self.fail_on_error(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.check_usable()?;
        self.send_first(false)?;
        let flushed = self.writer.flush();
        self.fail_on_error(flushed)
    }
}

/// Returns the error of a body that the application does not receive, because it has closed the
/// connection.
#[cold]
fn closed() -> Error {
    Error::Io(io::ErrorKind::BrokenPipe.into())
}
