use std::io::{self, Read};

use super::Stdin;

/// The part of a body that is sent together with the beginning of its request: a small request leaves in one write.
const FIRST_PIECE: usize = 32 * 1024;
/// The same where the length of the body is not known: mostly there is none, and what comes does not matter before it is
/// seen to be all.
const FIRST_PROBE: usize = 512;
/// The most that is read of a body at a time.
const PIECE: usize = 64 * 1024;

/// What a request sends behind its params: its body and, to a filter, a file.
pub(crate) struct Body<B, D> {
    stdin: Source<B>,
    data: Option<Source<D>>,
}

/// A reader, and how many bytes of it may be sent at most.
pub(crate) struct Source<R> {
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

impl<B: Read, D: Read> Body<B, D> {
    pub(crate) fn new(stdin: Source<B>, data: Option<Source<D>>) -> Self {
        Self { stdin, data }
    }

    /// Gathers what the first read gives, behind the beginning of the request. Where that is all, the stream is ended, and
    /// the answer is true.
    pub(crate) fn gather_first_piece(&mut self, stdin: &mut Stdin) -> io::Result<bool> {
        let max = if self.stdin.left.is_some() { FIRST_PIECE } else { FIRST_PROBE };
        let is_whole = self.stdin.gather(stdin, max)? && self.data.is_none();
        if is_whole {
            stdin.encode_end()?;
        }
        Ok(is_whole)
    }

    /// Sends the rest.
    pub(crate) fn pump(mut self, stdin: &mut Stdin) -> Result<(), PumpError> {
        self.stdin.pump(stdin)?;
        if let Some(data) = &mut self.data {
            stdin.start_data().map_err(|_| PumpError::Write)?;
            data.pump(stdin)?;
        }
        stdin.finish().map_err(|_| PumpError::Write)
    }
}

impl<R: Read> Source<R> {
    pub(crate) fn new(reader: R, left: Option<u64>) -> Self {
        Self { reader, left }
    }

    fn pump(&mut self, stdin: &mut Stdin) -> Result<(), PumpError> {
        let mut piece = vec![0; PIECE];
        while self.left != Some(0) {
            let max = self.left.map_or(PIECE, |left| PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            if max == 0 {
                return Ok(());
            }
            match self.reader.read(&mut piece[..max]) {
                Ok(0) => break,
                Ok(n) => {
                    stdin.write_now(&piece[..n]).map_err(|_| PumpError::Write)?;
                    self.left = self.left.map(|left| left - n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(PumpError::Read(error)),
            }
        }
        Ok(())
    }

    /// Gathers what one read gives; true at the end of what is to be sent.
    fn gather(&mut self, stdin: &mut Stdin, max: usize) -> io::Result<bool> {
        let max = self.left.map_or(max, |left| max.min(usize::try_from(left).unwrap_or(max)));
        if max == 0 {
            return Ok(true);
        }
        let n = stdin.gather_from(&mut self.reader, max)?;
        if let Some(left) = &mut self.left {
            *left -= n as u64;
        }
        Ok(n == 0 || self.left == Some(0))
    }
}
