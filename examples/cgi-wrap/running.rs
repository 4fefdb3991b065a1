//! The number of programs that are running.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts the programs that are running.
#[derive(Clone, Default)]
pub struct Running(Arc<(Mutex<usize>, Condvar)>);

/// Counts as one program until it is dropped.
pub struct Guard(Running);

impl Running {
    /// Counts one more program.
    pub fn add(&self) -> Guard {
        *self.lock() += 1;
        Guard(self.clone())
    }

    /// Waits until no program is running, but at most for this time.
    pub fn wait_for_end(&self, timeout: Duration) {
        let ended = &self.0 .1;
        drop(ended.wait_timeout_while(self.lock(), timeout, |count| *count > 0));
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0 .0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0 .0 .1.notify_all();
    }
}
