use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::activity::Activity;
use super::{Config, Overload};
use crate::error::{Error, Result};
use crate::net::{Listener, Stream};

/// The threads that stay in `accept` although there is nothing to do; more are started when they are needed.
const SPARE_THREADS: usize = 4;

/// What the threads of a server share: which of them wait in `accept`, and which connections are served.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) listener: Listener,
    state: Mutex<State>,
    /// Told when a connection or a thread ends while someone waits for that, and when the server stops.
    changed: Condvar,
    /// The connections that wait for another to end. While there are any, each that ends its request closes.
    held: Arc<AtomicUsize>,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The connections that are served, the oldest first.
    serving: Vec<Arc<Activity>>,
    /// The threads that wait in `accept`, or are on their way there.
    waiting: usize,
    /// All threads.
    threads: usize,
    /// Why the server stopped by itself.
    failure: Option<Error>,
}

/// What becomes of a connection that was accepted.
pub(super) enum Admission {
    /// It is served; with it goes whether another thread has to be started, so that one waits in `accept`.
    Serve(Arc<Activity>, bool),
    /// There is no room for it.
    Reject,
    /// The server stops.
    Stop,
}

impl Pool {
    pub(super) fn new(listener: Listener) -> Self {
        Self {
            listener,
            state: Mutex::default(),
            changed: Condvar::new(),
            held: Arc::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Stops accepting, and asks every connection to close.
    pub(super) fn stop(&self) {
        if self.stopping.swap(true, SeqCst) {
            return;
        }
        self.listener.close();
        let state = self.lock();
        state.serving.iter().for_each(|activity| activity.ask_to_close());
        self.changed.notify_all();
    }

    /// Stops because the server cannot go on.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.stop();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Waits until the server is stopped and every connection has ended, or the time for that has passed and the rest
    /// was cut.
    pub(super) fn wait_for_end(&self, shutdown_timeout: Duration) -> Result<()> {
        let mut state = self.lock();
        while !self.is_stopping() {
            state = self.wait(state);
        }
        state = self.wait_for_threads(state, Instant::now() + shutdown_timeout);
        state.serving.iter().for_each(|activity| activity.cut());
        // What was cut ends by itself, unless a handler does not look at its streams; that one is left behind.
        state = self.wait_for_threads(state, Instant::now() + Duration::from_secs(1));
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Counts a thread that is about to wait in `accept`.
    pub(super) fn thread_starts(&self) {
        let mut state = self.lock();
        state.threads += 1;
        state.waiting += 1;
    }

    /// Counts a thread out that was to wait in `accept`.
    pub(super) fn thread_ends(&self) {
        let mut state = self.lock();
        state.threads -= 1;
        state.waiting -= 1;
        self.changed.notify_all();
    }

    /// Takes a connection among those that are served, as soon as there is room for it. Its thread does not wait in
    /// `accept` any more.
    pub(super) fn admit(&self, stream: &Stream, config: &Config) -> Admission {
        let mut state = self.lock();
        if state.serving.len() >= config.max_connections {
            self.held.fetch_add(1, SeqCst);
            // Only now: one that becomes idle from here on sees that it is to close.
            let gives_way = state.close_an_idle_one();
            if gives_way || config.overload == Overload::Wait {
                state = self.wait_for_room(state, config.max_connections);
            }
            self.held.fetch_sub(1, SeqCst);
        }
        if self.is_stopping() {
            return Admission::Stop;
        }
        if state.serving.len() >= config.max_connections {
            return Admission::Reject;
        }
        let activity = Arc::new(Activity::new(stream.clone(), Arc::clone(&self.held)));
        state.serving.push(Arc::clone(&activity));
        state.waiting -= 1;
        Admission::Serve(activity, state.waiting == 0)
    }

    /// Takes a connection from those that are served; false if its thread is not needed any more, and is counted out.
    pub(super) fn release(&self, activity: &Arc<Activity>) -> bool {
        let mut state = self.lock();
        state.serving.retain(|other| !Arc::ptr_eq(other, activity));
        let is_needed = state.waiting < SPARE_THREADS && !self.is_stopping();
        if is_needed {
            state.waiting += 1;
        } else {
            state.threads -= 1;
        }
        if self.held.load(SeqCst) > 0 || self.is_stopping() {
            self.changed.notify_all();
        }
        is_needed
    }

    /// Asks the oldest idle connection to close, if there is one.
    pub(super) fn close_an_idle_one(&self) {
        self.lock().close_an_idle_one();
    }

    /// Waits until fewer than `max` connections are served.
    fn wait_for_room<'a>(&'a self, mut state: MutexGuard<'a, State>, max: usize) -> MutexGuard<'a, State> {
        while state.serving.len() >= max && !self.is_stopping() {
            state = self.wait(state);
        }
        state
    }

    fn wait_for_threads<'a>(&'a self, mut state: MutexGuard<'a, State>, deadline: Instant) -> MutexGuard<'a, State> {
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock outlives a panic: no code of others runs under it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Asks the oldest idle connection to close; false if there is none.
    fn close_an_idle_one(&self) -> bool {
        self.serving.iter().any(|activity| activity.close_if_idle())
    }
}
