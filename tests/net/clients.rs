//! Clients that must be answered, whatever happens to the listener.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::*;
use std::time::Instant;

/// Clients that send requests until they are told to stop.
#[derive(Default)]
pub(super) struct Clients {
    answered: AtomicUsize,
    is_stopped: AtomicBool,
}

/// Stops the clients when it is dropped, as [`CloseOnDrop`] does for a listener.
pub(super) struct StopOnDrop<'a>(pub(super) &'a Clients);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Clients {
    /// Sends a byte over new connections, until [`stop`](Self::stop). Each must be answered.
    pub(super) fn run(&self, address: &Address) {
        while !self.is_stopped.load(SeqCst) {
            let mut client = connect(address);
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).expect("an answer");
            self.answered.fetch_add(1, SeqCst);
        }
    }

    /// Waits until some more requests have been answered.
    pub(super) fn wait_for_answers(&self) {
        let (enough, start) = (self.answered() + 20, Instant::now());
        while self.answered() < enough {
            assert!(start.elapsed() < TEST_TIMEOUT, "clients are not answered");
            thread::yield_now();
        }
    }
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, SeqCst);
    }

    /// Returns the number of requests that have been answered.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(SeqCst)
    }
}
