use std::collections::VecDeque;
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
/// How often a thread that waits for a slot looks whether a new connection has become silent.
/// Nothing notifies it of that.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long threads may take to end after their connections were aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The threads of a server, and the connections that they serve.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) listener: Listener,
    state: Mutex<State>,
    /// Notified when a connection or a thread ends while another thread waits for that, when no
    /// thread could be started, and when the server stops.
    changed: Condvar,
    /// The number of connections that have to close at the end of their request, because neither a
    /// silent nor an idle one can.
    slots_needed: Arc<AtomicUsize>,
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
    /// The tickets of the threads that wait for a slot, in the order of their arrival. The first
    /// one gets the next slot.
    /// Invariant: `waiting.len() <= accepting`.
    waiting: VecDeque<u64>,
    next_ticket: u64,
    /// The accepting threads that wait because `accept` has failed.
    /// Invariant: `retrying <= accepting`.
    retrying: usize,
    /// Whether no thread is accepting, because none could be started.
    lacks_acceptor: bool,
    /// Whether the connections were aborted after the server was stopped.
    is_aborted: bool,
    /// Why the server has stopped by itself.
    failure: Option<Error>,
}

/// Whether a slot becomes free for a newcomer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// A connection was asked to close.
    Coming,
    /// There are new connections. Each begins a request soon, or counts as silent and is closed.
    Possible,
    /// Every connection is busy.
    None,
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
            slots_needed: Arc::default(),
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
        let mut state = self.wait_for_stop(self.lock());
        state = self.wait_for_threads(state, shutdown_timeout);
        state.is_aborted = true;
        state.serving.iter().chain(&state.rejecting).for_each(|connection| connection.abort());
        self.changed.notify_all();
        // A thread ends when its connection was aborted, unless the handler does not use its
        // streams. Such a thread is not waited for.
        state = self.wait_for_threads(state, ABORT_TIMEOUT);
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Counts a thread that is about to be started.
    pub(super) fn add_thread(&self) {
        self.lock().add_thread();
    }

    /// Removes an accepting thread that ends.
    pub(super) fn remove_thread(&self) {
        self.lock().remove_thread();
        self.changed.notify_all();
    }

    /// Removes a thread that could not be started. If none is accepting now, connections are closed
    /// until the thread of one accepts.
    pub(super) fn thread_not_started(&self) {
        let mut state = self.lock();
        state.remove_thread();
        state.lacks_acceptor = state.accepting == 0;
        self.changed.notify_all();
    }

    /// Gives an accepted connection a slot, as soon as one is free and all earlier connections have
    /// one, or decides that it is to be rejected. Returns `None` if the server was stopped and did
    /// not end in time.
    pub(super) fn admit(&self, stream: &Stream, config: &Config) -> Option<Admission> {
        let mut state = self.lock();
        if state.serving.len() >= config.max_connections || !state.waiting.is_empty() {
            state = self.wait_for_slot(state, config);
        }
        if state.is_aborted {
            return None;
        }
        let slots_needed = Arc::clone(&self.slots_needed);
        let connection = ConnectionState::new(stream.clone(), config.write_timeout, slots_needed);
        // The kernel has accepted the connection for this server, so its request is answered.
        if self.is_stopping() {
            connection.ask_to_close();
        }
        Some(state.admit(Arc::new(connection), config))
    }

    /// Removes a connection that has ended. Returns `false` if its thread is not needed any more.
    /// The thread is removed then.
    pub(super) fn release(&self, connection: Arc<ConnectionState>) -> bool {
        let mut state = self.lock();
        let is_needed = state.release(&connection);
        // Closes the socket before another thread is notified that there is room.
        drop(connection);
        if !state.waiting.is_empty() || state.retrying > 0 || self.is_stopping() {
            self.changed.notify_all();
        }
        is_needed
    }

    /// Waits until a connection has ended, but at most for `timeout`. Asks a connection to close:
    /// `accept` has failed, most likely because the process has no descriptor left.
    pub(super) fn wait_to_retry(&self, timeout: Duration) {
        let mut state = self.lock();
        if self.is_stopping() {
            return;
        }
        let _ = state.close_one();
        state.retrying += 1;
        state = self.wait_timeout(state, timeout);
        state.retrying -= 1;
    }

    /// Waits until the server is stopped. If no thread is accepting meanwhile, closes a connection.
    fn wait_for_stop<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while !self.is_stopping() {
            state = if state.lacks_acceptor {
                let room = self.make_room(&state);
                self.wait_timeout(state, room.poll_interval())
            } else {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
        state
    }

    /// Waits for a slot, behind the threads that have waited for longer. Returns without one if
    /// newcomers are to be rejected and every connection is busy, or if the server was stopped and
    /// did not end in time.
    fn wait_for_slot<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        config: &Config,
    ) -> MutexGuard<'a, State> {
        let ticket = state.add_ticket();
        while !state.is_next(ticket, config) && !state.is_aborted {
            let room = self.make_room(&state);
            if room != Room::Coming && config.overload == Overload::Reject {
                break;
            }
            state = self.wait_timeout(state, room.poll_interval());
        }
        state.waiting.retain(|other| *other != ticket);
        self.slots_needed.store(0, SeqCst);
        if !state.waiting.is_empty() {
            self.changed.notify_all();
        }
        state
    }

    /// Asks a connection to close if a thread needs a slot that no connection is giving up yet. If
    /// every connection is busy, the next ones whose request ends close.
    fn make_room(&self, state: &State) -> Room {
        self.slots_needed.store(0, SeqCst);
        let needed = state.slots_needed();
        let room = if needed == 0 { Room::Coming } else { state.close_one() };
        if room != Room::None {
            return room;
        }
        self.slots_needed.store(needed, SeqCst);
        // Again, after the increase, as the ordering argument of `ConnectionState` requires.
        state.close_one()
    }

    /// Waits until all threads have ended, but at most for `timeout`. Closes new connections that
    /// begin no request meanwhile.
    fn wait_for_threads<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        let start = Instant::now();
        while state.threads > 0 && start.elapsed() < timeout {
            for connection in state.serving.iter().chain(&state.rejecting) {
                connection.close_if_silent();
            }
            let left = timeout.saturating_sub(start.elapsed());
            state = self.wait_timeout(state, left.min(10 * POLL_INTERVAL));
        }
        state
    }

    /// Waits for a change, but at most for `timeout`.
    fn wait_timeout<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The state is valid after a panic: no code of the application runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn poll_interval(self) -> Duration {
        match self {
            Self::Possible => POLL_INTERVAL,
            // A connection that ends notifies those who wait.
            Self::Coming | Self::None => NEW_CONNECTION_GRACE,
        }
    }
}

impl State {
    fn add_thread(&mut self) {
        self.threads += 1;
        self.accepting += 1;
        self.lacks_acceptor = false;
    }

    fn remove_thread(&mut self) {
        self.threads -= 1;
        self.accepting -= 1;
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

    fn release(&mut self, connection: &Arc<ConnectionState>) -> bool {
        let is_other = |other: &Arc<_>| !Arc::ptr_eq(other, connection);
        self.serving.retain(is_other);
        self.rejecting.retain(is_other);
        let is_needed = self.accepting < SPARE_THREADS;
        if is_needed {
            self.accepting += 1;
            self.lacks_acceptor = false;
        } else {
            self.threads -= 1;
        }
        self.check();
        is_needed
    }

    fn add_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.push_back(ticket);
        ticket
    }

    /// Returns whether a slot is free, and this thread has waited longest.
    fn is_next(&self, ticket: u64, config: &Config) -> bool {
        self.serving.len() < config.max_connections && self.waiting.front() == Some(&ticket)
    }

    /// Returns how many threads need a slot that no connection is giving up yet.
    fn slots_needed(&self) -> usize {
        let needed = self.waiting.len() + usize::from(self.lacks_acceptor);
        let closing = self.serving.iter().filter(|connection| connection.is_giving_way()).count();
        needed.saturating_sub(closing)
    }

    /// Asks a connection to close.
    ///
    /// One that has begun no request since it was accepted is closed first, so that silent
    /// connections cannot displace those that are used. While there are new connections that may
    /// still begin one, no other is closed. Then follows one that has been idle since the last time
    /// a slot was needed, then any other idle one.
    fn close_one(&self) -> Room {
        if self.serving.iter().any(|connection| connection.close_if_silent()) {
            return Room::Coming;
        }
        if self.serving.iter().any(|connection| connection.is_new()) {
            return Room::Possible;
        }
        let close_seen = || self.serving.iter().any(|connection| connection.close_if_seen());
        if close_seen() {
            return Room::Coming;
        }
        self.serving.iter().for_each(|connection| connection.mark_seen());
        if close_seen() {
            Room::Coming
        } else {
            Room::None
        }
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::server::lifecycle::{Lifecycle, RequestOutcome};

    const FINISHED: RequestOutcome =
        RequestOutcome::Finished { is_reusable: true, has_whole_input: true };

    /// The last thread serves a busy connection, and no other can be started.
    #[test]
    fn a_connection_gives_way_if_no_thread_can_be_started() -> Result<()> {
        let pool = Pool::new(Listener::bind(&"127.0.0.1:0".parse()?)?);
        let (stream, _peer) = Stream::pair()?;
        pool.add_thread();
        let admission = pool.admit(&stream, &Config::new()).expect("a slot");
        assert!(admission.starts_thread);
        let mut lifecycle = Lifecycle::new(Arc::clone(&admission.state));
        assert!(lifecycle.begin_request());
        lifecycle.start_request(true);
        thread::scope(|scope| {
            scope.spawn(|| pool.wait_for_end(Duration::from_secs(1)));
            pool.thread_not_started();
            lifecycle.end_request(FINISHED, None).expect("an ended request");
            while lifecycle.is_waiting() && !admission.state.is_read_shut_down() {
                thread::yield_now();
            }
            assert!(pool.release(admission.state), "the thread accepts");
            pool.stop();
            pool.remove_thread();
        });
        Ok(())
    }
}
