use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::close_requests::{CloseKept, FirstResponse};
use super::deadline::Deadline;
use super::timer::{Timeouts, Timer, Wait};
use crate::error::{Error, Result};
use crate::net::{Address, Stream};

/// A write of at most this many bytes fits into the buffer of a socket, so it does not wait unless
/// the application has left much of an earlier body unread.
pub(super) const SMALL_WRITE: usize = 4096;

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
    /// The address of the application, for errors. `None` if it is not known.
    address: Option<Arc<Address>>,
    read_timeouts: Timeouts,
    write_timeouts: Timeouts,
    /// Whether a write has succeeded since the current read began.
    has_written: AtomicBool,
    /// Whether a write has timed out. The write half is then shut down. It guards no other data,
    /// and the application sees the shutdown later, so `Relaxed` is enough.
    has_write_timed_out: AtomicBool,
    /// Whether [`SharedSocket::cancel`] was called. `Relaxed` is enough: the thread that reuses the
    /// connection may also be too early to observe the cancellation.
    is_canceled: AtomicBool,
    first_response: FirstResponse,
}

/// The read half of a socket, with a timeout and a deadline.
#[derive(Debug)]
pub(super) struct SocketReader {
    socket: SharedSocket,
    timer: Timer,
}

/// The write half of a socket, with a timeout and a deadline.
#[derive(Clone, Debug)]
pub(super) struct SocketWriter {
    socket: SharedSocket,
    timer: Timer,
    /// Whether [`limit_wait`](Self::limit_wait) applies.
    is_wait_limited: bool,
}

/// How much of the first part of a request has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Nothing,
    Part,
    All,
}

/// Creates the reader and the writer of a new connection, whose requests may each take
/// `max_request`. `pool` closes kept connections until the application has sent something.
pub(super) fn open(
    stream: Stream,
    address: Option<Arc<Address>>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    max_request: Option<Duration>,
    pool: Option<Weak<dyn CloseKept>>,
) -> io::Result<(SocketReader, SocketWriter)> {
    let first_response = FirstResponse::new(pool, read_timeout);
    let read_timeouts = Timeouts::new(read_timeout, max_request, first_response.max_wait());
    let write_timeouts = Timeouts::new(write_timeout, max_request, Duration::MAX);
    stream.set_timeouts(read_timeouts.on_socket(), write_timeouts.on_socket())?;
    let shared = Shared {
        stream,
        address,
        read_timeouts,
        write_timeouts,
        has_written: AtomicBool::new(false),
        has_write_timed_out: AtomicBool::new(false),
        is_canceled: AtomicBool::new(false),
        first_response,
    };
    let socket = SharedSocket(Arc::new(shared));
    let reader = SocketReader { socket: socket.clone(), timer: Timer::new() };
    let writer = SocketWriter { socket, timer: Timer::new(), is_wait_limited: false };
    Ok((reader, writer))
}

/// A weak reference to a socket, for canceling its request. It does not keep the socket open.
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

    /// Returns whether the connection was shut down by [`cancel`](Self::cancel).
    #[inline]
    pub(super) fn is_canceled(&self) -> bool {
        self.0.is_canceled.load(Relaxed)
    }

    /// Returns whether both are the same socket.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Shuts down both directions of the connection, which wakes every thread that waits on it.
    pub(super) fn cancel(&self) {
        self.0.is_canceled.store(true, Relaxed);
        // This fails only if the connection is closed already.
        let _ = self.0.stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    /// Checks whether the input has ended after a write has timed out. The application then has not
    /// received the whole request, and its end is only a consequence.
    ///
    /// # Errors
    /// [`Error::TimedOut`], of that write.
    #[cold]
    fn check_cause_of_end(&self) -> Result<()> {
        if self.has_write_timed_out.load(Relaxed) {
            return Err(self.write_timeouts.expired("write"));
        }
        Ok(())
    }

    /// Adds the operation and the address to an error of the system.
    #[cold]
    fn name_error(&self, operation: &'static str, error: io::Error) -> io::Error {
        let is_named = error.raw_os_error().is_some() && error.kind() != io::ErrorKind::Interrupted;
        match self.address.as_ref().filter(|_| is_named) {
            Some(address) => Error::socket(operation, address, error).into(),
            None => error,
        }
    }
}

impl SocketReader {
    /// Starts a request. If `skips_clock`, it has just begun, and the first read does not read the
    /// clock.
    #[inline]
    pub(super) fn start(&mut self, deadline: Deadline, skips_clock: bool) {
        let skips_clock = skips_clock && self.socket.0.read_timeouts.is_usual_or_shorter();
        self.timer.start(deadline, skips_clock);
    }

    /// Makes the first read of a request read the clock.
    pub(super) fn end_clock_skip(&mut self) {
        self.timer.take_clock_skip();
    }

    /// Returns whether nothing has been read.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.socket.0.first_response.has_arrived()
    }

    /// Reads the bytes that arrive within `max`. Returns `None` if there are none.
    ///
    /// # Errors
    /// `Interrupted` if a signal has ended the wait, and any error of the connection.
    pub(super) fn read_within(
        &self,
        max: Duration,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let Shared { stream, read_timeouts, .. } = &*self.socket.0;
        if max.is_zero() {
            return stream.try_read(buffer);
        }
        stream.set_read_timeout(Some(max))?;
        read_timeouts.set_on_socket(max);
        match (&mut &*stream).read(buffer) {
            Ok(n) => Ok(Some(n)),
            Err(error) if Stream::is_own_timeout(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a wait, or continues one that has taken `waited` so far.
    fn begin_wait(&mut self, waited: Duration) -> io::Result<()> {
        let Shared { stream, read_timeouts, first_response, .. } = &*self.socket.0;
        if self.timer.begin_wait(read_timeouts, waited, first_response.max_wait())? {
            stream.set_read_timeout(read_timeouts.on_socket())?;
        }
        Ok(())
    }

    fn read_with(
        &mut self,
        mut read: impl FnMut(&mut &Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.timer.take_clock_skip() {
            self.begin_wait(Duration::ZERO)?;
        }
        self.socket.0.has_written.store(false, Relaxed);
        let mut wait = Wait::default();
        loop {
            match read(&mut &self.socket.0.stream) {
                Ok(n) => {
                    if self.is_unanswered() {
                        self.socket.0.first_response.set_arrived();
                    }
                    if n == 0 {
                        self.socket.0.check_cause_of_end()?;
                    }
                    return Ok(n);
                }
                Err(error) => self.continue_wait(&mut wait, error)?,
            }
        }
    }

    /// Continues the wait of a read that has failed, unless the error is final or the wait has
    /// taken too long. The wait begins again if something was written since the last call.
    #[cold]
    fn continue_wait(&mut self, wait: &mut Wait, error: io::Error) -> io::Result<()> {
        let Shared { read_timeouts, first_response, has_written, .. } = &*self.socket.0;
        let is_interrupted = error.kind() == io::ErrorKind::Interrupted;
        match error.kind() {
            io::ErrorKind::Interrupted => wait.add_interrupted(),
            _ if Stream::is_own_timeout(&error) => wait.add_timeout(read_timeouts),
            _ => {
                self.socket.0.check_cause_of_end()?;
                return Err(self.socket.0.name_error("read from", error));
            }
        }
        if has_written.swap(false, Relaxed) {
            *wait = Wait::default();
        }
        read_timeouts.check("read", wait)?;
        if !is_interrupted {
            first_response.request_close();
        }
        self.begin_wait(wait.waited())
    }
}

impl SocketWriter {
    pub(super) fn socket(&self) -> &SharedSocket {
        &self.socket
    }

    /// Starts a request. If `skips_clock`, it has just begun, and the first write does not read
    /// the clock.
    #[inline]
    pub(super) fn start(&mut self, deadline: Deadline, skips_clock: bool) {
        let skips_clock = skips_clock && self.socket.0.write_timeouts.is_usual();
        self.timer.start(deadline, skips_clock);
    }

    /// Sends the first part of a request. A failure other than a timeout is reported as
    /// [`Progress`], because the application may have answered before it closed the connection.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(super) fn send(&mut self, mut records: &[u8]) -> Result<Progress> {
        let mut progress = Progress::Nothing;
        while !records.is_empty() {
            match self.write(records) {
                Ok(n) => {
                    records = &records[n..];
                    progress = Progress::Part;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error.into()),
                Err(_) => return Ok(progress),
            }
        }
        Ok(Progress::All)
    }

    /// Makes a vectored write fail with `WouldBlock` if the peer reads nothing for `max`, or until
    /// a signal arrives. The next write can then continue. Without this limit a write that times
    /// out is the last one.
    pub(super) fn limit_wait(&mut self, max: Duration) -> io::Result<()> {
        self.socket.0.stream.set_write_timeout(Some(max))?;
        self.socket.0.write_timeouts.set_on_socket(max);
        self.is_wait_limited = true;
        Ok(())
    }

    /// Removes the limit that [`limit_wait`](Self::limit_wait) has set.
    pub(super) fn clear_wait_limit(&mut self) {
        self.is_wait_limited = false;
    }

    /// Begins a wait, or continues one that has taken `waited` so far. It ends after `max`.
    fn begin_wait(&mut self, waited: Duration, max: Duration) -> io::Result<()> {
        let Shared { stream, write_timeouts, .. } = &*self.socket.0;
        if self.timer.begin_wait(write_timeouts, waited, max)? {
            stream.set_write_timeout(write_timeouts.on_socket())?;
        }
        Ok(())
    }

    /// Writes as much as the peer reads before the timeout or a signal. A wait that began again
    /// after each signal could last indefinitely.
    fn write_until_signal(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = self.socket.0.stream.try_write_vectored(slices);
        written.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// Writes as much as the peer reads before the timeout. Part of a message may have been sent
    /// before a write times out, so the write half is then shut down.
    fn write_in_time(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let is_small = slices.iter().map(|slice| slice.len()).sum::<usize>() <= SMALL_WRITE;
        let mut wait = Wait::default();
        loop {
            let max_wait = self.socket.0.first_response.max_wait();
            self.begin_wait(wait.waited(), if is_small { Duration::MAX } else { max_wait })?;
            match self.socket.0.stream.try_write_vectored(slices) {
                Ok(n) => return Ok(n),
                Err(error) => self.continue_wait(&mut wait, error)?,
            }
        }
    }

    /// Continues the wait of a write that has failed, unless the error is final or the wait has
    /// taken too long.
    #[cold]
    fn continue_wait(&self, wait: &mut Wait, error: io::Error) -> io::Result<()> {
        let Shared { stream, write_timeouts, has_write_timed_out, first_response, .. } =
            &*self.socket.0;
        let is_interrupted = error.kind() == io::ErrorKind::Interrupted;
        match error.kind() {
            io::ErrorKind::Interrupted => wait.add_interrupted(),
            io::ErrorKind::WouldBlock => wait.add_timeout(write_timeouts),
            _ => return Err(error),
        }
        write_timeouts.check("write", wait).inspect_err(|_| {
            has_write_timed_out.store(true, Relaxed);
            // This fails only if the connection has been closed already.
            let _ = stream.shutdown(Shutdown::Write);
        })?;
        if !is_interrupted {
            first_response.request_close();
        }
        Ok(())
    }

    fn after_write(&self, written: io::Result<usize>) -> io::Result<usize> {
        match written {
            Ok(n) => {
                self.socket.0.has_written.store(true, Relaxed);
                Ok(n)
            }
            Err(error) => Err(self.socket.0.name_error("write to", error)),
        }
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
        if !self.timer.take_clock_skip() {
            return self.write_vectored(&[IoSlice::new(data)]);
        }
        let written = (&mut &self.socket.0.stream).write(data);
        self.after_write(written)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_wait_limited {
            return self.write_until_signal(slices);
        }
        let written = self.write_in_time(slices);
        self.after_write(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    /// The peer no longer acknowledges anything. Another read would find the end of the input.
    #[test]
    fn timeout_of_tcp_ends_a_read() -> Result<()> {
        const ETIMEDOUT: i32 = 110;
        for read_timeout in [None, Some(Duration::from_secs(3600))] {
            let (stream, _peer) = Stream::pair()?;
            let (mut reader, _writer) = open(stream, None, read_timeout, None, None, None)?;
            let mut errors = [io::Error::from_raw_os_error(ETIMEDOUT)].into_iter();
            let outcome = reader.read_with(|_| errors.next().map_or(Ok(0), Err));
            let error = outcome.expect_err("the error of the system");
            assert_eq!(error.raw_os_error(), Some(ETIMEDOUT), "{error}");
        }
        Ok(())
    }
}
