use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::Config;
use super::connection::Connection;
use super::queue::Queue;
use crate::error::{Error, Result};
use crate::net::Address;

/// How long the limit on connections stays lowered after the application has refused a request.
const RECOVERY: Duration = Duration::from_secs(10);

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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The idle connections. The one that was released first is first.
    ///
    /// Invariant: each is reusable.
    /// Invariant: after each release there are at most `Config::max_idle`.
    idle: Vec<Released>,
    /// Invariant: the number of slots that exist or have been granted.
    in_use: usize,
    queue: Queue,
    /// Whether the application is known to keep connections open: a connection has carried a
    /// second request since one was closed after its first.
    keeps_open: bool,
    /// The most connections that the application accepts, according to itself.
    advertised_max: Option<usize>,
    /// A lower limit after a refusal, and when it expires.
    lowered_max: Option<(usize, Instant)>,
}

#[derive(Debug)]
struct Released {
    connection: Box<Connection>,
    released_at: Instant,
    /// Whether it has carried more than one request.
    is_reused: bool,
}

/// A connection that was idle. The application may have closed it.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) connection: Box<Connection>,
    pub(super) idle_for: Duration,
    /// Whether it has carried more than one request.
    pub(super) is_reused: bool,
    /// Whether the application is known to keep connections open.
    pub(super) keeps_open: bool,
}

/// The right to use one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pool: &'a Pool,
    /// The connection that becomes idle when the slot is dropped.
    released: Option<Released>,
}

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        Self { address, config: Arc::default(), state: Mutex::default() }
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

    /// Returns a slot, and the connection that became idle last if there is one. If all slots are
    /// in use, waits for one, for at most [`Config::connect_timeout`].
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(super) fn acquire(&self) -> Result<(Slot<'_>, Option<Idle>)> {
        let mut state = self.lock();
        if state.queue.is_empty() && state.in_use < state.max(&self.config) {
            state.in_use += 1;
        } else {
            state = self.wait_for_slot(state)?;
        }
        let released = state.idle.pop();
        let keeps_open = state.keeps_open;
        drop(state);
        let slot = Slot { pool: self, released: None };
        Ok((slot, released.map(|released| released.take(keeps_open))))
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
    ) -> Result<MutexGuard<'a, State>> {
        let deadline = deadline_after(self.config.connect_timeout);
        let waiter = state.queue.join();
        loop {
            state.grant(&self.config);
            if waiter.has_slot() {
                return Ok(state);
            }
            let left = time_until(deadline);
            if left.is_zero() {
                state.queue.leave(&waiter);
                return Err(Error::TimedOut("waiting for a connection"));
            }
            // A lowered limit expires without a notification.
            state = waiter.wait(state, left.min(RECOVERY));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let limits = [config.max_connections, self.advertised_max, lowered_max];
        limits.into_iter().flatten().min().unwrap_or(usize::MAX)
    }
}

impl Released {
    fn take(self, keeps_open: bool) -> Idle {
        let Self { connection, released_at, is_reused } = self;
        Idle { connection, idle_for: released_at.elapsed(), is_reused, keeps_open }
    }
}

impl Slot<'_> {
    /// Opens a connection for this slot.
    pub(super) fn connect(&self) -> Result<Connection> {
        self.pool.connect()
    }

    /// Makes a reusable connection idle. If more than [`Config::max_idle`] are idle, closes the one
    /// that has been idle longest. `is_reused` tells whether it has carried more than one request.
    pub(super) fn release(mut self, connection: Box<Connection>, is_reused: bool) {
        debug_assert!(connection.is_reusable());
        self.released = Some(Released { connection, released_at: Instant::now(), is_reused });
    }

    /// Notes that the application has closed a connection after its first request.
    pub(super) fn note_early_close(&self) {
        self.pool.lock().keeps_open = false;
    }

    /// Lowers the limit after the application has refused a request, to one connection less than
    /// are in use now. The limit expires after [`RECOVERY`].
    pub(super) fn lower_limit(&self) {
        let mut state = self.pool.lock();
        let max = state.in_use.saturating_sub(1).max(1);
        state.lowered_max = Some((max, Instant::now() + RECOVERY));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        debug_assert!(state.in_use > 0);
        state.in_use -= 1;
        let surplus = self.released.take().and_then(|released| {
            state.keeps_open |= released.is_reused;
            state.idle.push(released);
            (state.idle.len() > self.pool.config.max_idle).then(|| state.idle.remove(0))
        });
        state.grant(&self.pool.config);
        drop(state);
        // It is closed without the lock.
        drop(surplus);
    }
}

/// Returns when a timeout that begins now expires. `None` if it never does, or not within the range
/// of [`Instant`].
fn deadline_after(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Returns how long it takes until the deadline, [`Duration::MAX`] without one.
fn time_until(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
}
