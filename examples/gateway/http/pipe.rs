//! A buffer between an application and a slow client.
//!
//! The application can send up to [`MAX_BUFFERED`] bytes more than the client has received. After
//! that it serves other requests, while a thread of this response waits for the client.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::response::ResponseWriter;

/// The maximum number of bytes that wait for a client.
const MAX_BUFFERED: usize = 4 * 1024 * 1024;
/// The maximum number of bytes per write to a client.
const PIECE_LEN: usize = 64 * 1024;

/// Writes to the buffer. If it is dropped without [`finish`](Self::finish), so is the response.
pub struct PipeWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when a field of `state` changes.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// All but the last one have [`PIECE_LEN`] bytes.
    pieces: VecDeque<Vec<u8>>,
    /// The number of bytes in `pieces`, and of the piece that is being sent.
    unsent: usize,
    /// What follows the pieces.
    end: Option<End>,
    /// Whether the thread has ended, usually because the client has disconnected.
    is_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Broken,
}

/// Starts a thread that sends what is written to the pipe.
pub fn pipe(writer: ResponseWriter) -> io::Result<PipeWriter> {
    let shared: Arc<Shared> = Arc::default();
    let reader = Arc::clone(&shared);
    let thread = thread::Builder::new().spawn(move || {
        let sent = catch_unwind(AssertUnwindSafe(|| reader.send_all(writer)));
        // A writer that waits for room must not wait for a thread that has ended.
        reader.lock().is_closed = true;
        reader.changed.notify_all();
        sent.unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    Ok(PipeWriter { shared, thread: Some(thread) })
}

impl Shared {
    /// Sends pieces until the end. A broken response is not finished.
    fn send_all(&self, mut writer: ResponseWriter) -> io::Result<()> {
        let is_empty = |state: &mut State| state.pieces.is_empty() && state.end.is_none();
        loop {
            let mut state = self.lock();
            if is_empty(&mut state) {
                drop(state);
                // The client receives the head at once, although the body may take a while.
                writer.flush()?;
                state = self.wait_while(is_empty);
            }
            let (piece, end) = (state.pieces.pop_front(), state.end);
            drop(state);
            match (piece, end) {
                (Some(piece), _) => {
                    writer.write_all(&piece)?;
                    self.lock().unsent -= piece.len();
                    self.changed.notify_all();
                }
                (None, Some(End::Complete)) => return writer.finish(),
                (None, Some(End::Broken)) => return Ok(()),
                (None, None) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), condition).unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds as many bytes as fit into the last piece, or into a new one. Returns their number.
    fn push(&mut self, data: &[u8]) -> usize {
        let mut piece = match self.pieces.pop_back() {
            Some(last) if last.len() < PIECE_LEN => last,
            last => {
                self.pieces.extend(last);
                Vec::with_capacity(PIECE_LEN)
            }
        };
        let len = data.len().min(PIECE_LEN - piece.len()).min(MAX_BUFFERED - self.unsent);
        piece.extend_from_slice(&data[..len]);
        self.pieces.push_back(piece);
        self.unsent += len;
        len
    }
}

impl PipeWriter {
    /// Ends the response, and waits until the client has received it.
    pub fn finish(mut self) -> io::Result<()> {
        self.end(End::Complete)
    }

    fn end(&mut self, end: End) -> io::Result<()> {
        self.shared.lock().end = Some(end);
        self.shared.changed.notify_all();
        let sent = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        sent.unwrap_or_else(|_panic| Err(io::Error::other("the thread of the response panicked")))
    }
}

impl Write for PipeWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let is_full = |state: &mut State| state.unsent >= MAX_BUFFERED && !state.is_closed;
        let mut state = self.shared.wait_while(is_full);
        if state.is_closed {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the client disconnected"));
        }
        let len = state.push(data);
        drop(state);
        self.shared.changed.notify_all();
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // The request has failed already.
            let _ = self.end(End::Broken);
        }
    }
}
