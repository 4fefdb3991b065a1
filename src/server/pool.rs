use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::config::{Config, Overload};
use super::connection_state::ConnectionState;
use super::slots::{Slots, Ticket, Vacancy};
use crate::error::{Error, Result};
use crate::net::{Listener, Stream};

/// The number of threads that stay in `accept` when there is nothing to do. A web server that opens
/// a connection for each request may open as many at once. Fewer threads would often have to be
/// started and ended for them, which takes longer than a request.
const SPARE_THREADS: usize = 16;
/// The number of connections that may be rejected at the same time before the pool stops starting
/// threads.
const REJECTING_THREADS: usize = 16;
/// How often a server that stops looks for new connections that have sent nothing for too long.
const STOP_INTERVAL: Duration = Duration::from_millis(20);
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
    is_stopping: AtomicBool,
}

/// Invariant: `threads = unassigned + serving + rejecting`. Each thread serves one connection,
/// rejects one, or is unassigned.
///
/// Invariant: `threads <= max_connections + REJECTING_THREADS + 1`. A thread is started only when
/// no other is unassigned and at most `REJECTING_THREADS` are rejecting.
#[derive(Debug, Default)]
struct State {
    /// Keeps the listening socket open. `None` when the server has stopped accepting.
    listener: Option<Arc<Listener>>,
    /// The connections that are served, and the threads that wait for a slot with the connection
    /// that they have accepted. Invariant: at most `unassigned` threads wait.
    slots: Slots,
    /// The connections that are rejected.
    rejecting: Vec<Arc<ConnectionState>>,
    /// The threads that wait in `accept`, are about to, or wait for a slot.
    unassigned: usize,
    threads: usize,
    /// The unassigned threads that wait because `accept` has failed.
    /// Invariant: `retrying <= unassigned`.
    retrying: usize,
    /// Whether the connections were aborted after the server was stopped.
    is_aborted: bool,
    /// The error that stopped the server.
    failure: Option<Error>,
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
    /// are left after [`Config::shutdown_timeout`]. While no thread accepts and
    /// no connection can be closed, calls `start_thread` every 200 ms.
    pub(super) fn wait_for_end(&self, config: &Config, start_thread: impl Fn()) -> Result<()> {
        self.wait_for_stop(start_thread);
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

    /// Sets the number of slots, and counts the first thread, which is about to be started.
    pub(super) fn start(&self, config: &Config) {
        let mut state = self.lock();
        state.slots = Slots::new(config.max_connections);
        state.add_thread();
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
        let lacks_acceptor = state.unassigned == 0;
        state.slots.set_lacks_acceptor(lacks_acceptor);
        self.changed.notify_all();
    }

    /// Waits until a slot is free and all earlier connections have one, and admits the connection.
    /// With [`Overload::Reject`], it is rejected if every other connection is busy. Returns `None`
    /// if the server was stopped and did not end in time.
    pub(super) fn admit(&self, stream: &Stream, config: &Config) -> Option<Admission> {
        let mut state = self.lock();
        let ticket = state.slots.enter();
        let (mut state, decision) = self.wait_for_slot(state, &ticket, config);
        let admission = if decision == Decision::Aborted {
            state.slots.leave(ticket);
            None
        } else {
            let connection = state.slots.connection(stream.clone(), config.write_timeout);
            // The kernel has accepted the connection for this server, so its request is answered.
            if self.is_stopping() {
                connection.stop();
            }
            Some(state.admit(ticket, Arc::new(connection), decision == Decision::Granted))
        };
        if state.slots.has_waiting() {
            self.changed.notify_all();
        }
        admission
    }

    /// Removes a connection that has ended. Returns `false` if its thread is no longer needed. The
    /// thread is removed then.
    pub(super) fn release(&self, connection: Arc<ConnectionState>) -> bool {
        let mut state = self.lock();
        let is_needed = state.release(&connection);
        // Closes the socket before another thread is notified that there is room.
        drop(connection);
        if state.slots.has_waiting() || state.retrying > 0 || self.is_stopping() {
            self.changed.notify_all();
        }
        is_needed
    }

    /// Waits until a connection has ended, but at most for `timeout`. Called after `accept` has
    /// failed, most likely because the process has no descriptor left. Asks one connection to
    /// close, which frees a descriptor. Returns `false` if the server was stopped and did not end
    /// in time.
    pub(super) fn wait_to_retry(&self, timeout: Duration) -> bool {
        let mut state = self.lock();
        if !state.is_aborted {
            // If every connection is busy, the next one to end frees a descriptor.
            state.slots.close_one();
            state.retrying += 1;
            state = self.wait_timeout(state, timeout);
            state.retrying -= 1;
        }
        !state.is_aborted
    }

    /// Waits until the server is stopped. If no thread is unassigned meanwhile, closes a connection
    /// and tries to start a thread.
    fn wait_for_stop(&self, start_thread: impl Fn()) {
        let mut state = self.lock();
        while !self.is_stopping() {
            if !state.slots.lacks_acceptor() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let vacancy = state.slots.request_closes();
            state = self.wait_timeout(state, vacancy.poll_interval());
            if state.slots.lacks_acceptor() && vacancy == Vacancy::AllBusy {
                state.add_thread();
                drop(state);
                start_thread();
                state = self.lock();
            }
        }
    }

    /// Waits for a slot, after the threads that have waited for longer.
    fn wait_for_slot<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        ticket: &Ticket,
        config: &Config,
    ) -> (MutexGuard<'a, State>, Decision) {
        let decision = loop {
            if state.is_aborted {
                break Decision::Aborted;
            }
            if state.slots.is_next(ticket) {
                break Decision::Granted;
            }
            let vacancy = state.slots.request_closes();
            if vacancy == Vacancy::AllBusy && config.overload == Overload::Reject {
                break Decision::Rejected;
            }
            state = self.wait_timeout(state, vacancy.poll_interval());
        };
        (state, decision)
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
            state = self.wait_timeout(state, left.min(STOP_INTERVAL));
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

impl State {
    fn add_thread(&mut self) {
        self.threads += 1;
        self.unassigned += 1;
        self.slots.set_lacks_acceptor(false);
    }

    fn remove_thread(&mut self) {
        self.threads -= 1;
        self.unassigned -= 1;
    }

    /// Returns the connections that are served, and those that are rejected.
    fn connections(&self) -> impl Iterator<Item = &Arc<ConnectionState>> {
        self.slots.serving().iter().chain(&self.rejecting)
    }

    fn admit(
        &mut self,
        ticket: Ticket,
        connection: Arc<ConnectionState>,
        has_slot: bool,
    ) -> Admission {
        if has_slot {
            self.slots.serve(ticket, Arc::clone(&connection));
        } else {
            self.slots.leave(ticket);
            self.rejecting.push(Arc::clone(&connection));
        }
        self.unassigned -= 1;
        let starts_thread = self.unassigned == 0 && self.rejecting.len() <= REJECTING_THREADS;
        if starts_thread {
            self.add_thread();
            let max = self.slots.max().saturating_add(REJECTING_THREADS + 1);
            debug_assert!(self.threads <= max, "{} threads", self.threads);
        }
        self.check();
        Admission { state: connection, has_slot, starts_thread }
    }

    fn release(&mut self, connection: &Arc<ConnectionState>) -> bool {
        self.slots.release(connection);
        self.rejecting.retain(|other| !Arc::ptr_eq(other, connection));
        let is_needed = self.unassigned < SPARE_THREADS;
        if is_needed {
            self.unassigned += 1;
            self.slots.set_lacks_acceptor(false);
        } else {
            self.threads -= 1;
        }
        self.check();
        is_needed
    }

    /// Checks the first invariant.
    fn check(&self) {
        debug_assert_eq!(
            self.threads,
            self.unassigned + self.slots.serving().len() + self.rejecting.len(),
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

    fn pool(config: &Config) -> Pool {
        let listener = Listener::bind("127.0.0.1:0").expect("a listening socket");
        let pool = Pool::new(Arc::new(listener));
        pool.start(config);
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
        let config = Config::new();
        let pool = pool(&config);
        pool.lock().add_thread();
        let (first, _lifecycle, _peer) = busy(&pool, &config);
        assert!(!first.starts_thread, "another thread is accepting");
        let (second, _lifecycle, _peer) = busy(&pool, &config);
        assert!(second.starts_thread);
    }

    #[test]
    fn no_more_than_the_spare_threads_accept_again() {
        let config = Config::new();
        let pool = pool(&config);
        let connections: Vec<_> = (0..=SPARE_THREADS).map(|_| busy(&pool, &config)).collect();
        // The last connection has started the thread that accepts.
        let accepts_again: Vec<bool> =
            connections.into_iter().map(|(admission, ..)| pool.release(admission.state)).collect();
        let mut expected = [true; SPARE_THREADS + 1];
        expected[SPARE_THREADS - 1..].fill(false);
        assert_eq!(accepts_again, expected);
    }

    /// The last thread serves a busy connection, and no other can be started.
    #[test]
    fn connection_is_closed_if_no_thread_can_be_started() {
        let config = Config::new();
        let pool = pool(&config);
        let (admission, mut lifecycle, _peer) = busy(&pool, &config);
        assert!(admission.starts_thread);
        thread::scope(|scope| {
            scope.spawn(|| pool.wait_for_end(&config, || pool.thread_not_started()));
            pool.thread_not_started();
            lifecycle.on_end(FINISHED, None).expect("an ended request");
            while lifecycle.is_waiting() && !admission.state.is_read_shut_down() {
                thread::yield_now();
            }
            assert!(pool.release(admission.state), "the thread accepts");
            pool.stop();
            pool.remove_thread();
        });
    }

    #[test]
    fn a_thread_is_started_later_if_none_could_be_started() {
        let config = Config::new();
        let pool = pool(&config);
        let (admission, _lifecycle, _peer) = busy(&pool, &config);
        thread::scope(|scope| {
            pool.thread_not_started();
            pool.wait_for_stop(|| pool.stop());
            scope.spawn(|| pool.release(admission.state));
        });
    }

    #[test]
    fn no_thread_is_started_once_another_accepts() {
        let config = Config::new();
        let pool = pool(&config);
        let (admission, _lifecycle, _peer) = busy(&pool, &config);
        pool.thread_not_started();
        // Set again by the thread that waits for the end of the server.
        pool.lock().slots.yield_requests().store(0, SeqCst);
        let has_started = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| pool.wait_for_stop(|| has_started.store(true, SeqCst)));
            while pool.lock().slots.yield_requests().load(SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(pool.release(admission.state), "the thread accepts");
            pool.stop();
        });
        assert!(!has_started.load(SeqCst));
    }

    /// A connection that serves its last request does not count as one that yields its slot soon.
    #[test]
    fn waiting_connection_gets_the_slot_of_another_one_while_a_third_serves_its_last_request() {
        let config = &Config::new().max_connections(2);
        let pool = &pool(config);
        let (first, mut lifecycle, _peer) = busy(pool, config);
        let (second, mut other_lifecycle, _other_peer) = busy(pool, config);
        lifecycle.on_end(FINISHED, None).expect("an ended request");
        // A slot is needed, and the request of the connection that is to yield it has arrived.
        assert_eq!(pool.lock().slots.close_one(), Vacancy::SlotPending);
        assert!(!lifecycle.on_begin(), "the read half was shut down");
        lifecycle.on_params(true);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| busy(pool, config));
            while !pool.lock().slots.has_waiting() {
                thread::yield_now();
            }
            other_lifecycle.on_end(FINISHED, None).expect("an ended request");
            while other_lifecycle.is_waiting() && !second.state.is_read_shut_down() {
                thread::yield_now();
            }
            pool.release(second.state);
            assert!(waiting.join().expect("an admission").0.has_slot);
        });
        pool.release(first.state);
    }

    /// Two connections wait while every other one is busy.
    #[test]
    fn as_many_connections_yield_as_others_wait() {
        let config = &Config::new().max_connections(2);
        let pool = &pool(config);
        let mut served = [busy(pool, config), busy(pool, config)];
        thread::scope(|scope| {
            let waiting = [(); 2].map(|()| scope.spawn(|| busy(pool, config)));
            while pool.lock().slots.unmet_demand() < 2 {
                thread::yield_now();
            }
            for (unmet, (admission, lifecycle, _peer)) in [1, 0].into_iter().zip(&mut served) {
                lifecycle.on_end(FINISHED, None).expect("an ended request");
                while lifecycle.is_waiting() && !admission.state.is_read_shut_down() {
                    thread::yield_now();
                }
                assert_eq!(pool.lock().slots.unmet_demand(), unmet);
            }
            for (admission, ..) in served {
                pool.release(admission.state);
            }
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap().0.has_slot));
        });
    }

    /// The connection that has waited for longer gets the slot.
    #[test]
    fn new_connection_does_not_overtake_one_that_waits() {
        let config = &Config::new().max_connections(1).overload(Overload::Reject);
        let pool = &pool(config);
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
            let ticket = state.slots.enter();
            assert!(!state.slots.is_next(&ticket), "another thread has waited for longer");
            state.slots.leave(ticket);
            pool.changed.notify_all();
            drop(state);
            assert!(waiting.join().expect("an admission").0.has_slot);
        });
    }
}
