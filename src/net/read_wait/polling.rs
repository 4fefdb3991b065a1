//! For systems on which a shutdown may not end a blocked read.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

use crate::net::timeout::is_timeout;

/// How often a blocked read checks whether the read half was shut down.
const TICK: Duration = Duration::from_millis(100);

/// How long to sleep after a peek that failed at once, because another thread has moved the socket
/// into non-blocking mode for a moment.
const PAUSE: Duration = Duration::from_millis(1);

/// Ends the blocked reads of a TCP socket when its read half is shut down.
///
/// A read first waits for input. It peeks at the input with a timeout of at most [`TICK`], and
/// repeats that until there is input, the timeout of the read has passed, or the read half was shut
/// down. A peek that times out loses no input.
///
/// `is_shut_down` is stored after the shutdown and loaded before the read, with `Release` and
/// `Acquire`, so a read that observes it finds the socket shut down. `timeout` guards no other
/// data.
#[derive(Debug)]
pub(crate) struct ReadWait {
    /// The timeout of a read in milliseconds. `u64::MAX` means none.
    timeout: AtomicU64,
    is_shut_down: AtomicBool,
}

impl ReadWait {
    /// Sets the timeout of the socket to a tick.
    pub(crate) fn new(socket: &TcpStream) -> Self {
        // If this fails, the socket is closed, and a read returns the error.
        let _ = socket.set_read_timeout(Some(TICK));
        Self { timeout: u64::MAX.into(), is_shut_down: false.into() }
    }

    /// Sets how long a read may block.
    pub(crate) fn set_timeout(
        &self,
        socket: &TcpStream,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // Fails if the timeout is zero.
        socket.set_read_timeout(Some(timeout.unwrap_or(TICK).min(TICK)))?;
        let millis = timeout.map(|timeout| timeout.as_millis());
        let millis = millis.and_then(|millis| u64::try_from(millis).ok());
        self.timeout.store(millis.unwrap_or(u64::MAX), Relaxed);
        Ok(())
    }

    /// Returns how long a read may block.
    pub(crate) fn timeout(&self, _: &TcpStream) -> io::Result<Option<Duration>> {
        let millis = self.timeout.load(Relaxed);
        Ok((millis < u64::MAX).then(|| Duration::from_millis(millis)))
    }

    /// Notes that the read half was shut down.
    pub(crate) fn note_shutdown(&self) {
        self.is_shut_down.store(true, Release);
    }

    /// Waits until a read does not block.
    ///
    /// # Errors
    /// The error of the system. It is `WouldBlock` or `TimedOut` after the timeout.
    pub(crate) fn wait(&self, socket: &TcpStream) -> io::Result<()> {
        let start = Instant::now();
        let timeout = Duration::from_millis(self.timeout.load(Relaxed));
        while !self.is_shut_down.load(Acquire) {
            let tick = Instant::now();
            match socket.peek(&mut [0]) {
                Err(error) if is_timeout(&error) => {
                    if start.elapsed() >= timeout {
                        return Err(error);
                    }
                    if tick.elapsed() < PAUSE {
                        std::thread::sleep(PAUSE);
                    }
                }
                outcome => return outcome.map(drop),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn pair() -> io::Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        Ok((socket, listener.accept()?.0))
    }

    /// The socket itself is not shut down, as on a system where that has no effect.
    #[test]
    fn shutdown_ends_a_wait() -> io::Result<()> {
        let (socket, _peer) = pair()?;
        let wait = ReadWait::new(&socket);
        wait.timeout.store(20_000, Relaxed);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait.wait(&socket));
            thread::sleep(TICK * 2);
            assert!(!waiter.is_finished(), "a tick does not end the wait");
            wait.note_shutdown();
            waiter.join().expect("the result of the wait")
        })
    }

    #[test]
    fn timeout_that_the_socket_refuses_changes_nothing() -> io::Result<()> {
        let (socket, _peer) = pair()?;
        let wait = ReadWait::new(&socket);
        let timeout = Some(Duration::from_secs(9));
        wait.set_timeout(&socket, timeout)?;
        let error = wait.set_timeout(&socket, Some(Duration::ZERO)).expect_err("a zero timeout");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(wait.timeout(&socket)?, timeout);
        Ok(())
    }

    #[test]
    fn wait_ends_with_input_and_after_the_timeout() -> io::Result<()> {
        let (socket, mut peer) = pair()?;
        let wait = ReadWait::new(&socket);
        peer.write_all(b"x")?;
        wait.wait(&socket)?;
        assert_eq!(socket.peek(&mut [0])?, 1, "the input is still there");

        let (socket, _peer) = pair()?;
        let timeout = Duration::from_millis(250);
        wait.set_timeout(&socket, Some(timeout))?;
        assert_eq!(wait.timeout(&socket)?, Some(timeout));
        let start = Instant::now();
        assert!(is_timeout(&wait.wait(&socket).expect_err("a timeout")));
        assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
        Ok(())
    }
}
