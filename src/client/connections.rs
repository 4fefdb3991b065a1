use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Config, Connection};
use crate::error::{Error, Result};

/// A connection whose last request began less than this ago is not looked at before it is used
/// again: back-to-back requests pay nothing, and an application that closes in that moment is dealt
/// with like one that closes a moment later.
const FRESH: Duration = Duration::from_millis(1);

/// How long an application that was short of something is asked for less.
const RECOVERY: Duration = Duration::from_secs(10);

/// The connections of a client: those that wait for another request, and how many others there are.
#[derive(Debug, Default)]
pub(super) struct Connections {
    state: Mutex<State>,
    /// Told when a connection becomes free while someone waits for that.
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// With the time at which their last request began, the longest idle first.
    idle: Vec<(Instant, Box<Connection>)>,
    /// The connections that carry a request, or are being made for one.
    busy: usize,
    /// The requests that wait for a connection.
    waiting: usize,
    /// The most connections that the application accepts, as far as it has said.
    accepted: Option<usize>,
    /// The most connections until this time, because the application has refused a request.
    lowered: Option<(usize, Instant)>,
}

/// The right to one connection.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    connections: &'a Connections,
    /// When it was given: a request looks at the clock once.
    since: Instant,
}

impl Connections {
    /// The right to a connection, and one that is idle, if there is one that is still open. Where
    /// the most are in use it waits, as long as connecting may take.
    pub(super) fn take(&self, config: &Config) -> Result<(Permit<'_>, Option<Box<Connection>>)> {
        let mut state = self.lock();
        if state.busy >= state.max(config) {
            state = self.wait(state, config)?;
        }
        state.busy += 1;
        let permit = Permit { connections: self, since: Instant::now() };
        while let Some((began, mut connection)) = state.idle.pop() {
            drop(state);
            if permit.since.saturating_duration_since(began) < FRESH || connection.is_alive() {
                return Ok((permit, Some(connection)));
            }
            state = self.lock();
        }
        Ok((permit, None))
    }

    /// Takes note of how many connections the application accepts.
    pub(super) fn set_accepted(&self, max: Option<usize>) {
        self.lock().accepted = max.map(|max| max.max(1));
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        config: &Config,
    ) -> Result<MutexGuard<'a, State>> {
        let deadline = config.connect_timeout.map(|timeout| Instant::now() + timeout);
        state.waiting += 1;
        while state.busy >= state.max(config) {
            let left = deadline
                .map_or(RECOVERY, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                state.waiting -= 1;
                return Err(Error::TimedOut("waiting for a connection"));
            }
            // A bound that was lowered rises again without being told.
            let left = left.min(RECOVERY);
            state =
                self.released.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The most connections that may be in use now.
    fn max(&mut self, config: &Config) -> usize {
        let now_lowered = self.lowered.filter(|(_, until)| Instant::now() < *until);
        self.lowered = now_lowered;
        let bounds = [config.max_connections, self.accepted, now_lowered.map(|(max, _)| max)];
        bounds.into_iter().flatten().min().unwrap_or(usize::MAX)
    }
}

impl Permit<'_> {
    /// Leaves a connection to other requests, and lets go of the longest idle beyond the most that
    /// are kept.
    pub(super) fn keep(self, connection: Box<Connection>, config: &Config) {
        let mut state = self.connections.lock();
        state.idle.push((self.since, connection));
        let surplus = (state.idle.len() > config.max_idle).then(|| state.idle.remove(0));
        drop(state);
        drop(surplus);
    }

    /// Takes note that the application is short of something: for a while it is asked for one
    /// connection less than it has now.
    pub(super) fn application_is_short(&self) {
        let mut state = self.connections.lock();
        state.lowered = Some((state.busy.saturating_sub(1).max(1), Instant::now() + RECOVERY));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.busy -= 1;
        if state.waiting > 0 {
            self.connections.released.notify_one();
        }
    }
}
