use std::io::{self, Write};
use std::time::Duration;

use super::socket::{SharedSocket, SocketWriter};
use crate::record::{Header, RecordType};
use crate::stream::{RecordBuffer, StreamWriter};

/// The body of a request, which is sent as the STDIN stream (FastCGI specification, section 5.3).
///
/// Writes are buffered. The buffer is sent, together with the start of the request, when it is
/// full, on `flush`, and by [`finish`](Self::finish). An application may end the request before it
/// has read the whole body. Writing may then fail, but the response is still valid.
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
pub struct Stdin {
    writer: StreamWriter<SocketWriter>,
    request_id: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
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
        Self { writer, request_id, state: State::Open }
    }

    /// Creates the body of a request whose first part was written to the socket directly, which
    /// has left it in `state`.
    pub(super) fn resume(socket: SocketWriter, request_id: u16, state: State) -> Self {
        Self { state, ..Self::new(socket, request_id, Vec::new()) }
    }

    /// Ends the body. Sends the buffer and the end of the stream in one write. If the body has
    /// already been finished, only the rest of the buffer is sent.
    ///
    /// # Errors
    /// `BrokenPipe` if an earlier write has failed, and any error of the connection.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.is_finished() {
            self.check_open()?;
            self.writer.end_stream();
            self.state = State::Finished;
        }
        let sent = self.writer.send();
        self.record_failure(sent)
    }

    /// Ends the body and starts the DATA stream, the file that a filter processes (FastCGI
    /// specification, section 6.4). What is written from now on belongs to DATA. Call this only
    /// for [`Role::Filter`](crate::record::Role::Filter).
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
        self.writer.end_stream();
        self.writer.switch_stream(RecordType::Data);
        Ok(())
    }

    /// Sends ABORT_REQUEST (FastCGI specification, section 5.4). The data in the buffer is
    /// dropped, and nothing can be written afterwards. May be called after `finish`.
    pub(super) fn abort(&mut self) -> io::Result<()> {
        if !self.is_finished() {
            self.check_open()?;
        }
        self.writer.discard();
        let abort = Header::new(RecordType::AbortRequest, self.request_id, 0);
        self.writer.push_records(&abort.encode());
        self.state = State::Finished;
        let sent = self.writer.send();
        self.record_failure(sent)
    }

    /// Shuts down both directions of the connection.
    pub(super) fn cancel(&self) {
        self.socket().cancel();
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
        if is_last {
            self.state = State::Finished;
        }
        let sent = self.writer.send_direct(data, is_last);
        self.record_failure(sent)
    }

    /// Like [`send`](Self::send), for 1 to [`DIRECT_LEN`](crate::stream::DIRECT_LEN) bytes and with
    /// [`limit_wait`](Self::limit_wait) in effect. Returns false if the application
    /// stopped reading. What was not sent is then in the buffer, and is sent before anything else.
    pub(super) fn try_send(&mut self, data: &[u8], is_last: bool) -> io::Result<bool> {
        self.check_open()?;
        if is_last {
            self.state = State::Finished;
        }
        let sent = self.writer.try_send_direct(data, is_last);
        self.record_failure(sent)
    }

    /// Sets how long [`try_send`](Self::try_send) may wait. Until
    /// [`unlimit_wait`](Self::unlimit_wait) no other method may send anything.
    pub(super) fn limit_wait(&mut self, max: Duration) -> io::Result<()> {
        self.writer.get_mut().limit_wait(max)
    }

    pub(super) fn unlimit_wait(&mut self) {
        self.writer.get_mut().unlimit_wait();
    }

    /// Returns the memory of the buffer for reuse. What was not sent is lost.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.writer.take_memory()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    fn check_open(&self) -> io::Result<()> {
        let message = match self.state {
            State::Open => return Ok(()),
            State::Finished => "the request body has already been finished",
            State::Failed => "an earlier write of the request body has failed",
        };
        Err(io::Error::new(io::ErrorKind::BrokenPipe, message))
    }

    fn record_failure<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.state = State::Failed;
        }
        outcome
    }
}

impl Write for Stdin {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check_open()?;
        let written = self.writer.write(data);
        self.record_failure(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.record_failure(flushed)
    }
}
