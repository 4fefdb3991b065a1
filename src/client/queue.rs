use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::Duration;

/// The requests that wait for a slot, in the order of their arrival. A slot is the right to use a
/// connection, or to start a thread that connects.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Invariant: none of them has a slot.
    waiters: VecDeque<Arc<Waiter>>,
}

/// A request that waits for a slot.
///
/// All methods are called with the lock of the queue held, so `Relaxed` is enough for the flag.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    has_slot: AtomicBool,
    /// Notified when `has_slot` becomes true.
    granted: Condvar,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Adds a request at the end.
    pub(super) fn join(&mut self) -> Arc<Waiter> {
        let waiter = Arc::<Waiter>::default();
        self.waiters.push_back(Arc::clone(&waiter));
        waiter
    }

    /// Removes a request that no longer waits.
    pub(super) fn leave(&mut self, waiter: &Arc<Waiter>) {
        self.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
    }

    /// Gives a slot to the first request and removes it from the queue.
    pub(super) fn grant_first(&mut self) {
        if let Some(waiter) = self.waiters.pop_front() {
            waiter.has_slot.store(true, Relaxed);
            waiter.granted.notify_one();
        }
    }
}

impl Waiter {
    pub(super) fn has_slot(&self) -> bool {
        self.has_slot.load(Relaxed)
    }

    /// Waits until the request may have a slot, for at most `max`. May return earlier.
    pub(super) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, max: Duration) -> MutexGuard<'a, T> {
        self.granted.wait_timeout(guard, max).unwrap_or_else(PoisonError::into_inner).0
    }
}
