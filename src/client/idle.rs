use std::time::{Duration, Instant};

use super::transport::Transport;

/// The idle connections of a client. Dropping them [closes](Idle::close) each.
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
        if idle_for > timeout {
            return None;
        }
        Some((self.0.pop()?, idle_for))
    }

    /// Removes the connection that was released first, to close it.
    pub(super) fn take_first(&mut self) -> Self {
        Self(self.pop_first().into_iter().collect())
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
    pub(super) fn take_expired(&mut self, now: Instant, timeout: Duration) -> Self {
        let count = self.0.iter().take_while(|idle| idle.idle_for(now) > timeout).count();
        Self(self.0.drain(..count).collect())
    }

    /// Removes the connections that were released first, until at most `max` are left.
    pub(super) fn take_surplus(&mut self, max: usize) -> Self {
        Self(self.0.drain(..self.0.len().saturating_sub(max)).collect())
    }

    pub(super) fn take_all(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl Drop for IdleConnections {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Idle::close);
    }
}

impl Idle {
    pub(super) fn new(transport: Box<Transport>) -> Self {
        debug_assert!(transport.is_reusable());
        Self { transport, released_at: Instant::now() }
    }

    /// Closes the connection. It is shut down first, because the body of an earlier request, which
    /// the caller may keep, holds the socket open.
    pub(super) fn close(self) {
        self.transport.socket().cancel();
    }

    #[inline]
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.released_at)
    }
}
