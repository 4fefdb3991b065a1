//! Whether a client still waits for its response.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The client of a connection.
#[derive(Default)]
pub(super) struct Client(Mutex<State>);

#[derive(Default)]
struct State {
    is_disconnected: bool,
    /// Runs when the client disconnects. It has no effect if its request has ended.
    action: Option<Box<dyn FnOnce() + Send>>,
}

impl Client {
    /// Runs `action` if the client disconnects, or at once if it already has.
    pub(super) fn on_disconnect(&self, action: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if state.is_disconnected {
            drop(state);
            action();
        } else {
            state.action = Some(action);
        }
    }

    pub(super) fn is_disconnected(&self) -> bool {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
