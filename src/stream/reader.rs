use std::fmt;
use std::io::{self, IoSliceMut, Read};

use crate::error::{Error, Result};
use crate::params::ParamsDecoder;
use crate::record::{BeginRequest, EndRequest, Header, HEADER_LEN, VERSION};

/// The initial size of a buffer in bytes. A small request or response fits.
pub(super) const SMALL_BUFFER: usize = 8 * 1024;
/// The size in bytes that a read buffer grows to when a read fills it. Larger buffers gain little.
const LARGE_BUFFER: usize = 128 * 1024;
/// Reads of at least this many bytes of content bypass the buffer. Such a read ends with the next
/// header, so that the next record can bypass the buffer too.
const LARGE_READ: usize = 32 * 1024;

/// A reader of the records of a connection.
///
/// [`next_header`](Self::next_header) moves to the next record and skips what is left of the
/// current one, including its padding. The content is then read with
/// [`read_content`](Self::read_content), or without a copy with
/// [`fill_content`](Self::fill_content) and [`consume`](Self::consume). Records may arrive in
/// pieces of any size.
///
/// The reader uses one buffer of 8 KiB. It grows once, to 128 KiB, when a read fills it. While the
/// buffer is empty, a read of 32 KiB of content or more, or into a slice that is at least as large
/// as the buffer, bypasses it.
///
/// No data is lost if the underlying reader returns an error, such as a timeout. The failed call
/// can be repeated.
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
    /// The bytes that have been read, but not consumed yet, are `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Where the rest of the current record's content ends, which begins at `start`. It is beyond
    /// `end` if some of it has not arrived.
    content_end: usize,
    /// Where the next record begins, after the padding.
    record_end: usize,
}

impl<R> RecordReader<R> {
    /// Creates a reader. The first read allocates the buffer.
    pub fn new(inner: R) -> Self {
        Self::with_buffer(inner, Vec::new())
    }

    /// Creates a reader that uses the memory of another reader's buffer.
    pub(crate) fn with_buffer(inner: R, buffer: Vec<u8>) -> Self {
        Self { inner, buffer, start: 0, end: 0, content_end: 0, record_end: 0 }
    }

    /// Returns how many bytes of the current record's content have not been read yet.
    ///
    /// ```
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x05\0\x01\0\x05\0\0hello";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// assert_eq!(reader.content_left(), 5);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn content_left(&self) -> usize {
        self.content_end - self.start
    }

    /// Returns the bytes that have been read from the underlying reader, but not consumed yet.
    ///
    /// ```
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x05\0\x01\0\0\0\0the next record";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// assert_eq!(reader.buffer(), b"the next record");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Returns the underlying reader. Some of its bytes may be in [`buffer`](Self::buffer).
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Returns the underlying reader. Some of its bytes may be in [`buffer`](Self::buffer).
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Returns the underlying reader and drops the buffered bytes.
    ///
    /// ```
    /// use fcgi::stream::RecordReader;
    ///
    /// let mut reader = RecordReader::new(&b"\x01\x05\0\x01\0\0\0\0more"[..]);
    /// reader.next_header()?;
    /// let buffered = reader.buffer().to_vec();
    /// let rest = reader.into_inner();
    /// assert_eq!([&buffered, rest].concat(), b"more");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Returns the memory of the buffer, and drops what is buffered.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        (self.start, self.end, self.content_end, self.record_end) = (0, 0, 0, 0);
        std::mem::take(&mut self.buffer)
    }

    /// Consumes `amount` bytes of the content that [`fill_content`](Self::fill_content) returned.
    ///
    /// # Panics
    /// If `fill_content` returned fewer bytes.
    ///
    /// ```
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x05\0\x01\0\x05\0\0hello";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// assert_eq!(reader.fill_content()?, b"hello");
    /// reader.consume(2);
    /// assert_eq!(reader.fill_content()?, b"llo");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn consume(&mut self, amount: usize) {
        assert!(
            amount <= self.content_end.min(self.end) - self.start,
            "consumed {amount} bytes, more than the buffered content"
        );
        self.start += amount;
    }

    /// Returns whether no byte after the current record was read. The record itself may not have
    /// been read to its end.
    pub(crate) fn at_record_boundary(&self) -> bool {
        self.end <= self.record_end
    }

    /// Returns the headers of the buffered records after the current one.
    pub(crate) fn buffered_headers(&self) -> impl Iterator<Item = Header> + '_ {
        let mut at = self.record_end;
        std::iter::from_fn(move || {
            let header = self.header_at(at)?;
            at += HEADER_LEN + header.padded_content_len();
            Some(header)
        })
    }

    /// Returns the header at an offset in the buffer. Returns `None` if the header is not complete
    /// or has another version.
    #[inline]
    fn header_at(&self, at: usize) -> Option<Header> {
        let end = at + HEADER_LEN;
        let bytes = self.buffer.get(at..end).filter(|_| end <= self.end)?;
        Header::decode(bytes.try_into().ok()?)
    }

    /// Moves to the next record if its header is buffered.
    #[inline]
    fn next_buffered(&mut self) -> Option<Header> {
        let header = self.header_at(self.record_end)?;
        self.start = self.record_end + HEADER_LEN;
        self.content_end = self.start + usize::from(header.content_len);
        self.record_end = self.content_end + usize::from(header.padding_len);
        Some(header)
    }

    /// Moves the buffered bytes to the front of the buffer, and allocates the buffer.
    fn make_room(&mut self) {
        if self.start > 0 {
            if self.start < self.end {
                self.buffer.copy_within(self.start..self.end, 0);
            }
            self.end -= self.start;
            self.content_end -= self.start;
            self.record_end -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() {
            self.buffer.resize(SMALL_BUFFER, 0);
        }
    }

    /// Adds the `n` bytes that a read put into the buffer. A read that fills the buffer shows that
    /// larger reads are possible, so the buffer grows.
    fn filled(&mut self, n: usize) {
        self.end += n;
        if self.end == self.buffer.len() && self.end < LARGE_BUFFER {
            self.buffer.reserve_exact(LARGE_BUFFER - self.end);
            self.buffer.resize(LARGE_BUFFER, 0);
        }
    }

    /// Reads into the free part of the buffer, which must not be [full](Self::is_full).
    #[inline]
    pub(crate) fn fill_with<E>(
        &mut self,
        read: impl FnOnce(&mut R, &mut [u8]) -> std::result::Result<usize, E>,
    ) -> std::result::Result<usize, E> {
        self.make_room();
        let n = read(&mut self.inner, &mut self.buffer[self.end..])?;
        self.filled(n);
        Ok(n)
    }

    /// Returns whether no more bytes can be buffered before some are consumed.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= LARGE_BUFFER
    }
}

impl<R: Read> RecordReader<R> {
    /// Moves to the next record and returns its header. Returns `None` if the input ends between
    /// two records.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] if the input ends inside a record, [`Error::UnsupportedVersion`],
    /// and any error of the underlying reader.
    ///
    /// ```
    /// use fcgi::{stream::RecordReader, Error};
    ///
    /// let input = b"\x01\x05\0\x01\0\x05\0\0hel";
    /// let mut reader = RecordReader::new(&input[..]);
    /// assert_eq!(reader.next_header()?.expect("a record").content_len, 5);
    /// assert!(matches!(reader.next_header(), Err(Error::UnexpectedEof(_))));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[inline]
    pub fn next_header(&mut self) -> Result<Option<Header>> {
        loop {
            if let Some(header) = self.next_buffered() {
                return Ok(Some(header));
            }
            if !self.wait_for_header()? {
                return Ok(None);
            }
        }
    }

    /// Skips the current record and reads until the next header is buffered. Returns `false` if the
    /// input ends between the two records.
    #[inline(never)]
    fn wait_for_header(&mut self) -> Result<bool> {
        self.skip_record()?;
        while self.end - self.start < HEADER_LEN {
            if self.fill()? > 0 {
                continue;
            }
            if self.start == self.end {
                return Ok(false);
            }
            return Err(Error::UnexpectedEof("a record header"));
        }
        match self.buffer[self.start] {
            VERSION => Ok(true),
            version => Err(Error::UnsupportedVersion(version)),
        }
    }

    /// Skips the current record and waits for a byte of the next one. Returns `false` if the input
    /// ends between the two records.
    pub(crate) fn wait_for_record(&mut self) -> Result<bool> {
        self.skip_record()?;
        Ok(self.start < self.end || self.fill()? > 0)
    }

    /// Reads content of the current record. Returns 0 at its end, or if `out` is empty.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] if the input ends inside the content, and any error of the
    /// underlying reader.
    ///
    /// ```
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x05\0\x01\0\x05\0\0hello";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// let mut content = [0; 8];
    /// assert_eq!(reader.read_content(&mut content)?, 5);
    /// assert_eq!(reader.read_content(&mut content)?, 0);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn read_content(&mut self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.start == self.end {
            let wanted = out.len().min(self.content_left());
            if wanted >= LARGE_READ || wanted > 0 && out.len() >= self.buffer.len() {
                return self.read_direct(&mut out[..wanted]);
            }
        }
        let content = self.fill_content()?;
        let n = content.len().min(out.len());
        out[..n].copy_from_slice(&content[..n]);
        self.consume(n);
        Ok(n)
    }

    /// Returns the buffered content of the current record. Reads some if none is buffered. Returns
    /// an empty slice at the end of the record.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] if the input ends inside the content, and any error of the
    /// underlying reader.
    ///
    /// ```
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x05\0\x01\0\x05\0\0hello";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// assert_eq!(reader.fill_content()?, b"hello");
    /// reader.consume(5);
    /// assert_eq!(reader.fill_content()?, b"");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn fill_content(&mut self) -> Result<&[u8]> {
        if self.start == self.end && self.content_left() > 0 && self.fill()? == 0 {
            return Err(Error::UnexpectedEof("a record"));
        }
        Ok(&self.buffer[self.start..self.content_end.min(self.end)])
    }

    /// Passes the rest of the current record's content to the decoder.
    // A call costs 1.5 % of the instructions of a small request.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn decode_params(&mut self, decoder: &mut ParamsDecoder) -> Result<()> {
        while self.content_left() > 0 {
            let content = self.fill_content()?;
            let len = content.len();
            decoder.push(content);
            self.consume(len);
        }
        Ok(())
    }

    /// Reads the content of a BEGIN_REQUEST record.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if it is shorter than 8 bytes, and the errors of
    /// [`read_content`](Self::read_content).
    ///
    /// ```
    /// use fcgi::record::Role;
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// let begin = reader.read_begin_request()?;
    /// assert_eq!((begin.role, begin.keep_conn()), (Role::Responder, true));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn read_begin_request(&mut self) -> Result<BeginRequest> {
        let (body, len) = self.read_body()?;
        BeginRequest::parse(&body[..len])
    }

    /// Reads the content of an END_REQUEST record.
    ///
    /// # Errors
    /// The errors of [`read_begin_request`](Self::read_begin_request).
    ///
    /// ```
    /// use fcgi::record::ProtocolStatus;
    /// use fcgi::stream::RecordReader;
    ///
    /// let input = b"\x01\x03\0\x01\0\x08\0\0\0\0\0\x07\0\0\0\0";
    /// let mut reader = RecordReader::new(&input[..]);
    /// reader.next_header()?;
    /// let end = reader.read_end_request()?;
    /// assert_eq!(end.app_status, 7);
    /// assert_eq!(end.protocol_status, ProtocolStatus::RequestComplete);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn read_end_request(&mut self) -> Result<EndRequest> {
        let (body, len) = self.read_body()?;
        EndRequest::parse(&body[..len])
    }

    /// Reads the first bytes of the current record's content, at most 8. They are consumed
    /// together, so that none is lost if a read in between times out.
    fn read_body(&mut self) -> Result<([u8; 8], usize)> {
        let mut body = [0; 8];
        let len = body.len().min(self.content_left());
        while self.end - self.start < len {
            if self.fill()? == 0 {
                return Err(Error::UnexpectedEof("a record"));
            }
        }
        body[..len].copy_from_slice(&self.buffer[self.start..self.start + len]);
        self.consume(len);
        Ok((body, len))
    }

    /// Skips the rest of the current record. Skipped content is never returned, even if the
    /// underlying reader fails before the end of the record.
    #[inline]
    pub(crate) fn skip_record(&mut self) -> Result<()> {
        self.content_end = self.start;
        while self.record_end > self.end {
            self.start = self.end;
            self.content_end = self.end;
            if self.fill()? == 0 {
                return Err(Error::UnexpectedEof("a record"));
            }
        }
        self.start = self.record_end;
        self.content_end = self.record_end;
        Ok(())
    }

    /// Reads content into `out` without buffering it, and the bytes after it into the buffer: the
    /// next header, and more if the record is small.
    fn read_direct(&mut self, out: &mut [u8]) -> Result<usize> {
        self.make_room();
        let extra = if out.len() < self.content_left() {
            0
        } else if out.len() >= LARGE_READ {
            self.record_end - self.content_end + HEADER_LEN
        } else {
            self.buffer.len()
        };
        let n = retry_interrupted(|| {
            let slices = &mut [IoSliceMut::new(out), IoSliceMut::new(&mut self.buffer[..extra])];
            self.inner.read_vectored(slices)
        })?;
        if n == 0 {
            return Err(Error::UnexpectedEof("a record"));
        }
        let direct = n.min(out.len());
        self.content_end -= direct;
        self.record_end -= direct;
        self.filled(n - direct);
        Ok(direct)
    }

    /// Reads into the free part of the buffer. Returns 0 at the end of the input.
    fn fill(&mut self) -> io::Result<usize> {
        self.fill_with(|inner, free| retry_interrupted(|| inner.read(free)))
    }
}

impl<R: fmt::Debug> fmt::Debug for RecordReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader")
            .field("inner", &self.inner)
            .field("buffered", &self.buffer().len())
            .field("content_left", &self.content_left())
            .finish_non_exhaustive()
    }
}

/// Repeats a read that a signal interrupted.
pub(crate) fn retry_interrupted(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_is_full_while_its_largest_buffer_has_no_room() -> Result<()> {
        const CONTENT: usize = 65528;
        let record = [&[1, 5, 0, 1, 0xff, 0xf8, 0, 0][..], &[b'x'; CONTENT]].concat();
        let mut input = io::Cursor::new(record.repeat(3));
        let mut reader = RecordReader::new(&mut input);
        for expected in [SMALL_BUFFER, LARGE_BUFFER] {
            assert!(!reader.is_full());
            reader.fill()?;
            assert_eq!(reader.buffer().len(), expected);
        }
        assert!(reader.is_full());
        reader.next_header()?;
        reader.skip_record()?;
        assert!(!reader.is_full(), "a record was consumed");
        Ok(())
    }
}
