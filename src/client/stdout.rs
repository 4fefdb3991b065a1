use std::fmt;
use std::io::{self, BufRead, Read, Write};

use super::cutter::Cutter;
use super::wire::Wire;
use super::Config;
use crate::cgi::{Head, HeadParser};
use crate::error::{Error, Result};
use crate::record::{ProtocolStatus, RecordType, NULL_REQUEST_ID};
use crate::stream::RecordReader;

/// The response to a request, as it comes (the STDOUT stream, section 5.3).
///
/// Reading gives 0 bytes where the response has ended, and only there: a connection that breaks off
/// before is [`Error::UnexpectedEof`], a refusal is [`Error::Refused`], silence is
/// [`Error::TimedOut`], and a record that cannot come is [`Error::UnexpectedRecord`] (all inside an
/// [`io::Error`]). As a [`BufRead`] it lends its data without copying it.
///
/// What the application writes to STDERR meanwhile is held, up to [`Config::max_stderr`], or goes
/// [elsewhere](Self::stderr_to).
pub struct Stdout<'a> {
    reader: &'a mut RecordReader<Wire>,
    request_id: u16,
    state: State,
    stderr: Sink<'a>,
    /// What others can cut the request with, while it is under way.
    cutter: Option<Cutter>,
    config: &'a Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The reader is at a record of STDOUT, or at one whose content was used up.
    Open,
    /// STDOUT has ended, the request not yet.
    Ended,
    /// END_REQUEST has come, with this application status.
    Complete(u32),
    /// Nothing more can be read.
    Failed,
}

/// Where STDERR goes.
enum Sink<'a> {
    Held { bytes: Vec<u8>, dropped: u64 },
    Elsewhere(Box<dyn Write + Send + 'a>),
}

/// What is known when a request is complete, besides its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The application's own status (section 5.5); 0 is success.
    pub app_status: u32,
    /// What the application wrote to STDERR, up to [`Config::max_stderr`]; nothing if that went
    /// [elsewhere](Stdout::stderr_to). It is the application's word: escape it before it goes to a
    /// log of lines.
    pub stderr: Vec<u8>,
    /// The bytes of STDERR beyond that.
    pub stderr_dropped: u64,
}

impl<'a> Stdout<'a> {
    pub(super) fn new(
        reader: &'a mut RecordReader<Wire>,
        request_id: u16,
        config: &'a Config,
    ) -> Self {
        let stderr = Sink::Held { bytes: Vec::new(), dropped: 0 };
        Self { reader, request_id, state: State::Open, stderr, cutter: None, config }
    }

    /// Sends STDERR to a writer of the caller's as it comes, whenever the response is read.
    pub fn stderr_to(&mut self, writer: impl Write + Send + 'a) {
        self.stderr = Sink::Elsewhere(Box::new(writer));
    }

    /// What another thread can give the request up with, when nobody wants the response any more.
    pub fn cutter(&mut self) -> Cutter {
        let wire = self.reader.get_ref();
        let cutter = self.cutter.get_or_insert_with(|| Cutter::new(wire.clone())).clone();
        if self.is_complete() {
            cutter.disarm();
        }
        cutter
    }

    /// Reads the response head (RFC 3875, section 6); what is then read is the response's body.
    ///
    /// # Errors
    /// [`Error::HeadTooLarge`] and [`Error::TooManyFields`] beyond [`Config::max_head`],
    /// [`Error::IncompleteHead`], those of a malformed head, and as reading.
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
    /// As reading.
    pub fn finish(&mut self) -> Result<Completion> {
        loop {
            match self.state {
                State::Open | State::Ended => {
                    let outcome = self.next_record();
                    self.note(outcome)?;
                }
                State::Complete(app_status) => return Ok(self.completion(app_status)),
                State::Failed => return Err(failed()),
            }
        }
    }

    /// Whether END_REQUEST has come.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete(_))
    }

    fn completion(&mut self, app_status: u32) -> Completion {
        match &mut self.stderr {
            Sink::Held { bytes, dropped } => {
                Completion { app_status, stderr: std::mem::take(bytes), stderr_dropped: *dropped }
            }
            Sink::Elsewhere(_) => Completion { app_status, ..Completion::default() },
        }
    }

    /// Goes to where there is content of the response; false at its end.
    fn advance(&mut self) -> Result<bool> {
        match self.state {
            State::Open => Ok(self.reader.content_left() > 0 || self.next_record()?),
            State::Ended | State::Complete(_) => Ok(false),
            State::Failed => Err(failed()),
        }
    }

    /// Goes to the next record of STDOUT that has content, or to where STDOUT or the request ends;
    /// then false.
    fn next_record(&mut self) -> Result<bool> {
        loop {
            let Some(header) = self.reader.next_header()? else {
                return Err(Error::UnexpectedEof("a response"));
            };
            match header.record_type {
                // Management records, and what a confused application sends under their id, concern
                // no request.
                _ if header.request_id == NULL_REQUEST_ID => {}
                RecordType::Stderr if header.request_id == self.request_id => self.read_stderr()?,
                RecordType::Stdout
                    if header.request_id == self.request_id && self.state == State::Open =>
                {
                    if header.content_len == 0 {
                        self.state = State::Ended;
                    }
                    return Ok(header.content_len > 0);
                }
                RecordType::EndRequest if header.request_id == self.request_id => {
                    return self.end()
                }
                record_type => {
                    return Err(Error::UnexpectedRecord {
                        record_type,
                        request_id: header.request_id,
                    });
                }
            }
        }
    }

    fn end(&mut self) -> Result<bool> {
        let end = self.reader.read_end_request()?;
        if end.protocol_status != ProtocolStatus::RequestComplete {
            return Err(Error::Refused(end.protocol_status));
        }
        self.state = State::Complete(end.app_status);
        if let Some(cutter) = &self.cutter {
            cutter.disarm();
        }
        Ok(false)
    }

    fn read_stderr(&mut self) -> Result<()> {
        while self.reader.content_left() > 0 {
            let content = self.reader.fill_content()?;
            let len = content.len();
            self.stderr.take(content, self.config.max_stderr)?;
            self.reader.consume(len);
        }
        Ok(())
    }

    fn read_stream(&mut self, out: &mut [u8]) -> Result<usize> {
        if !self.advance()? {
            return Ok(0);
        }
        self.reader.read_content(out)
    }

    /// Waits until the buffer holds content of the response, and tells how much.
    fn fill_stream(&mut self) -> Result<usize> {
        if !self.advance()? {
            return Ok(0);
        }
        Ok(self.reader.fill_content()?.len())
    }

    /// After an error nothing more can be read.
    fn note<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.state = State::Failed;
        }
        outcome
    }
}

impl Sink<'_> {
    fn take(&mut self, content: &[u8], max: usize) -> io::Result<()> {
        match self {
            Self::Held { bytes, dropped } => {
                let len = content.len().min(max.saturating_sub(bytes.len()));
                bytes.extend_from_slice(&content[..len]);
                *dropped += (content.len() - len) as u64;
                Ok(())
            }
            Self::Elsewhere(writer) => writer.write_all(content),
        }
    }
}

/// What is said of a response once an error was reported. A caller that has ignored it must not get
/// a part for the whole.
fn failed() -> Error {
    Error::UnexpectedEof("a response that has failed")
}

impl Read for Stdout<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let outcome = self.read_stream(out);
        Ok(self.note(outcome)?)
    }
}

impl BufRead for Stdout<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let outcome = self.fill_stream();
        let len = self.note(outcome)?;
        Ok(&self.reader.buffer()[..len])
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

impl fmt::Debug for Stdout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdout")
            .field("request_id", &self.request_id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
