use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::deadline::Deadline;
use super::room::MakeRoom;
use super::timer::Timer;
use crate::error::Error;
use crate::net::Stream;

/// How long a request on a new connection waits for the application before it asks for room. It is
/// longer than most applications take to answer, and short enough for a user who waits.
const MAX_RESPONSE_DELAY: Duration = Duration::from_millis(100);

/// The socket of a connection, shared by the reader of the response and the writer of the body.
///
/// A clone is the same socket, like a clone of [`Stream`].
///
/// A read does not time out while a body is being written: an application that reads a large or
/// slow body before it answers may take as long as the body does. Each read clears the flag
/// `has_written`, each write sets it, and a read that times out starts again if the flag is set.
/// The flag guards no other data, so `Relaxed` is enough. A write that ends between the clearing
/// and the start of the read also counts, which prolongs the wait by at most one timeout.
#[derive(Clone, Debug)]
pub(super) struct SharedSocket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: Stream,
    /// Whether a write has succeeded since the current read began.
    has_written: AtomicBool,
    /// [`UNANSWERED`], [`NEEDS_ROOM`] or [`ANSWERED`], in this order. It guards no other data, so
    /// `Relaxed` is enough.
    answer: AtomicU8,
    /// What makes room while the connection is not answered.
    room: Option<Weak<dyn MakeRoom>>,
}

/// Nothing has been read from the connection.
const UNANSWERED: u8 = 0;
/// Nothing has been read from the connection, and room has been made for it.
const NEEDS_ROOM: u8 = 1;
/// The application has answered on the connection, or closed it.
const ANSWERED: u8 = 2;

/// Reads from the socket, within a timeout and a deadline.
#[derive(Debug)]
pub(super) struct SocketReader {
    socket: SharedSocket,
    timer: Timer,
}

/// Writes to the socket, within a timeout and a deadline.
#[derive(Clone, Debug)]
pub(super) struct SocketWriter {
    socket: SharedSocket,
    timer: Timer,
    /// Whether [`limit_wait`](Self::limit_wait) applies.
    is_wait_limited: bool,
}

/// Creates the reader and the writer of a new connection whose first request has this deadline.
/// `room` is asked for room until the application has sent something.
pub(super) fn open(
    stream: Stream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    deadline: Deadline,
    room: Option<Weak<dyn MakeRoom>>,
) -> io::Result<(SocketReader, SocketWriter)> {
    let shared = Shared {
        stream,
        has_written: AtomicBool::new(false),
        answer: AtomicU8::new(UNANSWERED),
        room,
    };
    let socket = SharedSocket(Arc::new(shared));
    let read_timer = Timer::new(read_timeout, deadline, socket.max_call());
    let write_timer = Timer::new(write_timeout, deadline, socket.max_call());
    socket.0.stream.set_timeouts(read_timer.on_socket(), write_timer.on_socket())?;
    let reader = SocketReader { socket: socket.clone(), timer: read_timer };
    let writer = SocketWriter { socket, timer: write_timer, is_wait_limited: false };
    Ok((reader, writer))
}

/// A socket that is closed when its connection is, although other threads can cancel the request.
#[derive(Clone, Debug)]
pub(super) struct WeakSocket(Weak<Shared>);

impl WeakSocket {
    /// Cancels the request, unless its connection is closed.
    pub(super) fn cancel(&self) {
        if let Some(shared) = self.0.upgrade() {
            SharedSocket(shared).cancel();
        }
    }
}

impl SharedSocket {
    /// Returns a reference that does not keep the socket open.
    pub(super) fn downgrade(&self) -> WeakSocket {
        WeakSocket(Arc::downgrade(&self.0))
    }

    /// Shuts down both directions of the connection, which wakes every thread that waits on it.
    pub(super) fn cancel(&self) {
        // This fails only if the connection is closed already.
        let _ = self.0.stream.shutdown(Shutdown::Both);
    }

    /// Returns the longest wait of a single system call. A longer wait takes several calls.
    fn max_call(&self) -> Duration {
        if self.0.room.is_some() && self.0.is_unanswered() {
            MAX_RESPONSE_DELAY
        } else {
            Duration::MAX
        }
    }
}

impl Shared {
    fn is_unanswered(&self) -> bool {
        self.answer.load(Relaxed) != ANSWERED
    }

    fn room(&self) -> Option<Arc<dyn MakeRoom>> {
        self.room.as_ref().and_then(Weak::upgrade)
    }

    /// Makes room after a wait if the application has not answered yet.
    fn make_room(&self) {
        if !self.is_unanswered() {
            return;
        }
        if let Some(room) = self.room() {
            room.make_room(self.answer.swap(NEEDS_ROOM, Relaxed) == NEEDS_ROOM);
        }
    }

    /// Records that the application has answered or closed the connection.
    #[cold]
    fn set_answered(&self) {
        if self.answer.swap(ANSWERED, Relaxed) == NEEDS_ROOM {
            if let Some(room) = self.room() {
                room.end_need();
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_unanswered() {
            self.set_answered();
        }
    }
}

impl SocketReader {
    pub(super) fn socket(&self) -> &SharedSocket {
        &self.socket
    }

    pub(super) fn timer_mut(&mut self) -> &mut Timer {
        &mut self.timer
    }

    /// Returns whether nothing has been read.
    pub(super) fn is_unanswered(&self) -> bool {
        self.socket.0.is_unanswered()
    }

    /// Reads the bytes that arrive within `max`. Returns `None` if there are none.
    pub(super) fn read_within(
        &mut self,
        max: Duration,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let stream = &self.socket.0.stream;
        if max.is_zero() {
            return stream.try_read(buffer);
        }
        stream.set_read_timeout(Some(max))?;
        self.timer.set_on_socket(max);
        match (&mut &*stream).read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn begin_wait(&mut self, waited: Duration) -> io::Result<()> {
        if self.timer.begin_wait(waited, self.socket.max_call())? {
            self.socket.0.stream.set_read_timeout(self.timer.on_socket())?;
        }
        Ok(())
    }

    fn read_with(
        &mut self,
        mut read: impl FnMut(&mut &Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.timer.take_ready() {
            self.begin_wait(Duration::ZERO)?;
        }
        self.socket.0.has_written.store(false, Relaxed);
        let mut waited = Duration::ZERO;
        loop {
            match read(&mut &self.socket.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    waited = self.continue_wait(waited).ok_or(error)?;
                    self.socket.0.make_room();
                    self.begin_wait(waited)?;
                }
                Ok(n) => {
                    if self.socket.0.is_unanswered() {
                        self.socket.0.set_answered();
                    }
                    return Ok(n);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns how long a read has waited that has reached the timeout of the socket. Returns
    /// `None` if it may not wait any longer.
    fn continue_wait(&self, waited: Duration) -> Option<Duration> {
        if self.socket.0.has_written.swap(false, Relaxed) {
            return Some(Duration::ZERO);
        }
        self.timer.continue_wait(waited)
    }
}

impl SocketWriter {
    pub(super) fn socket(&self) -> &SharedSocket {
        &self.socket
    }

    pub(super) fn timer_mut(&mut self) -> &mut Timer {
        &mut self.timer
    }

    /// Uses the timeout that a clone has left on the socket.
    pub(super) fn continue_from(&mut self, clone: &Self) {
        self.timer.clone_from(&clone.timer);
    }

    /// Makes a vectored write fail with `WouldBlock` if the peer reads nothing for `max`. The next
    /// write can then continue. Without this limit a write that times out is the last one.
    pub(super) fn limit_wait(&mut self, max: Duration) -> io::Result<()> {
        self.socket.0.stream.set_write_timeout(Some(max))?;
        self.timer.set_on_socket(max);
        self.is_wait_limited = true;
        Ok(())
    }

    /// Removes the limit that [`limit_wait`](Self::limit_wait) has set.
    pub(super) fn unlimit_wait(&mut self) {
        self.is_wait_limited = false;
    }

    fn begin_wait(&mut self, waited: Duration) -> io::Result<()> {
        if self.timer.begin_wait(waited, self.socket.max_call())? {
            self.socket.0.stream.set_write_timeout(self.timer.on_socket())?;
        }
        Ok(())
    }

    /// Writes as much as the peer reads before the timeout. Part of a message may have been sent
    /// before a write times out, so the writing half is then shut down.
    fn write_in_time(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut waited = Duration::ZERO;
        loop {
            self.begin_wait(waited)?;
            match self.socket.0.stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let Some(total) = self.timer.continue_wait(waited) else {
                // This fails only if the connection has been closed already.
                let _ = self.socket.0.stream.shutdown(Shutdown::Write);
                return Err(Error::TimedOut("write").into());
            };
            waited = total;
            self.socket.0.make_room();
        }
    }

    fn record_write(&self, written: io::Result<usize>) -> io::Result<usize> {
        if written.is_ok() {
            self.socket.0.has_written.store(true, Relaxed);
        }
        written
    }
}

impl Read for SocketReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|stream| stream.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(|stream| stream.read_vectored(buffers))
    }
}

impl Write for SocketWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.timer.take_ready() {
            return self.write_vectored(&[IoSlice::new(data)]);
        }
        let written = (&mut &self.socket.0.stream).write(data);
        self.record_write(written)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_wait_limited {
            return self.socket.0.stream.try_write_vectored(slices);
        }
        let written = self.write_in_time(slices);
        self.record_write(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
