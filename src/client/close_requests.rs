use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long a request on a new connection waits for the application before a kept connection is
/// closed for it. Most applications answer earlier, and a user hardly notices the delay.
const MAX_RESPONSE_DELAY: Duration = Duration::from_millis(100);

/// A pool that closes kept connections, so that the application can accept another one.
///
/// Many applications have a fixed number of processes, each of which serves one connection until it
/// is closed. If all of them serve kept connections, a new one waits in the backlog until one of
/// those is closed. A client cannot distinguish this from an application that takes long to answer.
pub(super) trait CloseKept: fmt::Debug + Send + Sync {
    /// Closes an idle connection, or the next one that would become idle, because the application
    /// has not answered on a new one for some time. `is_repeated` is true if this was called for
    /// the new connection before.
    fn close_kept(&self, is_repeated: bool);

    /// Withdraws the request of a new connection to close a kept one, for which
    /// [`close_kept`](Self::close_kept) was called: the application has answered on it, or it is
    /// closed.
    fn withdraw(&self);
}

/// How many new connections request that a kept one is closed, and how many were closed for them.
///
/// Invariant: `closed <= requested`.
#[derive(Debug, Default)]
pub(super) struct CloseRequests {
    requested: usize,
    closed: usize,
}

impl CloseRequests {
    /// Adds the request of a new connection to close a kept one. If it was added before, closing
    /// one was not enough, so another must be closed.
    pub(super) fn add(&mut self, is_repeated: bool) {
        if is_repeated {
            self.closed = self.closed.saturating_sub(1);
        } else {
            self.requested += 1;
        }
    }

    /// Withdraws the request of a new connection to close a kept one.
    pub(super) fn withdraw(&mut self) {
        self.requested = self.requested.saturating_sub(1);
        self.closed = self.closed.saturating_sub(1);
    }

    /// Returns whether a kept connection must be closed. The caller then closes one.
    pub(super) fn take(&mut self) -> bool {
        let is_open = self.closed < self.requested;
        self.closed += usize::from(is_open);
        is_open
    }
}

/// Whether the application has answered on a connection, and the pool that closes a kept one if
/// that takes long.
#[derive(Debug)]
pub(super) struct FirstResponse {
    /// Whether the application has answered or closed the connection. It guards no other data, so
    /// `Relaxed` is enough.
    has_arrived: AtomicBool,
    /// Whether the pool was asked to close a kept connection, and this was not withdrawn.
    ///
    /// Invariant: `false` once `has_arrived` is true, except until `set_arrived` has acquired this
    /// lock.
    is_close_requested: Mutex<bool>,
    pool: Option<Weak<dyn CloseKept>>,
    /// How long a wait may take before a kept connection is closed.
    max_delay: Duration,
}

impl FirstResponse {
    /// Creates the value for a new connection with this read timeout. A kept connection is closed
    /// after a quarter of a short timeout.
    pub(super) fn new(pool: Option<Weak<dyn CloseKept>>, read_timeout: Option<Duration>) -> Self {
        let max_delay =
            read_timeout.map_or(MAX_RESPONSE_DELAY, |timeout| MAX_RESPONSE_DELAY.min(timeout / 4));
        let (has_arrived, is_close_requested) = (AtomicBool::new(false), Mutex::new(false));
        Self { has_arrived, is_close_requested, pool, max_delay }
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.has_arrived.load(Relaxed)
    }

    /// Returns the longest wait before the next call of [`request_close`](Self::request_close).
    pub(super) fn max_wait(&self) -> Duration {
        if self.pool.is_some() && !self.has_arrived() {
            self.max_delay
        } else {
            Duration::MAX
        }
    }

    /// Closes a kept connection after a wait, unless the response has arrived.
    pub(super) fn request_close(&self) {
        let mut is_requested = self.lock();
        if self.has_arrived() {
            return;
        }
        if let Some(pool) = self.pool() {
            pool.close_kept(*is_requested);
            *is_requested = true;
        }
    }

    /// Notes that the application has answered or closed the connection.
    #[cold]
    pub(super) fn set_arrived(&self) {
        self.has_arrived.store(true, Relaxed);
        // After the store. A thread that acquires the lock later observes `has_arrived`. One that
        // held it earlier has set the flag.
        if std::mem::take(&mut *self.lock()) {
            if let Some(pool) = self.pool() {
                pool.withdraw();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_close_requested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> Option<Arc<dyn CloseKept>> {
        self.pool.as_ref().and_then(Weak::upgrade)
    }
}

impl Drop for FirstResponse {
    fn drop(&mut self) {
        if !self.has_arrived() {
            self.set_arrived();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicIsize, Ordering::SeqCst};
    use std::thread;

    use super::*;

    /// A pool that counts the requests that were not withdrawn.
    #[derive(Debug, Default)]
    struct Counter(AtomicIsize);

    impl CloseKept for Counter {
        fn close_kept(&self, is_repeated: bool) {
            self.0.fetch_add(isize::from(!is_repeated), SeqCst);
        }

        fn withdraw(&self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }

    #[test]
    fn no_request_is_left_if_two_threads_request_a_close_while_the_response_arrives() {
        let counter = Arc::new(Counter::default());
        for _ in 0..200 {
            let pool: Weak<dyn CloseKept> = Arc::<Counter>::downgrade(&counter);
            let response = FirstResponse::new(Some(pool), None);
            thread::scope(|scope| {
                scope.spawn(|| [(); 3].map(|()| response.request_close()));
                scope.spawn(|| response.request_close());
                response.set_arrived();
            });
            assert!(response.has_arrived());
            assert_eq!(counter.0.load(SeqCst), 0);
        }
    }

    #[test]
    fn a_connection_that_is_dropped_unanswered_withdraws_its_request() {
        let counter = Arc::new(Counter::default());
        let pool: Weak<dyn CloseKept> = Arc::<Counter>::downgrade(&counter);
        let response = FirstResponse::new(Some(pool), None);
        response.request_close();
        assert_eq!(counter.0.load(SeqCst), 1);
        drop(response);
        assert_eq!(counter.0.load(SeqCst), 0);
    }

    #[test]
    fn one_connection_is_closed_for_each_that_requests_it() {
        let mut requests = CloseRequests::default();
        assert!(!requests.take());
        requests.add(false);
        requests.add(false);
        assert_eq!([requests.take(), requests.take(), requests.take()], [true, true, false]);
        requests.withdraw();
        assert!(!requests.take(), "one was closed for the other connection");
    }

    #[test]
    fn another_connection_is_closed_if_the_first_did_not_help() {
        let mut requests = CloseRequests::default();
        requests.add(false);
        assert_eq!([requests.take(), requests.take()], [true, false]);
        requests.add(true);
        assert_eq!([requests.take(), requests.take()], [true, false]);
    }

    #[test]
    fn nothing_is_closed_after_the_request_was_withdrawn() {
        let mut requests = CloseRequests::default();
        requests.add(false);
        requests.add(true);
        requests.withdraw();
        assert!(!requests.take());
    }
}
