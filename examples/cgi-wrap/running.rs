//! The number of requests that are being served, each with its program.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts the requests that are being served.
#[derive(Clone, Default)]
pub struct RunningRequests(Arc<Shared>);

#[derive(Default)]
struct Shared {
    count: Mutex<usize>,
    /// Signalled when `count` becomes smaller.
    ended: Condvar,
}

/// Counts as one request until it is dropped.
pub struct Guard(RunningRequests);

impl RunningRequests {
    /// Counts one more request.
    pub fn add(&self) -> Guard {
        *self.lock() += 1;
        Guard(self.clone())
    }

    /// Waits until no request is being served, but at most for this time.
    pub fn wait_for_end(&self, timeout: Duration) {
        drop(self.0.ended.wait_timeout_while(self.lock(), timeout, |count| *count > 0));
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Self(RunningRequests(shared)) = self;
        *shared.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        shared.ended.notify_all();
    }
}
