use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use crate::net::Stream;

/// A connection on which a read is not too late while something is written: an application that
/// reads all of a large or slow body before it answers may take as long as it takes the body.
///
/// A clone is the same connection, as with [`Stream`].
#[derive(Clone, Debug)]
pub(super) struct Wire {
    shared: Arc<Shared>,
    /// Whether a write may come to a pause.
    is_pausing: bool,
}

/// What the end that reads and the end that writes share.
#[derive(Debug)]
struct Shared {
    stream: Stream,
    /// Whether anything was written since the read that now waits began to.
    has_written: AtomicBool,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            shared: Arc::new(Shared { stream, has_written: AtomicBool::new(false) }),
            is_pausing: false,
        }
    }

    /// Reads what is there, without waiting: `None` if nothing is.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.shared.stream.try_read(buffer)
    }

    /// Makes a vectored write through this clone wait no longer than a pause, after which it fails
    /// with `WouldBlock` and all can go on; without one, it waits for the write time-out, and a
    /// write that is too late is the last.
    pub(super) fn set_pause(
        &mut self,
        pause: Option<Duration>,
        write_timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.is_pausing = pause.is_some();
        self.shared.stream.set_write_timeout(pause.or(write_timeout))
    }

    /// Ends both directions, for every clone.
    pub(super) fn cut(&self) {
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

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|stream| stream.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(|stream| stream.read_vectored(buffers))
    }
}

impl Write for Wire {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_with(|stream| stream.write(data))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_pausing {
            return self.shared.stream.try_write_vectored(slices);
        }
        self.write_with(|stream| stream.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
