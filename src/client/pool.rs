use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::config::Config;
use super::connect::{connect, connect_directly};
use super::connection::Connection;
use super::deadline::Deadline;
use super::idle::{Idle, IdleConnections};
use super::queue::Queue;
use super::room::{MakeRoom, Room};
use crate::error::{Error, Result};
use crate::net::Address;

/// How long the limit on connections stays lowered after the application has refused a request.
const RECOVERY: Duration = Duration::from_secs(10);

/// A request that begins less than this after the end of another one connects without a thread, if
/// it is the only one. The application has then accepted all connections of this client, so its
/// backlog is not full because of them.
const DIRECTLY_AFTER: Duration = Duration::from_millis(1);

/// The most connections of a client that keeps them, if the configuration does not limit them. A
/// server of this crate serves as many.
const MAX_KEPT: usize = 256;

/// The connections of a client: the idle ones, and a limit on those in use.
///
/// A request needs a [`Slot`], which [`acquire`](Self::acquire) returns as soon as the number of
/// slots in use is below the limit. Requests that wait get their slots in the order of their
/// arrival: a slot that becomes free is given to the first of them under the lock, and a new
/// request joins the queue if it is not empty. After the request the slot's
/// [`release`](Slot::release) makes the connection idle.
#[derive(Debug)]
pub(super) struct Pool {
    address: Address,
    config: Arc<Config>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Invariant: after each release there are at most `Config::max_idle`, and no more than the
    /// limit leaves beside those in use.
    idle: IdleConnections,
    room: Room,
    /// Invariant: the number of slots that exist or have been granted.
    in_use: usize,
    queue: Queue,
    /// Whether the application is known to keep connections open: a connection has carried a
    /// second request since one was closed after its first.
    keeps_open: bool,
    /// When the last request ended that was not kept but answered.
    answered_at: Option<Instant>,
    /// The most connections that the application accepts, according to itself.
    advertised_max: Option<usize>,
    /// A lower limit after a refusal, and when it expires.
    lowered_max: Option<(usize, Instant)>,
}

/// The right to use one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pool: &'a Pool,
    deadline: Deadline,
    /// Whether the first connection is opened without a thread.
    connects_directly: bool,
    /// When the request ended, if it was answered.
    answered_at: Option<Instant>,
    /// The connection that becomes idle when the slot is dropped.
    released: Option<Idle>,
}

/// What [`Pool::acquire`] returns.
#[derive(Debug)]
pub(super) struct Acquired<'a> {
    pub(super) slot: Slot<'a>,
    pub(super) idle: Option<Idle>,
    /// How long the connection in `idle` has been idle.
    pub(super) idle_for: Duration,
    /// Whether the application is known to keep connections open.
    pub(super) keeps_open: bool,
}

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        Self { address, config: Arc::default(), state: Arc::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn config_mut(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }

    /// Opens a connection that is not counted.
    pub(super) fn connect(&self) -> Result<Connection> {
        Connection::connect(&self.address, Arc::clone(&self.config))
    }

    /// Begins a request: returns a slot, and the connection that became idle last if there is one.
    /// If all slots are in use, waits for one, for at most [`Config::connect_timeout`].
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(super) fn acquire(&self) -> Result<Acquired<'_>> {
        let now = Instant::now();
        let mut deadline = Deadline::new(now, self.config.deadline);
        let mut state = self.lock();
        if state.queue.is_empty() && state.in_use < state.max(&self.config) {
            state.in_use += 1;
        } else {
            state = self.wait_for_slot(state, &mut deadline)?;
        }
        let surplus = state.idle.take_surplus(now, self.config.idle_timeout, usize::MAX);
        let idle = state.idle.pop();
        let keeps_open = state.keeps_open;
        let connects_directly = state.connects_directly(now);
        drop(state);
        // They are closed without the lock.
        drop(surplus);
        let slot =
            Slot { pool: self, deadline, connects_directly, answered_at: None, released: None };
        let idle_for = idle.as_ref().map_or(Duration::ZERO, |idle| idle.idle_for(now));
        Ok(Acquired { slot, idle, idle_for, keeps_open })
    }

    pub(super) fn close_idle(&self) {
        let idle = self.lock().idle.take_all();
        // They are closed without the lock.
        drop(idle);
    }

    /// Limits the connections to the number that the application accepts, according to itself.
    pub(super) fn set_advertised_max(&self, max: Option<usize>) {
        let mut state = self.lock();
        state.advertised_max = max.map(|max| max.max(1));
        state.grant(&self.config);
    }

    /// Waits for a slot, after the requests that already wait. The slot has been counted when this
    /// returns.
    fn wait_for_slot<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: &mut Deadline,
    ) -> Result<MutexGuard<'a, State>> {
        let max = deadline.left().min(self.config.connect_timeout.unwrap_or(Duration::MAX));
        let mut limit = Deadline::new(Instant::now(), Some(max));
        let waiter = state.queue.join();
        loop {
            state.grant(&self.config);
            if waiter.has_slot() {
                deadline.update();
                return Ok(state);
            }
            limit.update();
            if limit.left().is_zero() {
                state.queue.leave(&waiter);
                return Err(Error::TimedOut("waiting for a connection"));
            }
            // A lowered limit expires without a notification.
            state = waiter.wait(state, limit.left().min(RECOVERY));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns what a new connection asks for room. Without kept connections there is none to make.
    fn room(&self) -> Option<Weak<dyn MakeRoom>> {
        let state = Arc::downgrade(&self.state);
        self.config.keep_alive.then_some(state as Weak<dyn MakeRoom>)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MakeRoom for Mutex<State> {
    fn make_room(&self, is_repeated: bool) {
        let mut state = lock(self);
        state.room.need(is_repeated);
        let idle = (!state.idle.is_empty() && state.room.make()).then(|| state.idle.pop_first());
        drop(state);
        // It is closed without the lock.
        drop(idle);
    }

    fn end_need(&self) {
        lock(self).room.end_need();
    }
}

impl State {
    /// Gives the free slots to the requests that wait.
    fn grant(&mut self, config: &Config) {
        while !self.queue.is_empty() && self.in_use < self.max(config) {
            self.in_use += 1;
            self.queue.grant_first();
        }
    }

    /// Returns the most slots that may be in use now.
    fn max(&mut self, config: &Config) -> usize {
        self.lowered_max = self.lowered_max.filter(|(_, until)| Instant::now() < *until);
        let lowered_max = self.lowered_max.map(|(max, _)| max);
        let configured_max = config.max_connections.or(config.keep_alive.then_some(MAX_KEPT));
        let limits = [configured_max, self.advertised_max, lowered_max];
        limits.into_iter().flatten().min().unwrap_or(usize::MAX)
    }

    /// Returns whether the request that has just got a slot connects without a thread.
    fn connects_directly(&self, now: Instant) -> bool {
        let is_quick = |at| now.saturating_duration_since(at) < DIRECTLY_AFTER;
        self.in_use == 1 && self.answered_at.is_some_and(is_quick)
    }
}

impl Slot<'_> {
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Opens a connection for this slot.
    pub(super) fn connect(&mut self) -> Result<Connection> {
        let Pool { address, config, .. } = self.pool;
        let max = self.deadline.left().min(config.connect_timeout.unwrap_or(Duration::MAX));
        let connects_directly = std::mem::take(&mut self.connects_directly);
        let connect = if connects_directly { connect_directly } else { connect };
        let stream = connect(address, max)?;
        self.deadline.update();
        Connection::open(stream, Arc::clone(config), self.deadline, self.pool.room())
    }

    /// Opens another connection, in the place of one that the application has closed. `is_early`
    /// tells whether that connection has carried a single request.
    pub(super) fn reconnect(&mut self, is_early: bool) -> Result<Connection> {
        if is_early {
            self.pool.lock().keeps_open = false;
        }
        self.connects_directly = false;
        self.deadline.update();
        self.connect()
    }

    /// Makes a reusable connection idle. `is_reused` tells whether it has carried more than one
    /// request.
    pub(super) fn release(mut self, connection: Box<Connection>, is_reused: bool) {
        self.released = Some(Idle::new(connection, Instant::now(), is_reused));
    }

    /// Gives back the slot of a request that was answered on a connection that is not reusable.
    pub(super) fn end(mut self) {
        self.answered_at = Some(Instant::now());
    }

    /// Lowers the limit after the application has refused a request or not accepted a connection,
    /// to one connection less than are in use now, and closes the idle ones. The limit expires
    /// after [`RECOVERY`].
    pub(super) fn lower_limit(&self) {
        let mut state = self.pool.lock();
        let max = state.in_use.saturating_sub(1).max(1);
        state.lowered_max = Some((max, Instant::now() + RECOVERY));
        let idle = state.idle.take_all();
        drop(state);
        // They are closed without the lock.
        drop(idle);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if self.released.is_some() && state.room.make() {
            drop(state);
            // It is closed without the lock, and before another request gets the slot.
            self.released = None;
            state = self.pool.lock();
        }
        debug_assert!(state.in_use > 0);
        state.in_use -= 1;
        state.answered_at = self.answered_at.or(state.answered_at);
        let surplus = self.released.take().map(|released| {
            let config = &self.pool.config;
            let max = config.max_idle.min(state.max(config).saturating_sub(state.in_use));
            state.keeps_open |= released.is_reused;
            let now = released.released_at;
            state.idle.push(released);
            state.idle.take_surplus(now, config.idle_timeout, max)
        });
        state.grant(&self.pool.config);
        drop(state);
        // They are closed without the lock.
        drop(surplus);
    }
}
