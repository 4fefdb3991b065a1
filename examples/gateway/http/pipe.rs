//! From a thread that may wait to a future that may not: a pipe that holds one value.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// The end of a thread.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The end of a future.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signalled when the value was taken, or the receiver has left.
    room: Condvar,
}

struct State<T> {
    value: Option<T>,
    has_sender: bool,
    has_receiver: bool,
    /// Who waits for the value.
    waker: Option<Waker>,
}

/// The receiver has left.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) fn pipe<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { value: None, has_sender: true, has_receiver: true, waker: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Waits until the value before was taken, and leaves this one.
    pub(super) fn send(&self, value: T) -> Result<(), Gone> {
        let is_full = |state: &mut State<T>| state.value.is_some() && state.has_receiver;
        let mut state =
            self.0.room.wait_while(self.0.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        if !state.has_receiver {
            return Err(Gone);
        }
        state.value = Some(value);
        state.wake();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// The next value; `None` when the sender has left.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        if let Some(value) = state.value.take() {
            self.0.room.notify_one();
            return Poll::Ready(Some(value));
        }
        if !state.has_sender {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_sender = false;
        state.wake();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.lock().has_receiver = false;
        self.0.room.notify_one();
    }
}

/// Wakes this thread from [`thread::park`].
pub(super) fn unparker() -> Waker {
    struct Unparker(Thread);

    impl Wake for Unparker {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    Arc::new(Unparker(thread::current())).into()
}
