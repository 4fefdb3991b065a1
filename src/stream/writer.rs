use std::fmt;
use std::io::{self, Write};

use super::buffer::RecordBuffer;
use super::framing::{frame, DIRECT_LEN};
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
/// what follows as the rest of that record, so nothing more is sent. Every later call that writes
/// data, flushes or finishes fails with the same error. This includes timeouts.
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
    /// The error that later calls return. Invariant: if it is not `None`, the buffer rejects data.
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

    /// Returns what was written, but not sent.
    pub(crate) fn buffer(&self) -> &RecordBuffer {
        &self.buffer
    }

    /// Returns what was written, but not sent. What is added to it is sent with the next write.
    pub(crate) fn buffer_mut(&mut self) -> &mut RecordBuffer {
        &mut self.buffer
    }

    /// Drops what is buffered. Every later write fails with this error.
    pub(crate) fn fail_with(&mut self, error: &Error) {
        self.set_failure(error.duplicate().into());
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
        self.buffer.finish_record();
        if self.buffer.is_empty() && before.is_empty() {
            return Ok(());
        }
        self.check_usable()?;
        self.has_sent = true;
        let records = self.buffer.ready_bytes();
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
    // Inlined into `write`, it makes every small write longer.
    #[inline(never)]
    pub(crate) fn send_direct(&mut self, data: &[u8], is_last: bool) -> io::Result<()> {
        let mut chunks = data.chunks(DIRECT_LEN);
        while let Some(data) = chunks.next() {
            self.send_framed(data, is_last && chunks.len() == 0, write_parts)?;
        }
        Ok(())
    }

    /// Sends everything that is buffered, then at most `DIRECT_LEN` bytes of data, without copying
    /// them. With `is_last`, ends the stream. Returns `false` if the underlying writer would block:
    /// the buffer then holds the bytes that were not sent.
    pub(crate) fn try_send_direct(&mut self, data: &[u8], is_last: bool) -> io::Result<bool> {
        let unsent =
            self.send_framed(data, is_last, |inner, parts| match write_parts(inner, parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(parts.concat()),
                sent => sent.map(|()| Vec::new()),
            })?;
        let is_sent = unsent.is_empty();
        if !is_sent {
            self.buffer.set_unsent(unsent);
        }
        Ok(is_sent)
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
    fn fail_on_error<T>(&mut self, sent: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &sent {
            self.set_failure(duplicate_io(error));
        }
        sent
    }

    #[cold]
    fn set_failure(&mut self, error: io::Error) {
        self.buffer.reject_data();
        self.failure = Some(error);
    }

    /// Calls `write` with the slices to be sent: everything that is buffered, at most `DIRECT_LEN`
    /// bytes of data as records and, with `is_last`, the end of the stream. Clears the buffer.
    fn send_framed<T>(
        &mut self,
        data: &[u8],
        is_last: bool,
        write: impl FnOnce(&mut W, &mut [&[u8]]) -> io::Result<T>,
    ) -> io::Result<T> {
        self.check_usable()?;
        self.buffer.finish_record();
        self.has_sent = true;
        let end = self.buffer.end_record();
        let after = if is_last { &end[..] } else { &[] };
        let parts = [self.buffer.ready_bytes(), data, after];
        let sent = frame(self.buffer.identity(), parts, |slices| write(&mut self.inner, slices));
        self.buffer.clear();
        self.fail_on_error(sent)
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        // After a failure there is no room, so a write that fits needs no check of it.
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
        self.check_usable()?;
        self.send()?;
        let flushed = self.inner.flush();
        self.fail_on_error(flushed)
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
        assert_eq!(writer.buffer().ready_bytes(), b"345678");
        assert!(writer.check_usable().is_ok());

        let (outcome, writer) = try_send(io::ErrorKind::BrokenPipe);
        assert_eq!(outcome.expect_err("a failure").kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writer.buffer().ready_bytes(), b"");
        assert!(writer.check_usable().is_err());
    }
}
