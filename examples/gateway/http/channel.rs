//! A channel from a blocking thread to a future. It holds at most one value.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// The sending half, which blocks.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The receiving half, which is polled.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Signalled when the value has been received, or the receiver has been dropped.
    emptied: Condvar,
}

struct State<T> {
    value: Option<T>,
    has_sender: bool,
    has_receiver: bool,
    /// The waker of the future that waits for a value.
    waker: Option<Waker>,
}

/// The error of [`Sender::send`]: the receiver has been dropped.
#[derive(Debug)]
pub(super) struct Disconnected;

pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { value: None, has_sender: true, has_receiver: true, waker: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), emptied: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends a value. Blocks until the previous value has been received.
    pub(super) fn send(&self, value: T) -> Result<(), Disconnected> {
        let is_full = |state: &mut State<T>| state.value.is_some() && state.has_receiver;
        let mut state = self
            .0
            .emptied
            .wait_while(self.0.lock(), is_full)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.has_receiver {
            return Err(Disconnected);
        }
        state.value = Some(value);
        state.wake();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// Receives the next value, or `None` if the sender has been dropped.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        if let Some(value) = state.value.take() {
            self.0.emptied.notify_one();
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
        self.0.emptied.notify_one();
    }
}

/// Returns a waker that unparks the current thread.
pub(super) fn thread_waker() -> Waker {
    struct ThreadWaker(Thread);

    impl Wake for ThreadWaker {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    Arc::new(ThreadWaker(thread::current())).into()
}
