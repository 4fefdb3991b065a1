use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::config::{Config, Overload};
use super::connection_state::ConnectionState;
use crate::error::{Error, Result};
use crate::net::{Listener, Stream};

/// The number of threads that stay in `accept` when there is nothing to do. A web server that opens
/// a connection for each request may open as many at once. Fewer threads would often have to be
/// started and ended for them, which takes longer than a request.
const SPARE_THREADS: usize = 16;
/// The number of connections that may be rejected at the same time before the pool stops starting
/// threads.
const REJECTING_THREADS: usize = 16;
/// How often a thread that waits for a slot looks for new connections that have sent nothing for
/// too long. Nothing notifies the condition variable when that time ends.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How often a thread that waits for a slot looks for other connections that can be closed. A
/// thread that takes a slot and a connection that ends notify the threads that wait, but not every
/// connection that becomes idle does: see [`ConnectionState`].
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How long threads may take to end after their connections were aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The threads of a server, and the connections that they serve.
#[derive(Debug)]
pub(super) struct Pool {
    /// Keeps the socket open only during a call. Otherwise [`State::listener`] does.
    listener: Weak<Listener>,
    state: Mutex<State>,
    /// Notified when a connection or a thread ends while another thread waits for that, when no
    /// thread could be started, and when the server stops.
    changed: Condvar,
    /// The number of connections that have to yield their slot at the end of their request, because
    /// every connection is busy. [`free_slots`](Self::free_slots) alone sets it.
    yield_requests: Arc<AtomicUsize>,
    is_stopping: AtomicBool,
}

/// Invariant: `threads = unassigned + serving.len() + rejecting.len()`. Each thread serves one
/// connection, rejects one, or is unassigned.
///
/// Invariant: `serving.len() <= max_connections`.
///
/// Invariant: `threads <= max_connections + REJECTING_THREADS + 1`. A thread is started only when
/// no other is unassigned and at most `REJECTING_THREADS` are rejecting.
#[derive(Debug, Default)]
struct State {
    /// Keeps the listening socket open. `None` when the server has stopped accepting.
    listener: Option<Arc<Listener>>,
    /// The connections that are served, in the order in which they were accepted.
    serving: Vec<Arc<ConnectionState>>,
    /// The connections that are rejected.
    rejecting: Vec<Arc<ConnectionState>>,
    /// The threads that wait in `accept`, are about to, or wait for a slot with the connection that
    /// they have accepted.
    unassigned: usize,
    threads: usize,
    /// The tickets of the threads that wait for a slot, in the order of their arrival. The first
    /// one gets the next slot.
    /// Invariant: `waiting.len() <= unassigned`.
    waiting: VecDeque<u64>,
    next_ticket: u64,
    /// The unassigned threads that wait because `accept` has failed.
    /// Invariant: `retrying <= unassigned`.
    retrying: usize,
    /// Whether no thread is unassigned, because none could be started.
    lacks_acceptor: bool,
    /// Whether the connections were aborted after the server was stopped.
    is_aborted: bool,
    /// The error that stopped the server.
    failure: Option<Error>,
}

/// When a slot becomes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vacancy {
    /// A slot is free, or a connection was asked to close.
    Soon,
    /// There are new connections, each of which is closed unless it sends something soon.
    Likely,
    /// Every connection is busy.
    Unlikely,
}

/// The result of a wait for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The connection is served.
    Granted,
    /// The connection is rejected.
    Rejected,
    /// The server was stopped, and did not end in time.
    Aborted,
}

/// What the pool has decided about a connection.
pub(super) struct Admission {
    pub(super) state: Arc<ConnectionState>,
    /// Whether the connection has a slot. Otherwise it is to be rejected.
    pub(super) has_slot: bool,
    /// Whether the caller has to start another thread, because none is unassigned. The new thread
    /// is already counted.
    pub(super) starts_thread: bool,
}

impl Pool {
    pub(super) fn new(listener: Arc<Listener>) -> Self {
        Self {
            listener: Arc::downgrade(&listener),
            state: Mutex::new(State { listener: Some(listener), ..State::default() }),
            changed: Condvar::new(),
            yield_requests: Arc::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Waits for a connection. Returns `None` if the server stops and no connection is left. The
    /// socket is then closed.
    pub(super) fn accept(&self) -> Result<Option<Stream>> {
        let Some(listener) = self.listener.upgrade() else { return Ok(None) };
        let accepted = listener.accept()?;
        if accepted.is_none() {
            self.close_socket();
        }
        Ok(accepted)
    }

    /// Closes the listening socket, as soon as no thread is in `accept`. Not every system can
    /// otherwise make an open socket refuse connections.
    pub(super) fn close_socket(&self) {
        let listener = self.lock().listener.take();
        drop(listener);
    }

    /// Stops accepting, and asks every connection to close.
    pub(super) fn stop(&self) {
        if self.is_stopping.swap(true, SeqCst) {
            return;
        }
        if let Some(listener) = self.listener.upgrade() {
            listener.close();
        }
        let state = self.lock();
        state.connections().for_each(|connection| connection.stop());
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
    /// are left after [`Config::shutdown_timeout`]. If no thread could be started, calls
    /// `start_thread` every 200 ms.
    pub(super) fn wait_for_end(&self, config: &Config, start_thread: impl Fn()) -> Result<()> {
        self.wait_for_stop(config, start_thread);
        let mut state = self.lock();
        state = self.wait_for_threads(state, config.shutdown_timeout);
        state.is_aborted = true;
        state.connections().for_each(|connection| connection.abort());
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

    /// Removes an unassigned thread that ends.
    pub(super) fn remove_thread(&self) {
        self.lock().remove_thread();
        self.changed.notify_all();
    }

    /// Removes a thread that could not be started. If no thread is unassigned now,
    /// [`wait_for_end`](Self::wait_for_end) closes a connection, so that its thread can accept.
    pub(super) fn thread_not_started(&self) {
        let mut state = self.lock();
        state.remove_thread();
        state.lacks_acceptor = state.unassigned == 0;
        self.changed.notify_all();
    }

    /// Waits until a slot is free and all earlier connections have one, and admits the connection.
    /// With [`Overload::Reject`], it is rejected if every other connection is busy. Returns `None`
    /// if the server was stopped and did not end in time.
    pub(super) fn admit(&self, stream: &Stream, config: &Config) -> Option<Admission> {
        let (mut state, decision) = self.wait_for_slot(config);
        if decision == Decision::Aborted {
            return None;
        }
        let yield_requests = Arc::clone(&self.yield_requests);
        let connection = ConnectionState::new(stream.clone(), config.write_timeout, yield_requests);
        // The kernel has accepted the connection for this server, so its request is answered.
        if self.is_stopping() {
            connection.stop();
        }
        Some(state.admit(Arc::new(connection), decision == Decision::Granted, config))
    }

    /// Removes a connection that has ended. Returns `false` if its thread is no longer needed. The
    /// thread is removed then.
    pub(super) fn release(&self, connection: Arc<ConnectionState>, config: &Config) -> bool {
        let mut state = self.lock();
        let is_needed = state.release(&connection);
        self.free_slots(&state, config);
        // Closes the socket before another thread is notified that there is room.
        drop(connection);
        if !state.waiting.is_empty() || state.retrying > 0 || self.is_stopping() {
            self.changed.notify_all();
        }
        is_needed
    }

    /// Waits until a connection has ended, but at most for `timeout`. Asks a connection to close:
    /// `accept` has failed, most likely because the process has no descriptor left. Returns `false`
    /// if the server was stopped and did not end in time.
    pub(super) fn wait_to_retry(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        if !state.is_aborted {
            state.close_one();
            state.retrying += 1;
            state = self.wait_timeout(state, timeout);
            state.retrying -= 1;
        }
        !state.is_aborted
    }

    /// Waits until the server is stopped. If no thread is unassigned meanwhile, closes a connection
    /// and tries to start a thread.
    fn wait_for_stop(&self, config: &Config, start_thread: impl Fn()) {
        let mut state = self.lock();
        while !self.is_stopping() {
            if !state.lacks_acceptor {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let vacancy = self.free_slots(&state, config);
            state = self.wait_timeout(state, vacancy.poll_interval());
            if state.lacks_acceptor && vacancy == Vacancy::Unlikely {
                state.add_thread();
                self.free_slots(&state, config);
                drop(state);
                start_thread();
                state = self.lock();
            }
        }
    }

    /// Waits for a slot, after the threads that have waited for longer.
    fn wait_for_slot(&self, config: &Config) -> (MutexGuard<'_, State>, Decision) {
        let mut state = self.lock();
        if state.is_aborted {
            return (state, Decision::Aborted);
        }
        if state.waiting.is_empty() && state.serving.len() < config.max_connections {
            return (state, Decision::Granted);
        }
        let ticket = state.add_ticket();
        let decision = loop {
            if state.is_aborted {
                break Decision::Aborted;
            }
            if state.is_next(ticket, config) {
                break Decision::Granted;
            }
            let vacancy = self.free_slots(&state, config);
            if vacancy == Vacancy::Unlikely && config.overload == Overload::Reject {
                break Decision::Rejected;
            }
            state = self.wait_timeout(state, vacancy.poll_interval());
        };
        state.waiting.retain(|other| *other != ticket);
        // `serving` does not contain the granted connection yet, so this computes one slot too
        // many. The next waiting thread, notified below, computes it again.
        self.free_slots(&state, config);
        if !state.waiting.is_empty() {
            self.changed.notify_all();
        }
        (state, decision)
    }

    /// Asks as many idle connections to close as there are waiting threads without a slot that is
    /// about to become free. If too few are idle, sets `yield_requests`, so that the next requests
    /// to end free a slot. Call it whenever the number of waiting threads changes. Otherwise more
    /// connections close than necessary.
    fn free_slots(&self, state: &State, config: &Config) -> Vacancy {
        self.yield_requests.store(0, SeqCst);
        let demand = state.unmet_demand(config);
        let (closed, vacancy) = state.close_up_to(demand);
        if vacancy != Vacancy::Unlikely {
            return vacancy;
        }
        let demand = demand - closed;
        self.yield_requests.store(demand, SeqCst);
        // Again, after that store, as the ordering argument of `ConnectionState` requires.
        let (closed, vacancy) = state.close_up_to(demand);
        let fewer = |requests: usize| Some(requests.saturating_sub(closed));
        let _ = self.yield_requests.fetch_update(SeqCst, SeqCst, fewer);
        vacancy
    }

    /// Waits until all threads have ended, but at most for `timeout`. Closes the new connections
    /// that send nothing meanwhile.
    fn wait_for_threads<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        let start = Instant::now();
        while state.threads > 0 && start.elapsed() < timeout {
            for connection in state.connections() {
                connection.close_if_unused();
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

impl Vacancy {
    fn poll_interval(self) -> Duration {
        match self {
            Self::Likely => POLL_INTERVAL,
            Self::Soon | Self::Unlikely => CHECK_INTERVAL,
        }
    }
}

impl State {
    fn add_thread(&mut self) {
        self.threads += 1;
        self.unassigned += 1;
        self.lacks_acceptor = false;
    }

    fn remove_thread(&mut self) {
        self.threads -= 1;
        self.unassigned -= 1;
    }

    /// Returns the connections that are served, and those that are rejected.
    fn connections(&self) -> impl Iterator<Item = &Arc<ConnectionState>> {
        self.serving.iter().chain(&self.rejecting)
    }

    fn admit(
        &mut self,
        connection: Arc<ConnectionState>,
        has_slot: bool,
        config: &Config,
    ) -> Admission {
        let connections = if has_slot { &mut self.serving } else { &mut self.rejecting };
        connections.push(Arc::clone(&connection));
        self.unassigned -= 1;
        let starts_thread = self.unassigned == 0 && self.rejecting.len() <= REJECTING_THREADS;
        if starts_thread {
            self.add_thread();
            let max = config.max_connections.saturating_add(REJECTING_THREADS + 1);
            debug_assert!(self.threads <= max, "{} threads", self.threads);
        }
        self.check();
        Admission { state: connection, has_slot, starts_thread }
    }

    fn release(&mut self, connection: &Arc<ConnectionState>) -> bool {
        let is_other = |other: &Arc<_>| !Arc::ptr_eq(other, connection);
        self.serving.retain(is_other);
        self.rejecting.retain(is_other);
        let is_needed = self.unassigned < SPARE_THREADS;
        if is_needed {
            self.unassigned += 1;
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

    /// Returns how many connections have to yield, in addition to those that are yielding: one for
    /// each thread that waits and finds no free slot, and one whose thread can accept if no other
    /// does.
    ///
    /// Slots stay free while the threads that wait for them have not been woken yet.
    fn unmet_demand(&self, config: &Config) -> usize {
        let free = config.max_connections.saturating_sub(self.serving.len());
        let demand = self.waiting.len().saturating_sub(free) + usize::from(self.lacks_acceptor);
        let is_yielding = |connection: &&Arc<ConnectionState>| connection.is_yielding_slot();
        demand.saturating_sub(self.serving.iter().filter(is_yielding).count())
    }

    /// Asks at most `count` connections to close. Returns how many were asked, and when a slot
    /// becomes free.
    fn close_up_to(&self, count: usize) -> (usize, Vacancy) {
        for closed in 0..count {
            let vacancy = self.close_one();
            if vacancy != Vacancy::Soon {
                return (closed, vacancy);
            }
        }
        (count, Vacancy::Soon)
    }

    /// Asks a connection to close.
    ///
    /// One that has sent nothing since it was accepted is closed first, so that such connections
    /// cannot displace those that are used. While there are new connections that may still send a
    /// request, no other is closed. Then follows one that has been idle since the last time a slot
    /// was needed, then any other idle one.
    fn close_one(&self) -> Vacancy {
        if self.close_first(ConnectionState::close_if_unused) {
            return Vacancy::Soon;
        }
        if self.serving.iter().any(|connection| connection.is_new()) {
            return Vacancy::Likely;
        }
        if self.close_first(ConnectionState::close_if_marked) {
            return Vacancy::Soon;
        }
        self.serving.iter().for_each(|connection| connection.mark_idle());
        if self.close_first(ConnectionState::close_if_marked) {
            return Vacancy::Soon;
        }
        Vacancy::Unlikely
    }

    /// Closes the first connection for which `close` succeeds.
    fn close_first(&self, close: impl Fn(&ConnectionState) -> bool) -> bool {
        for connection in &self.serving {
            if close(connection) {
                return true;
            }
        }
        false
    }

    /// Checks the first invariant.
    fn check(&self) {
        debug_assert_eq!(
            self.threads,
            self.unassigned + self.serving.len() + self.rejecting.len(),
            "threads = unassigned + serving + rejecting"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::server::lifecycle::{Lifecycle, RequestOutcome};

    const FINISHED: RequestOutcome =
        RequestOutcome::Finished { close_reason: None, has_whole_input: true };

    fn pool() -> Pool {
        let listener = Listener::bind("127.0.0.1:0").expect("a listening socket");
        let pool = Pool::new(Arc::new(listener));
        pool.add_thread();
        pool
    }

    /// A connection whose request was passed to a handler.
    fn busy(pool: &Pool, config: &Config) -> (Admission, Lifecycle, Stream) {
        let (stream, peer) = Stream::pair().expect("two sockets");
        let admission = pool.admit(&stream, config).expect("a server that runs");
        let mut lifecycle = Lifecycle::new(Arc::clone(&admission.state));
        assert!(lifecycle.on_begin());
        lifecycle.on_params(true);
        (admission, lifecycle, peer)
    }

    #[test]
    fn a_thread_is_started_only_if_no_other_is_accepting() {
        let (pool, config) = (pool(), Config::new());
        pool.add_thread();
        let (first, _lifecycle, _peer) = busy(&pool, &config);
        assert!(!first.starts_thread, "another thread is accepting");
        let (second, _lifecycle, _peer) = busy(&pool, &config);
        assert!(second.starts_thread);
    }

    #[test]
    fn no_more_than_the_spare_threads_accept_again() {
        let (pool, config) = (pool(), Config::new());
        let connections: Vec<_> = (0..=SPARE_THREADS).map(|_| busy(&pool, &config)).collect();
        // The last connection has started the thread that accepts.
        let accepts_again: Vec<bool> = connections
            .into_iter()
            .map(|(admission, ..)| pool.release(admission.state, &config))
            .collect();
        let mut expected = [true; SPARE_THREADS + 1];
        expected[SPARE_THREADS - 1..].fill(false);
        assert_eq!(accepts_again, expected);
    }

    /// The last thread serves a busy connection, and no other can be started.
    #[test]
    fn connection_is_closed_if_no_thread_can_be_started() {
        let (pool, config) = (pool(), Config::new());
        let (admission, mut lifecycle, _peer) = busy(&pool, &config);
        assert!(admission.starts_thread);
        thread::scope(|scope| {
            scope.spawn(|| pool.wait_for_end(&config, || pool.thread_not_started()));
            pool.thread_not_started();
            lifecycle.on_end(FINISHED, None).expect("an ended request");
            while lifecycle.is_waiting() && !admission.state.is_read_shut_down() {
                thread::yield_now();
            }
            assert!(pool.release(admission.state, &config), "the thread accepts");
            pool.stop();
            pool.remove_thread();
        });
    }

    #[test]
    fn a_thread_is_started_later_if_none_could_be_started() {
        let (pool, config) = (pool(), Config::new());
        let (admission, _lifecycle, _peer) = busy(&pool, &config);
        thread::scope(|scope| {
            pool.thread_not_started();
            pool.wait_for_stop(&config, || pool.stop());
            scope.spawn(|| pool.release(admission.state, &config));
        });
    }

    #[test]
    fn no_thread_is_started_once_another_accepts() {
        let (pool, config) = (pool(), Config::new());
        let (admission, _lifecycle, _peer) = busy(&pool, &config);
        pool.thread_not_started();
        let has_started = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| pool.wait_for_stop(&config, || has_started.store(true, SeqCst)));
            while pool.yield_requests.load(SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(pool.release(admission.state, &config), "the thread accepts");
            pool.stop();
        });
        assert!(!has_started.load(SeqCst));
    }

    /// A connection that serves its last request does not count as one that yields its slot soon.
    #[test]
    fn waiting_connection_gets_the_slot_of_another_one_while_a_third_serves_its_last_request() {
        let (pool, config) = (&pool(), &Config::new().max_connections(2));
        let (first, mut lifecycle, _peer) = busy(pool, config);
        let (second, mut other_lifecycle, _other_peer) = busy(pool, config);
        lifecycle.on_end(FINISHED, None).expect("an ended request");
        // A slot is needed, and the request of the connection that is to yield it has arrived.
        assert_eq!(pool.lock().close_one(), Vacancy::Soon);
        assert!(!lifecycle.on_begin(), "the read half was shut down");
        lifecycle.on_params(true);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| busy(pool, config));
            while pool.lock().waiting.is_empty() {
                thread::yield_now();
            }
            other_lifecycle.on_end(FINISHED, None).expect("an ended request");
            while other_lifecycle.is_waiting() && !second.state.is_read_shut_down() {
                thread::yield_now();
            }
            pool.release(second.state, config);
            assert!(waiting.join().expect("an admission").0.has_slot);
        });
        pool.release(first.state, config);
    }

    /// The slot is free, but the thread that waits for it has not been woken yet.
    #[test]
    fn a_connection_does_not_yield_while_a_slot_is_free() {
        let (pool, config) = (&pool(), &Config::new().max_connections(2));
        let (_first, mut lifecycle, _peer) = busy(pool, config);
        lifecycle.on_end(FINISHED, None).expect("an ended request");
        let mut state = pool.lock();
        state.add_ticket();
        assert_eq!(pool.free_slots(&state, config), Vacancy::Soon);
        assert!(lifecycle.on_begin(), "the connection is kept");
    }

    /// Two connections wait. One other connection is idle, and two are busy.
    #[test]
    fn busy_connections_yield_only_for_the_slots_that_idle_ones_do_not_free() {
        let (pool, config) = (&pool(), &Config::new().max_connections(3));
        let mut served = [busy(pool, config), busy(pool, config), busy(pool, config)];
        let mut state = pool.lock();
        state.add_ticket();
        state.add_ticket();
        served[0].1.on_end(FINISHED, None).expect("an ended request");
        assert_eq!(pool.free_slots(&state, config), Vacancy::Unlikely);
        assert_eq!(pool.yield_requests.load(SeqCst), 1);
        drop(state);
        for (_, lifecycle, _) in &mut served[1..] {
            lifecycle.on_end(FINISHED, None).expect("an ended request");
        }
        let yields = served.each_ref().map(|(admission, ..)| admission.state.is_yielding_slot());
        assert_eq!(yields, [true, true, false]);
    }

    /// Two connections wait, and two others are idle.
    #[test]
    fn as_many_idle_connections_are_closed_as_others_wait() {
        let (pool, config) = (&pool(), &Config::new().max_connections(3));
        let mut served = [busy(pool, config), busy(pool, config), busy(pool, config)];
        for (_, lifecycle, _) in &mut served {
            lifecycle.on_end(FINISHED, None).expect("an ended request");
        }
        let mut state = pool.lock();
        state.add_ticket();
        state.add_ticket();
        assert_eq!(pool.free_slots(&state, config), Vacancy::Soon);
        let yields = served.each_ref().map(|(admission, ..)| admission.state.is_yielding_slot());
        assert_eq!(yields, [true, true, false]);
    }

    /// Two connections wait while every other one is busy.
    #[test]
    fn as_many_connections_yield_as_others_wait() {
        let (pool, config) = (&pool(), &Config::new().max_connections(2));
        let mut served = [busy(pool, config), busy(pool, config)];
        thread::scope(|scope| {
            let waiting = [(); 2].map(|()| scope.spawn(|| busy(pool, config)));
            while pool.lock().waiting.len() < 2 {
                thread::yield_now();
            }
            assert_eq!(pool.lock().unmet_demand(config), 2);
            for (unmet, (admission, lifecycle, _peer)) in [1, 0].into_iter().zip(&mut served) {
                lifecycle.on_end(FINISHED, None).expect("an ended request");
                while lifecycle.is_waiting() && !admission.state.is_read_shut_down() {
                    thread::yield_now();
                }
                assert_eq!(pool.lock().unmet_demand(config), unmet);
            }
            for (admission, ..) in served {
                pool.release(admission.state, config);
            }
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap().0.has_slot));
        });
    }

    /// The connection that has waited for longer gets the slot.
    #[test]
    fn new_connection_does_not_overtake_one_that_waits() {
        let config = &Config::new().max_connections(1).overload(Overload::Reject);
        let pool = &pool();
        let (first, mut lifecycle, _peer) = busy(pool, config);
        lifecycle.on_end(FINISHED, None).expect("an ended request");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| busy(pool, config));
            while !first.state.is_read_shut_down() {
                thread::yield_now();
            }
            let mut state = pool.lock();
            // The slot is free, and the thread that waits for it has not been woken.
            state.release(&first.state);
            let ticket = state.add_ticket();
            assert!(!state.is_next(ticket, config), "another thread has waited for longer");
            state.waiting.retain(|other| *other != ticket);
            pool.changed.notify_all();
            drop(state);
            assert!(waiting.join().expect("an admission").0.has_slot);
        });
    }
}
