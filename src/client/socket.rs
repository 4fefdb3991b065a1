use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use crate::net::Stream;

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
pub(super) struct SharedSocket {
    shared: Arc<Shared>,
    /// Whether [`limit_write_wait`](Self::limit_write_wait) applies to this clone.
    is_write_wait_limited: bool,
}

#[derive(Debug)]
struct Shared {
    stream: Stream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// Whether a write has succeeded since the current read began.
    has_written: AtomicBool,
}

impl SharedSocket {
    pub(super) fn new(
        stream: Stream,
        read_timeout: Option<Duration>,
        write_timeout: Option<Duration>,
    ) -> io::Result<Self> {
        stream.set_timeouts(read_timeout, write_timeout)?;
        let shared = Arc::new(Shared {
            stream,
            read_timeout,
            write_timeout,
            has_written: AtomicBool::new(false),
        });
        Ok(Self { shared, is_write_wait_limited: false })
    }

    /// Reads the bytes that arrive within `max`. Returns `None` if there are none.
    pub(super) fn read_within(
        &self,
        max: Duration,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let stream = &self.shared.stream;
        if max.is_zero() {
            return stream.try_read(buffer);
        }
        stream.set_read_timeout(Some(max))?;
        let outcome = (&mut &*stream).read(buffer);
        stream.set_read_timeout(self.shared.read_timeout)?;
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Makes a vectored write of this clone fail with `WouldBlock` if the peer reads nothing for
    /// `max`. The next write can then continue. Without this limit a write that times out is the
    /// last one.
    pub(super) fn limit_write_wait(&mut self, max: Duration) -> io::Result<()> {
        let max = self.shared.write_timeout.map_or(max, |timeout| timeout.min(max));
        self.is_write_wait_limited = true;
        self.shared.stream.set_write_timeout(Some(max))
    }

    /// Restores the write timeout after [`limit_write_wait`](Self::limit_write_wait).
    pub(super) fn unlimit_write_wait(&mut self) -> io::Result<()> {
        self.is_write_wait_limited = false;
        self.shared.stream.set_write_timeout(self.shared.write_timeout)
    }

    /// Shuts down both directions of the connection, which wakes every clone that waits.
    pub(super) fn cancel(&self) {
        // This fails only if the connection is closed already.
        let _ = self.shared.stream.shutdown(Shutdown::Both);
    }

    fn read_with(
        &self,
        mut read: impl FnMut(&mut &Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.shared.has_written.store(false, Relaxed);
        loop {
            match read(&mut &self.shared.stream) {
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && self.shared.has_written.swap(false, Relaxed) => {}
                outcome => return outcome,
            }
        }
    }

    fn write_with(
        &self,
        write: impl FnOnce(&mut &Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let written = write(&mut &self.shared.stream)?;
        self.shared.has_written.store(true, Relaxed);
        Ok(written)
    }
}

impl Read for SharedSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|stream| stream.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(|stream| stream.read_vectored(buffers))
    }
}

impl Write for SharedSocket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_with(|stream| stream.write(data))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_write_wait_limited {
            return self.shared.stream.try_write_vectored(slices);
        }
        self.write_with(|stream| stream.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
