use std::io::{self, Write};
use std::time::Duration;

use super::connection::Sent;
use super::wire::Wire;
use crate::record::RecordType;
use crate::stream::{RecordBuffer, StreamWriter};

/// The body of a request on its way to the application (the STDIN stream, section 5.3).
///
/// What is written is gathered in a buffer, behind the request's beginning and its params, and
/// leaves when the buffer is full, on `flush`, or with [`finish`](Self::finish). An application may
/// answer before it has read all, and end the request without: writing may then fail, which says
/// nothing about the response.
#[derive(Debug)]
pub struct Stdin {
    writer: StreamWriter<Wire>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end was written, or encoded.
    Finished,
    /// Writing has failed, and the stream is cut.
    Failed,
}

impl Stdin {
    /// A body behind the whole records in `preface`.
    pub(super) fn new(wire: Wire, request_id: u16, preface: Vec<u8>) -> Self {
        let writer = StreamWriter::with_buffer(
            wire,
            RecordBuffer::new(RecordType::Stdin, request_id, preface),
        );
        Self { writer, state: State::Open }
    }

    /// Ends the body; sends what was gathered and the end in one write. Doing it again does
    /// nothing.
    ///
    /// # Errors
    /// What the connection reports.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.is_finished() {
            self.check_open()?;
            self.writer.end_stream();
            self.state = State::Finished;
        }
        let sent = self.writer.send();
        self.note(sent)
    }

    /// Ends the body and begins the file that a filter works on (the DATA stream, section 6.4),
    /// which is written in its place from here on. Only for
    /// [`Role::Filter`](crate::record::Role::Filter).
    ///
    /// # Errors
    /// `BrokenPipe` if the body was finished already: then nothing may follow it.
    pub fn start_data(&mut self) -> io::Result<()> {
        self.check_open()?;
        self.writer.end_stream();
        self.writer.switch_stream(RecordType::Data);
        Ok(())
    }

    /// Sends data, of which there is some, without copying it, behind what was gathered; with
    /// `is_last` the body ends.
    pub(super) fn write_now(&mut self, data: &[u8], is_last: bool) -> io::Result<()> {
        self.check_open()?;
        if is_last {
            self.state = State::Finished;
        }
        let sent = self.writer.send_direct(data, is_last);
        self.note(sent)
    }

    /// With a pause, [`try_write_now`](Self::try_write_now) waits no longer than that, and it alone
    /// may write; without, all is as before.
    pub(super) fn set_pause(
        &mut self,
        pause: Option<Duration>,
        write_timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.writer.get_mut().set_pause(pause, write_timeout)
    }

    /// [`write_now`](Self::write_now) for at most [`DIRECT_LEN`](crate::stream::DIRECT_LEN) bytes.
    /// False if the application does not take it in time: then the rest leaves first when
    /// something else is sent.
    pub(super) fn try_write_now(&mut self, data: &[u8], is_last: bool) -> io::Result<bool> {
        self.check_open()?;
        if is_last {
            self.state = State::Finished;
        }
        let sent = self.writer.try_send_direct(data, is_last);
        self.note(sent)
    }

    /// Gives the buffer's memory away, and with it what was not sent.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.writer.take_memory()
    }

    /// A body of which the first part was sent already, or was to be.
    pub(super) fn behind(wire: Wire, request_id: u16, sent: Sent, is_whole: bool) -> Self {
        let state = match sent {
            Sent::Whole if is_whole => State::Finished,
            Sent::Whole => State::Open,
            Sent::Nothing | Sent::InPart => State::Failed,
        };
        Self { state, ..Self::new(wire, request_id, Vec::new()) }
    }

    /// Sends whole records behind what was encoded before, be it the end, and drops what was
    /// gathered.
    pub(super) fn interrupt(&mut self, records: &[u8]) -> io::Result<()> {
        if !self.is_finished() {
            self.check_open()?;
        }
        self.writer.discard();
        self.writer.push_records(records);
        self.state = State::Finished;
        let sent = self.writer.send();
        self.note(sent)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    fn check_open(&self) -> io::Result<()> {
        match self.state {
            State::Open => Ok(()),
            State::Finished => {
                Err(io::Error::new(io::ErrorKind::BrokenPipe, "the request's body was finished"))
            }
            State::Failed => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "writing the request's body has failed",
            )),
        }
    }

    /// After an error nothing can follow.
    fn note<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
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
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.note(flushed)
    }
}
