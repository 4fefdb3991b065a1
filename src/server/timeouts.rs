//! The timeouts of a connection.
//!
//! | While | Limit | Set by | When |
//! | --- | --- | --- | --- |
//! | waiting for a request | [`idle_timeout`] | `SO_RCVTIMEO` | before the first read |
//! | receiving a request | [`read_timeout`] | `SO_RCVTIMEO` | before the first read in a request |
//! | receiving the params, the body | [`request_timeout`] | a clock | from the second read on |
//! | sending | [`write_timeout`] | `SO_SNDTIMEO` | before the second write, or one above 2 KiB |
//! | answering queries, refusing requests | one second in all | `SO_SNDTIMEO` | before each write |
//! | refusing the request of a rejected connection | one second | a deadline | before each read |
//! | closing | [`drain_time`] | `SO_RCVTIMEO` | before each read (see `drain`) |
//!
//! [`idle_timeout`]: Config::idle_timeout
//! [`read_timeout`]: Config::read_timeout
//! [`request_timeout`]: Config::request_timeout
//! [`write_timeout`]: Config::write_timeout
//! [`drain_time`]: Config::drain_time
//!
//! A small request on a connection of its own is read by one read and answered by one write. The
//! read waits without a timeout, because the connection is idle and has no idle timeout by default.
//! The write fits the send buffer. So no timeout is set for either, which saves two of eight system
//! calls.
//!
//! A signal interrupts a read or write that has a timeout. The call is then repeated with the time
//! that is left. The clock is not read before the first call, whose time does not count, so signals
//! prolong a wait by at most one timeout.
//!
//! The system may report that the peer no longer acknowledges anything (`ETIMEDOUT`). That is a
//! failure of the connection, not one of these timeouts.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::Config;
use crate::error::Error;
use crate::net::Stream;
use crate::vectored::write_parts;

/// A first write of up to this many bytes fits the send buffer of a new socket and does not block.
const FIRST_WRITE: usize = 2 * 1024;

/// The time that the params of a request, or its body, have taken.
///
/// The clock starts at the first read of either inside the request. A request that arrives in one
/// read does not need it: while that read waits, the connection is idle.
#[derive(Debug)]
struct RequestClock {
    limit: Option<Duration>,
    start: Option<Instant>,
}

impl RequestClock {
    /// Returns the time that is left, or `None` if there is no limit. Starts the clock.
    fn time_left(&mut self) -> io::Result<Option<Duration>> {
        let Some(limit) = self.limit else { return Ok(None) };
        let start = self.start.get_or_insert_with(Instant::now);
        match limit.saturating_sub(start.elapsed()) {
            Duration::ZERO => Err(Error::RequestTimedOut(limit).into()),
            left => Ok(Some(left)),
        }
    }
}

/// A stream whose reads end at the timeouts of a server.
#[derive(Debug)]
pub(super) struct TimedStream {
    stream: Stream,
    timeout: ReadTimeout,
    /// Held during a read, if another thread may check the socket.
    read_lock: Option<Arc<Mutex<()>>>,
}

/// The read timeouts of a connection.
///
/// Changing the timeout of a socket takes a system call. The socket therefore has the shorter of
/// the idle timeout and the read timeout, and a read that may wait longer is repeated. Only the
/// last reads before the end of the request timeout have a shorter one.
#[derive(Debug)]
struct ReadTimeout {
    idle_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    /// Whether the idle timeout applies: no byte was received since the last request.
    is_idle: bool,
    clock: RequestClock,
    /// The time after which every read fails, even if input has arrived.
    deadline: Option<(Instant, Duration)>,
    /// Whether the timeout of the socket is set.
    is_set: bool,
    /// The timeout of the socket, if it is set.
    on_socket: Option<Duration>,
}

impl TimedStream {
    pub(super) fn new(stream: Stream, config: &Config) -> Self {
        Self { stream, timeout: ReadTimeout::new(config), read_lock: None }
    }

    /// Returns a lock that every read and every check holds from now on.
    pub(super) fn read_lock(&mut self) -> Arc<Mutex<()>> {
        Arc::clone(self.read_lock.get_or_insert_with(Arc::default))
    }

    pub(super) fn remove_read_lock(&mut self) {
        self.read_lock = None;
    }

    /// Reads what has arrived, without waiting. Returns `None` if nothing has.
    pub(super) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.with_read_lock(|stream| stream.try_read(buffer))
    }

    /// Applies the idle timeout until a byte is received.
    #[inline]
    pub(super) fn set_idle(&mut self) {
        self.timeout.is_idle = true;
    }

    /// Returns whether no byte was received since the connection became idle.
    pub(super) fn is_idle(&self) -> bool {
        self.timeout.is_idle
    }

    /// Resets the request clock. The next read of the params or the body starts it again.
    #[inline]
    pub(super) fn reset_clock(&mut self) {
        self.timeout.clock.start = None;
    }

    /// Makes every read fail after this time, even if input arrives.
    pub(super) fn set_deadline(&mut self, time: Duration) {
        self.timeout.deadline = Instant::now().checked_add(time).map(|end| (end, time));
    }

    /// Calls a function that reads from the socket or checks it.
    #[inline]
    pub(super) fn with_read_lock<T>(&self, read: impl FnOnce(&Stream) -> T) -> T {
        let Some(lock) = &self.read_lock else { return read(&self.stream) };
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        read(&self.stream)
    }

    #[inline]
    fn read_with_timeout(
        &mut self,
        mut read: impl FnMut(&Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.timeout.prepare(&self.stream, Duration::ZERO)?;
        match self.with_read_lock(&mut read) {
            Ok(n) => {
                self.timeout.is_idle = false;
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
        let mut start = Instant::now();
        loop {
            // HAProxy resets a kept connection that it no longer needs.
            if error.kind() == io::ErrorKind::ConnectionReset && self.is_idle() {
                return Ok(0);
            }
            waited += self.time_waited(error, start)?;
            if self.timeout.is_exceeded(waited) {
                return Err(Error::timed_out("read", waited).into());
            }
            self.timeout.prepare(&self.stream, waited)?;
            start = Instant::now();
            error = match self.with_read_lock(&mut read) {
                Ok(n) => {
                    self.timeout.is_idle = false;
                    return Ok(n);
                }
                Err(error) => error,
            };
        }
    }

    /// Returns how long a read has waited that has failed with this error, if it is to be repeated.
    fn time_waited(&mut self, error: io::Error, start: Instant) -> io::Result<Duration> {
        if Stream::is_own_timeout(&error) {
            return Ok(self.timeout.on_socket.unwrap_or_default());
        }
        // A signal does not come from the web server: the connection is still idle.
        if error.kind() == io::ErrorKind::Interrupted {
            return Ok(start.elapsed());
        }
        self.timeout.is_idle = false;
        Err(error)
    }
}

impl ReadTimeout {
    fn new(config: &Config) -> Self {
        Self {
            idle_timeout: config.idle_timeout,
            read_timeout: config.read_timeout,
            is_idle: true,
            clock: RequestClock { limit: config.request_timeout, start: None },
            deadline: None,
            is_set: false,
            on_socket: None,
        }
    }

    /// Sets the timeout of the socket, unless the next read can use it as it is. Reads have already
    /// waited for `waited`.
    #[inline]
    fn prepare(&mut self, stream: &Stream, waited: Duration) -> io::Result<()> {
        if self.needs_no_update() {
            return Ok(());
        }
        self.limit_read(stream, waited)
    }

    /// Sets the timeout of the socket for a read that has a limit.
    ///
    /// # Errors
    /// If there is no time left.
    fn limit_read(&mut self, stream: &Stream, waited: Duration) -> io::Result<()> {
        let limit_left = self.limit().map(|limit| limit.saturating_sub(waited));
        let usual = shorter(self.read_timeout, self.idle_timeout);
        let mut timeout = shorter(shorter(usual, limit_left), self.time_to_deadline()?);
        if !self.is_idle {
            timeout = shorter(timeout, self.clock.time_left()?);
        }
        if !self.is_set || timeout != self.on_socket {
            stream.set_read_timeout(timeout)?;
            (self.is_set, self.on_socket) = (true, timeout);
        }
        Ok(())
    }

    /// Returns whether an idle read can use the socket's timeout as it is.
    ///
    /// Shutting down the read half wakes such a read.
    #[inline]
    fn needs_no_update(&self) -> bool {
        self.is_idle
            && self.idle_timeout.is_none()
            && self.deadline.is_none()
            && (!self.is_set || self.on_socket == self.read_timeout)
    }

    /// Returns the limit of a read.
    fn limit(&self) -> Option<Duration> {
        if self.is_idle {
            self.idle_timeout
        } else {
            self.read_timeout
        }
    }

    /// Returns whether a read that has waited for `waited` has exceeded its limit.
    fn is_exceeded(&self, waited: Duration) -> bool {
        self.limit().is_some_and(|limit| waited >= limit)
    }

    /// Returns the time until the deadline. It is an error if there is none left.
    fn time_to_deadline(&self) -> io::Result<Option<Duration>> {
        let Some((deadline, total)) = self.deadline else { return Ok(None) };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::timed_out("read", total).into()),
            left => Ok(Some(left)),
        }
    }
}

/// Returns the shorter of two timeouts, where `None` is indefinite.
fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
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
    Stale,
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
            SocketTimeout::Untouched if len() <= FIRST_WRITE => self.socket = SocketTimeout::Stale,
            SocketTimeout::Untouched | SocketTimeout::Stale => {
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
        self.socket = SocketTimeout::Stale;
        Ok(())
    }

    /// Returns whether the write timeout is shorter than `limit`.
    pub(super) fn is_below(&self, limit: Duration) -> bool {
        self.timeout.is_some_and(|timeout| timeout < limit)
    }

    /// Sets the timeout of the socket for a write that has already waited for `waited`.
    ///
    /// # Errors
    /// If there is no time left. The write half is shut down then, as after any other timeout.
    fn limit_write(&self, stream: &Stream, waited: Duration) -> io::Result<()> {
        let Some(timeout) = self.timeout else { return Ok(()) };
        match timeout.saturating_sub(waited) {
            Duration::ZERO => Err(stream.end_writes(timeout)),
            left => stream.set_write_timeout(Some(left)),
        }
    }
}

/// A stream whose writes end at the write timeout, which [`WriteTimeout::prepare`] has set. No
/// write returns `Interrupted`.
#[derive(Debug)]
pub(super) struct TimedWriter<'a> {
    stream: &'a Stream,
    timeout: &'a mut WriteTimeout,
}

impl<'a> TimedWriter<'a> {
    #[inline]
    pub(super) fn new(stream: &'a Stream, timeout: &'a mut WriteTimeout) -> Self {
        Self { stream, timeout }
    }

    /// Repeats a write that a signal has interrupted, until it has succeeded or exceeded its limit.
    #[cold]
    fn repeat_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let start = Instant::now();
        let mut stream = self.stream;
        let mut waited = Duration::ZERO;
        loop {
            self.timeout.limit_write(stream, waited)?;
            waited = match stream.write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => start.elapsed(),
                // No time is left.
                Err(error) if Stream::is_own_timeout(&error) => Duration::MAX,
                written => {
                    // The next write may wait for the whole time again.
                    stream.set_write_timeout(self.timeout.timeout)?;
                    return written;
                }
            }
        }
    }
}

impl Write for TimedWriter<'_> {
    #[inline]
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream;
        match stream.write(data) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.repeat_write(&[IoSlice::new(data)])
            }
            written => written,
        }
    }

    /// Expects that one call sends everything, which saves instructions.
    #[inline]
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        match self.write(data)? {
            n if n == data.len() => Ok(()),
            n => write_parts(self, &mut [&data[n..]]),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = self.stream;
        match stream.write_vectored(slices) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.repeat_write(slices),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
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

    /// The process may have been stopped for longer than the limit.
    #[test]
    fn a_signal_after_the_limit_is_a_timeout() -> crate::Result<()> {
        const LIMIT: Duration = Duration::from_millis(1);
        let (stream, _peer) = Stream::pair()?;
        let mut stream = TimedStream::new(stream, &Config::new().idle_timeout(Some(LIMIT)));
        let error = stream.read_with_timeout(|_| {
            std::thread::sleep(2 * LIMIT);
            Err(io::ErrorKind::Interrupted.into())
        });
        assert!(matches!(error.unwrap_err().into(), Error::TimedOut(_)));
        assert!(stream.is_idle());
        Ok(())
    }

    /// The peer no longer acknowledges anything. Another read would find the end of the input.
    #[cfg(target_os = "linux")]
    #[test]
    fn timeout_of_tcp_ends_a_read_that_may_wait_for_longer() -> crate::Result<()> {
        const ETIMEDOUT: i32 = 110;
        for limit in [None, Some(Duration::from_secs(3600))] {
            let (stream, _peer) = Stream::pair()?;
            let config = Config::new().read_timeout(limit).idle_timeout(limit);
            let mut stream = TimedStream::new(stream, &config);
            let mut errors = [io::Error::from_raw_os_error(ETIMEDOUT)].into_iter();
            let outcome = stream.read_with_timeout(|_| errors.next().map_or(Ok(0), Err));
            let error = outcome.expect_err("the error of the system");
            assert_eq!(error.raw_os_error(), Some(ETIMEDOUT), "{error}");
        }
        Ok(())
    }

    /// Nothing else would end a read that begins shortly before the end of the request timeout.
    #[test]
    fn only_the_last_reads_of_a_request_have_a_shorter_timeout() -> crate::Result<()> {
        let [usual, request] = [60, 90].map(|seconds| Some(Duration::from_secs(seconds)));
        let (stream, _peer) = Stream::pair()?;
        let config = Config::new().read_timeout(usual).request_timeout(request);
        let mut stream = TimedStream::new(stream, &config);
        stream.read_with_timeout(|_| Ok(1))?;
        let ReadTimeout { clock, is_set, .. } = &stream.timeout;
        assert!(clock.start.is_none() && !is_set, "the first read needs neither");
        stream.read_with_timeout(|_| Ok(1))?;
        assert_eq!(stream.timeout.on_socket, usual);
        stream.timeout.clock.limit = Some(Duration::from_secs(50));
        stream.read_with_timeout(|_| Ok(1))?;
        assert!(stream.timeout.on_socket < usual, "{:?}", stream.timeout.on_socket);
        stream.timeout.clock.limit = request;
        stream.reset_clock();
        stream.read_with_timeout(|_| Ok(1))?;
        assert_eq!(stream.timeout.on_socket, usual);

        stream.timeout.clock.limit = Some(Duration::ZERO);
        assert!(stream.read_with_timeout(|_| panic!("no time is left")).is_err());
        stream.timeout.on_socket = Some(Duration::from_secs(1));
        stream.set_idle();
        stream.read_with_timeout(|_| Ok(1))?;
        assert_eq!(stream.timeout.on_socket, usual, "an idle connection is not woken often");
        Ok(())
    }

    /// The peer reads nothing, so only the first write succeeds.
    #[cfg(unix)]
    #[test]
    fn interrupted_write_has_the_time_that_is_left_and_the_next_one_the_whole() -> crate::Result<()>
    {
        use std::os::fd::AsFd;
        use std::os::unix::net::UnixStream;

        const LIMIT: Duration = Duration::from_millis(80);
        let (stream, mut peer) = Stream::pair()?;
        let socket = UnixStream::from(stream.as_fd().try_clone_to_owned()?);
        let mut timeout = WriteTimeout::new(Some(LIMIT));
        timeout.limit_write(&stream, LIMIT / 2)?;
        assert_eq!(socket.write_timeout()?, Some(LIMIT / 2));

        let mut writer = TimedWriter::new(&stream, &mut timeout);
        let data = vec![0; 16 << 20];
        let n = writer.repeat_write(&[IoSlice::new(&data)])?;
        assert!(n > 0 && n < data.len(), "{n}");
        assert_eq!(socket.write_timeout()?, Some(LIMIT));
        let error = writer.repeat_write(&[IoSlice::new(&data)]).expect_err("a timeout");
        assert_eq!(error.to_string(), "write timed out after 80 ms");
        let rest = io::copy(&mut peer, &mut io::sink())?;
        assert_eq!(rest, n as u64, "nothing may follow a part of the records");
        Ok(())
    }

    #[test]
    fn write_that_has_waited_for_its_timeout_is_the_last_one() -> crate::Result<()> {
        const LIMIT: Duration = Duration::from_secs(60);
        let (stream, mut peer) = Stream::pair()?;
        let error = WriteTimeout::new(Some(LIMIT)).limit_write(&stream, LIMIT);
        assert!(matches!(error.unwrap_err().into(), Error::TimedOut(_)));
        assert_eq!(peer.read(&mut [0])?, 0);
        Ok(())
    }

    /// Each write but a small first one may block.
    #[cfg(unix)]
    #[test]
    fn an_answer_has_its_own_timeout_if_it_may_block() -> crate::Result<()> {
        use std::os::fd::AsFd;
        use std::os::unix::net::UnixStream;

        let [usual, limit] = [60, 1].map(Duration::from_secs);
        let (stream, _peer) = Stream::pair()?;
        let socket = UnixStream::from(stream.as_fd().try_clone_to_owned()?);
        let mut timeout = WriteTimeout::new(Some(usual));
        timeout.prepare_within(&stream, FIRST_WRITE, limit)?;
        assert_eq!(socket.write_timeout()?, None);
        WriteTimeout::new(Some(usual)).prepare_within(&stream, FIRST_WRITE + 1, limit)?;
        assert_eq!(socket.write_timeout()?, Some(limit), "a large first write may block");
        stream.set_write_timeout(None)?;
        timeout.prepare_within(&stream, 8, limit)?;
        assert_eq!(socket.write_timeout()?, Some(limit));
        timeout.prepare(&stream, || 8)?;
        assert_eq!(socket.write_timeout()?, Some(usual));
        timeout.prepare_within(&stream, 8, limit)?;
        assert_eq!(socket.write_timeout()?, Some(limit));
        Ok(())
    }
}
