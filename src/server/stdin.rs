use std::cell::OnceCell;
use std::io::{self, BufRead, Read};

use super::input::Input;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{RecordType, Role};

/// The body of a request, as it comes (the STDIN stream, section 5.3).
///
/// Reading waits for the web server. At the end of the body it gives 0 bytes, and it is an error
/// where the body is not what was announced: a body shorter than `CONTENT_LENGTH` ends in
/// [`Error::StreamTooShort`], a longer one in [`Error::StreamTooLong`] (both inside an
/// [`io::Error`]); a body without `CONTENT_LENGTH` may have any length. When the web server aborts
/// the request, reading fails with [`Error::Aborted`], whose kind is `ConnectionAborted`; when it
/// goes away, with [`Error::UnexpectedEof`]; when it sends nothing for too long, with
/// [`Error::TimedOut`].
///
/// What the handler leaves unread is dropped. As a [`BufRead`] it lends its data without copying
/// it.
#[derive(Debug)]
pub struct Stdin<'a> {
    pub(super) input: &'a mut Input,
    request_id: u16,
    role: Role,
    /// The stream that is being read: STDIN, and in a filter DATA after it.
    stream: RecordType,
    params: &'a Params,
    /// The length announced for that stream, once it was looked up: a handler that reads nothing
    /// need not pay for that.
    announced: OnceCell<Option<u64>>,
    received: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The stream goes on. The reader is at a record of it, or at one whose content was used up.
    Open,
    /// The stream has ended.
    Ended,
    /// The web server aborted the request.
    Aborted,
    /// Nothing more can be read from the connection.
    Broken,
}

impl<'a> Stdin<'a> {
    pub(super) fn new(
        input: &'a mut Input,
        request_id: u16,
        role: Role,
        params: &'a Params,
    ) -> Self {
        // An authorizer has no body (section 6.3).
        let (state, announced) = match role {
            Role::Authorizer => (State::Ended, OnceCell::from(None)),
            _ => (State::Open, OnceCell::new()),
        };
        Self {
            input,
            request_id,
            role,
            stream: RecordType::Stdin,
            params,
            announced,
            received: 0,
            state,
        }
    }

    /// Goes on to the file that a filter works on (the DATA stream, section 6.4): from here on that
    /// is what is read, and `FCGI_DATA_LENGTH` announces its length. What was not read of the
    /// body is dropped. In another role than [`Role::Filter`] there is no such file, and
    /// nothing more to read.
    ///
    /// # Errors
    /// As reading.
    pub fn data(&mut self) -> io::Result<&mut Self> {
        if self.stream == RecordType::Data {
            return Ok(self);
        }
        self.announced = OnceCell::from(None);
        loop {
            match self.fill_buf()?.len() {
                0 => break,
                len => self.consume(len),
            }
        }
        if self.role == Role::Filter {
            self.stream = RecordType::Data;
            self.announced = OnceCell::new();
            self.received = 0;
            self.state = State::Open;
        }
        Ok(self)
    }

    /// The bytes of the current stream that were read.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the web server has aborted the request or gone away, as far as that can be seen
    /// without waiting.
    pub(super) fn is_aborted(&mut self) -> bool {
        if matches!(self.state, State::Aborted | State::Broken) || self.has_buffered_abort() {
            return true;
        }
        while !self.input.reader.is_full() {
            let look =
                self.input.reader.fill_with(|inner, free| match inner.stream.try_read(free) {
                    Ok(Some(n)) => Ok(n),
                    Ok(None) => Err(false),
                    Err(_) => Err(true),
                });
            match look {
                Ok(0) => return !self.has_whole_input(),
                Ok(_) if self.has_buffered_abort() => return true,
                Ok(_) => {}
                Err(is_gone) => return is_gone,
            }
        }
        false
    }

    /// Whether the request's input has come to its end, read or not.
    pub(super) fn has_whole_input(&self) -> bool {
        let last = last_stream(self.role);
        match self.state {
            State::Ended if self.stream == last || self.role == Role::Authorizer => true,
            State::Open | State::Ended => self.input.has_buffered_end(self.request_id, last),
            State::Aborted | State::Broken => false,
        }
    }

    /// Whether the connection can carry another request after this one.
    pub(super) fn is_in_step(&self) -> bool {
        self.state != State::Broken
    }

    fn has_buffered_abort(&mut self) -> bool {
        let id = self.request_id;
        let is_abort = self.input.reader.buffered_headers().any(|header| {
            header.record_type == RecordType::AbortRequest && header.request_id == id
        });
        if is_abort {
            self.state = State::Aborted;
        }
        is_abort
    }

    /// Goes to where there is content of the stream, and tells how much of it may be read; 0 at the
    /// stream's end.
    fn advance(&mut self) -> Result<usize> {
        match self.state {
            State::Open => {
                let has_content = self.input.reader.content_left() > 0 || self.next_record()?;
                if has_content {
                    self.allowed()
                } else {
                    self.check_length()
                }
            }
            State::Ended => self.check_length(),
            State::Aborted => Err(Error::Aborted),
            State::Broken => Err(Error::UnexpectedEof("a request that has failed")),
        }
    }

    fn read_stream(&mut self, out: &mut [u8]) -> Result<usize> {
        let allowed = self.advance()?.min(out.len());
        let n = self.input.reader.read_content(&mut out[..allowed])?;
        self.received += n as u64;
        Ok(n)
    }

    /// Waits until the buffer holds content, and tells how much of it may be used.
    fn fill_stream(&mut self) -> Result<usize> {
        let allowed = self.advance()?;
        if allowed == 0 {
            return Ok(0);
        }
        Ok(self.input.reader.fill_content()?.len().min(allowed))
    }

    /// Goes to the next record of the stream; false at its end.
    fn next_record(&mut self) -> Result<bool> {
        loop {
            let Some(header) = self.input.next(self.request_id)? else {
                return Err(Error::UnexpectedEof("a request"));
            };
            match header.record_type {
                record_type if record_type == self.stream => {
                    if header.content_len == 0 {
                        self.state = State::Ended;
                    }
                    return Ok(header.content_len > 0);
                }
                RecordType::AbortRequest => return Err(Error::Aborted),
                record_type @ (RecordType::BeginRequest
                | RecordType::Params
                | RecordType::Stdin
                | RecordType::Data) => {
                    return Err(Error::UnexpectedRecord {
                        record_type,
                        request_id: header.request_id,
                    });
                }
                _ => {}
            }
        }
    }

    fn announced(&self) -> Option<u64> {
        *self.announced.get_or_init(|| self.params.decimal(self.variable()))
    }

    /// How many bytes the stream may still have; there is content, so none is too few.
    fn allowed(&self) -> Result<usize> {
        match self.announced() {
            None => Ok(usize::MAX),
            Some(announced) if announced == self.received => {
                Err(Error::StreamTooLong { variable: self.variable(), announced })
            }
            Some(announced) => Ok(usize::try_from(announced - self.received).unwrap_or(usize::MAX)),
        }
    }

    /// At the end of the stream: nothing more may be read, and all that was announced must have
    /// come.
    fn check_length(&self) -> Result<usize> {
        match self.announced() {
            Some(announced) if announced > self.received => Err(Error::StreamTooShort {
                variable: self.variable(),
                announced,
                received: self.received,
            }),
            _ => Ok(0),
        }
    }

    fn variable(&self) -> &'static str {
        if self.stream == RecordType::Data {
            "FCGI_DATA_LENGTH"
        } else {
            "CONTENT_LENGTH"
        }
    }

    /// Keeps in mind what an error means for the rest of the request and for the connection.
    fn note(&mut self, error: Error) -> io::Error {
        match error {
            Error::Aborted => self.state = State::Aborted,
            Error::StreamTooShort { .. } | Error::StreamTooLong { .. } => {}
            _ => self.state = State::Broken,
        }
        error.into()
    }
}

/// The stream whose end is the end of the input.
pub(super) fn last_stream(role: Role) -> RecordType {
    match role {
        Role::Authorizer => RecordType::Params,
        Role::Filter => RecordType::Data,
        _ => RecordType::Stdin,
    }
}

impl Read for Stdin<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.read_stream(out).map_err(|error| self.note(error))
    }
}

impl BufRead for Stdin<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.fill_stream() {
            Ok(len) => Ok(&self.input.reader.buffer()[..len]),
            Err(error) => Err(self.note(error)),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.input.reader.consume(amount);
        self.received += amount as u64;
    }
}
