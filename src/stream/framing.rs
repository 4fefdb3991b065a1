use crate::record::{padding_len, Header, RecordType, HEADER_LEN, MAX_ALIGNED_LEN};
use crate::vectored::MAX_SLICES;

/// The most records that are sent in one vectored write. Each takes two slices; records before and
/// after them, and padding, take three more.
const DIRECT_RECORDS: usize = 31;
/// The most data that [`Framing`] splits into records, in bytes.
pub(crate) const DIRECT_LEN: usize = DIRECT_RECORDS * MAX_ALIGNED_LEN;
/// The most slices that [`Framing`] passes to one vectored write.
const MAX_PARTS: usize = 2 * DIRECT_RECORDS + 3;
const _: () = assert!(MAX_PARTS <= MAX_SLICES, "one vectored write is enough");

/// The headers of the records that a slice of data is sent as, without a copy of the data.
pub(super) struct Framing {
    /// The header of every record but the last one: they are all full.
    full: [u8; HEADER_LEN],
    last: [u8; HEADER_LEN],
    /// The padding of the last record; full records have none.
    last_padding_len: usize,
}

impl Framing {
    /// Creates the headers for `len` bytes of data, at most [`DIRECT_LEN`].
    pub(super) fn new(record_type: RecordType, request_id: u16, len: usize) -> Self {
        let full_records = len.saturating_sub(1) / MAX_ALIGNED_LEN;
        let last_len = (len - full_records * MAX_ALIGNED_LEN) as u16;
        let header = |len| Header::new(record_type, request_id, len).encode();
        Self {
            full: header(MAX_ALIGNED_LEN as u16),
            last: header(last_len),
            last_padding_len: padding_len(last_len).into(),
        }
    }

    /// Passes the slices to `write`: the records in `before`, the records of `data` and the records
    /// in `after`.
    pub(super) fn with_parts<T>(
        &self,
        before: &[u8],
        data: &[u8],
        after: &[u8],
        write: impl FnOnce(&mut [&[u8]]) -> T,
    ) -> T {
        // Slices: `before`, (header, content) × count, the padding of the last record, `after`. The
        // last header replaces the one of a full record.
        let contents = data.chunks(MAX_ALIGNED_LEN);
        let count = contents.len();
        let mut parts = [&[][..]; MAX_PARTS];
        parts[0] = before;
        for (pair, content) in parts[1..].chunks_mut(2).zip(contents) {
            pair.copy_from_slice(&[&self.full, content]);
        }
        if count > 0 {
            parts[2 * count - 1] = &self.last;
        }
        parts[2 * count + 1] = &[0; 8][..self.last_padding_len];
        parts[2 * count + 2] = after;
        write(&mut parts[..2 * count + 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(len: usize) -> (Vec<u8>, usize) {
        let data = vec![b'x'; len];
        let framing = Framing::new(RecordType::Stdout, 1, len);
        framing.with_parts(b"before", &data, b"after", |parts| (parts.concat(), parts.len()))
    }

    #[test]
    fn data_becomes_full_records_and_a_padded_last_one() {
        let (bytes, _) = framed(MAX_ALIGNED_LEN + 5);
        let second = 6 + HEADER_LEN + MAX_ALIGNED_LEN;
        assert_eq!(bytes[..6 + HEADER_LEN], *b"before\x01\x06\0\x01\xff\xf8\0\0");
        assert_eq!(bytes[second..], *b"\x01\x06\0\x01\0\x05\x03\0xxxxx\0\0\0after");
    }

    #[test]
    fn no_data_becomes_no_record() {
        assert_eq!(framed(0).0, b"beforeafter");
    }

    #[test]
    fn the_most_data_fits_the_slices() {
        let (bytes, parts) = framed(DIRECT_LEN);
        assert_eq!((bytes.len(), parts), (11 + DIRECT_LEN + 8 * DIRECT_RECORDS, MAX_PARTS));
    }
}
