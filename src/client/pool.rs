use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::Config;
use super::connection::Connection;
use super::queue::Queue;
use crate::error::{Error, Result};
use crate::net::Address;

/// A connection whose last request began less than this ago is reused without a check that it is
/// still open. Requests sent back to back then save three system calls. The application could
/// close the connection after the check as well, so a request must cope with that anyway.
const FRESH: Duration = Duration::from_millis(1);

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
    idle: Vec<Idle>,
    /// Invariant: the number of slots that exist or have been granted.
    in_use: usize,
    queue: Queue,
    /// The most connections that the application accepts, according to itself.
    advertised_max: Option<usize>,
    /// A lower limit after a refusal, and when it expires.
    lowered_max: Option<(usize, Instant)>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    /// When its last request began.
    used_at: Instant,
}

/// The right to use one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pool: &'a Pool,
    /// When the request began. It reads the clock only here.
    since: Instant,
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

    /// Returns a slot, and an idle connection that is still open if there is one. If all slots are
    /// in use, waits for one, for at most [`Config::connect_timeout`].
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub(super) fn acquire(&self) -> Result<(Slot<'_>, Option<Box<Connection>>)> {
        let mut state = self.lock();
        if state.queue.is_empty() && state.in_use < state.max(&self.config) {
            state.in_use += 1;
        } else {
            state = self.wait_for_slot(state)?;
        }
        let slot = Slot { pool: self, since: Instant::now() };
        while let Some(mut idle) = state.idle.pop() {
            drop(state);
            let age = slot.since.saturating_duration_since(idle.used_at);
            if age < FRESH || idle.connection.is_alive() {
                return Ok((slot, Some(idle.connection)));
            }
            state = self.lock();
        }
        Ok((slot, None))
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

impl Slot<'_> {
    /// Opens a connection for this slot.
    pub(super) fn connect(&self) -> Result<Connection> {
        self.pool.connect()
    }

    /// Makes a reusable connection idle. If more than [`Config::max_idle`] are idle, closes the one
    /// that has been idle longest.
    pub(super) fn release(self, connection: Box<Connection>) {
        debug_assert!(connection.is_reusable());
        let mut state = self.pool.lock();
        state.idle.push(Idle { connection, used_at: self.since });
        let surplus = (state.idle.len() > self.pool.config.max_idle).then(|| state.idle.remove(0));
        drop(state);
        // It is closed without the lock.
        drop(surplus);
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
        state.grant(&self.pool.config);
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
