//! The input of a request: its body and, for a filter, the data.
//!
//! Four sizes decide how a body is sent:
//!
//! | Constant | Limits | Reason |
//! | --- | --- | --- |
//! | [`FIRST_PART`] | the body in the first write | A small request takes one write. |
//! | [`SHORT_FIRST_PART`] | a long or unknown body in it | Copying more gains nothing. |
//! | [`READ_LEN`] | one later read of a reader | Each write sends two full records. |
//! | [`CALLER_THREAD_MAX`] | a body sent by the caller's thread | It saves starting a thread. |
//!
//! `SHORT_FIRST_PART` applies to a body in memory longer than `FIRST_PART`, because the rest is
//! sent without a copy, and to a reader of unknown length, because most such readers are empty.
//! `CALLER_THREAD_MAX` applies to what is left after the first part of a body in memory or of a
//! regular file. Starting a thread takes as long as sending a few hundred KiB.

use std::io::{self, Read};

use super::body::Body;
use super::stdin::Stdin;
use crate::record::MAX_ALIGNED_LEN;
use crate::stream::{retry_interrupted, RecordBuffer, DIRECT_LEN};

const FIRST_PART: usize = 32 * 1024;
const SHORT_FIRST_PART: usize = 512;
const READ_LEN: usize = 2 * MAX_ALIGNED_LEN;
const CALLER_THREAD_MAX: u64 = 2 * 1024 * 1024;

/// The part of a request's input that has not been sent yet.
pub(super) struct Input<'a> {
    /// The stream that is sent first.
    stream: Source<'a>,
    /// The stream that is sent after it.
    data: Option<Box<Source<'a>>>,
}

/// A body that is sent as one stream.
struct Source<'a> {
    body: Body<'a>,
    /// The number of bytes that may still be sent. `None` sends all that can be read. Invariant: a
    /// body in memory has at least as many.
    left: Option<u64>,
}

/// Why the input was not sent to its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// The body cannot be read.
    Read(io::Error),
    /// The body cannot be written. Reading the response reports whether that is an error, and a
    /// write that has timed out.
    Write,
}

impl SendError {
    /// Returns the error of a body that cannot be read.
    pub(super) fn into_read_error(self) -> Option<io::Error> {
        match self {
            Self::Read(error) => Some(error),
            Self::Write => None,
        }
    }
}

impl<'a> Input<'a> {
    /// Creates the input of a request, of whose body at most `max()` bytes are sent. `max` is not
    /// called if the body is empty: looking up a param takes 6 % of a small request's instructions.
    #[inline]
    pub(super) fn new(body: Body<'a>, max: impl FnOnce() -> Option<u64>) -> Self {
        Self { stream: Source::new(body, max), data: None }
    }

    /// Adds the data for a filter, of which at most `max()` bytes are sent.
    pub(super) fn with_data(self, data: Body<'a>, max: impl FnOnce() -> Option<u64>) -> Self {
        Self { data: Some(Box::new(Source::new(data, max))), ..self }
    }

    /// Returns whether the input is known to be empty.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.stream.left == Some(0) && self.data.is_none()
    }

    /// Returns whether the first part of the body is in memory, so that moving it does not block.
    #[inline]
    pub(super) fn is_in_memory(&self) -> bool {
        self.stream.body.len_in_memory().is_some()
    }

    /// Moves the first part of the body to `records`. If that is the whole input, ends the stream
    /// there and returns true.
    pub(super) fn move_first_part(&mut self, records: &mut RecordBuffer) -> io::Result<bool> {
        let is_whole = self.stream.move_first_part(records)? && self.data.is_none();
        if is_whole {
            records.end_stream();
        }
        Ok(is_whole)
    }

    /// Returns whether the caller's thread may send the input with [`send_now`](Self::send_now). A
    /// reader is excluded because reading it could block, even until the response arrives.
    pub(super) fn may_send_now(&self) -> bool {
        let is_short =
            |source: &Source<'_>| source.known_left().is_some_and(|left| left <= CALLER_THREAD_MAX);
        is_short(&self.stream) && self.data.as_deref().is_none_or(is_short)
    }

    /// Sends the input and its end, as long as the application keeps reading it. Returns whether
    /// all of it was sent. If not, [`send_all`](Self::send_all) continues.
    pub(super) fn send_now(&mut self, stdin: &mut Stdin) -> Result<bool, SendError> {
        self.send_with(stdin, Stdin::try_send)
    }

    /// Sends the rest of the input and its end.
    pub(super) fn send_all(mut self, stdin: &mut Stdin) -> Result<(), SendError> {
        let send =
            |stdin: &mut Stdin, piece: &[u8], is_last| stdin.send(piece, is_last).map(|()| true);
        self.send_with(stdin, send).map(drop)
    }

    /// Sends the rest of the input and its end with `send`, until that returns false. Returns the
    /// last result of `send`.
    fn send_with(
        &mut self,
        stdin: &mut Stdin,
        send: impl Fn(&mut Stdin, &[u8], bool) -> io::Result<bool>,
    ) -> Result<bool, SendError> {
        let mut buffer = Vec::new();
        loop {
            let (piece, is_end) = self.stream.next_piece(&mut buffer)?;
            let is_last = is_end && self.data.is_none();
            let is_sent = send(stdin, piece, is_last).map_err(|_| SendError::Write)?;
            if !is_sent || is_last {
                return Ok(is_sent);
            }
            if !is_end {
                continue;
            }
            if let Some(data) = self.data.take() {
                stdin.start_data().map_err(|_| SendError::Write)?;
                self.stream = *data;
            }
        }
    }
}

impl<'a> Source<'a> {
    #[inline]
    fn new(body: Body<'a>, max: impl FnOnce() -> Option<u64>) -> Self {
        let left = match body.len_in_memory() {
            Some(0) => Some(0),
            Some(len) => Some(max().map_or(len, |max| max.min(len))),
            None => max(),
        };
        Self { body, left }
    }

    /// Returns how many bytes will be sent if that is known without reading them.
    fn known_left(&self) -> Option<u64> {
        let len = self.body.known_len()?;
        Some(self.left.map_or(len, |left| left.min(len)))
    }

    /// Moves the bytes of one read to `records`. Returns true at the end of the source.
    fn move_first_part(&mut self, records: &mut RecordBuffer) -> io::Result<bool> {
        let max = match self.left {
            Some(left) if self.body.len_in_memory().is_some() && left > FIRST_PART as u64 => {
                SHORT_FIRST_PART
            }
            Some(_) => self.limit(FIRST_PART),
            None => SHORT_FIRST_PART,
        };
        if max == 0 {
            return Ok(true);
        }
        let n = records.read_from(&mut self.body, max)?;
        Ok(self.advance(n))
    }

    /// Returns the next bytes, and whether the source has ended. Reads them into `buffer` unless
    /// they are in memory.
    fn next_piece<'s>(
        &'s mut self,
        buffer: &'s mut Vec<u8>,
    ) -> Result<(&'s [u8], bool), SendError> {
        if self.body.len_in_memory().is_some() {
            let len = self.limit(DIRECT_LEN);
            let is_end = self.advance(len);
            return Ok((self.body.next_in_memory(len), is_end));
        }
        let n = self.read(buffer).map_err(SendError::Read)?;
        let is_end = self.advance(n);
        Ok((&buffer[..n], is_end))
    }

    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let max = self.limit(READ_LEN);
        if max == 0 {
            return Ok(0);
        }
        buffer.resize(READ_LEN, 0);
        retry_interrupted(|| self.body.read(&mut buffer[..max]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordType, HEADER_LEN};

    const FIRST_PART_LEN: u64 = FIRST_PART as u64;

    /// Returns the length of the first part of a body, and whether it is the whole body.
    fn first_part(mut input: Input<'_>) -> (usize, bool) {
        let mut records = RecordBuffer::new(RecordType::Stdin, 1, Vec::new());
        let is_whole = input.move_first_part(&mut records).expect("a reader that does not fail");
        let records = records.take_records();
        let content = |record: &[u8]| usize::from(record[4]) << 8 | usize::from(record[5]);
        let len = if records.is_empty() { 0 } else { content(&records) };
        let has_end = records.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]);
        assert_eq!(has_end, is_whole, "{} bytes of records", records.len());
        assert!(records.len() <= len + 7 + 2 * HEADER_LEN);
        (len, is_whole)
    }

    fn first_part_of_reader(available: usize, announced: Option<u64>) -> (usize, bool) {
        first_part(Input::new(Body::from_reader(&vec![b'x'; available][..]), || announced))
    }

    fn first_part_in_memory(len: usize, announced: Option<u64>) -> (usize, bool) {
        first_part(Input::new((&vec![b'x'; len]).into(), || announced))
    }

    #[test]
    fn the_first_part_of_a_small_body_in_memory_is_all_of_it() {
        for len in [0, 1, FIRST_PART - 1, FIRST_PART] {
            assert_eq!(first_part_in_memory(len, None), (len, true));
        }
        assert_eq!(first_part_in_memory(FIRST_PART + 1, None), (SHORT_FIRST_PART, false));
    }

    #[test]
    fn the_first_part_of_a_body_in_memory_has_at_most_the_announced_length() {
        assert_eq!(first_part_in_memory(9, Some(8)), (8, true));
        assert_eq!(first_part_in_memory(9, Some(10)), (9, true));
        assert_eq!(first_part_in_memory(FIRST_PART + 1, Some(FIRST_PART_LEN)), (FIRST_PART, true));
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
        for len in [None, Some(0), Some(9)] {
            let input = Input::new(io::empty().into(), || len);
            assert_eq!(first_part(input.with_data(io::empty().into(), || Some(0))), (0, false));
        }
    }

    #[test]
    fn the_callers_thread_sends_at_most_2_mib_that_can_be_read_without_waiting() {
        const MAX: u64 = CALLER_THREAD_MAX;
        let bytes = vec![b'x'; CALLER_THREAD_MAX as usize + 1];
        let may_send_now = |body, len| Input::new(body, || len).may_send_now();
        assert!(may_send_now(bytes[1..].into(), None));
        assert!(!may_send_now((&bytes).into(), None));
        assert!(may_send_now((&bytes).into(), Some(MAX)));
        assert!(!may_send_now(Body::from_reader(&bytes[..9]), Some(9)));

        let may_send_file = |len, announced| {
            let file = tempfile::tempfile().expect("a temporary file");
            file.set_len(len).expect("a file of this length");
            may_send_now(file.into(), announced)
        };
        assert!(may_send_file(MAX, None));
        assert!(!may_send_file(MAX + 1, None));
        assert!(may_send_file(MAX + 1, Some(MAX)));
        assert!(!may_send_file(0, Some(9)), "it may be a virtual file");

        let filter = |data| Input::new(io::empty().into(), || None).with_data(data, || None);
        assert!(filter(bytes[1..].into()).may_send_now());
        assert!(!filter((&bytes).into()).may_send_now());
    }

    #[test]
    fn a_source_reads_no_more_than_the_announced_length() {
        let body = Body::from_reader(io::repeat(b'x'));
        let mut source = Source::new(body, || Some(READ_LEN as u64 + 1));
        let mut buffer = Vec::new();
        for expected in [(READ_LEN, false), (1, true), (0, true)] {
            let (piece, is_end) = source.next_piece(&mut buffer).expect("no failure");
            assert_eq!((piece.len(), is_end), expected);
        }
    }
}
