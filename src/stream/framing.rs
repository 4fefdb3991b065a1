use crate::record::{Header, RecordType, MAX_ALIGNED_LEN};
use crate::vectored::MAX_SLICES;

/// The most records that are sent in one vectored write. Each takes two slices. The bytes before
/// and after the records, and the padding of the last one, take three more.
const DIRECT_RECORDS: usize = (MAX_SLICES - 3) / 2;
/// The most data that [`frame`] splits into records, in bytes.
pub(crate) const DIRECT_LEN: usize = DIRECT_RECORDS * MAX_ALIGNED_LEN;

/// Splits data into records without copying it. Passes the slices to `write`: `before`, the records
/// of `data`, which has at most [`DIRECT_LEN`] bytes, and `after`.
pub(super) fn frame<T>(
    (record_type, request_id): (RecordType, u16),
    [before, data, after]: [&[u8]; 3],
    write: impl FnOnce(&mut [&[u8]]) -> T,
) -> T {
    let contents = data.chunks(MAX_ALIGNED_LEN);
    let count = contents.len();
    let header = |len| Header::new(record_type, request_id, len);
    let last_len = contents.clone().last().map_or(0, <[u8]>::len);
    let last = header(last_len as u16);
    let (full, encoded_last) = (header(MAX_ALIGNED_LEN as u16).encode(), last.encode());

    // Slices: `before`, (header, content) × count, the padding of the last record, `after`. All
    // records but the last one are full, and full records have no padding.
    let mut slices = [&[][..]; MAX_SLICES];
    slices[0] = before;
    for (pair, content) in slices[1..].chunks_mut(2).zip(contents) {
        pair.copy_from_slice(&[&full, content]);
    }
    if count > 0 {
        slices[2 * count - 1] = &encoded_last;
    }
    slices[2 * count + 1] = last.padding();
    slices[2 * count + 2] = after;
    write(&mut slices[..2 * count + 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::HEADER_LEN;

    fn framed(len: usize) -> (Vec<u8>, usize) {
        let data = vec![b'x'; len];
        let parts = [&b"before"[..], &data, b"after"];
        frame((RecordType::Stdout, 1), parts, |slices| (slices.concat(), slices.len()))
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
        let (bytes, slices) = framed(DIRECT_LEN);
        assert_eq!((bytes.len(), slices), (11 + DIRECT_LEN + 8 * DIRECT_RECORDS, MAX_SLICES));
    }
}
