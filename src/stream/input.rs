use std::io::{self, BufRead, Read};

use super::length::StreamLength;
use super::reader::RecordReader;
use super::state::StreamState;
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
    /// The last error that was returned or [set](Self::fail_with), for reports.
    last_error: Option<Box<Error>>,
    /// `None` until the first read, because the lookup is skipped if nothing is read.
    length: Option<StreamLength>,
    /// The bytes of the stream that were read.
    received: u64,
}

impl<S> StreamReader<S> {
    pub(crate) fn new(source: S, state: StreamState) -> Self {
        Self { source, state, last_error: None, length: None, received: 0 }
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    pub(crate) fn state(&self) -> &StreamState {
        &self.state
    }

    /// Marks the request as aborted.
    pub(crate) fn set_aborted(&mut self) {
        self.state.abort();
    }

    /// Makes every later read fail with this error.
    pub(crate) fn fail_with(&mut self, error: &Error) {
        self.state.fail(error);
        self.set_last_error(error);
    }

    /// Continues with another stream, of which nothing was read.
    pub(crate) fn reopen(&mut self) {
        self.state.reopen();
        self.length = None;
        self.received = 0;
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the last error that was returned to the caller.
    pub(crate) fn last_error(&self) -> Option<&Error> {
        self.last_error.as_deref()
    }

    #[inline]
    fn fail_on_error<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.after_error(error);
        }
        outcome
    }

    #[cold]
    fn after_error(&mut self, error: &Error) {
        self.state.after_error(error);
        self.set_last_error(error);
    }

    fn set_last_error(&mut self, error: &Error) {
        self.last_error = Some(Box::new(error.duplicate()));
    }
}

impl<S: StreamSource> StreamReader<S> {
    /// Moves to the next record of the source. May be called after the end of the stream, to read
    /// the records that follow it. Returns `false` if the record is the end of a stream.
    pub(crate) fn next_record(&mut self) -> Result<bool> {
        let outcome = self.state.check().and_then(|()| self.next_source_record());
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

    #[inline]
    fn next_source_record(&mut self) -> Result<bool> {
        let has_content = self.source.next_record()?;
        if !has_content {
            self.state.end();
        }
        Ok(has_content)
    }

    /// Moves to content of the stream if the current record has none left. Returns `false` at the
    /// end of the stream.
    #[inline]
    fn has_content(&mut self) -> Result<bool> {
        self.state.check()?;
        Ok(self.state.is_open()
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
