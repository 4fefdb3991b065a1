//! The bytes that a client sends. One thread receives them, and another one uses them.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// The timeout for reading from a client and for writing to it.
pub(super) const IO_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum number of bytes per read.
const READ_LEN: usize = 64 * 1024;

/// The received bytes that have not been used.
pub(super) struct Input {
    pieces: Receiver<io::Result<Vec<u8>>>,
    buffer: Vec<u8>,
    /// The number of bytes of `buffer` that have been used.
    used: usize,
}

impl Input {
    pub(super) fn new(pieces: Receiver<io::Result<Vec<u8>>>) -> Self {
        Self { pieces, buffer: Vec::new(), used: 0 }
    }

    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    pub(super) fn consume(&mut self, len: usize) {
        self.used += len;
    }

    /// Waits for more bytes. Returns `false` at the end of the input.
    pub(super) fn fill(&mut self, deadline: Instant) -> io::Result<bool> {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let piece = match self.pieces.recv_timeout(timeout) {
            Ok(piece) => piece?,
            Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        };
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(&piece);
        Ok(true)
    }
}

/// Receives bytes until the end of the stream. After the `Input` has been dropped, they are
/// discarded.
pub(super) fn receive(
    mut stream: &TcpStream,
    pieces: &SyncSender<io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => drop(pieces.send(Ok(buffer[..len].to_vec()))),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
