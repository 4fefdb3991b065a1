use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::close_requests::{CloseKept, CloseRequests};
use super::config::Config;
use super::connect::{connect, connect_directly};
use super::deadline::Deadline;
use super::idle::{Idle, IdleConnections};
use super::limit::Limit;
use super::queue::Queue;
use super::shared_request::ConnectionSlot;
use super::transport::Transport;
use crate::error::{Error, Result};
use crate::net::Address;

/// A request connects without a thread if it begins within this time of the beginning of an earlier
/// request that opened a connection and was answered, and no other request is in progress. The
/// application has then accepted all connections of this client, and all others that were in its
/// backlog at that time, so connecting waits only if other clients have filled the backlog since.
const DIRECTLY_AFTER: Duration = Duration::from_millis(1);

/// The connections of a client: the idle ones, and a limit on those in use.
///
/// A request needs a [`Slot`], which [`acquire`](Self::acquire) returns as soon as the number of
/// slots in use is below the limit. Requests that wait get their slots in the order of their
/// arrival: a slot that becomes free is given to the first of them under the lock, and a new
/// request joins the queue if it is not empty. After the request the slot's
/// [`release`](Slot::release) makes the connection idle.
///
/// Connections are closed without the lock.
///
/// A clone is the same pool. A configuration that is changed later does not apply to its requests,
/// and their connections do not become idle.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    address: Arc<Address>,
    config: Arc<Config>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The configuration of the idle connections.
    config: Arc<Config>,
    /// Whether the client has been dropped. No connection becomes idle any more.
    is_shut_down: bool,
    /// Invariant: there are at most `Config::max_idle`.
    idle: IdleConnections,
    /// Invariant: the number of slots that exist or have been granted.
    in_use: usize,
    limit: Limit,
    queue: Queue,
    close_requests: CloseRequests,
    /// Whether the application is known to keep connections open: a connection has carried a second
    /// request since one was closed after its first.
    application_keeps_open: bool,
    /// The start of the last request that opened a connection, was answered, and did not keep it.
    /// The application has accepted that connection since then.
    last_connect_began: Option<Instant>,
}

/// The right to use one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pool: &'a Pool,
    /// When the request began, or its wait for the slot ended.
    begun: Instant,
    deadline: Deadline,
}

/// A slot of an exchange that may outlive the client. Dropping it does not give the slot back.
#[derive(Debug)]
pub(super) struct OwnedSlot {
    pool: Pool,
    begun: Instant,
    deadline: Deadline,
}

/// What [`Pool::acquire`] returns.
#[derive(Debug)]
pub(super) struct Acquired<'a> {
    pub(super) slot: Slot<'a>,
    /// An idle connection, and how long it has been idle.
    pub(super) idle: Option<(Idle, Duration)>,
    /// Whether the application is known to keep connections open.
    pub(super) application_keeps_open: bool,
    /// Whether a connection may be opened without a thread.
    pub(super) connects_directly: bool,
    /// Whether the request has waited for the slot.
    pub(super) has_waited: bool,
}

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        let state = State::default();
        let config = Arc::clone(&state.config);
        Self { address: Arc::new(address), config, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Changes the configuration, and closes the idle connections, which have the old one.
    pub(super) fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        change(Arc::make_mut(&mut self.config));
        let mut state = self.lock();
        state.limit.configure(&self.config);
        state.config = Arc::clone(&self.config);
        close(state, |state| state.idle.take_all());
    }

    /// Begins a request: returns a slot, and the connection that became idle last if there is one.
    /// If all slots are in use, waits for one, for at most [`Config::connect_timeout`].
    ///
    /// # Errors
    /// [`Error::Connect`].
    #[inline]
    pub(super) fn acquire(&self) -> Result<Acquired<'_>> {
        let mut now = Instant::now();
        let deadline = Deadline::new(now, self.config.deadline);
        let mut state = self.lock();
        let must_wait = !state.queue.is_empty() || state.in_use >= state.limit.get();
        if must_wait {
            state = self.wait_for_slot(state, deadline)?;
            now = Instant::now();
        } else {
            state.in_use += 1;
        }
        let idle_timeout = self.config.idle_timeout.unwrap_or(Duration::MAX);
        let idle = state.idle.pop(now, idle_timeout);
        let application_keeps_open = state.application_keeps_open;
        let connects_directly = state.connects_directly(now);
        if state.idle.has_expired(now, idle_timeout) {
            close(state, |state| state.idle.take_expired(now, idle_timeout));
        }
        let slot = Slot { pool: self, begun: now, deadline };
        let has_waited = must_wait;
        Ok(Acquired { slot, idle, application_keeps_open, connects_directly, has_waited })
    }

    pub(super) fn close_idle(&self) {
        close(self.lock(), |state| state.idle.take_all());
    }

    /// Closes the idle connections. Those in use do not become idle any more.
    pub(super) fn shut_down(&self) {
        let mut state = self.lock();
        state.is_shut_down = true;
        close(state, |state| state.idle.take_all());
    }

    /// Limits the connections to the number that the application has advertised in its answer to
    /// GET_VALUES.
    pub(super) fn set_advertised_max(&self, max: Option<usize>) {
        let mut state = self.lock();
        state.limit.set_advertised(max);
        state.grant();
        let max_idle = state.room_for_idle();
        close(state, |state| state.idle.take_surplus(max_idle));
    }

    /// Waits for a slot, after the requests that already wait. The slot has been counted when this
    /// returns.
    fn wait_for_slot<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Deadline,
    ) -> Result<MutexGuard<'a, State>> {
        let max = deadline.left().min(self.config.connect_timeout.unwrap_or(Duration::MAX));
        let limit = Deadline::new(Instant::now(), Some(max));
        let waiter = state.queue.join();
        loop {
            state.grant();
            if waiter.has_slot() {
                return Ok(state);
            }
            let left = limit.left();
            if left.is_zero() {
                state.queue.leave(&waiter);
                let timeout = Error::timed_out("waiting for a free connection", max);
                return Err(Error::connect(&self.address, timeout));
            }
            // A lowered limit expires without a notification.
            state = waiter.wait(state, left.min(Limit::RECOVERY));
        }
    }

    /// Opens a connection for a request. `directly` does so without a thread.
    fn connect(&self, deadline: Deadline, directly: bool) -> Result<Transport> {
        let Self { address, config, .. } = self;
        let left = deadline.left();
        if left.is_zero() {
            let timeout = Error::timed_out("request", config.deadline.unwrap_or_default());
            return Err(Error::connect(address, timeout));
        }
        let max = left.min(config.connect_timeout.unwrap_or(Duration::MAX));
        let connect = if directly { connect_directly } else { connect };
        let stream = connect(address, max)?;
        let address = Some(Arc::clone(address));
        Transport::open(stream, address, Arc::clone(config), self.close_kept())
    }

    /// Opens another connection, in the place of one that the application has closed, and on which
    /// `requests_begun` requests have begun, including this one.
    fn reconnect(&self, deadline: Deadline, requests_begun: u64) -> Result<Transport> {
        if requests_begun == 2 {
            // The application has closed that connection after its first request.
            self.lock().application_keeps_open = false;
        }
        self.connect(deadline, false)
    }

    /// Gives back a slot. `released` becomes idle, unless too many connections are idle, a new one
    /// requests that it is closed, or the configuration has changed.
    #[inline]
    fn give_back(&self, mut released: Option<Idle>, connect_began: Option<Instant>) {
        let mut state = self.lock();
        if let Some(idle) = released.take_if(|idle| state.must_close(idle)) {
            drop(state);
            // Before another request gets the slot.
            idle.close();
            state = self.lock();
        }
        debug_assert!(state.in_use > 0);
        state.in_use -= 1;
        state.last_connect_began = connect_began.or(state.last_connect_began);
        let surplus = released.and_then(|released| state.keep(released, self.config.max_idle));
        state.grant();
        drop(state);
        if let Some(surplus) = surplus {
            surplus.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns a reference with which a new connection closes kept ones. `None` without
    /// `keep_alive`.
    pub(super) fn close_kept(&self) -> Option<Weak<dyn CloseKept>> {
        let state = Arc::downgrade(&self.state);
        self.config.keep_alive.then_some(state as Weak<dyn CloseKept>)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes connections and closes them.
fn close(mut state: MutexGuard<'_, State>, remove: impl FnOnce(&mut State) -> IdleConnections) {
    let removed = remove(&mut state);
    drop(state);
    drop(removed);
}

impl State {
    /// Gives the free slots to the requests that wait.
    #[inline]
    fn grant(&mut self) {
        while !self.queue.is_empty() && self.in_use < self.limit.get() {
            self.in_use += 1;
            self.queue.grant_first();
        }
    }

    /// Returns whether a connection must be closed instead of becoming idle. It then counts as
    /// closed for a new one that has requested that.
    #[inline]
    fn must_close(&mut self, released: &Idle) -> bool {
        self.is_shut_down
            || self.close_requests.take()
            || !released.transport.has_config(&self.config)
    }

    /// Makes a connection idle. Returns the one that has been idle longest if there are more than
    /// `max_idle` idle connections, or if idle connections and those in use exceed the limit
    /// together.
    #[inline]
    fn keep(&mut self, released: Idle, max_idle: usize) -> Option<Idle> {
        self.application_keeps_open |= released.transport.is_kept();
        self.idle.push(released);
        if self.idle.len() <= max_idle.min(self.room_for_idle()) {
            return None;
        }
        self.idle.pop_first()
    }

    /// Returns how many connections may be idle, beside those that are in use.
    #[inline]
    fn room_for_idle(&mut self) -> usize {
        self.limit.get().saturating_sub(self.in_use)
    }

    /// Returns whether the request that has just got a slot may connect without a thread.
    fn connects_directly(&self, now: Instant) -> bool {
        let is_recent = |begun| now.saturating_duration_since(begun) < DIRECTLY_AFTER;
        self.in_use == 1 && self.last_connect_began.is_some_and(is_recent)
    }
}

impl CloseKept for Mutex<State> {
    fn close_kept(&self, is_repeated: bool) {
        let mut state = lock(self);
        state.close_requests.add(is_repeated);
        if state.idle.len() > 0 && state.close_requests.take() {
            close(state, |state| state.idle.take_first());
        }
    }

    fn withdraw(&self) {
        lock(self).close_requests.withdraw();
    }
}

impl Slot<'_> {
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Opens a connection for this slot. `directly` does so without a thread.
    pub(super) fn connect(&self, directly: bool) -> Result<Transport> {
        self.pool.connect(self.deadline, directly)
    }

    /// Opens another connection, like [`Pool::reconnect`].
    pub(super) fn reconnect(&self, requests_begun: u64) -> Result<Transport> {
        self.pool.reconnect(self.deadline, requests_begun)
    }

    /// Returns the slot without the lifetime of the pool. It stays in use until it is given back.
    pub(super) fn into_owned(self) -> OwnedSlot {
        let (pool, begun, deadline) = (self.pool.clone(), self.begun, self.deadline);
        std::mem::forget(self);
        OwnedSlot { pool, begun, deadline }
    }

    /// Makes a reusable connection idle.
    #[inline]
    pub(super) fn release(self, transport: Box<Transport>) {
        self.pool.give_back(Some(Idle::new(transport)), None);
        std::mem::forget(self);
    }

    /// Gives back the slot of a request that was answered on a new connection that is not reusable.
    pub(super) fn end(self) {
        self.pool.give_back(None, Some(self.begun));
        std::mem::forget(self);
    }

    /// Lowers the limit after the application has refused a request or not accepted a connection,
    /// to one connection less than are in use now, and closes the idle ones.
    pub(super) fn lower_limit(&self) {
        close(self.pool.lock(), |state| {
            state.limit.lower(state.in_use - 1);
            state.idle.take_all()
        });
    }
}

impl ConnectionSlot for OwnedSlot {
    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn reconnect(&self, requests_begun: u64) -> Result<Transport> {
        self.pool.reconnect(self.deadline, requests_begun)
    }

    /// Closing a connection wakes a thread that is sending the body.
    fn give_back(&self, transport: Box<Transport>, is_answered: bool) {
        let slot = Slot { pool: &self.pool, begun: self.begun, deadline: self.deadline };
        if transport.is_reusable() {
            return slot.release(transport);
        }
        let is_kept = transport.is_kept();
        transport.socket().cancel();
        if transport.is_overloaded() {
            slot.lower_limit();
        }
        // It is closed before another request gets the slot.
        drop(transport);
        if is_answered && !is_kept {
            slot.end();
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.pool.give_back(None, None);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::net::Stream;

    /// A connection may have been idle for a while before the request that waits for it continues.
    #[test]
    fn idle_time_ends_after_the_wait_for_a_slot() -> Result<()> {
        let mut pool = Pool::new("127.0.0.1:9000".parse()?);
        pool.configure(|config| {
            *config = Config::new().keep_alive(true).max_connections(Some(1));
        });
        let (stream, _peer) = Stream::pair()?;
        let transport = Transport::open(stream, None, Arc::clone(&pool.config), None)?;
        let first = pool.acquire()?;
        let acquired = thread::scope(|scope| {
            let second = scope.spawn(|| pool.acquire());
            while pool.lock().queue.is_empty() {
                thread::yield_now();
            }
            first.slot.release(Box::new(transport));
            second.join().expect("the second request")
        })?;
        let (_connection, idle_for) = acquired.idle.expect("the connection of the first request");
        assert!(acquired.has_waited && idle_for > Duration::ZERO);
        Ok(())
    }
}
