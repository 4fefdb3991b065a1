use std::fmt;
use std::io::{self, Write};

use super::buffer::RecordBuffer;
use super::framing::{Framing, DIRECT_LEN};
use crate::error::{duplicate_io, Error, Result};
use crate::record::{check_id, RecordType};
use crate::vectored::write_parts;

/// A write of this many bytes is not copied if it does not fit the buffer, or if a part of the
/// stream was sent before.
const DIRECT_WRITE: usize = 16 * 1024;

/// A writer of data as the records of one stream.
///
/// Data is buffered, up to 64 KiB, and sent as one record when the buffer is full, on
/// [`flush`](Write::flush), or by [`finish`](Self::finish). A write of 16 KiB or more is not copied
/// if it does not fit the buffer, or if a part of the stream was sent before: the buffered data and
/// the records of the write are sent together, in one vectored write for each 2 MB.
///
/// An empty record ends a stream, so neither an empty write nor `flush` writes one. Only `finish`
/// ends the stream: dropping the writer drops the buffered data and leaves the stream without its
/// end.
///
/// If the underlying writer fails, a record may have been sent in part. The peer would interpret
/// what follows as the rest of that record, so nothing more is sent, and every later attempt to
/// send fails with the same error. This includes timeouts.
///
/// ```
/// use fcgi::record::RecordType;
/// use fcgi::stream::StreamWriter;
/// use std::io::Write;
///
/// let mut pipe = Vec::new();
/// let mut stdout = StreamWriter::new(&mut pipe, RecordType::Stdout, 1)?;
/// stdout.write_all(b"hel")?;
/// stdout.write_all(b"lo")?;
/// stdout.finish()?;
/// assert_eq!(pipe, b"\x01\x06\0\x01\0\x05\x03\0hello\0\0\0\x01\x06\0\x01\0\0\0\0");
/// # Ok::<(), fcgi::Error>(())
/// ```
pub struct StreamWriter<W> {
    inner: W,
    buffer: RecordBuffer,
    /// Whether a write to `inner` was started.
    has_sent: bool,
    /// The error of a write to `inner`. Nothing is written after that.
    failure: Option<io::Error>,
}

impl<W: Write> StreamWriter<W> {
    /// Creates a writer of records of this type for this request. The first write allocates the
    /// buffer.
    ///
    /// # Errors
    /// [`Error::InvalidRequestId`] if a record of this type cannot have this id.
    pub fn new(inner: W, record_type: RecordType, request_id: u16) -> Result<Self> {
        check_id(record_type, request_id)?;
        Ok(Self::with_buffer(inner, RecordBuffer::new(record_type, request_id, Vec::new())))
    }

    /// Creates a writer that sends what the buffer holds with the first write.
    pub(crate) fn with_buffer(inner: W, buffer: RecordBuffer) -> Self {
        Self { inner, buffer, has_sent: false, failure: None }
    }

    /// Sends the buffered data and the empty record that ends the stream, in one write. Returns the
    /// underlying writer.
    ///
    /// # Errors
    /// Any error of the underlying writer.
    ///
    /// ```
    /// use fcgi::record::RecordType;
    /// use fcgi::stream::StreamWriter;
    /// use std::io::Write;
    ///
    /// let mut writer = StreamWriter::new(Vec::new(), RecordType::Stdin, 1)?;
    /// writer.write_all(b"12345678")?;
    /// let sent = writer.finish()?;
    /// assert_eq!(sent[8..16], *b"12345678");
    /// assert_eq!(sent[16..], *b"\x01\x05\0\x01\0\0\0\0", "the empty record");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn finish(mut self) -> Result<W> {
        self.buffer.end_stream();
        self.send()?;
        Ok(self.inner)
    }

    /// Returns the underlying writer.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Returns the underlying writer.
    pub(crate) fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Returns whether any part of the stream was sent, or may have been.
    pub(crate) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Returns whether nothing was written.
    pub(crate) fn is_unused(&self) -> bool {
        !self.has_sent && self.buffer.is_empty()
    }

    /// Returns the buffered data that is not part of a complete record.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.buffer.open_content()
    }

    /// Returns the complete records that were not sent.
    pub(crate) fn complete_records(&self) -> &[u8] {
        self.buffer.complete_records()
    }

    /// Drops the data that is not part of a complete record.
    pub(crate) fn discard(&mut self) {
        self.buffer.discard_open_record();
    }

    /// Drops what is buffered. Every later write fails with this error.
    pub(crate) fn close(&mut self, error: &Error) {
        self.buffer.close();
        self.failure = Some(error.duplicate().into());
    }

    /// Buffers the empty record that ends the stream. Sends nothing.
    pub(crate) fn end_stream(&mut self) {
        self.buffer.end_stream();
    }

    /// Buffers complete records after the data. Sends nothing.
    pub(crate) fn push_records(&mut self, records: &[u8]) {
        self.buffer.push_records(records);
    }

    /// Continues with another stream of the request.
    pub(crate) fn switch_stream(&mut self, record_type: RecordType) {
        self.buffer.switch_stream(record_type);
    }

    /// Exchanges the bytes of the buffer with an empty vector.
    pub(crate) fn swap_bytes(&mut self, memory: &mut Vec<u8>) {
        self.buffer.swap_bytes(memory);
    }

    /// Returns the bytes of the buffer, which is empty afterwards.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        self.buffer.take_bytes()
    }

    /// Returns everything that is buffered as complete records, for a caller that sends them.
    pub(crate) fn take_records(&mut self) -> Vec<u8> {
        self.buffer.close_record();
        self.buffer.take_bytes()
    }

    /// Sends everything that is buffered.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.send_after(&[])
    }

    /// Sends the complete records in `before`, then everything that is buffered, in one write.
    // A call costs 1 % of the instructions of a small request.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn send_after(&mut self, before: &[u8]) -> io::Result<()> {
        self.buffer.close_record();
        if self.buffer.is_empty() && before.is_empty() {
            return Ok(());
        }
        self.start_sending()?;
        let records = self.buffer.complete_records();
        let sent = if before.is_empty() {
            self.inner.write_all(records)
        } else {
            write_parts(&mut self.inner, &mut [before, records])
        };
        self.buffer.clear();
        self.fail_on_error(sent)
    }

    /// Sends everything that is buffered, then `data`, without copying it. With `is_last`, ends the
    /// stream.
    pub(crate) fn send_direct(&mut self, data: &[u8], is_last: bool) -> io::Result<()> {
        self.buffer.close_record();
        self.start_sending()?;
        let mut chunks = data.chunks(DIRECT_LEN);
        while let Some(data) = chunks.next() {
            let sent = self.write_records(data, is_last && chunks.len() == 0);
            self.buffer.clear();
            self.fail_on_error(sent.map_err(|(error, _unsent)| error))?;
        }
        Ok(())
    }

    /// Does the same for at most `DIRECT_LEN` bytes, but returns `false` if the underlying writer
    /// would block. What was not sent is buffered then.
    pub(crate) fn try_send_direct(&mut self, data: &[u8], is_last: bool) -> io::Result<bool> {
        self.buffer.close_record();
        self.start_sending()?;
        let sent = self.write_records(data, is_last);
        self.buffer.clear();
        match sent {
            Ok(()) => Ok(true),
            Err((error, unsent)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.buffer.push_records(&unsent);
                Ok(false)
            }
            Err((error, _unsent)) => self.fail_on_error(Err(error)),
        }
    }

    /// Returns the error of an earlier write to the underlying writer.
    #[inline]
    pub(crate) fn check_usable(&self) -> io::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some(error) => Err(duplicate_io(error)),
        }
    }

    #[inline]
    fn start_sending(&mut self) -> io::Result<()> {
        self.check_usable()?;
        self.has_sent = true;
        Ok(())
    }

    #[inline]
    fn fail_on_error<T>(&mut self, sent: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &sent {
            self.set_failure(error);
        }
        sent
    }

    #[cold]
    fn set_failure(&mut self, error: &io::Error) {
        self.failure = Some(duplicate_io(error));
    }

    /// Writes the buffered records, at most `DIRECT_LEN` bytes of data as records and, with
    /// `is_last`, the end of the stream in one vectored write. An error comes with the bytes that
    /// were not written.
    fn write_records(
        &mut self,
        data: &[u8],
        is_last: bool,
    ) -> std::result::Result<(), (io::Error, Vec<u8>)> {
        let (record_type, request_id) = self.buffer.identity();
        let end = self.buffer.end_record();
        let after = if is_last { &end[..] } else { &[] };
        let inner = &mut self.inner;
        Framing::new(record_type, request_id, data.len()).with_parts(
            self.buffer.complete_records(),
            data,
            after,
            |parts| write_parts(inner, parts).map_err(|error| (error, parts.concat())),
        )
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let fits = data.len() <= self.buffer.room();
        if data.len() >= DIRECT_WRITE && (self.has_sent || !fits) {
            self.send_direct(data, false)?;
            return Ok(data.len());
        }
        if !fits {
            self.check_usable()?;
            self.send()?;
        }
        self.buffer.push(data);
        Ok(data.len())
    }

    #[inline]
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        // `write` never writes less than all.
        self.write(data).map(drop)
    }

    /// Sends the buffered data as a record. Sends nothing if no data is buffered.
    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.inner.flush()
    }
}

impl<W: fmt::Debug> fmt::Debug for StreamWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter")
            .field("inner", &self.inner)
            .field("identity", &self.buffer.identity())
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that accepts `room` bytes and then fails.
    struct Failing {
        room: usize,
        error: io::ErrorKind,
    }

    impl Write for Failing {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(self.error.into());
            }
            let n = data.len().min(self.room);
            self.room -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn try_send(error: io::ErrorKind) -> (io::Result<bool>, StreamWriter<Failing>) {
        let buffer = RecordBuffer::new(RecordType::Stdin, 1, Vec::new());
        let mut writer = StreamWriter::with_buffer(Failing { room: 10, error }, buffer);
        (writer.try_send_direct(b"12345678", false), writer)
    }

    #[test]
    fn what_was_not_sent_is_buffered_only_if_the_writer_would_block() {
        let (outcome, writer) = try_send(io::ErrorKind::WouldBlock);
        assert!(!outcome.expect("not a failure"));
        assert_eq!(writer.complete_records(), b"345678");
        assert!(writer.check_usable().is_ok());

        let (outcome, writer) = try_send(io::ErrorKind::BrokenPipe);
        assert_eq!(outcome.expect_err("a failure").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writer.complete_records(), b"");
        assert!(writer.check_usable().is_err());
    }
}
