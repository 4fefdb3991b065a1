use std::fmt;
use std::io::{self, IoSliceMut, Read};

use super::{retry, SMALL_BUFFER};
use crate::error::{Error, Result};
use crate::params::ParamsDecoder;
use crate::record::{BeginRequest, EndRequest, Header, HEADER_LEN, VERSION};

/// The size that a read buffer grows to when a read fills it; larger ones gain little.
const LARGE_BUFFER: usize = 128 * 1024;
/// Where a read takes this much content straight to the caller's slice, it leaves the next record
/// to another: that may go straight there, too.
const LARGE_RECORD: usize = 16 * 1024;

/// Reads records from a connection, however the transport cuts them.
///
/// [`next_header`](Self::next_header) goes to the next record, over whatever is left of the one
/// before, its padding included. Its content is then read with
/// [`read_content`](Self::read_content), or in place with [`fill_content`](Self::fill_content) and
/// [`consume`](Self::consume).
///
/// All reading goes through one buffer of 8 KiB, which grows once, to 128 KiB, when there is more
/// to read at a time. A read into a slice that is at least as large goes straight there.
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
    /// Where the current record's content ends, which begins at `start`; beyond `end` if it has
    /// not come whole.
    content_end: usize,
    /// Where the next record begins, behind the padding. What is neither content nor padding of
    /// the current record was given up.
    record_end: usize,
}

impl<R> RecordReader<R> {
    /// A reader that has read nothing. Its buffer is allocated by the first read.
    pub fn new(inner: R) -> Self {
        Self::with_buffer(inner, Vec::new())
    }

    /// A reader that uses the buffer of one that has come to its end.
    pub(crate) fn with_buffer(inner: R, buffer: Vec<u8>) -> Self {
        Self { inner, buffer, start: 0, end: 0, content_end: 0, record_end: 0 }
    }

    /// The bytes of the current record's content that were not yet read.
    pub fn content_left(&self) -> usize {
        self.content_end - self.start
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
        (self.start, self.end, self.content_end, self.record_end) = (0, 0, 0, 0);
        std::mem::take(&mut self.buffer)
    }

    /// Uses up `amount` bytes of the content that [`fill_content`](Self::fill_content) returned.
    ///
    /// # Panics
    /// If that was less.
    pub fn consume(&mut self, amount: usize) {
        assert!(
            amount <= self.content_end.min(self.end) - self.start,
            "consumed more content than there is"
        );
        self.start += amount;
    }

    /// Whether nothing was read behind the current record, which may itself not be read to its end.
    pub(crate) fn is_between_records(&self) -> bool {
        self.end <= self.record_end
    }

    /// The headers of the records in the buffer behind the current one, as far as they have
    /// arrived.
    pub(crate) fn buffered_headers(&self) -> impl Iterator<Item = Header> + '_ {
        let mut at = self.record_end;
        std::iter::from_fn(move || {
            let header = self.header_at(at)?;
            at += HEADER_LEN + header.body_len();
            Some(header)
        })
    }

    /// The header at this place of the buffer; `None` if it has not come whole, or nobody can read
    /// it.
    #[inline]
    fn header_at(&self, at: usize) -> Option<Header> {
        let end = at + HEADER_LEN;
        let bytes = self.buffer.get(at..end).filter(|_| end <= self.end)?;
        Header::decode(bytes.try_into().ok()?)
    }

    /// Goes to the next record if that is in the buffer.
    #[inline]
    fn next_buffered(&mut self) -> Option<Header> {
        let header = self.header_at(self.record_end)?;
        self.start = self.record_end + HEADER_LEN;
        self.content_end = self.start + usize::from(header.content_len);
        self.record_end = self.content_end + usize::from(header.padding_len);
        Some(header)
    }

    /// Moves what the buffer holds to its front, so that there is room behind it.
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

    /// Counts in what a read has put into the buffer. A read that filled it shows that there is
    /// more to read at a time.
    fn filled(&mut self, n: usize) {
        self.end += n;
        if self.end == self.buffer.len() && self.end < LARGE_BUFFER {
            self.buffer.reserve_exact(LARGE_BUFFER - self.end);
            self.buffer.resize(LARGE_BUFFER, 0);
        }
    }

    /// Reads behind what the buffer holds, unless it [is full](Self::is_full).
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

    /// Whether nothing more can be looked at before what is there is used.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start >= LARGE_BUFFER
    }
}

impl<R: Read> RecordReader<R> {
    /// Goes to the next record; `None` where the input ends cleanly, between two records.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] where the input ends inside a record,
    /// [`Error::UnsupportedVersion`], and what the reader reports.
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

    /// Goes to the next record and waits for its header; false where the input ends cleanly
    /// instead.
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

    /// Waits for another record behind the current one; false where the input ends cleanly instead.
    pub(crate) fn wait_for_record(&mut self) -> Result<bool> {
        self.skip_record()?;
        Ok(self.start < self.end || self.fill()? > 0)
    }

    /// Reads content of the current record; 0 at its end.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] where the input ends before the content does, and what the reader
    /// reports.
    pub fn read_content(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.start == self.end
            && self.content_left() > 0
            && !out.is_empty()
            && out.len() >= self.buffer.len()
        {
            return self.read_direct(out);
        }
        let content = self.fill_content()?;
        let n = content.len().min(out.len());
        out[..n].copy_from_slice(&content[..n]);
        self.consume(n);
        Ok(n)
    }

    /// The content of the current record that the buffer holds; waits for some if it holds none.
    /// Empty at its end.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] where the input ends before the content does, and what the reader
    /// reports.
    pub fn fill_content(&mut self) -> Result<&[u8]> {
        if self.start == self.end && self.content_left() > 0 && self.fill()? == 0 {
            return Err(Error::UnexpectedEof("a record"));
        }
        Ok(&self.buffer[self.start..self.content_end.min(self.end)])
    }

    /// Passes the rest of the current record's content to the decoder.
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
    /// [`Error::InvalidBodyLength`] if it is shorter than 8 bytes; else as
    /// [`read_content`](Self::read_content).
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

    /// Reads the first bytes of the current record's content: as many as there are, up to 8. They
    /// are taken together, so that a time-out between two of them loses none.
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

    /// Skips what is left of the current record. Its content is given up at once: where the reader
    /// fails on the way, what is left is never taken for content.
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

    /// Reads content straight into `out`, and what comes behind it into the buffer: the next
    /// header, and where records are small more of them.
    fn read_direct(&mut self, out: &mut [u8]) -> Result<usize> {
        self.make_room();
        let wanted = out.len().min(self.content_left());
        let behind = if wanted < self.content_left() {
            0
        } else if wanted >= LARGE_RECORD {
            self.record_end - self.content_end + HEADER_LEN
        } else {
            self.buffer.len()
        };
        let n = retry(|| {
            let slices = &mut [
                IoSliceMut::new(&mut out[..wanted]),
                IoSliceMut::new(&mut self.buffer[..behind]),
            ];
            self.inner.read_vectored(slices)
        })?;
        if n == 0 {
            return Err(Error::UnexpectedEof("a record"));
        }
        let direct = n.min(wanted);
        self.content_end -= direct;
        self.record_end -= direct;
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
            .field("content_left", &self.content_left())
            .finish_non_exhaustive()
    }
}
