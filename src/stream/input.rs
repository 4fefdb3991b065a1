use std::io::{self, BufRead, Read};

use super::length::StreamLength;
use super::reader::RecordReader;
use crate::error::{Error, Result};

/// The records that a [`StreamReader`] reads its stream from.
pub(crate) trait StreamSource {
    type Input: Read;

    fn reader(&self) -> &RecordReader<Self::Input>;
    fn reader_mut(&mut self) -> &mut RecordReader<Self::Input>;

    /// Moves to the next record of the stream that has content. Returns `false` at the end of the
    /// stream.
    fn next_record(&mut self) -> Result<bool>;

    /// Returns the length that the stream may have. The first read calls this.
    fn length(&self) -> StreamLength;
}

/// A reader of one stream of a request, on either side of a connection.
///
/// The stream is open until its last record was read. If its length is not
/// [allowed](StreamSource::length), the end is an error. Errors repeat: no read after an error
/// returns data, so a caller that ignores an error cannot mistake a part of the stream for all of
/// it.
#[derive(Debug)]
pub(crate) struct StreamReader<S> {
    source: S,
    state: StreamState,
    /// The last error that was returned. Invariant: it is not `None` if the state is `Failed`.
    failure: Option<Box<Error>>,
    /// `None` until the first read, because the lookup is skipped if nothing is read.
    length: Option<StreamLength>,
    /// The bytes of the stream that were read.
    received: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// The reader is at a record of the stream, or at one whose content was read.
    Open,
    /// The last record of the stream was read.
    Ended,
    /// The peer aborted the request.
    Aborted,
    /// A read failed. Nothing more can be read from the connection.
    Failed,
}

impl<S> StreamReader<S> {
    pub(crate) fn new(source: S, state: StreamState) -> Self {
        Self { source, state, failure: None, length: None, received: 0 }
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    pub(crate) fn state(&self) -> StreamState {
        self.state
    }

    /// Marks the request as aborted.
    pub(crate) fn set_aborted(&mut self) {
        self.state = StreamState::Aborted;
    }

    /// Makes every later read fail with this error, which is not that of a wrong length.
    pub(crate) fn close(&mut self, error: &Error) {
        self.set_failure(error);
    }

    /// Continues with another stream, of which nothing was read.
    pub(crate) fn reopen(&mut self) {
        self.state = StreamState::Open;
        self.length = None;
        self.received = 0;
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the last error that was returned to the caller.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_deref()
    }

    /// Returns the same error again, for a stream that has failed.
    #[cold]
    pub(crate) fn repeated_failure(&self) -> Error {
        self.failure().map_or(Error::Aborted, Error::duplicate)
    }

    #[inline]
    fn fail_on_error<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.set_failure(error);
        }
        outcome
    }

    /// Keeps an error, which later reads return again. A wrong length does not change the state:
    /// the same comparison fails again, and another stream may follow.
    #[cold]
    fn set_failure(&mut self, error: &Error) {
        match error {
            Error::StreamTooShort { .. } | Error::StreamTooLong { .. } => {}
            Error::Aborted => self.state = StreamState::Aborted,
            _ => self.state = StreamState::Failed,
        }
        self.failure = Some(Box::new(error.duplicate()));
    }
}

impl<S: StreamSource> StreamReader<S> {
    /// Moves to the next record of the source. May be called after the end of the stream, to read
    /// the records that follow it.
    pub(crate) fn next_record(&mut self) -> Result<bool> {
        let outcome = self.check_usable().and_then(|()| self.next_source_record());
        self.fail_on_error(outcome)
    }

    /// Drops the rest of the stream. An announced length is not checked, but a limit is.
    pub(crate) fn skip_to_end(&mut self) -> Result<()> {
        let limit = match self.source.length() {
            StreamLength::Announced { .. } => StreamLength::Any,
            limit => limit,
        };
        self.length = Some(limit);
        let outcome = self.skip_content(limit);
        self.fail_on_error(outcome)
    }

    fn skip_content(&mut self, limit: StreamLength) -> Result<()> {
        while self.has_content()? {
            self.received += self.source.reader().content_left() as u64;
            limit.check(self.received)?;
            self.source.reader_mut().skip_record()?;
        }
        Ok(())
    }

    /// Returns the error of a stream that was aborted or has failed.
    #[inline]
    fn check_usable(&self) -> Result<()> {
        match self.state {
            StreamState::Open | StreamState::Ended => Ok(()),
            StreamState::Aborted => Err(Error::Aborted),
            StreamState::Failed => Err(self.repeated_failure()),
        }
    }

    #[inline]
    fn next_source_record(&mut self) -> Result<bool> {
        let has_content = self.source.next_record()?;
        if !has_content {
            self.state = StreamState::Ended;
        }
        Ok(has_content)
    }

    /// Moves to content of the stream if the current record has none left. Returns `false` at the
    /// end of the stream.
    #[inline]
    fn has_content(&mut self) -> Result<bool> {
        self.check_usable()?;
        Ok(self.state == StreamState::Open
            && (self.source.reader().content_left() > 0 || self.next_source_record()?))
    }

    /// Returns how many bytes of the current record belong to the stream. Returns 0 at the end of
    /// the stream, if its length is allowed.
    #[inline]
    fn readable(&mut self) -> Result<usize> {
        let has_content = self.has_content()?;
        let length = *self.length.get_or_insert_with(|| self.source.length());
        if has_content {
            length.limit(self.received, self.source.reader().content_left())
        } else {
            length.check(self.received).map(|()| 0)
        }
    }

    fn read_content(&mut self, out: &mut [u8]) -> Result<usize> {
        let len = self.readable()?.min(out.len());
        if len == 0 {
            return Ok(0);
        }
        let n = self.source.reader_mut().read_content(&mut out[..len])?;
        self.received += n as u64;
        Ok(n)
    }

    #[inline]
    fn fill_content(&mut self) -> Result<usize> {
        match self.readable()? {
            0 => Ok(0),
            len => Ok(self.source.reader_mut().fill_content()?.len().min(len)),
        }
    }
}

impl<S: StreamSource> Read for StreamReader<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let outcome = self.read_content(out);
        Ok(self.fail_on_error(outcome)?)
    }
}

impl<S: StreamSource> BufRead for StreamReader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let outcome = self.fill_content();
        let len = self.fail_on_error(outcome)?;
        Ok(&self.source.reader().buffer()[..len])
    }

    fn consume(&mut self, amount: usize) {
        self.source.reader_mut().consume(amount);
        self.received += amount as u64;
    }
}
