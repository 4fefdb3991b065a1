use std::time::Duration;

use super::deadline::Deadline;
use crate::error::{Error, Result};

/// Decides how long one direction of a connection may wait.
///
/// A single wait is limited by a timeout, and all waits of a request by its deadline. The timeout
/// of the socket enforces both. Setting it takes a system call, so it is set only if it is longer
/// than allowed, or much shorter. A wait that reaches it before the limit is continued.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    /// The longest wait without progress.
    timeout: Duration,
    deadline: Deadline,
    /// The timeout of the socket.
    on_socket: Duration,
    /// Whether the next wait may begin without a look at the clock.
    is_ready: bool,
}

impl Timer {
    /// Creates the timer of a new connection whose first request has this deadline. Its first wait
    /// ends after `max`, and may be continued.
    pub(super) fn new(timeout: Option<Duration>, deadline: Deadline, max: Duration) -> Self {
        let timeout = timeout.unwrap_or(Duration::MAX);
        // A socket cannot have a timeout of zero. The first wait notices that the deadline has
        // passed.
        let left = deadline.left().max(Duration::from_millis(1));
        Self { timeout, deadline, on_socket: timeout.min(left).min(max), is_ready: false }
    }

    /// Returns the timeout of the socket.
    pub(super) fn on_socket(&self) -> Option<Duration> {
        (self.on_socket < Duration::MAX).then_some(self.on_socket)
    }

    /// Records that the timeout of the socket has been changed, until the next wait.
    pub(super) fn set_on_socket(&mut self, timeout: Duration) {
        self.on_socket = timeout;
        self.is_ready = false;
    }

    /// Starts a request. If its deadline was updated a moment ago, the first wait begins without
    /// another look at the clock.
    pub(super) fn start(&mut self, deadline: Deadline, is_updated: bool) {
        self.is_ready = is_updated && self.fits(self.timeout.min(deadline.left()));
        self.deadline = deadline;
    }

    /// Returns whether the next wait may begin without [`begin_wait`](Self::begin_wait). That holds
    /// for one wait.
    pub(super) fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.is_ready)
    }

    /// Begins a wait, or continues one that has taken `waited` so far. It ends after `max`, and may
    /// be continued. Returns whether the timeout of the socket has to change to
    /// [`on_socket`](Self::on_socket).
    ///
    /// # Errors
    /// [`Error::TimedOut`] if the deadline has passed.
    pub(super) fn begin_wait(&mut self, waited: Duration, max: Duration) -> Result<bool> {
        self.deadline.update();
        if self.deadline.left().is_zero() {
            return Err(Error::TimedOut("request"));
        }
        let max = max.min(self.deadline.left()).min(self.timeout.saturating_sub(waited));
        if self.fits(max) {
            return Ok(false);
        }
        self.on_socket = max;
        Ok(true)
    }

    /// Returns how long a wait has taken that has reached the timeout of the socket, and had taken
    /// `waited` before. Returns `None` if it may not be continued.
    pub(super) fn continue_wait(&self, waited: Duration) -> Option<Duration> {
        let waited = waited.saturating_add(self.on_socket);
        (waited < self.timeout).then_some(waited)
    }

    /// Returns whether the timeout of the socket is right for a wait of at most `max`.
    fn fits(&self, max: Duration) -> bool {
        self.on_socket <= max && self.on_socket >= max / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);
    const FOREVER: Duration = Duration::MAX;

    fn timer(timeout: u32, deadline: Deadline) -> Timer {
        Timer::new(Some(SECOND * timeout), deadline, FOREVER)
    }

    fn deadline_in(seconds: u32) -> Deadline {
        Deadline::new(Instant::now(), Some(SECOND * seconds))
    }

    #[test]
    fn a_distant_deadline_does_not_change_the_timeout() {
        let mut timer = timer(60, deadline_in(3600));
        assert_eq!(timer.on_socket(), Some(SECOND * 60));
        assert!(!timer.begin_wait(Duration::ZERO, FOREVER).unwrap());
        timer.start(deadline_in(3600), true);
        assert!(timer.take_ready());
        assert!(!timer.take_ready(), "only one wait");
        assert_eq!(timer.continue_wait(Duration::ZERO), None);
    }

    #[test]
    fn a_near_deadline_shortens_the_timeout_until_the_next_request() {
        let mut timer = timer(60, Deadline::NONE);
        timer.start(deadline_in(10), true);
        assert!(!timer.take_ready());
        assert!(timer.begin_wait(Duration::ZERO, FOREVER).unwrap());
        let timeout = timer.on_socket().unwrap();
        assert!(timeout > SECOND * 9 && timeout <= SECOND * 10);
        assert_eq!(timer.continue_wait(Duration::ZERO), Some(timeout));

        timer.start(deadline_in(3600), true);
        assert!(!timer.take_ready());
        assert!(timer.begin_wait(Duration::ZERO, FOREVER).unwrap());
        assert_eq!(timer.on_socket(), Some(SECOND * 60));
    }

    #[test]
    fn a_deadline_shorter_than_the_timeout_costs_nothing() {
        let mut timer = timer(60, deadline_in(10));
        for _ in 0..3 {
            timer.start(deadline_in(10), true);
            assert!(timer.take_ready());
        }
    }

    #[test]
    fn a_passed_deadline_is_an_error() {
        let mut timer = timer(60, deadline_in(0));
        let outcome = timer.begin_wait(Duration::ZERO, FOREVER);
        assert!(matches!(outcome, Err(Error::TimedOut("request"))));
    }

    #[test]
    fn a_short_timeout_of_the_socket_does_not_end_the_wait() {
        let mut timer = timer(10, Deadline::NONE);
        timer.set_on_socket(SECOND);
        assert_eq!(timer.continue_wait(Duration::ZERO), Some(SECOND));
        assert!(timer.begin_wait(SECOND, FOREVER).unwrap());
        assert_eq!(timer.on_socket(), Some(SECOND * 9));
        assert_eq!(timer.continue_wait(SECOND), None);
    }

    #[test]
    fn without_timeout_and_deadline_a_wait_never_ends() {
        let mut timer = Timer::new(None, Deadline::NONE, FOREVER);
        assert_eq!(timer.on_socket(), None);
        assert!(!timer.begin_wait(Duration::ZERO, FOREVER).unwrap());
        assert_eq!(Deadline::new(Instant::now(), Some(Duration::MAX)).left(), Duration::MAX);
    }
}
