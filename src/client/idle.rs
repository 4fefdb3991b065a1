use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Connection;

/// A connection whose last request began less than this ago is not looked at before it is used again: back-to-back requests
/// pay nothing, and an application that closes in that moment is dealt with like one that closes a moment later.
const FRESH: Duration = Duration::from_millis(1);

/// The connections that wait for another request, the longest idle first.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Vec<(Instant, Connection)>>);

impl Idle {
    /// The connection that was used last, if it is still open, for a request that begins now.
    pub(super) fn take(&self, now: Instant) -> Option<Connection> {
        loop {
            let (began, mut connection) = self.lock().pop()?;
            if now.saturating_duration_since(began) < FRESH || connection.is_alive() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose last request began at a time, and lets go of the longest idle beyond `max`.
    pub(super) fn put(&self, began: Instant, connection: Connection, max: usize) {
        let mut idle = self.lock();
        idle.push((began, connection));
        if idle.len() > max {
            let oldest = idle.remove(0);
            drop(idle);
            drop(oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
