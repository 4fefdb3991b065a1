use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::sent::SentResponse;
use super::timeouts::{TimedWriter, WriteTimeout};
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::vectored::{write_parts, MAX_SLICES};

/// The write half of a connection. A request's stdout and stderr share it with the answers to
/// management records.
///
/// Each write consists of whole records. It is sent as a whole before another write begins, even if
/// several threads write. It cannot be written to directly: a handler writes to the
/// [`StreamWriter`](crate::stream::StreamWriter)s of its request.
#[derive(Debug)]
pub struct Output<'a> {
    stream: &'a Stream,
    lock: &'a OutputLock,
}

/// A lock that keeps the records of one connection whole if several threads write them.
#[derive(Debug)]
pub(super) struct OutputLock(Mutex<OutputState>);

#[derive(Debug)]
struct OutputState {
    timeout: WriteTimeout,
    /// What was sent of the current response, if that is recorded.
    sent: Option<SentResponse>,
}

/// A limit on the time that several writes block in all.
#[derive(Debug)]
pub(super) struct TimeBudget {
    total: Duration,
    left: Duration,
}

impl TimeBudget {
    pub(super) fn new(total: Duration) -> Self {
        Self { total, left: total }
    }
}

impl OutputLock {
    pub(super) fn new(write_timeout: Option<Duration>) -> Self {
        let timeout = WriteTimeout::new(write_timeout);
        Self(Mutex::new(OutputState { timeout, sent: None }))
    }

    /// Waits until no thread writes to the socket or checks it.
    pub(super) fn wait(&self) {
        drop(self.0.lock());
    }

    /// Returns whether a thread writes to the socket or checks it.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self.0.try_lock(), Err(TryLockError::WouldBlock))
    }
}

impl<'a> Output<'a> {
    pub(super) fn new(stream: &'a Stream, lock: &'a OutputLock) -> Self {
        Self { stream, lock }
    }

    /// Calls a function while no thread writes. Returns `None` if a thread is writing.
    pub(super) fn while_not_writing<T>(&self, check: impl FnOnce() -> T) -> Option<T> {
        let _guard = match self.lock.0.try_lock() {
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(guard) => guard,
        };
        Some(check())
    }

    /// Records from now on what is sent of the response.
    pub(super) fn start_tracking(&self) {
        self.lock().sent = Some(SentResponse::default());
    }

    /// Returns what was sent since [`start_tracking`](Self::start_tracking), and ends the tracking.
    /// The last write counts even if it has failed.
    pub(super) fn take_sent(&self) -> SentResponse {
        self.lock().sent.take().unwrap_or_default()
    }

    /// Shuts down the write half, after the last record.
    pub(super) fn shut_down(&self) {
        // An error means that the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Writes whole records, but blocks no longer than `budget` allows, which is reduced by the
    /// time taken. The time in which another thread completes its records does not count.
    ///
    /// # Errors
    /// [`Error::TimedOut`] with the limit that was exceeded: the whole budget or the write timeout.
    /// The write half is shut down then: a part of the records may have been sent, and nothing may
    /// follow that.
    pub(super) fn write_within(&self, records: &[u8], budget: &mut TimeBudget) -> Result<()> {
        let mut state = self.lock();
        let start = Instant::now();
        let written = self.write_until(records, budget, &mut state.timeout);
        budget.left = budget.left.saturating_sub(start.elapsed());
        if matches!(written, Err(Error::TimedOut(_))) {
            self.shut_down();
        }
        written
    }

    fn write_until(
        &self,
        mut records: &[u8],
        budget: &TimeBudget,
        timeout: &mut WriteTimeout,
    ) -> Result<()> {
        let deadline = Instant::now() + budget.left;
        let mut stream = self.stream;
        while !records.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::timed_out("write", budget.total));
            }
            timeout.prepare_within(stream, records.len(), left)?;
            match stream.write(records) {
                Ok(n) => records = &records[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The error contains the time that was left.
                Err(error) if Stream::is_own_timeout(&error) && !timeout.is_below(left) => {
                    return Err(Error::timed_out("write", budget.total));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.lock.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all parts, which are whole records together.
    fn write_records(&self, parts: &mut [&[u8]]) -> io::Result<()> {
        let mut state = self.lock();
        state.timeout.prepare(self.stream, || parts.iter().map(|part| part.len()).sum())?;
        if let Some(sent) = &mut state.sent {
            sent.add_records(parts);
        }
        let mut writer = TimedWriter::new(self.stream, &mut state.timeout);
        match parts {
            [part] => writer.write_all(part),
            parts => write_parts(&mut writer, parts),
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, records: &[u8]) -> io::Result<usize> {
        self.write_all(records)?;
        Ok(records.len())
    }

    fn write_all(&mut self, records: &[u8]) -> io::Result<()> {
        self.write_records(&mut [records])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut parts = [&[][..]; MAX_SLICES];
        let count = slices.len().min(MAX_SLICES);
        for (part, slice) in parts.iter_mut().zip(slices) {
            *part = slice;
        }
        let len = parts.iter().map(|part| part.len()).sum();
        self.write_records(&mut parts[..count])?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_to_a_peer_that_has_closed_fails_at_once() -> Result<()> {
        let (stream, peer) = Stream::pair()?;
        drop(peer);
        let lock = OutputLock::new(None);
        let mut budget = TimeBudget::new(Duration::from_secs(10));
        let outcome = Output::new(&stream, &lock).write_within(b"answer", &mut budget);
        assert!(matches!(outcome, Err(Error::Io(_))), "{outcome:?}");
        assert!(budget.left > Duration::from_secs(5), "{budget:?}");
        Ok(())
    }

    /// Earlier answers have taken a part of the time. The peer does not read.
    #[test]
    fn timeout_of_an_answer_contains_the_limit_and_not_the_time_that_was_left() -> Result<()> {
        let [short, long, total] = [20, 40, 5000].map(Duration::from_millis);
        for (write_timeout, left, limit) in [
            (None, short, total),
            (None, Duration::ZERO, total),
            (Some(long), short, total),
            (Some(short), long, short),
        ] {
            let (stream, _peer) = Stream::pair()?;
            stream.set_write_timeout(Some(Duration::from_millis(1)))?;
            while stream.try_write_vectored(&[IoSlice::new(&[0; 1024])]).is_ok() {}
            let lock = OutputLock::new(write_timeout);
            let mut budget = TimeBudget { total, left };
            let outcome = Output::new(&stream, &lock).write_within(&[0; 4096], &mut budget);
            let Err(Error::TimedOut(timeout)) = outcome else { panic!("{outcome:?}") };
            assert_eq!((timeout.operation, timeout.after), ("write", limit));
        }
        Ok(())
    }
}
