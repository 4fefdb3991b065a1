//! How long a client waits.
//!
//! | While | Limit | Set by | Error |
//! | --- | --- | --- | --- |
//! | waiting for a free connection | [`connect_timeout`] | a condition variable | `Connect` |
//! | connecting by TCP | [`connect_timeout`] | the call of `std` | `Connect` |
//! | connecting to a Unix socket | [`connect_timeout`] | a channel (`connect_thread`) | `Connect` |
//! | checking a kept connection | 100 ms (`retry`) | `SO_RCVTIMEO` | none: the request is sent |
//! | writing | [`write_timeout`] without progress | `SO_SNDTIMEO` | `TimedOut`: write |
//! | reading | [`read_timeout`] without progress | `SO_RCVTIMEO` | `TimedOut`: read |
//! | dropping a pooled response | 5 ms (`END_WAIT`) | `SO_RCVTIMEO` | none: the connection closes |
//! | any of these in a request | [`deadline`] | the same | `TimedOut`: request |
//!
//! In the first three rows the source of `Error::Connect` is `TimedOut`. An application may read a
//! large body before it answers, so a write that makes progress also prolongs a read.
//!
//! With `keep_alive`, reads and large writes on a connection wait in steps of at most 100 ms until
//! its first response arrives. After each step a kept connection is closed (`close_requests`).
//!
//! A small request that begins on a kept connection without having waited does not do any of this
//! for its first write, nor for its first read if the client begins it directly after the write:
//! [`Timer::take_clock_skip`]. The timeouts of the socket are then right as they are. This saves
//! two clock reads and the selection of the timeouts, and allows a write that is not
//! vectored. Together they save about 4 % of the time of such a request.
//!
//! [`connect_timeout`]: super::Config::connect_timeout
//! [`read_timeout`]: super::Config::read_timeout
//! [`write_timeout`]: super::Config::write_timeout
//! [`deadline`]: super::Config::deadline

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use crate::error::{Error, Result};

/// The timeouts of one direction of a connection, in milliseconds. `u32::MAX` means none.
#[derive(Debug)]
pub(super) struct Timeouts {
    /// The longest wait without progress.
    configured: u32,
    /// How long a request may take as a whole.
    max_request: u32,
    /// The timeout of the socket that is right for a request that has just begun.
    usual: u32,
    /// The timeout of the socket. Only one thread uses a direction at a time, and other
    /// synchronization orders its uses, so `Relaxed` is enough.
    on_socket: AtomicU32,
}

/// The limit on the waits of one direction of a connection during a request.
///
/// A single wait is limited by a timeout, and all waits of a request by its deadline. The timeout
/// of the socket enforces both. Setting it takes a system call, so it is set only if it is longer
/// than allowed, or much shorter. A wait that reaches it before the limit is continued.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    deadline: Deadline,
    /// Whether the next wait begins without reading the clock.
    skips_clock: bool,
}

/// A wait of one direction, which may take several system calls.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// The time that earlier calls have taken.
    waited: Duration,
    /// When a signal has interrupted the last call.
    interrupted: Option<Instant>,
}

impl Timeouts {
    /// Creates the timeouts of a connection whose requests may each take `max_request`. The first
    /// wait ends after `max_wait`, and may be continued.
    pub(super) fn new(
        configured: Option<Duration>,
        max_request: Option<Duration>,
        max_wait: Duration,
    ) -> Self {
        let configured = millis(configured.unwrap_or(Duration::MAX));
        // A socket cannot have a timeout of zero. The first wait notices that the deadline has
        // passed.
        let max_request = max_request.unwrap_or(Duration::MAX).max(Duration::from_millis(1));
        let max_request = millis(max_request);
        let usual = configured.min(max_request);
        Self { configured, max_request, usual, on_socket: usual.min(millis(max_wait)).into() }
    }

    /// Returns the timeout of the socket.
    pub(super) fn on_socket(&self) -> Option<Duration> {
        let millis = self.on_socket.load(Relaxed);
        (millis < u32::MAX).then(|| from_millis(millis))
    }

    /// Records that the timeout of the socket has been changed.
    pub(super) fn set_on_socket(&self, timeout: Duration) {
        self.on_socket.store(millis(timeout), Relaxed);
    }

    /// Returns whether a request that has just begun can wait with the timeout of the socket.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        self.on_socket.load(Relaxed) == self.usual
    }

    /// Like [`is_usual`](Self::is_usual), but also accepts a shorter timeout. A wait that reaches
    /// it is continued.
    #[inline]
    pub(super) fn is_usual_or_shorter(&self) -> bool {
        self.on_socket.load(Relaxed) <= self.usual
    }

    /// Checks that a wait may be continued.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if it has reached its limit.
    pub(super) fn check(&self, operation: &'static str, wait: &Wait) -> Result<()> {
        if millis(wait.waited) < self.configured {
            return Ok(());
        }
        Err(self.expired(operation))
    }

    /// Returns the error of a wait that has reached its limit.
    pub(super) fn expired(&self, operation: &'static str) -> Error {
        Error::timed_out(operation, from_millis(self.configured))
    }

    /// Returns whether the timeout of the socket is right for a wait of at most `max`.
    fn fits(&self, max: u32) -> bool {
        let on_socket = self.on_socket.load(Relaxed);
        on_socket <= max && on_socket >= max / 4 * 3
    }
}

impl Wait {
    /// Returns the time that the wait has taken so far.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Adds the time of a call that has reached the timeout of the socket.
    pub(super) fn add_timeout(&mut self, timeouts: &Timeouts) {
        let timeout = from_millis(timeouts.on_socket.load(Relaxed));
        self.waited = self.waited.saturating_add(timeout);
        self.interrupted = None;
    }

    /// Adds the time of a call that a signal has interrupted. The start of a call is known only if
    /// it follows an interrupted one, so the first one counts as zero.
    pub(super) fn add_interrupted(&mut self) {
        let now = Instant::now();
        if let Some(start) = self.interrupted.replace(now) {
            self.waited = self.waited.saturating_add(now.saturating_duration_since(start));
        }
    }
}

impl Timer {
    pub(super) fn new() -> Self {
        Self { deadline: Deadline::NONE, skips_clock: false }
    }

    /// Starts a request. With `skips_clock`, the first wait begins without reading the clock.
    #[inline]
    pub(super) fn start(&mut self, deadline: Deadline, skips_clock: bool) {
        self.skips_clock = skips_clock;
        self.deadline = deadline;
    }

    /// Returns whether the next wait may begin without [`begin_wait`](Self::begin_wait). That holds
    /// for one wait.
    #[inline]
    pub(super) fn take_clock_skip(&mut self) -> bool {
        std::mem::take(&mut self.skips_clock)
    }

    /// Begins a wait, or continues one that has taken `waited` so far. It ends after `max`, and may
    /// be continued. Returns whether the timeout of the socket has to change to
    /// [`Timeouts::on_socket`].
    ///
    /// # Errors
    /// [`Error::TimedOut`] if the deadline has passed.
    pub(super) fn begin_wait(
        &mut self,
        timeouts: &Timeouts,
        waited: Duration,
        max: Duration,
    ) -> Result<bool> {
        let left = self.deadline.left();
        if left.is_zero() {
            return Err(Error::timed_out("request", from_millis(timeouts.max_request)));
        }
        let max = millis(max.min(left)).min(timeouts.configured.saturating_sub(millis(waited)));
        if timeouts.fits(max) {
            return Ok(false);
        }
        timeouts.on_socket.store(max, Relaxed);
        Ok(true)
    }
}

/// Returns a duration in milliseconds, rounded up. `u32::MAX` stands for 49 days and more.
fn millis(duration: Duration) -> u32 {
    let part = duration.subsec_nanos().div_ceil(1_000_000);
    let millis = duration.as_secs().saturating_mul(1000).saturating_add(part.into());
    u32::try_from(millis).unwrap_or(u32::MAX)
}

fn from_millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);
    const FOREVER: Duration = Duration::MAX;

    /// A timer and its timeouts.
    struct Pair(Timer, Timeouts);

    impl Pair {
        fn new(timeout: Option<Duration>, max_request: Option<Duration>) -> Self {
            Self(Timer::new(), Timeouts::new(timeout, max_request, FOREVER))
        }

        fn seconds(timeout: u32, max_request: u32) -> Self {
            Self::new(Some(SECOND * timeout), Some(SECOND * max_request))
        }

        /// Starts a request that has this time left.
        fn start(&mut self, seconds: u32) {
            let deadline = Deadline::new(Instant::now(), Some(SECOND * seconds));
            self.0.start(deadline, self.1.is_usual());
        }

        /// Returns the time of a wait that has taken `waited` and then reached the timeout.
        fn continue_wait(&self, waited: Duration) -> Option<Duration> {
            let mut wait = Wait { waited, interrupted: None };
            wait.add_timeout(&self.1);
            self.1.check("read", &wait).ok().map(|()| wait.waited())
        }

        fn begin_wait(&mut self, waited: Duration) -> Result<bool> {
            self.0.begin_wait(&self.1, waited, FOREVER)
        }
    }

    #[test]
    fn a_distant_deadline_does_not_change_the_timeout() {
        let mut pair = Pair::seconds(60, 3600);
        assert_eq!(pair.1.on_socket(), Some(SECOND * 60));
        pair.start(3600);
        assert!(pair.0.take_clock_skip());
        assert!(!pair.0.take_clock_skip(), "only one wait");
        assert!(!pair.begin_wait(Duration::ZERO).unwrap());
        assert_eq!(pair.continue_wait(Duration::ZERO), None);
    }

    #[test]
    fn a_near_deadline_shortens_the_timeout_until_the_next_request() {
        let mut pair = Pair::seconds(60, 3600);
        pair.start(10);
        assert!(pair.begin_wait(Duration::ZERO).unwrap());
        let timeout = pair.1.on_socket().unwrap();
        assert!(timeout > SECOND * 9 && timeout <= SECOND * 10);
        assert_eq!(pair.continue_wait(Duration::ZERO), Some(timeout));

        pair.start(3600);
        assert!(!pair.0.take_clock_skip());
        assert!(pair.1.is_usual_or_shorter());
        assert_eq!(pair.continue_wait(Duration::ZERO), Some(timeout));
        assert!(pair.begin_wait(timeout).unwrap());
        assert_eq!(pair.1.on_socket(), (SECOND * 60).checked_sub(timeout));
    }

    #[test]
    fn a_deadline_shorter_than_the_timeout_costs_nothing() {
        let mut pair = Pair::seconds(60, 10);
        for _ in 0..3 {
            pair.start(10);
            assert!(pair.0.take_clock_skip());
        }
    }

    #[test]
    fn a_passed_deadline_is_an_error() {
        let mut pair = Pair::seconds(60, 3600);
        pair.start(0);
        let outcome = pair.begin_wait(Duration::ZERO);
        assert_eq!(outcome.unwrap_err().to_string(), "request timed out after 3600 s");
    }

    #[test]
    fn a_short_timeout_of_the_socket_does_not_end_the_wait() {
        let mut pair = Pair::new(Some(SECOND * 10), None);
        pair.1.set_on_socket(SECOND);
        assert_eq!(pair.continue_wait(Duration::ZERO), Some(SECOND));
        assert!(pair.begin_wait(SECOND).unwrap());
        assert_eq!(pair.1.on_socket(), Some(SECOND * 9));
        assert_eq!(pair.continue_wait(SECOND), None);
    }

    #[test]
    fn signals_extend_a_wait_by_at_most_one_timeout() {
        let pair = Pair::new(Some(SECOND * 10), None);
        let mut wait = Wait::default();
        wait.add_interrupted();
        pair.1.check("read", &wait).unwrap();
        wait.interrupted = Instant::now().checked_sub(SECOND * 10);
        wait.add_interrupted();
        let outcome = pair.1.check("read", &wait);
        assert_eq!(outcome.unwrap_err().to_string(), "read timed out after 10 s");
    }

    #[test]
    fn without_timeout_and_deadline_a_wait_never_ends() {
        let mut pair = Pair::new(None, None);
        assert_eq!(pair.1.on_socket(), None);
        assert!(!pair.begin_wait(Duration::ZERO).unwrap());
        assert_eq!(Deadline::new(Instant::now(), Some(FOREVER)).left(), FOREVER);
    }

    #[test]
    fn a_duration_is_rounded_up_to_milliseconds() {
        let cases = [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2), (60_000_000_000, 60_000)];
        for (nanos, expected) in cases {
            assert_eq!(millis(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(millis(FOREVER), u32::MAX);
    }
}
