//! Connecting to an application within a time limit.
//!
//! Connecting to a Unix socket blocks as long as the backlog of the application is full, and `std`
//! cannot limit that. Another thread therefore connects, and the caller stops waiting for it when
//! the time is over. The thread is left behind: it closes the connection as soon as it gets one, or
//! ends when the application ends. At most [`MAX_LEFT_BEHIND`] threads are left behind for a
//! socket.
//!
//! A thread costs about 20 µs, three times as much as connecting.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::{Address, Stream};

/// Connects within `max`. [`Duration::MAX`] leaves the time to the operating system.
///
/// # Errors
/// [`Error::Connect`].
pub(super) fn connect(address: &Address, max: Duration) -> Result<Stream> {
    if max.is_zero() {
        return Err(Error::connect(address, Error::timed_out("request", max)));
    }
    #[cfg(unix)]
    if let Some(path) = address.path().filter(|_| max < Duration::MAX) {
        return unix::connect(path, max).map_err(|error| Error::connect(address, error));
    }
    connect_directly(address, max)
}

/// Does the same, but the time for a Unix socket is not limited.
pub(super) fn connect_directly(address: &Address, max: Duration) -> Result<Stream> {
    Stream::connect(address, (max < Duration::MAX).then_some(max))
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::sync::{mpsc, Mutex, PoisonError};
    use std::thread;
    use std::time::Duration;

    use crate::error::{Error, Result};
    use crate::net::Stream;

    /// An application that accepts nothing while so many threads wait is not asked again.
    const MAX_LEFT_BEHIND: usize = 16;

    /// A thread that connects needs little memory.
    const STACK_SIZE: usize = 64 * 1024;

    /// The sockets that threads connect to although nobody waits for them, once for each thread.
    static LEFT_BEHIND: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    pub(super) fn connect(path: &Path, max: Duration) -> Result<Stream> {
        if count_left_behind(path) >= MAX_LEFT_BEHIND {
            let message = "it has not accepted earlier connections";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message).into());
        }
        // Nothing is buffered in the channel: a connection is received, or sending it fails.
        let (sender, receiver) = mpsc::sync_channel(0);
        let target = path.to_owned();
        thread::Builder::new().name("connect".into()).stack_size(STACK_SIZE).spawn(move || {
            if sender.send(UnixStream::connect(&target)).is_err() {
                remove_left_behind(&target);
            }
        })?;
        if let Ok(connected) = receiver.recv_timeout(max) {
            return Ok(connected?.into());
        }
        // The thread fails to send only after the receiver has been dropped, below.
        lock().push(path.to_owned());
        Err(Error::timed_out("connect", max))
    }

    fn count_left_behind(path: &Path) -> usize {
        lock().iter().filter(|other| *other == path).count()
    }

    fn remove_left_behind(path: &Path) {
        let mut paths = lock();
        if let Some(index) = paths.iter().position(|other| other == path) {
            paths.swap_remove(index);
        }
    }

    fn lock() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
        LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
