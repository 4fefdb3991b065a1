//! The body of a request, and the data of a request to a filter.
//!
//! Four sizes decide how a body is sent:
//!
//! | Constant | The most bytes of | Reason |
//! | --- | --- | --- |
//! | [`FIRST_PART`] | the body in the first write | A small request takes one write. |
//! | [`SHORT_FIRST_PART`] | the same, see below | Copying more gains nothing. |
//! | [`READ_LEN`] | one later read of a reader | Each write sends two full records. |
//! | [`CALLER_THREAD_MAX`] | a body sent by the caller's thread | It saves starting a thread. |
//!
//! `SHORT_FIRST_PART` applies to a body in memory longer than `FIRST_PART`, because the rest is
//! sent without a copy, and to a reader of unknown length, which is usually empty.
//! `CALLER_THREAD_MAX` applies to what is left of a body in memory after its first part. Starting a
//! thread takes as long as sending a few hundred KiB.

use std::io::{self, Read};

use super::stdin::Stdin;
use crate::record::MAX_ALIGNED_LEN;
use crate::stream::{retry, RecordBuffer, DIRECT_LEN};

const FIRST_PART: usize = 32 * 1024;
const SHORT_FIRST_PART: usize = 512;
const READ_LEN: usize = 2 * MAX_ALIGNED_LEN;
const CALLER_THREAD_MAX: usize = 2 * 1024 * 1024;

/// The part of a request's input that has not been sent yet.
pub(super) enum Body<'a, B, D> {
    /// A body in memory.
    Memory(&'a [u8]),
    /// A body from a reader.
    Reader(Source<B>),
    /// The body and the data of a request to a filter.
    Filter { stdin: Source<B>, data: Source<D> },
}

/// A reader whose bytes are sent as one stream.
pub(super) struct Source<R> {
    reader: R,
    /// The number of bytes that may still be sent. `None` sends all that the reader returns.
    left: Option<u64>,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// The reader has failed.
    Read(io::Error),
    /// The application has stopped reading or closed the connection. Reading the response shows
    /// whether that is an error.
    Write,
}

impl<'a> Body<'a, io::Empty, io::Empty> {
    pub(super) fn in_memory(bytes: &'a [u8]) -> Self {
        Self::Memory(bytes)
    }
}

impl<B: Read> Body<'_, B, io::Empty> {
    /// Creates a body of at most `len` bytes.
    pub(super) fn from_reader(reader: B, len: Option<u64>) -> Self {
        Self::Reader(Source::new(reader, len))
    }
}

impl<B: Read, D: Read> Body<'_, B, D> {
    /// Moves the first part of the body to `records`. If that is the whole input, ends the stream
    /// there and returns true.
    pub(super) fn move_first_part(&mut self, records: &mut RecordBuffer) -> io::Result<bool> {
        let is_whole = match self {
            Self::Memory(bytes) => move_bytes(bytes, records)?,
            Self::Reader(source) => source.move_first_part(records)?,
            Self::Filter { stdin, .. } => {
                stdin.move_first_part(records)?;
                false
            }
        };
        if is_whole {
            records.end_stream();
        }
        Ok(is_whole)
    }

    /// Returns whether the caller's thread may send the body with [`send_now`](Self::send_now). A
    /// reader is excluded because reading it could block, even until the response arrives.
    pub(super) fn may_send_now(&self) -> bool {
        matches!(self, Self::Memory(bytes) if bytes.len() <= CALLER_THREAD_MAX)
    }

    /// Sends a body in memory, as long as the application keeps reading it. Returns whether all of
    /// it was sent. If not, [`send_all`](Self::send_all) continues.
    pub(super) fn send_now(&mut self, stdin: &mut Stdin) -> io::Result<bool> {
        let Self::Memory(bytes) = self else { return Ok(false) };
        loop {
            let (part, rest) = bytes.split_at(bytes.len().min(DIRECT_LEN));
            *bytes = rest;
            let is_last = rest.is_empty();
            let is_sent = stdin.try_send(part, is_last)?;
            if !is_sent || is_last {
                return Ok(is_sent);
            }
        }
    }

    /// Sends the rest of the input and its end.
    pub(super) fn send_all(self, stdin: &mut Stdin) -> Result<(), SendError> {
        match self {
            Self::Memory(bytes) => stdin.send(bytes, true).map_err(|_| SendError::Write),
            Self::Reader(mut source) => source.send_all(stdin, true, &mut Vec::new()),
            Self::Filter { stdin: mut body, mut data } => {
                let mut buffer = Vec::new();
                body.send_all(stdin, false, &mut buffer)?;
                stdin.start_data().map_err(|_| SendError::Write)?;
                data.send_all(stdin, true, &mut buffer)
            }
        }
    }
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R, left: Option<u64>) -> Self {
        Self { reader, left }
    }

    /// Moves the bytes of one read to `records`. Returns true at the end of the source.
    fn move_first_part(&mut self, records: &mut RecordBuffer) -> io::Result<bool> {
        let max = self.limit(if self.left.is_some() { FIRST_PART } else { SHORT_FIRST_PART });
        if max == 0 {
            return Ok(true);
        }
        let n = records.read_from(&mut self.reader, max)?;
        Ok(self.advance(n))
    }

    /// Sends the rest of the source. If `is_last_stream`, ends the input of the request.
    fn send_all(
        &mut self,
        stdin: &mut Stdin,
        is_last_stream: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        loop {
            let n = self.read(buffer).map_err(SendError::Read)?;
            let is_end = self.advance(n);
            stdin.send(&buffer[..n], is_end && is_last_stream).map_err(|_| SendError::Write)?;
            if is_end {
                return Ok(());
            }
        }
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let max = self.limit(READ_LEN);
        if max == 0 {
            return Ok(0);
        }
        buffer.resize(READ_LEN, 0);
        retry(|| self.reader.read(&mut buffer[..max]))
    }

    /// Returns `max`, or the number of bytes that are left if that is less.
    fn limit(&self, max: usize) -> usize {
        self.left.map_or(max, |left| usize::try_from(left).map_or(max, |left| left.min(max)))
    }

    /// Counts the `n` bytes of a read. Returns whether the source has ended.
    fn advance(&mut self, n: usize) -> bool {
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
        n == 0 || self.left == Some(0)
    }
}

/// Moves the first part of a body in memory to `records`. Returns whether nothing is left.
fn move_bytes(bytes: &mut &[u8], records: &mut RecordBuffer) -> io::Result<bool> {
    if !bytes.is_empty() {
        let max = if bytes.len() > FIRST_PART { SHORT_FIRST_PART } else { bytes.len() };
        records.read_from(bytes, max)?;
    }
    Ok(bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordType, HEADER_LEN};

    const FIRST_PART_LEN: u64 = FIRST_PART as u64;

    /// Returns the length of the first part of a body, and whether it is the whole body.
    fn first_part(mut body: Body<'_, impl Read, impl Read>) -> (usize, bool) {
        let mut records = RecordBuffer::new(RecordType::Stdin, 1, Vec::new());
        let is_whole = body.move_first_part(&mut records).expect("a reader that does not fail");
        let records = records.into_records();
        let content = |record: &[u8]| usize::from(record[4]) << 8 | usize::from(record[5]);
        let len = if records.is_empty() { 0 } else { content(&records) };
        let has_end = records.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]);
        assert_eq!(has_end, is_whole, "{} bytes of records", records.len());
        assert!(records.len() <= len + 7 + 2 * HEADER_LEN);
        (len, is_whole)
    }

    fn first_part_of_reader(available: usize, announced: Option<u64>) -> (usize, bool) {
        first_part(Body::from_reader(&vec![b'x'; available][..], announced))
    }

    #[test]
    fn the_first_part_of_a_small_body_in_memory_is_all_of_it() {
        for len in [0, 1, FIRST_PART - 1, FIRST_PART] {
            assert_eq!(first_part(Body::in_memory(&vec![b'x'; len])), (len, true));
        }
        let longer = vec![b'x'; FIRST_PART + 1];
        assert_eq!(first_part(Body::in_memory(&longer)), (SHORT_FIRST_PART, false));
    }

    #[test]
    fn the_first_part_of_a_reader_is_one_read_of_at_most_the_announced_length() {
        assert_eq!(first_part_of_reader(9, Some(0)), (0, true));
        assert_eq!(first_part_of_reader(9, Some(9)), (9, true));
        assert_eq!(first_part_of_reader(9, Some(8)), (8, true));
        assert_eq!(first_part_of_reader(9, Some(10)), (9, false));
        assert_eq!(first_part_of_reader(0, Some(10)), (0, true));
        assert_eq!(first_part_of_reader(FIRST_PART + 9, Some(FIRST_PART_LEN)), (FIRST_PART, true));
        assert_eq!(
            first_part_of_reader(FIRST_PART + 9, Some(FIRST_PART_LEN + 1)),
            (FIRST_PART, false)
        );
    }

    #[test]
    fn the_first_part_of_a_reader_of_unknown_length_is_short() {
        assert_eq!(first_part_of_reader(0, None), (0, true));
        assert_eq!(first_part_of_reader(9, None), (9, false));
        assert_eq!(first_part_of_reader(FIRST_PART, None), (SHORT_FIRST_PART, false));
    }

    #[test]
    fn the_first_part_for_a_filter_is_never_all_of_its_input() {
        let source = |len| Source::new(io::empty(), len);
        for len in [None, Some(0), Some(9)] {
            let body = Body::Filter { stdin: source(len), data: source(Some(0)) };
            assert_eq!(first_part(body), (0, false));
        }
    }

    #[test]
    fn the_callers_thread_sends_a_body_in_memory_of_at_most_2_mib() {
        let bytes = vec![b'x'; CALLER_THREAD_MAX + 1];
        assert!(Body::in_memory(&bytes[1..]).may_send_now());
        assert!(!Body::in_memory(&bytes).may_send_now());
        assert!(!Body::from_reader(&bytes[..9], Some(9)).may_send_now());
    }

    #[test]
    fn a_source_reads_no_more_than_the_announced_length() {
        let mut source = Source::new(io::repeat(b'x'), Some(READ_LEN as u64 + 1));
        let mut buffer = Vec::new();
        for (expected, is_end) in [(READ_LEN, false), (1, true), (0, true)] {
            let n = source.read(&mut buffer).expect("a reader that does not fail");
            assert_eq!((n, source.advance(n)), (expected, is_end));
        }
    }
}
