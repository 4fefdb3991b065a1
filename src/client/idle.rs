use std::time::{Duration, Instant};

use super::transport::Transport;

/// The idle connections of a client.
///
/// Invariant: each is reusable.
/// Invariant: the one that was released first is first.
#[derive(Debug, Default)]
pub(super) struct IdleConnections(Vec<Idle>);

/// A connection that is not in use. The application may have closed it.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) transport: Box<Transport>,
    released_at: Instant,
    /// Whether the connection has carried more than one request.
    pub(super) is_reused: bool,
}

impl IdleConnections {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds the connection that was released last.
    #[inline]
    pub(super) fn push(&mut self, idle: Idle) {
        self.0.push(idle);
    }

    /// Removes the connection that was released last, and returns how long it has been idle.
    /// Returns `None` if that is longer than `timeout`: all of them have then expired.
    #[inline]
    pub(super) fn pop(&mut self, now: Instant, timeout: Duration) -> Option<(Idle, Duration)> {
        let idle_for = self.0.last()?.idle_for(now);
        (idle_for <= timeout).then(|| self.0.pop())?.map(|idle| (idle, idle_for))
    }

    /// Removes the connection that was released first.
    pub(super) fn pop_first(&mut self) -> Option<Idle> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    /// Returns whether [`take_expired`](Self::take_expired) would return any.
    #[inline]
    pub(super) fn has_expired(&self, now: Instant, timeout: Duration) -> bool {
        self.0.first().is_some_and(|idle| idle.idle_for(now) > timeout)
    }

    /// Removes the connections that have been idle for longer than `timeout`.
    pub(super) fn take_expired(&mut self, now: Instant, timeout: Duration) -> Vec<Idle> {
        let count = self.0.iter().take_while(|idle| idle.idle_for(now) > timeout).count();
        self.0.drain(..count).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Idle> {
        std::mem::take(&mut self.0)
    }
}

impl Idle {
    pub(super) fn new(transport: Box<Transport>, is_reused: bool) -> Self {
        debug_assert!(transport.is_reusable());
        Self { transport, released_at: Instant::now(), is_reused }
    }

    #[inline]
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.released_at)
    }
}
