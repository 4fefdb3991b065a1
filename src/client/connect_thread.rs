//! Connects to a Unix socket with a timeout.
//!
//! Connecting blocks as long as the backlog of the application is full, and `std` cannot limit
//! that. Another thread therefore connects, and the caller stops waiting for it when the timeout
//! expires. The thread is abandoned: it closes the connection as soon as it is connected, or ends
//! when the application ends. At most [`MAX_THREADS`] threads connect to a socket at a time,
//! including those that are abandoned. Further requests wait for a turn.
//!
//! A thread costs about 20 µs, three times as much as connecting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{mpsc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use super::queue::Queue;
use crate::error::{Error, Result};
use crate::net::Stream;

/// The most threads that connect to a socket at a time. If as many are abandoned, further attempts
/// fail at once, because the application accepts nothing.
const MAX_THREADS: usize = 16;

/// A thread that connects needs little memory.
const STACK_SIZE: usize = 64 * 1024;

/// The sockets that threads connect to.
static SOCKETS: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// The threads that connect to one socket.
///
/// Invariant: `connecting <= MAX_THREADS`. If requests wait in the queue, both are equal.
struct Socket {
    path: PathBuf,
    connecting: usize,
    /// The threads whose caller has stopped waiting.
    abandoned: usize,
    queue: Queue,
}

/// Connects within `max`.
///
/// # Errors
/// [`Error::TimedOut`], and the errors of the operating system.
pub(super) fn connect(path: &Path, max: Duration) -> Result<Stream> {
    let limit = Deadline::new(Instant::now(), Some(max));
    wait_for_turn(path, limit, max)?;
    // Nothing is buffered in the channel: a connection is received, or sending it fails.
    let (sender, receiver) = mpsc::sync_channel(0);
    let target = path.to_owned();
    let builder = thread::Builder::new().name("fcgi-connect".into()).stack_size(STACK_SIZE);
    let started = builder.spawn(move || {
        let connected = Stream::connect_unix(&target);
        update(&target, Socket::end_turn);
        if sender.send(connected).is_err() {
            update(&target, |socket| socket.abandoned -= 1);
        }
    });
    if let Err(error) = started {
        update(path, Socket::end_turn);
        return Err(error.into());
    }
    if let Ok(connected) = receiver.recv_timeout(limit.left()) {
        return Ok(connected?);
    }
    // The thread fails to send only after the receiver has been dropped, below.
    update(path, |socket| socket.abandoned += 1);
    Err(Error::timed_out("connect", max))
}

/// Waits until a thread may connect, after the requests that already wait. The thread has been
/// counted when this returns. `limit` is the end of the whole time `max`.
fn wait_for_turn(path: &Path, limit: Deadline, max: Duration) -> Result<()> {
    let mut sockets = lock();
    let socket = find(&mut sockets, path);
    if socket.abandoned >= MAX_THREADS {
        let message = format!("{MAX_THREADS} earlier attempts to connect are still waiting");
        return Err(io::Error::new(io::ErrorKind::TimedOut, message).into());
    }
    if socket.connecting < MAX_THREADS {
        socket.connecting += 1;
        return Ok(());
    }
    let waiter = socket.queue.join();
    while !waiter.has_slot() {
        let left = limit.left();
        if left.is_zero() {
            find(&mut sockets, path).queue.leave(&waiter);
            return Err(Error::timed_out("connect", max));
        }
        sockets = waiter.wait(sockets, left);
    }
    Ok(())
}

impl Socket {
    /// Gives the turn of a thread to the next request, if one waits.
    fn end_turn(&mut self) {
        if self.queue.is_empty() {
            self.connecting -= 1;
        } else {
            self.queue.grant_first();
        }
    }

    /// Returns whether no thread connects to the socket.
    fn is_unused(&self) -> bool {
        self.connecting == 0 && self.abandoned == 0
    }
}

/// Changes the entry of a socket, and removes it if it is no longer needed.
fn update(path: &Path, change: impl FnOnce(&mut Socket)) {
    let mut sockets = lock();
    change(find(&mut sockets, path));
    sockets.retain(|socket| !socket.is_unused());
}

/// Returns the entry of a socket. Adds one if there is none.
fn find<'a>(sockets: &'a mut Vec<Socket>, path: &Path) -> &'a mut Socket {
    let index = sockets.iter().position(|socket| socket.path == path);
    let index = index.unwrap_or_else(|| {
        let (path, queue) = (path.to_owned(), Queue::default());
        sockets.push(Socket { path, connecting: 0, abandoned: 0, queue });
        sockets.len() - 1
    });
    &mut sockets[index]
}

fn lock() -> MutexGuard<'static, Vec<Socket>> {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Waits until this holds for the threads of a socket.
    fn wait_until(path: &Path, holds: impl Fn(&Socket) -> bool) {
        let start = Instant::now();
        while !holds(find(&mut lock(), path)) {
            assert!(start.elapsed() < LONG, "timed out");
            thread::yield_now();
        }
    }

    /// Returns the number of threads that connect, to any socket.
    fn count_threads() -> usize {
        let threads = std::fs::read_dir("/proc/self/task").expect("the threads").flatten();
        let names = threads.flat_map(|thread| std::fs::read_to_string(thread.path().join("comm")));
        names.filter(|name| name.trim_end() == "fcgi-connect").count()
    }

    /// The application accepts nothing until it ends.
    #[test]
    fn at_most_16_threads_connect_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = &directory.path().join("app.sock");
        let listener = UnixListener::bind(path).expect("a listening socket");
        // Each connection stays in the backlog until that is full.
        while connect(path, LONG / 100).is_ok() {}
        let outcomes = thread::scope(|scope| {
            let connect = || connect(path, LONG).map(drop);
            let requests: Vec<_> = (0..40).map(|_| scope.spawn(connect)).collect();
            wait_until(path, |socket| !socket.queue.is_empty());
            wait_until(path, |_| count_threads() >= MAX_THREADS);
            for _ in 0..100 {
                assert_eq!(count_threads(), MAX_THREADS);
                thread::yield_now();
            }
            drop(listener);
            requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
        });
        for outcome in outcomes {
            let error = outcome.expect_err("nobody accepts");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        }
        wait_until(path, Socket::is_unused);
    }
}
