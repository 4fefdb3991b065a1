use std::io::{self, Read};

use super::reader::{retry_interrupted, SMALL_BUFFER};
use crate::record::{Header, RecordType, HEADER_LEN, MAX_ALIGNED_LEN};

/// Room for what may be sent together with a record's content: padding, and the records that end a
/// request.
const END_ROOM: usize = 64;
/// The size of a buffer for a full record.
const FULL_BUFFER: usize = HEADER_LEN + MAX_ALIGNED_LEN + END_ROOM;

/// A buffer that builds records in memory.
///
/// The buffer holds bytes that are ready to be sent, then at most one open record, to which data is
/// appended. The header of the open record is reserved when it is opened and written when it is
/// finished, so its content is copied once.
///
/// The ready bytes are complete records. Only [`set_unsent`](Self::set_unsent) adds the rest of a
/// record.
#[derive(Debug)]
pub(crate) struct RecordBuffer {
    record_type: RecordType,
    request_id: u16,
    /// Invariant: the open record has content, at most `MAX_ALIGNED_LEN` bytes.
    bytes: Vec<u8>,
    /// Where the open record begins; `bytes.len()` if there is none.
    open: usize,
    /// The maximum content of the open record: `MAX_ALIGNED_LEN`, or 0 if no data is accepted.
    max_content: usize,
}

impl RecordBuffer {
    /// Creates a buffer that begins with the complete records in `records`, and uses their memory.
    pub(crate) fn new(record_type: RecordType, request_id: u16, records: Vec<u8>) -> Self {
        let open = records.len();
        Self { record_type, request_id, bytes: records, open, max_content: MAX_ALIGNED_LEN }
    }

    /// Returns whether nothing is buffered.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the number of buffered bytes, headers included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes before the open record.
    pub(crate) fn ready_bytes(&self) -> &[u8] {
        &self.bytes[..self.open]
    }

    /// Returns the content of the open record.
    pub(crate) fn open_content(&self) -> &[u8] {
        self.bytes.get(self.open + HEADER_LEN..).unwrap_or_default()
    }

    /// Returns how many bytes can be appended to the open record, or to a new one.
    pub(super) fn room(&self) -> usize {
        self.open + HEADER_LEN + self.max_content - self.content_end()
    }

    /// Appends data to the open record. The data is not empty, and there is [room](Self::room).
    #[inline]
    pub(super) fn push(&mut self, data: &[u8]) {
        self.open_record(data.len());
        self.bytes.extend_from_slice(data);
    }

    /// Appends what one read returns, at most `max` bytes, for which there is [room](Self::room).
    /// Returns 0 at the end of the source.
    pub(crate) fn read_from(&mut self, source: &mut impl Read, max: usize) -> io::Result<usize> {
        debug_assert!(max <= self.room(), "{max} bytes exceed the room of the open record");
        let start = self.open_record(max);
        self.bytes.resize(start + max, 0);
        let outcome = retry_interrupted(|| source.read(&mut self.bytes[start..]));
        let end = start + *outcome.as_ref().unwrap_or(&0);
        let is_open = end > self.open + HEADER_LEN;
        self.bytes.truncate(if is_open { end } else { self.open });
        outcome
    }

    /// Completes the open record, if there is one.
    #[inline]
    pub(super) fn finish_record(&mut self) {
        if self.bytes.len() > self.open {
            self.write_header();
        }
    }

    /// Completes the open record and appends complete records.
    #[inline]
    pub(crate) fn push_records(&mut self, records: &[u8]) {
        self.finish_record();
        self.bytes.extend_from_slice(records);
        self.open = self.bytes.len();
    }

    /// Completes the open record and appends the empty record that ends the stream.
    #[inline]
    pub(crate) fn end_stream(&mut self) {
        self.push_records(&self.end_record());
    }

    /// Returns the empty record that ends the stream.
    pub(super) fn end_record(&self) -> [u8; HEADER_LEN] {
        Header::new(self.record_type, self.request_id, 0).encode()
    }

    /// Drops the open record.
    pub(crate) fn discard_open_record(&mut self) {
        self.bytes.truncate(self.open);
    }

    /// Completes the open record. Data that follows belongs to another stream of the request.
    pub(crate) fn switch_stream(&mut self, record_type: RecordType) {
        self.finish_record();
        self.record_type = record_type;
    }

    /// Returns the type and the request id of the records.
    pub(super) fn identity(&self) -> (RecordType, u16) {
        (self.record_type, self.request_id)
    }

    /// Drops everything that is buffered.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.open = 0;
    }

    /// Drops everything that is buffered. From now on there is no [room](Self::room).
    pub(super) fn reject_data(&mut self) {
        self.clear();
        self.max_content = 0;
    }

    /// Replaces what is buffered with the rest of records that were sent in part.
    pub(super) fn set_unsent(&mut self, bytes: Vec<u8>) {
        self.open = bytes.len();
        self.bytes = bytes;
    }

    /// Completes the open record and returns everything. The buffer is empty afterwards.
    pub(crate) fn take_records(&mut self) -> Vec<u8> {
        self.finish_record();
        self.take_memory()
    }

    /// Exchanges the memory of the buffer with an empty vector.
    pub(crate) fn swap_memory(&mut self, memory: &mut Vec<u8>) {
        self.open = 0;
        std::mem::swap(&mut self.bytes, memory);
    }

    /// Returns the memory of the buffer, and drops what is buffered.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        self.open = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Returns where the next byte of the open record goes.
    fn content_end(&self) -> usize {
        self.bytes.len().max(self.open + HEADER_LEN)
    }

    /// Opens a record if none is open, and allocates memory for `len` bytes of content. Returns
    /// where they go.
    #[inline]
    fn open_record(&mut self, len: usize) -> usize {
        let start = self.content_end();
        let needed = start + len + END_ROOM;
        if needed > self.bytes.capacity() {
            let is_small = needed <= SMALL_BUFFER;
            let size = if is_small { SMALL_BUFFER } else { self.open + FULL_BUFFER };
            self.bytes.reserve_exact(size - self.bytes.len());
        }
        if self.bytes.len() < start {
            self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        }
        start
    }

    /// Writes the header of the open record, and pads it.
    fn write_header(&mut self) {
        let content = self.open + HEADER_LEN;
        let content_len = (self.bytes.len() - content) as u16;
        let header = Header::new(self.record_type, self.request_id, content_len);
        self.bytes[self.open..content].copy_from_slice(&header.encode());
        header.push_padding(&mut self.bytes);
        self.open = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdout() -> RecordBuffer {
        RecordBuffer::new(RecordType::Stdout, 1, Vec::new())
    }

    #[test]
    fn pushed_data_becomes_one_padded_record() {
        let mut buffer = stdout();
        buffer.push(b"hel");
        buffer.push(b"lo");
        assert_eq!(buffer.ready_bytes(), b"");
        buffer.end_stream();
        assert_eq!(
            buffer.ready_bytes(),
            b"\x01\x06\0\x01\0\x05\x03\0hello\0\0\0\x01\x06\0\x01\0\0\0\0"
        );
    }

    #[test]
    fn a_record_holds_the_most_content_that_needs_no_padding() {
        let mut buffer = stdout();
        assert_eq!(buffer.room(), MAX_ALIGNED_LEN);
        buffer.push(&[b'x'; MAX_ALIGNED_LEN]);
        assert_eq!(buffer.room(), 0);
        assert_eq!(buffer.take_records().len(), HEADER_LEN + MAX_ALIGNED_LEN);
    }

    #[test]
    fn an_empty_read_opens_no_record() {
        let mut buffer = RecordBuffer::new(RecordType::Stdin, 1, b"before".to_vec());
        assert_eq!(buffer.read_from(&mut io::empty(), 100).unwrap(), 0);
        assert_eq!(buffer.take_records(), b"before");
    }

    #[test]
    fn a_failed_read_keeps_the_open_record() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let mut buffer = stdout();
        buffer.push(b"data");
        assert!(buffer.read_from(&mut Failing, 100).is_err());
        assert_eq!(buffer.take_records(), b"\x01\x06\0\x01\0\x04\x04\0data\0\0\0\0");
    }

    #[test]
    fn discarding_drops_the_open_record_alone() {
        let mut buffer = stdout();
        buffer.push(b"one");
        buffer.finish_record();
        buffer.push(b"two");
        buffer.discard_open_record();
        assert_eq!(buffer.take_records(), b"\x01\x06\0\x01\0\x03\x05\0one\0\0\0\0\0");
    }

    #[test]
    fn switching_the_stream_changes_the_type_of_later_records() {
        let mut buffer = RecordBuffer::new(RecordType::Stdin, 1, Vec::new());
        buffer.push(b"body");
        buffer.switch_stream(RecordType::Data);
        buffer.push(b"file");
        let records = buffer.take_records();
        assert_eq!((records[1], records[17]), (5, 8));
    }
}
