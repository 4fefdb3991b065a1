//! Streams of records: reading records from a connection, and writing data as records (sections 3.3 and 5.3).
//!
//! [`RecordReader`] reads through one buffer, which it uses again for ever; [`StreamWriter`] is a [`Write`] that cuts what
//! it is given into records. Neither knows which side of the protocol it is on.

use std::fmt;
use std::io::{self, IoSliceMut, Read, Write};

use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{
    check_id, padding_len, write_parts, BeginRequest, EndRequest, Header, RecordType, HEADER_LEN, MAX_ALIGNED_LEN,
};

/// The size of a buffer as long as nothing has needed more: a small request or response fits.
const SMALL_BUFFER: usize = 8 * 1024;
/// The size that a read buffer grows to when a read fills it; larger ones gain little.
const LARGE_BUFFER: usize = 64 * 1024;
/// A record with this much content is read for itself, if it goes straight to the caller's slice: then the next can, too.
const LARGE_RECORD: usize = 32 * 1024;

/// Reads records from a connection, however the transport cuts them.
///
/// [`next_header`](Self::next_header) goes to the next record, over whatever is left of the one before, its padding
/// included. Its content is then read with [`read_content`](Self::read_content), or in place with
/// [`fill_content`](Self::fill_content) and [`consume`](Self::consume).
///
/// All reading goes through one buffer of 8 KiB, which grows once, to 64 KiB, when there is more to read at a time. A
/// read into a slice that is at least as large goes straight there.
///
/// An error of the reader, such as a time-out, loses nothing: the call can be made again.
///
/// ```
/// use fcgi::record::RecordType;
/// use fcgi::stream::RecordReader;
///
/// let input = b"\x01\x05\0\x01\0\x05\x03\0helloPAD\x01\x05\0\x01\0\0\0\0";
/// let mut reader = RecordReader::new(&input[..]);
///
/// let header = reader.next_header()?.expect("a record");
/// assert_eq!((header.record_type, header.content_len), (RecordType::Stdin, 5));
/// let mut content = [0; 8];
/// assert_eq!(reader.read_content(&mut content)?, 5);
/// assert_eq!(reader.read_content(&mut content)?, 0);
///
/// assert_eq!(reader.next_header()?.expect("a record").content_len, 0);
/// assert!(reader.next_header()?.is_none(), "a clean end");
/// # Ok::<(), fcgi::Error>(())
/// ```
pub struct RecordReader<R> {
    inner: R,
    buffer: Vec<u8>,
    /// What was read and not yet used is `buffer[start..end]`.
    start: usize,
    end: usize,
    /// The content of the current record that was not yet used, in the buffer or not.
    content_left: usize,
    /// What is to be skipped before the next record: the current one's padding, and its content when it was given up.
    padding_left: usize,
    /// Whether the current record began with at least `LARGE_RECORD` bytes of content.
    is_large: bool,
}

impl<R> RecordReader<R> {
    /// A reader that has read nothing. Its buffer is allocated by the first read.
    pub fn new(inner: R) -> Self {
        Self::with_buffer(inner, Vec::new())
    }

    /// A reader that uses the buffer of one that has come to its end.
    pub(crate) fn with_buffer(inner: R, buffer: Vec<u8>) -> Self {
        Self { inner, buffer, start: 0, end: 0, content_left: 0, padding_left: 0, is_large: false }
    }

    /// The bytes of the current record's content that were not yet read.
    pub fn content_left(&self) -> usize {
        self.content_left
    }

    /// What was read from the connection and not yet used.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The reader below. What was read from it and not yet used is in [`buffer`](Self::buffer).
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The reader below. What was read from it and not yet used is in [`buffer`](Self::buffer).
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The reader below; what was read from it and not yet used is lost.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Gives the buffer away, and with it what was not used.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        (self.start, self.end) = (0, 0);
        std::mem::take(&mut self.buffer)
    }

    /// Uses up `amount` bytes of the content that [`fill_content`](Self::fill_content) returned.
    ///
    /// # Panics
    /// If that was less.
    pub fn consume(&mut self, amount: usize) {
        assert!(amount <= self.content_left.min(self.end - self.start), "consumed more content than there is");
        self.start += amount;
        self.content_left -= amount;
    }

    /// Whether nothing was read behind the current record, which may itself not be read to its end.
    pub(crate) fn is_between_records(&self) -> bool {
        self.end - self.start <= self.content_left + self.padding_left
    }

    /// The headers of the records in the buffer behind the current one, as far as they have arrived.
    pub(crate) fn buffered_headers(&self) -> impl Iterator<Item = Header> + '_ {
        let mut at = self.start + self.content_left + self.padding_left;
        std::iter::from_fn(move || {
            let bytes = self.buffer[..self.end].get(at..at + HEADER_LEN)?;
            let header = Header::parse(bytes.try_into().ok()?).ok()?;
            at += HEADER_LEN + header.body_len();
            Some(header)
        })
    }

    /// Moves what the buffer holds to its front, so that there is room behind it.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() {
            self.buffer.resize(SMALL_BUFFER, 0);
        }
    }

    /// Counts in what a read has put into the buffer. A read that filled it shows that there is more to read at a time.
    fn filled(&mut self, n: usize) {
        self.end += n;
        if self.end == self.buffer.len() && self.end < LARGE_BUFFER {
            self.buffer.reserve_exact(LARGE_BUFFER - self.end);
            self.buffer.resize(LARGE_BUFFER, 0);
        }
    }

    /// Reads behind what the buffer holds, unless it [is full](Self::is_full).
    pub(crate) fn fill_with<E>(
        &mut self,
        read: impl FnOnce(&mut R, &mut [u8]) -> std::result::Result<usize, E>,
    ) -> std::result::Result<usize, E> {
        self.make_room();
        let n = read(&mut self.inner, &mut self.buffer[self.end..])?;
        self.filled(n);
        Ok(n)
    }

    /// Whether nothing more can be looked at before what is there is used.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= LARGE_BUFFER
    }
}

impl<R: Read> RecordReader<R> {
    /// Goes to the next record; `None` where the input ends cleanly, between two records.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] where the input ends inside a record, [`Error::UnsupportedVersion`], and what the reader
    /// reports.
    #[inline]
    pub fn next_header(&mut self) -> Result<Option<Header>> {
        self.skip_record()?;
        while self.end - self.start < HEADER_LEN {
            if self.fill()? > 0 {
                continue;
            }
            if self.start == self.end {
                return Ok(None);
            }
            return Err(Error::UnexpectedEof("a record header"));
        }
        let mut bytes = [0; HEADER_LEN];
        bytes.copy_from_slice(&self.buffer[self.start..self.start + HEADER_LEN]);
        let header = Header::parse(bytes)?;
        self.start += HEADER_LEN;
        self.content_left = usize::from(header.content_len);
        self.padding_left = usize::from(header.padding_len);
        self.is_large = self.content_left >= LARGE_RECORD;
        Ok(Some(header))
    }

    /// Waits for another record behind the current one; false where the input ends cleanly instead.
    pub(crate) fn wait_for_record(&mut self) -> Result<bool> {
        self.skip_record()?;
        Ok(self.start < self.end || self.fill()? > 0)
    }

    /// Reads content of the current record; 0 at its end.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] where the input ends before the content does, and what the reader reports.
    pub fn read_content(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.start == self.end && self.content_left > 0 && !out.is_empty() && out.len() >= self.buffer.len() {
            return self.read_direct(out);
        }
        let content = self.fill_content()?;
        let n = content.len().min(out.len());
        out[..n].copy_from_slice(&content[..n]);
        self.consume(n);
        Ok(n)
    }

    /// The content of the current record that the buffer holds; waits for some if it holds none. Empty at its end.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] where the input ends before the content does, and what the reader reports.
    pub fn fill_content(&mut self) -> Result<&[u8]> {
        if self.start == self.end && self.content_left > 0 && self.fill()? == 0 {
            return Err(Error::UnexpectedEof("a record"));
        }
        let n = self.content_left.min(self.end - self.start);
        Ok(&self.buffer[self.start..self.start + n])
    }

    /// Gathers the rest of the current record's content.
    pub(crate) fn gather_into(&mut self, params: &mut Params) -> Result<()> {
        while self.content_left > 0 {
            let content = self.fill_content()?;
            let len = content.len();
            params.gather(content);
            self.consume(len);
        }
        Ok(())
    }

    /// Reads the content of a BEGIN_REQUEST record.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if it is shorter than 8 bytes; else as [`read_content`](Self::read_content).
    pub fn read_begin_request(&mut self) -> Result<BeginRequest> {
        let (body, len) = self.read_body()?;
        BeginRequest::parse(&body[..len])
    }

    /// Reads the content of an END_REQUEST record.
    ///
    /// # Errors
    /// As [`read_begin_request`](Self::read_begin_request).
    pub fn read_end_request(&mut self) -> Result<EndRequest> {
        let (body, len) = self.read_body()?;
        EndRequest::parse(&body[..len])
    }

    /// Reads the first bytes of the current record's content: as many as there are, up to 8. They are taken together, so
    /// that a time-out between two of them loses none.
    fn read_body(&mut self) -> Result<([u8; 8], usize)> {
        let mut body = [0; 8];
        let len = body.len().min(self.content_left);
        while self.end - self.start < len {
            if self.fill()? == 0 {
                return Err(Error::UnexpectedEof("a record"));
            }
        }
        body[..len].copy_from_slice(&self.buffer[self.start..self.start + len]);
        self.consume(len);
        Ok((body, len))
    }

    /// Skips what is left of the current record. Its content is given up at once: where the reader fails on the way, what
    /// is left is never taken for content.
    #[inline]
    pub(crate) fn skip_record(&mut self) -> Result<()> {
        let rest = self.padding_left + std::mem::take(&mut self.content_left);
        self.padding_left = rest;
        if rest > self.end - self.start {
            return self.skip_to_come();
        }
        self.start += rest;
        self.padding_left = 0;
        Ok(())
    }

    /// Skips what is left of a record that has not come whole.
    fn skip_to_come(&mut self) -> Result<()> {
        while self.padding_left > 0 {
            if self.start == self.end && self.fill()? == 0 {
                return Err(Error::UnexpectedEof("a record"));
            }
            let n = self.padding_left.min(self.end - self.start);
            self.start += n;
            self.padding_left -= n;
        }
        Ok(())
    }

    /// Reads content straight into `out`, and what comes behind it into the buffer: the next header, and where records are
    /// small more of them.
    fn read_direct(&mut self, out: &mut [u8]) -> Result<usize> {
        self.make_room();
        let wanted = out.len().min(self.content_left);
        let behind = if wanted < self.content_left {
            0
        } else if self.is_large {
            self.padding_left + HEADER_LEN
        } else {
            self.buffer.len()
        };
        let n = retry(|| {
            let slices = &mut [IoSliceMut::new(&mut out[..wanted]), IoSliceMut::new(&mut self.buffer[..behind])];
            self.inner.read_vectored(slices)
        })?;
        if n == 0 {
            return Err(Error::UnexpectedEof("a record"));
        }
        let direct = n.min(wanted);
        self.content_left -= direct;
        self.filled(n - direct);
        Ok(direct)
    }

    /// Reads behind what the buffer holds, which is less than a header; 0 at the end of the input.
    fn fill(&mut self) -> io::Result<usize> {
        self.fill_with(|inner, free| retry(|| inner.read(free)))
    }
}

impl<R: fmt::Debug> fmt::Debug for RecordReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader")
            .field("inner", &self.inner)
            .field("buffered", &self.buffer().len())
            .field("content_left", &self.content_left)
            .finish_non_exhaustive()
    }
}

/// Writes data as records of one stream.
///
/// What is written is gathered in a buffer of up to 64 KiB, whose record's header has its place kept, and leaves when the
/// buffer is full, on [`flush`](Write::flush), or with [`finish`](Self::finish). A write that does not fit and is at least
/// 16 KiB is not copied: it leaves at once, header and content of each record in one vectored write, behind what was
/// gathered.
///
/// An empty record would end the stream, so neither an empty write nor `flush` makes one. The stream ends with `finish`
/// alone: dropping the writer drops what was gathered, and leaves the stream without its end.
///
/// When the writer below fails, a time-out included, a record may have left in part. What would follow would be taken for
/// the rest of it, so nothing more is sent: the stream is cut, and to send again is a `BrokenPipe`.
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
    /// Whole records that are to leave first, then from `open` on the record that is being gathered: room for its header,
    /// and its content, which is never empty and at most `MAX_ALIGNED_LEN` bytes.
    buffer: Vec<u8>,
    /// Where that record begins; the end of `buffer` if there is none.
    open: usize,
    /// Whether a write to `inner` was begun.
    has_sent: bool,
    /// How one has failed. No one can tell where the next record would begin, so nothing more is sent.
    failure: Option<io::ErrorKind>,
}

/// A write this large that does not fit into the buffer is not copied there.
const DIRECT_WRITE: usize = 16 * 1024;
/// The records that leave in one vectored write: two slices each, and what was gathered before and comes behind.
const DIRECT_RECORDS: usize = 31;
/// The data in them.
pub(crate) const DIRECT_LEN: usize = DIRECT_RECORDS * MAX_ALIGNED_LEN;
/// The bytes behind a record's content that may have to leave with it: padding, and the records that end a request.
const END_ROOM: usize = 64;
/// The size of a buffer for a full record.
const FULL_BUFFER: usize = HEADER_LEN + MAX_ALIGNED_LEN + END_ROOM;

impl<W: Write> StreamWriter<W> {
    /// A writer of records of this type for this request. Its buffer is allocated by the first write.
    ///
    /// # Errors
    /// [`Error::InvalidRequestId`] if records of this type cannot have this id.
    pub fn new(inner: W, record_type: RecordType, request_id: u16) -> Result<Self> {
        check_id(record_type, request_id)?;
        Ok(Self::with_buffer(inner, record_type, request_id, Vec::new()))
    }

    /// A writer that uses this buffer's memory. What is in it already, whole records, leaves with the first write.
    pub(crate) fn with_buffer(inner: W, record_type: RecordType, request_id: u16, buffer: Vec<u8>) -> Self {
        Self { inner, record_type, request_id, open: buffer.len(), buffer, has_sent: false, failure: None }
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

    /// Makes what was gathered a whole record and adds the one that ends the stream. Nothing is sent.
    pub(crate) fn encode_end(&mut self) {
        self.encode_gathered();
        self.encode(&Header::new(self.record_type, self.request_id, 0).encode());
    }

    /// Adds whole records behind those that were encoded. Nothing is sent.
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

    /// Gives the buffer's memory back, and with it what was not sent.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Makes what was gathered a whole record: fills in its header and pads it.
    fn encode_gathered(&mut self) {
        if self.buffer.len() == self.open {
            return;
        }
        let content = self.open + HEADER_LEN;
        let header = Header::new(self.record_type, self.request_id, (self.buffer.len() - content) as u16);
        self.buffer[self.open..content].copy_from_slice(&header.encode());
        // As many as there can be, and some off again: a copy of known length is a single instruction.
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

    /// Gathers what one read gives, of at most `max` bytes; returns 0 where the source has ended.
    pub(crate) fn gather_from(&mut self, source: &mut impl Read, max: usize) -> io::Result<usize> {
        if self.room() == 0 {
            self.send()?;
        }
        let max = max.min(self.room());
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

    /// Sends data without copying it, behind what was gathered.
    pub(crate) fn send_direct(&mut self, data: &[u8]) -> io::Result<()> {
        self.encode_gathered();
        self.begin_sending()?;
        for data in data.chunks(DIRECT_LEN) {
            let sent = self.send_records(data, &[]).map_err(|(error, _rest)| error);
            self.buffer.clear();
            self.open = 0;
            self.failure = sent.as_ref().err().map(io::Error::kind);
            sent?;
        }
        Ok(())
    }

    /// The same for at most `DIRECT_LEN` bytes, with `is_last` the end of the stream behind them. If the writer below
    /// would block it returns false, and nothing is lost: the rest leaves before anything else.
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

    /// Writes what was encoded, at most `DIRECT_LEN` bytes of data as records of the stream, and whole records behind them
    /// in one vectored write. With an error comes what was not written.
    fn send_records(&mut self, data: &[u8], behind: &[u8]) -> std::result::Result<(), (io::Error, Vec<u8>)> {
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
        write_parts(&mut self.inner, &mut parts[..2 * count + 3]).map_err(|error| (error, parts.concat()))
    }
}

impl<W: Write> Write for StreamWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if data.len() <= self.room() {
            self.gather(data);
        } else if data.len() >= DIRECT_WRITE {
            self.send_direct(data)?;
        } else {
            self.send()?;
            self.gather(data);
        }
        Ok(data.len())
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

/// Calls again what a signal has interrupted.
pub(crate) fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
