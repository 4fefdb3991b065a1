use std::fmt;
use std::io::{self, Read, Write};

use super::{retry, SMALL_BUFFER};
use crate::error::Result;
use crate::record::{check_id, padding_len, Header, RecordType, HEADER_LEN, MAX_ALIGNED_LEN};
use crate::vectored::write_parts;

/// A write this large is not copied into the buffer, unless it may be that it leaves together with
/// all the rest.
const DIRECT_WRITE: usize = 16 * 1024;
/// The records that leave in one vectored write: two slices each, and what was gathered before and
/// comes behind.
const DIRECT_RECORDS: usize = 31;
/// The data in them.
pub(crate) const DIRECT_LEN: usize = DIRECT_RECORDS * MAX_ALIGNED_LEN;
/// The bytes behind a record's content that may have to leave with it: padding, and the records
/// that end a request.
const END_ROOM: usize = 64;
/// The size of a buffer for a full record.
const FULL_BUFFER: usize = HEADER_LEN + MAX_ALIGNED_LEN + END_ROOM;

/// Writes data as records of one stream.
///
/// What is written is gathered in a buffer of up to 64 KiB, whose record's header has its place
/// kept, and leaves when the buffer is full, on [`flush`](Write::flush), or with
/// [`finish`](Self::finish). A write of at least 16 KiB that does not fit, or comes when something
/// has left before, is not copied: it leaves at once, header and content of each record in one
/// vectored write, behind what was gathered.
///
/// An empty record would end the stream, so neither an empty write nor `flush` makes one. The
/// stream ends with `finish` alone: dropping the writer drops what was gathered, and leaves the
/// stream without its end.
///
/// When the writer below fails, a time-out included, a record may have left in part. What would
/// follow would be taken for the rest of it, so nothing more is sent: the stream is cut, and to
/// send again fails in the same way.
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
    record_type: RecordType,
    request_id: u16,
    /// Whole records that are to leave first, then from `open` on the record that is being
    /// gathered: room for its header, and its content, which is never empty and at most
    /// `MAX_ALIGNED_LEN` bytes.
    buffer: Vec<u8>,
    /// Where that record begins; the end of `buffer` if there is none.
    open: usize,
    /// Whether a write to `inner` was begun.
    has_sent: bool,
    /// How one has failed. No one can tell where the next record would begin, so nothing more is
    /// sent.
    failure: Option<io::ErrorKind>,
}

impl<W: Write> StreamWriter<W> {
    /// A writer of records of this type for this request. Its buffer is allocated by the first
    /// write.
    ///
    /// # Errors
    /// [`Error::InvalidRequestId`](crate::Error::InvalidRequestId) if records of this type cannot
    /// have this id.
    pub fn new(inner: W, record_type: RecordType, request_id: u16) -> Result<Self> {
        check_id(record_type, request_id)?;
        Ok(Self::with_buffer(inner, record_type, request_id, Vec::new()))
    }

    /// A writer that uses this buffer's memory. What is in it already, whole records, leaves with
    /// the first write.
    pub(crate) fn with_buffer(
        inner: W,
        record_type: RecordType,
        request_id: u16,
        buffer: Vec<u8>,
    ) -> Self {
        Self {
            inner,
            record_type,
            request_id,
            open: buffer.len(),
            buffer,
            has_sent: false,
            failure: None,
        }
    }

    /// Sends what was gathered and the empty record that ends the stream, in one write.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn finish(mut self) -> Result<W> {
        self.encode_end();
        self.send()?;
        Ok(self.inner)
    }

    /// The writer below.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// The writer below.
    pub(crate) fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Whether anything has left, or may have.
    pub(crate) fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// Whether nothing was written.
    pub(crate) fn is_unused(&self) -> bool {
        !self.has_sent && self.buffer.is_empty()
    }

    /// Drops the record that is being gathered.
    pub(crate) fn discard(&mut self) {
        self.buffer.truncate(self.open);
    }

    /// Makes what was gathered a whole record and adds the one that ends the stream. Nothing is
    /// sent.
    pub(crate) fn encode_end(&mut self) {
        self.encode(&Header::new(self.record_type, self.request_id, 0).encode());
    }

    /// Makes what was gathered a whole record and adds others behind it. Nothing is sent.
    pub(crate) fn encode(&mut self, records: &[u8]) {
        self.encode_gathered();
        self.buffer.extend_from_slice(records);
        self.open = self.buffer.len();
    }

    /// Goes on with another stream of the request.
    pub(crate) fn switch(&mut self, record_type: RecordType) {
        self.encode_gathered();
        self.record_type = record_type;
    }

    /// The whole records that were encoded and not yet sent.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.buffer[..self.open]
    }

    /// Sends what was gathered and encoded.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.send_behind(&[])
    }

    /// Sends what was gathered and encoded, behind the whole records in `before`, in one write.
    pub(crate) fn send_behind(&mut self, before: &[u8]) -> io::Result<()> {
        self.encode_gathered();
        if self.buffer.is_empty() && before.is_empty() {
            return Ok(());
        }
        self.begin_sending()?;
        let sent = if before.is_empty() {
            self.inner.write_all(&self.buffer)
        } else {
            write_parts(&mut self.inner, &mut [before, &self.buffer])
        };
        self.buffer.clear();
        self.open = 0;
        self.failure = sent.as_ref().err().map(io::Error::kind);
        sent
    }

    fn begin_sending(&mut self) -> io::Result<()> {
        if let Some(kind) = self.failure {
            return Err(io::Error::new(kind, "an earlier write of the stream has failed"));
        }
        self.has_sent = true;
        Ok(())
    }

    /// All that was written and not sent, as whole records.
    pub(crate) fn into_records(mut self) -> Vec<u8> {
        self.encode_gathered();
        self.buffer
    }

    /// Gives the buffer's memory away, and with it what was not sent.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.open = 0;
        std::mem::take(&mut self.buffer)
    }

    /// Makes what was gathered, if anything was, a whole record.
    #[inline]
    fn encode_gathered(&mut self) {
        if self.buffer.len() > self.open {
            self.close_record();
        }
    }

    /// Fills in the header of the record that is being gathered, and pads it.
    fn close_record(&mut self) {
        let content = self.open + HEADER_LEN;
        let header =
            Header::new(self.record_type, self.request_id, (self.buffer.len() - content) as u16);
        self.buffer[self.open..content].copy_from_slice(&header.encode());
        // As many as there can be, and some off again: a copy of known length is a single
        // instruction.
        self.buffer.extend_from_slice(&[0; 8]);
        self.buffer.truncate(self.buffer.len() - 8 + usize::from(header.padding_len));
        self.open = self.buffer.len();
    }

    /// The bytes that can still be gathered.
    fn room(&self) -> usize {
        self.open + HEADER_LEN + MAX_ALIGNED_LEN - self.buffer.len().max(self.open + HEADER_LEN)
    }

    /// Gathers data, for which there is room.
    fn gather(&mut self, data: &[u8]) {
        self.open_record(data.len());
        self.buffer.extend_from_slice(data);
    }

    /// Gathers what one read gives, of at most `max` bytes, for which there is room; returns 0
    /// where the source has ended.
    pub(crate) fn gather_from(&mut self, source: &mut impl Read, max: usize) -> io::Result<usize> {
        debug_assert!(max <= self.room(), "more than there is room for");
        let start = self.open_record(max);
        self.buffer.resize(start + max, 0);
        let outcome = retry(|| source.read(&mut self.buffer[start..]));
        let end = start + *outcome.as_ref().unwrap_or(&0);
        self.buffer.truncate(if end == self.open + HEADER_LEN { self.open } else { end });
        outcome
    }

    /// Sees to it that a record is open, with memory for `len` bytes more; returns where they go.
    fn open_record(&mut self, len: usize) -> usize {
        let start = self.buffer.len().max(self.open + HEADER_LEN);
        let needed = start + len + END_ROOM;
        if needed > self.buffer.capacity() {
            let size = if needed <= SMALL_BUFFER { SMALL_BUFFER } else { self.open + FULL_BUFFER };
            self.buffer.reserve_exact(size - self.buffer.len());
        }
        if self.buffer.len() < start {
            self.buffer.extend_from_slice(&[0; HEADER_LEN]);
        }
        start
    }

    /// Sends data, of which there is some, without copying it, behind what was gathered, and with
    /// `is_last` the end of the stream behind it.
    pub(crate) fn send_direct(&mut self, data: &[u8], is_last: bool) -> io::Result<()> {
        self.encode_gathered();
        self.begin_sending()?;
        let end = Header::new(self.record_type, self.request_id, 0).encode();
        let mut chunks = data.chunks(DIRECT_LEN);
        while let Some(data) = chunks.next() {
            let behind = if is_last && chunks.len() == 0 { &end[..] } else { &[] };
            let sent = self.send_records(data, behind).map_err(|(error, _rest)| error);
            self.buffer.clear();
            self.open = 0;
            self.failure = sent.as_ref().err().map(io::Error::kind);
            sent?;
        }
        Ok(())
    }

    /// The same for at most `DIRECT_LEN` bytes. If the writer below would block it returns false,
    /// and nothing is lost: the rest leaves before anything else.
    pub(crate) fn try_send_direct(&mut self, data: &[u8], is_last: bool) -> io::Result<bool> {
        self.encode_gathered();
        self.begin_sending()?;
        let end = Header::new(self.record_type, self.request_id, 0).encode();
        let sent = self.send_records(data, if is_last { &end } else { &[] });
        self.buffer.clear();
        let is_sent = match sent {
            Ok(()) => Ok(true),
            Err((error, rest)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.buffer = rest;
                Ok(false)
            }
            Err((error, _rest)) => Err(error),
        };
        self.open = self.buffer.len();
        self.failure = is_sent.as_ref().err().map(io::Error::kind);
        is_sent
    }

    /// Writes what was encoded, at most `DIRECT_LEN` bytes of data as records of the stream, and
    /// whole records behind them in one vectored write. With an error comes what was not
    /// written.
    fn send_records(
        &mut self,
        data: &[u8],
        behind: &[u8],
    ) -> std::result::Result<(), (io::Error, Vec<u8>)> {
        let contents = data.chunks(MAX_ALIGNED_LEN);
        let count = contents.len();
        let last_len = (data.len() - count.saturating_sub(1) * MAX_ALIGNED_LEN) as u16;
        // All records but the last are full, so one header serves them all.
        let header = |len| Header::new(self.record_type, self.request_id, len).encode();
        let (full, last) = (header(MAX_ALIGNED_LEN as u16), header(last_len));

        let mut parts = [&[][..]; 2 * DIRECT_RECORDS + 3];
        parts[0] = &self.buffer;
        for (pair, content) in parts[1..].chunks_mut(2).zip(contents) {
            pair.copy_from_slice(&[&full, content]);
        }
        if count > 0 {
            parts[2 * count - 1] = &last;
        }
        parts[2 * count + 1] = &[0; 8][..usize::from(padding_len(last_len))];
        parts[2 * count + 2] = behind;
        write_parts(&mut self.inner, &mut parts[..2 * count + 3])
            .map_err(|error| (error, parts.concat()))
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let is_large = data.len() >= DIRECT_WRITE;
        if data.len() <= self.room() && !(is_large && self.has_sent) {
            self.gather(data);
        } else if is_large {
            self.send_direct(data, false)?;
        } else {
            self.send()?;
            self.gather(data);
        }
        Ok(data.len())
    }

    #[inline]
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        // It takes all at once.
        self.write(data).map(drop)
    }

    /// Sends what was gathered as a record; without any, no record is sent.
    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.inner.flush()
    }
}

impl<W: fmt::Debug> fmt::Debug for StreamWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWriter")
            .field("inner", &self.inner)
            .field("record_type", &self.record_type)
            .field("request_id", &self.request_id)
            .field("gathered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}
