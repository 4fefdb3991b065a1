use std::slice;

use crate::cgi::Head;
use crate::record::{Header, RecordType, HEADER_LEN};

/// How many bytes of the start of a response are kept. Heads are rarely longer.
const MAX_START: usize = 16 * 1024;

/// What was sent of a response, for the hook that is called at the end of a request.
#[derive(Debug, Default)]
pub(super) struct SentResponse {
    /// The number of bytes of STDOUT.
    len: u64,
    /// The first bytes of STDOUT, at most [`MAX_START`].
    start: Vec<u8>,
}

impl SentResponse {
    /// Adds the content of the STDOUT records among these parts, which are whole records together.
    #[cold]
    pub(super) fn add_records(&mut self, parts: &[&[u8]]) {
        let mut input = Parts { parts: parts.iter(), rest: &[] };
        while let Some(header) = input.read_header() {
            // The records are those of this crate, so they are valid.
            let Ok(header) = Header::parse(header) else { return };
            let is_response = header.record_type == RecordType::Stdout;
            input.take(header.content_len.into(), |content| {
                if is_response {
                    self.add(content);
                }
            });
            input.take(header.padding_len.into(), |_padding| {});
        }
    }

    /// Returns the status, and the number of bytes after the head. Without a valid head, there is
    /// no status, and everything counts.
    pub(super) fn status_and_body_len(&self) -> (Option<u16>, u64) {
        match Head::parse(&self.start) {
            Ok((head, body)) => {
                let head_len = self.start.len() - body.len();
                (Some(head.status()), self.len - head_len as u64)
            }
            Err(_) => (None, self.len),
        }
    }

    fn add(&mut self, content: &[u8]) {
        let kept = content.len().min(MAX_START - self.start.len());
        self.start.extend_from_slice(&content[..kept]);
        self.len += content.len() as u64;
    }
}

/// Several slices that are read as one.
struct Parts<'a> {
    parts: slice::Iter<'a, &'a [u8]>,
    /// What is left of the current slice.
    rest: &'a [u8],
}

impl Parts<'_> {
    fn read_header(&mut self) -> Option<[u8; HEADER_LEN]> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        self.take(HEADER_LEN, |piece| header.extend_from_slice(piece));
        header.try_into().ok()
    }

    /// Passes the next `len` bytes to `take`, in pieces.
    fn take(&mut self, mut len: usize, mut take: impl FnMut(&[u8])) {
        while len > 0 {
            let Some(rest) = Some(self.rest).filter(|rest| !rest.is_empty()) else {
                let Some(next) = self.parts.next() else { return };
                self.rest = next;
                continue;
            };
            let (piece, rest) = rest.split_at(len.min(rest.len()));
            take(piece);
            self.rest = rest;
            len -= piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(record_type: RecordType, content: &[u8]) -> Vec<u8> {
        let header = Header::new(record_type, 1, content.len() as u16);
        [&header.encode()[..], content, &vec![9; header.padding_len.into()]].concat()
    }

    #[test]
    fn content_of_stdout_is_counted_in_records_split_anywhere() {
        let records = [
            record(RecordType::Stderr, b"log"),
            record(RecordType::Stdout, b"Status: 404\n\nnot"),
            record(RecordType::Stdout, b" found"),
            record(RecordType::Stdout, b""),
            record(RecordType::EndRequest, &[0; 8]),
        ]
        .concat();
        for split in 0..records.len() {
            let mut sent = SentResponse::default();
            let (before, after) = records.split_at(split);
            sent.add_records(&[before, b"", after]);
            assert_eq!(sent.status_and_body_len(), (Some(404), 9), "split at {split}");
        }
    }

    #[test]
    fn head_longer_than_what_is_kept_has_no_status() {
        for (len, status) in [(MAX_START, Some(200)), (MAX_START + 1, None)] {
            let mut sent = SentResponse::default();
            let end = b"\n\n";
            let field = [b"Status: 200\nX: ", &vec![b'x'; len - 17][..], end].concat();
            assert_eq!(field.len(), len);
            for part in [&field[..], b"body"] {
                sent.add_records(&[&record(RecordType::Stdout, part)]);
            }
            let body_len = if status.is_some() { 4 } else { len as u64 + 4 };
            assert_eq!(sent.status_and_body_len(), (status, body_len));
        }
    }
}
