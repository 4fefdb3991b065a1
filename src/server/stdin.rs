use std::io::{self, BufRead, Read};

use super::input::{AcceptedRequest, Input};
use super::timeouts::TimedStream;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{Header, RecordType, Role};
use crate::stream::{AnnouncedLength, RecordReader, StreamReader, StreamSource, StreamState};

/// The body of a request: the STDIN stream (FastCGI specification, section 5.3).
///
/// Reading blocks until the web server sends data, and returns 0 bytes at the end of the body. A
/// body that does not have the announced length is an error, so a handler never takes a part of it
/// for the whole. A body without `CONTENT_LENGTH` may have any length. The errors are inside an
/// [`io::Error`]:
///
/// | What happens | Error |
/// | --- | --- |
/// | the body ends before `CONTENT_LENGTH` bytes | [`Error::StreamTooShort`] |
/// | the body continues after `CONTENT_LENGTH` bytes | [`Error::StreamTooLong`] |
/// | the web server aborts the request | [`Error::Aborted`], of kind `ConnectionAborted` |
/// | the web server closes the connection | [`Error::UnexpectedEof`] |
/// | the web server sends nothing for [`Config::read_timeout`] | [`Error::TimedOut`] |
///
/// Data that the handler does not read is dropped. As a [`BufRead`] it returns its data without
/// copying it.
///
/// [`Config::read_timeout`]: super::Config::read_timeout
#[derive(Debug)]
pub struct Stdin<'a> {
    stream: StreamReader<RequestRecords<'a>>,
}

/// The records of a request.
#[derive(Debug)]
struct RequestRecords<'a> {
    input: &'a mut Input,
    request_id: u16,
    role: Role,
    /// The stream that is being read: STDIN, and for a filter DATA after it.
    stream: RecordType,
    params: &'a Params,
}

impl<'a> Stdin<'a> {
    pub(super) fn new(input: &'a mut Input, request: AcceptedRequest, params: &'a Params) -> Self {
        let role = request.begin.role;
        let state = match role {
            // An authorizer has no body (FastCGI specification, section 6.3).
            Role::Authorizer => StreamState::Ended,
            _ => StreamState::Open,
        };
        let records = RequestRecords {
            input,
            request_id: request.id,
            role,
            stream: RecordType::Stdin,
            params,
        };
        Self { stream: StreamReader::new(records, state) }
    }

    /// Continues with the file that a filter processes: the DATA stream (FastCGI specification,
    /// section 6.4). Drops what was not read of the body.
    ///
    /// Later reads return the file, whose announced length is `FCGI_DATA_LENGTH`. In a role other
    /// than [`Role::Filter`] there is no file, and reads return 0 bytes.
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

    /// Returns the number of bytes that were read of the current stream.
    pub fn received(&self) -> u64 {
        self.stream.received()
    }

    /// Returns whether the web server has aborted the request or closed the connection, as far as
    /// that can be known without waiting.
    pub(super) fn is_aborted(&mut self) -> bool {
        if matches!(self.stream.state(), StreamState::Aborted | StreamState::Failed)
            || self.has_buffered_abort()
        {
            return true;
        }
        while !self.stream.source().input.reader().is_full() {
            match self.stream.source_mut().input.try_fill() {
                Ok(Some(0)) => return !self.has_whole_input(),
                Ok(Some(_)) if self.has_buffered_abort() => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
        false
    }

    /// Returns whether all input of the request has arrived, whether or not it was read.
    pub(super) fn has_whole_input(&self) -> bool {
        let records = self.stream.source();
        let last = last_stream(records.role);
        match self.stream.state() {
            StreamState::Ended if records.stream == last || records.role == Role::Authorizer => {
                true
            }
            StreamState::Open | StreamState::Ended => {
                records.input.has_buffered_end(records.request_id, last)
            }
            StreamState::Aborted | StreamState::Failed => false,
        }
    }

    /// Returns whether another request can follow on the connection.
    pub(super) fn is_reusable(&self) -> bool {
        self.stream.state() != StreamState::Failed
    }

    fn has_buffered_abort(&mut self) -> bool {
        let records = self.stream.source();
        let is_abort = records.input.has_buffered_abort(records.request_id);
        if is_abort {
            self.stream.set_aborted();
        }
        is_abort
    }
}

impl StreamSource for RequestRecords<'_> {
    type Input = TimedStream;
    const AFTER_FAILURE: &'static str = "a request that has failed";

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
                RecordType::AbortRequest => return Err(Error::Aborted),
                RecordType::BeginRequest
                | RecordType::Params
                | RecordType::Stdin
                | RecordType::Data => return Err(unexpected(header)),
                // Types that no web server sends, and unknown ones.
                _ => {}
            }
        }
    }

    fn announced(&self) -> AnnouncedLength {
        let variable = match self.stream {
            RecordType::Data => "FCGI_DATA_LENGTH",
            _ => "CONTENT_LENGTH",
        };
        match self.role {
            Role::Authorizer => AnnouncedLength::NONE,
            _ => AnnouncedLength::new(variable, self.params.decimal(variable)),
        }
    }
}

fn unexpected(header: Header) -> Error {
    Error::UnexpectedRecord { record_type: header.record_type, request_id: header.request_id }
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
