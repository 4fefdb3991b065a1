//! Whether a client still waits for its response.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The client of one request.
pub struct ClientStatus {
    state: Mutex<State>,
    /// The number of requests in flight on the connection. This request counts as one of them.
    in_flight: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    is_disconnected: bool,
    /// Runs when the client disconnects.
    action: Option<Box<dyn FnOnce() + Send>>,
}

impl ClientStatus {
    pub(super) fn new(in_flight: &Arc<AtomicUsize>) -> Arc<Self> {
        in_flight.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self { state: Mutex::default(), in_flight: Arc::clone(in_flight) })
    }

    /// Runs `action` if the client disconnects, or at once if it already has.
    pub fn on_disconnect(&self, action: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if state.is_disconnected {
            drop(state);
            action();
        } else {
            state.action = Some(action);
        }
    }

    /// Returns whether the client disconnected before it received the whole response.
    pub fn is_disconnected(&self) -> bool {
        self.lock().is_disconnected
    }

    pub(super) fn set_disconnected(&self) {
        let mut state = self.lock();
        state.is_disconnected = true;
        let action = state.action.take();
        drop(state);
        if let Some(action) = action {
            action();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientStatus {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
