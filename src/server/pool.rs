use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Config, Overload};
use super::lifecycle::{ConnectionState, NEW_CONNECTION_GRACE};
use crate::error::{Error, Result};
use crate::net::{Listener, Stream};

/// The number of threads that stay in `accept` when there is nothing to do.
const SPARE_THREADS: usize = 4;
/// The number of connections that may be rejected at the same time before the pool stops starting
/// threads.
const REJECTING_THREADS: usize = 16;

/// The threads of a server, and the connections that they serve.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) listener: Listener,
    state: Mutex<State>,
    /// Notified when a connection or a thread ends while another thread waits for that, and when
    /// the server stops.
    changed: Condvar,
    /// The number of threads that wait for a slot in [`Pool::admit`]. While it is not 0, every
    /// connection closes at the end of its request.
    waiting_for_slot: Arc<AtomicUsize>,
    is_stopping: AtomicBool,
}

/// Invariant: `threads = accepting + serving.len() + rejecting.len()`. Each thread serves one
/// connection, rejects one, or is accepting.
///
/// Invariant: `serving.len() <= max_connections`.
///
/// Invariant: `threads <= max_connections + REJECTING_THREADS + 1`. A thread is started only when
/// no other is accepting and at most `REJECTING_THREADS` are rejecting.
#[derive(Debug, Default)]
struct State {
    /// The connections that are served, in the order in which they were accepted.
    serving: Vec<Arc<ConnectionState>>,
    /// The connections that are rejected.
    rejecting: Vec<Arc<ConnectionState>>,
    /// The threads that wait in `accept`, are about to, or wait for a slot with the connection that
    /// they have accepted.
    accepting: usize,
    threads: usize,
    /// The accepting threads that wait because `accept` has failed.
    /// Invariant: `retrying <= accepting`.
    retrying: usize,
    /// Why the server has stopped by itself.
    failure: Option<Error>,
}

/// What the pool has decided about a connection.
pub(super) struct Admission {
    pub(super) state: Arc<ConnectionState>,
    /// Whether the connection has a slot. Otherwise it is to be rejected.
    pub(super) has_slot: bool,
    /// Whether the caller has to start another thread, because none is accepting. The new thread is
    /// already counted.
    pub(super) starts_thread: bool,
}

impl Pool {
    pub(super) fn new(listener: Listener) -> Self {
        Self {
            listener,
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting_for_slot: Arc::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Stops accepting, and asks every connection to close.
    pub(super) fn stop(&self) {
        if self.is_stopping.swap(true, SeqCst) {
            return;
        }
        self.listener.close();
        let state = self.lock();
        state.serving.iter().chain(&state.rejecting).for_each(|other| other.ask_to_close());
        self.changed.notify_all();
    }

    /// Stops because the server cannot continue.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.stop();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(SeqCst)
    }

    /// Waits until the server is stopped and every thread has ended. Aborts the connections that
    /// are left after `shutdown_timeout`.
    pub(super) fn wait_for_end(&self, shutdown_timeout: Duration) -> Result<()> {
        let mut state = self.lock();
        while !self.is_stopping() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state = self.wait_for_threads(state, shutdown_timeout);
        state.serving.iter().for_each(|connection| connection.abort());
        // A thread ends when its connection was aborted, unless the handler does not use its
        // streams. Such a thread is not waited for.
        state = self.wait_for_threads(state, Duration::from_secs(1));
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Counts a thread that is about to be started.
    pub(super) fn add_thread(&self) {
        self.lock().add_thread();
    }

    /// Removes an accepting thread that ends, or could not be started.
    pub(super) fn remove_thread(&self) {
        let mut state = self.lock();
        state.threads -= 1;
        state.accepting -= 1;
        self.changed.notify_all();
    }

    /// Gives an accepted connection a slot, as soon as one is free, or decides that it is to be
    /// rejected. Returns `None` if the server stops.
    pub(super) fn admit(&self, stream: &Stream, config: &Config) -> Option<Admission> {
        let mut state = self.lock();
        if state.serving.len() >= config.max_connections {
            state = self.wait_for_slot(state, config);
        }
        if self.is_stopping() {
            return None;
        }
        let waiting_for_slot = Arc::clone(&self.waiting_for_slot);
        let connection =
            ConnectionState::new(stream.clone(), config.write_timeout, waiting_for_slot);
        Some(state.admit(Arc::new(connection), config))
    }

    /// Removes a connection that has ended. Returns `false` if its thread is not needed any more.
    /// The thread is removed then.
    pub(super) fn release(&self, connection: Arc<ConnectionState>) -> bool {
        let mut state = self.lock();
        let is_needed = state.release(&connection, self.is_stopping());
        // Closes the socket before another thread is notified that there is room.
        drop(connection);
        let has_waiters = self.waiting_for_slot.load(SeqCst) > 0 || state.retrying > 0;
        if has_waiters || self.is_stopping() {
            self.changed.notify_all();
        }
        is_needed
    }

    /// Asks an idle connection to close, if there is one.
    pub(super) fn close_an_idle_connection(&self) {
        self.lock().close_an_idle_connection();
    }

    /// Waits until a connection has ended, but at most for `timeout`. Asks an idle connection to
    /// close: `accept` has failed, most likely because the process has no descriptor left.
    pub(super) fn wait_to_retry(&self, timeout: Duration) {
        let mut state = self.lock();
        if self.is_stopping() {
            return;
        }
        state.close_an_idle_connection();
        state.retrying += 1;
        state = self.wait_timeout(state, timeout).0;
        state.retrying -= 1;
    }

    /// Waits until a slot is free. Returns without one if newcomers are to be rejected and no
    /// connection is idle, or if the server stops.
    fn wait_for_slot<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        config: &Config,
    ) -> MutexGuard<'a, State> {
        self.waiting_for_slot.fetch_add(1, SeqCst);
        // After the increment, as the ordering argument of `ConnectionState` requires.
        let mut may_wait = state.may_wait(config);
        while may_wait && state.serving.len() >= config.max_connections {
            let (guard, is_timeout) = self.wait_timeout(state, NEW_CONNECTION_GRACE);
            state = guard;
            // A connection that was new may count as idle now.
            if is_timeout {
                may_wait = state.may_wait(config);
            }
            may_wait &= !self.is_stopping();
        }
        self.waiting_for_slot.fetch_sub(1, SeqCst);
        state
    }

    fn wait_for_threads<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        let start = Instant::now();
        while state.threads > 0 {
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.wait_timeout(state, left).0;
        }
        state
    }

    /// Waits for a change. Returns whether the time has passed without one.
    fn wait_timeout<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        let (state, result) =
            self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner);
        (state, result.timed_out())
    }

    /// The state is valid after a panic: no code of the application runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_thread(&mut self) {
        self.threads += 1;
        self.accepting += 1;
    }

    fn admit(&mut self, connection: Arc<ConnectionState>, config: &Config) -> Admission {
        let has_slot = self.serving.len() < config.max_connections;
        let connections = if has_slot { &mut self.serving } else { &mut self.rejecting };
        connections.push(Arc::clone(&connection));
        self.accepting -= 1;
        let starts_thread = self.accepting == 0 && self.rejecting.len() <= REJECTING_THREADS;
        if starts_thread {
            self.add_thread();
            debug_assert!(self.threads <= config.max_connections + REJECTING_THREADS + 1);
        }
        self.check();
        Admission { state: connection, has_slot, starts_thread }
    }

    fn release(&mut self, connection: &Arc<ConnectionState>, is_stopping: bool) -> bool {
        let is_other = |other: &Arc<_>| !Arc::ptr_eq(other, connection);
        self.serving.retain(is_other);
        self.rejecting.retain(is_other);
        let is_needed = self.accepting < SPARE_THREADS && !is_stopping;
        if is_needed {
            self.accepting += 1;
        } else {
            self.threads -= 1;
        }
        self.check();
        is_needed
    }

    /// Asks the oldest idle connection to close. Returns `false` if there is none.
    fn close_an_idle_connection(&self) -> bool {
        self.serving.iter().any(|connection| connection.close_if_idle())
    }

    /// Asks an idle connection to close. Returns whether a newcomer may wait for a slot.
    fn may_wait(&self, config: &Config) -> bool {
        self.close_an_idle_connection() || config.overload == Overload::Wait
    }

    /// Checks the first invariant.
    fn check(&self) {
        debug_assert_eq!(
            self.threads,
            self.accepting + self.serving.len() + self.rejecting.len(),
            "threads = accepting + serving + rejecting"
        );
    }
}
