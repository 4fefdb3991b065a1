use std::io::{self, Read};

use super::Stdin;
use crate::record::MAX_ALIGNED_LEN;
use crate::stream::{retry, RecordBuffer, DIRECT_LEN};

/// The part of a body that is sent together with the beginning of its request: a small request
/// leaves in one write.
const FIRST_PIECE: usize = 32 * 1024;
/// The same where a copy is of no use: of a body that is in memory and larger; or whose length is
/// not known, where mostly there is none, and what comes does not matter before it is seen to be
/// all.
const FIRST_PROBE: usize = 512;
/// The most that is read of a body at a time: two full records.
const PIECE: usize = 2 * MAX_ALIGNED_LEN;
/// A body of which no more than this is left may be sent by the thread that then receives the
/// response: to start another takes as long as to send some hundred KiB.
const PUSHED: u64 = 2 * 1024 * 1024;

/// What a request sends behind its params: its body and, to a filter, a file.
pub(crate) struct Body<'a, B, D> {
    stdin: Source<'a, B>,
    data: Option<Source<'a, D>>,
    /// Memory for what is read of them.
    piece: Vec<u8>,
}

/// Bytes that are in memory and a reader behind them, and how much of both may be sent at most.
pub(crate) struct Source<'a, R> {
    ready: &'a [u8],
    reader: R,
    left: Option<u64>,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// It could not be read.
    Read(io::Error),
    /// It could not be written: the application has stopped reading, or has gone.
    Write,
}

impl<'a, B: Read, D: Read> Body<'a, B, D> {
    pub(crate) fn new(stdin: Source<'a, B>, data: Option<Source<'a, D>>) -> Self {
        Self { stdin, data, piece: Vec::new() }
    }

    /// Gathers what the first read gives, behind the beginning of the request. Where that is all,
    /// the stream is ended, and the answer is true.
    pub(super) fn gather_first_piece(&mut self, stdin: &mut RecordBuffer) -> io::Result<bool> {
        let max = match self.stdin.left {
            // What is in memory leaves without a copy.
            Some(left) if self.stdin.is_ready() && left > FIRST_PIECE as u64 => FIRST_PROBE,
            Some(_) => FIRST_PIECE,
            None => FIRST_PROBE,
        };
        let is_whole = self.stdin.gather(stdin, max)? && self.data.is_none();
        if is_whole {
            stdin.end_stream();
        }
        Ok(is_whole)
    }

    /// Whether [`push`](Self::push) may be of use: all that is left is in memory. A reader might
    /// wait for long, even for the response.
    pub(super) fn is_pushable(&self) -> bool {
        self.data.is_none()
            && self.stdin.is_ready()
            && self.stdin.left.is_some_and(|left| left <= PUSHED)
    }

    /// Sends what is in memory, as long as the application takes it in time; true if it has taken
    /// all.
    pub(super) fn push(&mut self, stdin: &mut Stdin) -> Result<bool, PumpError> {
        loop {
            let Next { data, is_last } =
                self.stdin.next(&mut self.piece).map_err(PumpError::Read)?;
            let is_sent = stdin.try_write_now(data, is_last).map_err(|_| PumpError::Write)?;
            if !is_sent || is_last {
                return Ok(is_sent);
            }
        }
    }

    /// Sends the rest.
    pub(crate) fn pump(mut self, stdin: &mut Stdin) -> Result<(), PumpError> {
        self.stdin.pump(stdin, self.data.is_none(), &mut self.piece)?;
        if let Some(data) = &mut self.data {
            stdin.start_data().map_err(|_| PumpError::Write)?;
            data.pump(stdin, true, &mut self.piece)?;
        }
        Ok(())
    }
}

/// What is sent next of a source.
struct Next<'b> {
    data: &'b [u8],
    /// Whether nothing comes behind it. (If nothing is announced, only no data tells that.)
    is_last: bool,
}

impl<'a, R: Read> Source<'a, R> {
    pub(crate) fn new(reader: R, left: Option<u64>) -> Self {
        Self { ready: &[], reader, left }
    }

    /// Sends all that is left, and with `ends` the end of the request's input behind it.
    fn pump(
        &mut self,
        stdin: &mut Stdin,
        ends: bool,
        piece: &mut Vec<u8>,
    ) -> Result<(), PumpError> {
        loop {
            let Next { data, is_last } = self.next(piece).map_err(PumpError::Read)?;
            let sent = match (data, ends) {
                ([], true) => stdin.finish(),
                ([], false) => Ok(()),
                (data, _) => stdin.write_now(data, is_last && ends),
            };
            sent.map_err(|_| PumpError::Write)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Whether all that is left is in memory.
    fn is_ready(&self) -> bool {
        self.left == Some(self.ready.len() as u64)
    }

    /// Takes what is ready, or else what one read gives.
    fn next<'b>(&'b mut self, piece: &'b mut Vec<u8>) -> io::Result<Next<'b>>
    where
        'a: 'b,
    {
        let data = if self.ready.is_empty() {
            let max =
                self.left.map_or(PIECE, |left| PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            if max == 0 {
                return Ok(Next { data: &[], is_last: true });
            }
            piece.resize(PIECE, 0);
            let n = retry(|| self.reader.read(&mut piece[..max]))?;
            &piece[..n]
        } else {
            let (data, rest) = self.ready.split_at(self.ready.len().min(DIRECT_LEN));
            self.ready = rest;
            data
        };
        self.left = self.left.map(|left| left - data.len() as u64);
        Ok(Next { data, is_last: data.is_empty() || self.left == Some(0) })
    }

    /// Gathers what one read gives; true at the end of what is to be sent.
    fn gather(&mut self, stdin: &mut RecordBuffer, max: usize) -> io::Result<bool> {
        let max = self.left.map_or(max, |left| max.min(usize::try_from(left).unwrap_or(max)));
        if max == 0 {
            return Ok(true);
        }
        let n = if self.ready.is_empty() {
            stdin.read_from(&mut self.reader, max)?
        } else {
            stdin.read_from(&mut self.ready, max)?
        };
        if let Some(left) = &mut self.left {
            *left -= n as u64;
        }
        Ok(n == 0 || self.left == Some(0))
    }
}

impl<'a> Source<'a, io::Empty> {
    /// A source that is in memory.
    pub(super) fn ready(bytes: &'a [u8]) -> Self {
        Self { ready: bytes, reader: io::empty(), left: Some(bytes.len() as u64) }
    }
}
