use std::time::{Duration, Instant};

use super::connection::Connection;

/// The idle connections of a client.
///
/// Invariant: each is reusable.
/// Invariant: the one that was released first is first.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(Vec<Idle>);

/// A connection that is not in use. The application may have closed it.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) connection: Box<Connection>,
    pub(super) released_at: Instant,
    /// Whether the connection has carried more than one request.
    pub(super) is_reused: bool,
}

impl IdleConnections {
    /// Adds the connection that was released last.
    pub(super) fn push(&mut self, idle: Idle) {
        self.0.push(idle);
    }

    /// Removes the connection that was released last.
    pub(super) fn pop(&mut self) -> Option<Idle> {
        self.0.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the connection that was released first.
    pub(super) fn pop_first(&mut self) -> Option<Idle> {
        self.take_first(self.0.len().min(1)).pop()
    }

    /// Removes the connections that have been idle for longer than `timeout`, and those beyond the
    /// last `max`.
    pub(super) fn take_surplus(
        &mut self,
        now: Instant,
        timeout: Option<Duration>,
        max: usize,
    ) -> Vec<Idle> {
        let timeout = timeout.unwrap_or(Duration::MAX);
        let expired = self.0.iter().take_while(|idle| idle.idle_for(now) > timeout).count();
        self.take_first(expired.max(self.0.len().saturating_sub(max)))
    }

    pub(super) fn take_all(&mut self) -> Vec<Idle> {
        std::mem::take(&mut self.0)
    }

    fn take_first(&mut self, count: usize) -> Vec<Idle> {
        if count == 0 {
            return Vec::new();
        }
        self.0.drain(..count).collect()
    }
}

impl Idle {
    pub(super) fn new(connection: Box<Connection>, released_at: Instant, is_reused: bool) -> Self {
        debug_assert!(connection.is_reusable());
        Self { connection, released_at, is_reused }
    }

    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.released_at)
    }
}
