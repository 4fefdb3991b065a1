use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Connection;

/// A connection that was idle for less is not looked at before it is used again: back-to-back requests pay nothing, and
/// an application that closes in that moment is dealt with like one that closes a moment later.
const FRESH: Duration = Duration::from_millis(1);

/// The connections that wait for another request, the longest idle first.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Vec<(Instant, Connection)>>);

impl Idle {
    /// The connection that was used last, if it is still open.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.lock().pop()?;
            if since.elapsed() < FRESH || connection.is_alive() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection, and lets go of the longest idle beyond `max`.
    pub(super) fn put(&self, connection: Connection, max: usize) {
        let mut idle = self.lock();
        idle.push((Instant::now(), connection));
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
