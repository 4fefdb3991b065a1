//! The timeouts of a connection.
//!
//! | While | Limit | Set by | When |
//! | --- | --- | --- | --- |
//! | waiting for a request | [`Config::idle_timeout`] | `SO_RCVTIMEO` | before the first read, if there is a limit |
//! | receiving params or a body | [`Config::read_timeout`] | `SO_RCVTIMEO` | before the first read inside a request |
//! | sending | [`Config::write_timeout`] | `SO_SNDTIMEO` | before the second write, or a first one above 2 KiB |
//! | answering management records and refusing requests | one second in all | `SO_SNDTIMEO` | before each write that may block |
//! | rejecting a connection | one second | the clock | at the beginning |
//! | closing | [`Config::drain_time`] | `SO_RCVTIMEO` | before each read (see `linger`) |
//!
//! A small request on a connection of its own is read by one read and answered by one write. Neither
//! can block, so no timeout is set for it: that saves two of eight system calls.

use std::io::{self, IoSliceMut, Read};
use std::time::{Duration, Instant};

use super::config::Config;
use crate::error::Error;
use crate::net::Stream;

/// A first write of up to this many bytes fits the send buffer of a new socket and does not block.
const FIRST_WRITE: usize = 2 * 1024;

/// Which limit applies to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The connection is between requests, and no byte of the next one was received.
    Idle,
    /// A request is being received.
    Request,
}

/// A stream whose reads have another timeout while the connection is idle than inside a request.
///
/// Changing the timeout of a socket takes a system call. The socket therefore has the shorter of
/// the two timeouts, and a read that may wait longer is repeated.
#[derive(Debug)]
pub(super) struct TimedStream {
    stream: Stream,
    read_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    /// Whether the timeout of the socket is set.
    is_set: bool,
    limit: Limit,
    /// When every read fails, even if input arrives.
    deadline: Option<Instant>,
}

impl TimedStream {
    pub(super) fn new(stream: Stream, config: &Config) -> Self {
        Self {
            stream,
            read_timeout: config.read_timeout,
            idle_timeout: config.idle_timeout,
            is_set: false,
            limit: Limit::Idle,
            deadline: None,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Applies the idle timeout until a byte is received.
    pub(super) fn set_idle(&mut self) {
        self.limit = Limit::Idle;
    }

    /// Returns whether no byte was received since the connection became idle.
    pub(super) fn is_idle(&self) -> bool {
        self.limit == Limit::Idle
    }

    /// Makes every read fail after this time, even if input arrives.
    pub(super) fn set_deadline(&mut self, time: Duration) {
        self.deadline = Instant::now().checked_add(time);
    }

    /// Returns the timeout of the socket.
    fn socket_timeout(&self) -> Option<Duration> {
        match (self.read_timeout, self.idle_timeout) {
            (Some(read), Some(idle)) => Some(read.min(idle)),
            (read, idle) => read.or(idle),
        }
    }

    #[inline]
    fn read_with_timeout(
        &mut self,
        mut read: impl FnMut(&Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.is_set && !self.may_wait_indefinitely() {
            self.stream.set_read_timeout(self.socket_timeout())?;
            self.is_set = true;
        }
        self.check_deadline()?;
        match read(&self.stream) {
            Ok(n) => {
                self.limit = Limit::Request;
                Ok(n)
            }
            Err(error) => self.repeat_read(error, read),
        }
    }

    /// Repeats a read that has failed, until it has succeeded or exceeded its limit.
    #[cold]
    fn repeat_read(
        &mut self,
        mut error: io::Error,
        mut read: impl FnMut(&Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut waited = Duration::ZERO;
        loop {
            match error.kind() {
                // HAProxy resets a kept connection that it no longer needs.
                io::ErrorKind::ConnectionReset if self.is_idle() => return Ok(0),
                io::ErrorKind::TimedOut => {
                    waited += self.socket_timeout().unwrap_or_default();
                    if self.is_exceeded(waited) {
                        return Err(error);
                    }
                }
                // A signal does not come from the web server: the connection is still idle.
                io::ErrorKind::Interrupted => {}
                _ => {
                    self.limit = Limit::Request;
                    return Err(error);
                }
            }
            self.check_deadline()?;
            error = match read(&self.stream) {
                Ok(n) => {
                    self.limit = Limit::Request;
                    return Ok(n);
                }
                Err(error) => error,
            };
        }
    }

    /// Returns whether a read may wait without a timeout.
    ///
    /// Such a read is woken by shutting down the read half. That is certain on Unix alone.
    fn may_wait_indefinitely(&self) -> bool {
        cfg!(unix) && self.is_idle() && self.idle_timeout.is_none() && self.deadline.is_none()
    }

    /// Returns whether a read that has waited for `waited` has exceeded its limit.
    fn is_exceeded(&self, waited: Duration) -> bool {
        let limit = match self.limit {
            Limit::Idle => self.idle_timeout,
            Limit::Request => self.read_timeout,
        };
        limit.is_some_and(|limit| waited >= limit)
    }

    fn check_deadline(&self) -> io::Result<()> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::TimedOut("read").into()),
            _ => Ok(()),
        }
    }
}

impl Read for TimedStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with_timeout(|mut stream| stream.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with_timeout(|mut stream| stream.read_vectored(buffers))
    }
}

/// The write timeout of a connection, which is set before the first write that may block.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    timeout: Option<Duration>,
    socket: SocketTimeout,
}

/// Whether the write timeout of a socket is set.
#[derive(Debug)]
enum SocketTimeout {
    /// It is not set, and nothing was written.
    Untouched,
    /// It is not set, or has another value.
    Unset,
    Set,
}

impl WriteTimeout {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let socket = if timeout.is_some() { SocketTimeout::Untouched } else { SocketTimeout::Set };
        Self { timeout, socket }
    }

    /// Sets the timeout of the socket if a write of `len` bytes may block.
    #[inline]
    pub(super) fn prepare(
        &mut self,
        stream: &Stream,
        len: impl FnOnce() -> usize,
    ) -> io::Result<()> {
        match self.socket {
            SocketTimeout::Set => {}
            SocketTimeout::Untouched if len() <= FIRST_WRITE => self.socket = SocketTimeout::Unset,
            SocketTimeout::Untouched | SocketTimeout::Unset => {
                stream.set_write_timeout(self.timeout)?;
                self.socket = SocketTimeout::Set;
            }
        }
        Ok(())
    }

    /// Sets the timeout of the socket to `limit` if a write of `len` bytes may block. The next call
    /// of [`prepare`](Self::prepare) sets it again.
    pub(super) fn prepare_within(
        &mut self,
        stream: &Stream,
        len: usize,
        limit: Duration,
    ) -> io::Result<()> {
        if !matches!(self.socket, SocketTimeout::Untouched) || len > FIRST_WRITE {
            let timeout = self.timeout.map_or(limit, |timeout| timeout.min(limit));
            stream.set_write_timeout(Some(timeout))?;
        }
        self.socket = SocketTimeout::Unset;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux interrupts a read that has a timeout when a stopped process continues.
    #[test]
    fn a_signal_leaves_an_idle_connection_idle() -> crate::Result<()> {
        let (stream, _peer) = Stream::pair()?;
        let config = Config::new().idle_timeout(Some(Duration::from_secs(120)));
        let mut stream = TimedStream::new(stream, &config);
        let mut ends =
            [io::ErrorKind::Interrupted, io::ErrorKind::TimedOut, io::ErrorKind::TimedOut]
                .into_iter();
        let outcome = stream.read_with_timeout(|_| Err(ends.next().expect("no other read").into()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(stream.is_idle() && ends.next().is_none());
        Ok(())
    }
}
