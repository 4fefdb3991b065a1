use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::activity::{Activity, GRACE};
use super::{Config, Overload};
use crate::error::{Error, Result};
use crate::net::{Listener, Stream};

/// The threads that stay in `accept` although there is nothing to do; more are started when they
/// are needed.
const SPARE_THREADS: usize = 4;
/// The connections that are rejected at once by threads of their own, so that none of them holds up
/// the others.
const REJECTING_THREADS: usize = 16;

/// What the threads of a server share: which of them wait in `accept`, and which connections are
/// served.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) listener: Listener,
    state: Mutex<State>,
    /// Told when a connection or a thread ends while someone waits for that, and when the server
    /// stops.
    changed: Condvar,
    /// The connections that wait for another to end. While there are any, each that ends its
    /// request closes.
    held: Arc<AtomicUsize>,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The connections that are served, the oldest first.
    serving: Vec<Arc<Activity>>,
    /// The connections that are told that there is no room.
    rejecting: Vec<Arc<Activity>>,
    /// The threads that wait in `accept`, or are on their way there.
    waiting: usize,
    /// Those of them for whom it has failed, and who wait before they try again.
    pausing: usize,
    /// All threads.
    threads: usize,
    /// Why the server stopped by itself.
    failure: Option<Error>,
}

/// What becomes of a connection that was accepted.
pub(super) struct Admission {
    pub(super) activity: Arc<Activity>,
    /// Whether it is served; else it is rejected.
    pub(super) has_room: bool,
    /// Whether another thread has to be started, so that one waits in `accept`.
    pub(super) is_last_thread: bool,
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
        state.serving.iter().chain(&state.rejecting).for_each(|activity| activity.ask_to_close());
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

    /// Waits until the server is stopped and every connection has ended, or the time for that has
    /// passed and the rest was cut.
    pub(super) fn wait_for_end(&self, shutdown_timeout: Duration) -> Result<()> {
        let mut state = self.lock();
        while !self.is_stopping() {
            state = self.wait(state);
        }
        state = self.wait_for_threads(state, shutdown_timeout);
        state.serving.iter().for_each(|activity| activity.cut());
        // What was cut ends by itself, unless a handler does not look at its streams; that one is
        // left behind.
        state = self.wait_for_threads(state, Duration::from_secs(1));
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

    /// Takes a connection among those that are served, as soon as there is room for it, or among
    /// those that are rejected. Its thread does not wait in `accept` any more. `None` when the
    /// server stops.
    pub(super) fn admit(&self, stream: &Stream, config: &Config) -> Option<Admission> {
        let mut state = self.lock();
        if state.serving.len() >= config.max_connections {
            state = self.make_room(state, config);
        }
        if self.is_stopping() {
            return None;
        }
        let activity = Arc::new(Activity::new(stream.clone(), Arc::clone(&self.held)));
        let has_room = state.serving.len() < config.max_connections;
        let connections = if has_room { &mut state.serving } else { &mut state.rejecting };
        connections.push(Arc::clone(&activity));
        state.waiting -= 1;
        let is_last_thread = state.waiting == 0 && state.rejecting.len() <= REJECTING_THREADS;
        Some(Admission { activity, has_room, is_last_thread })
    }

    /// Takes a connection that has ended out again; false if its thread is not needed any more, and
    /// is counted out.
    pub(super) fn release(&self, activity: Arc<Activity>) -> bool {
        let mut state = self.lock();
        state.serving.retain(|other| !Arc::ptr_eq(other, &activity));
        state.rejecting.retain(|other| !Arc::ptr_eq(other, &activity));
        // Its descriptor goes with it, before anyone is told.
        drop(activity);
        let is_needed = state.waiting < SPARE_THREADS && !self.is_stopping();
        if is_needed {
            state.waiting += 1;
        } else {
            state.threads -= 1;
        }
        if self.held.load(SeqCst) > 0 || state.pausing > 0 || self.is_stopping() {
            self.changed.notify_all();
        }
        is_needed
    }

    /// Asks an idle connection to close, if there is one.
    pub(super) fn close_an_idle_one(&self) {
        self.lock().close_an_idle_one();
    }

    /// After `accept` has failed, most likely for want of a descriptor: asks an idle connection to
    /// close, and waits until one ends, or for this time.
    pub(super) fn wait_for_an_end(&self, longest: Duration) {
        let mut state = self.lock();
        if self.is_stopping() {
            return;
        }
        state.close_an_idle_one();
        state.pausing += 1;
        state = self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0;
        state.pausing -= 1;
    }

    /// Asks an idle connection to close and waits for it; if there is none, for any that ends its
    /// request, unless newcomers are to be rejected.
    fn make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        config: &Config,
    ) -> MutexGuard<'a, State> {
        self.held.fetch_add(1, SeqCst);
        // Only now: one that becomes idle from here on sees that it is to close.
        let mut may_wait = state.close_an_idle_one() || config.overload == Overload::Wait;
        while may_wait && state.serving.len() >= config.max_connections {
            let (guard, timeout) =
                self.changed.wait_timeout(state, GRACE).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            // Meanwhile a connection may count as idle that was fresh, and another newcomer may
            // have been quicker.
            if timeout.timed_out() {
                may_wait = state.close_an_idle_one() || config.overload == Overload::Wait;
            }
            may_wait &= !self.is_stopping();
        }
        self.held.fetch_sub(1, SeqCst);
        state
    }

    fn wait_for_threads<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        longest: Duration,
    ) -> MutexGuard<'a, State> {
        let start = Instant::now();
        while state.threads > 0 {
            let left = longest.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
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
