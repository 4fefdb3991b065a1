use std::time::Duration;

use super::deadline::Deadline;
use super::pool::{Acquired, Pool, Slot};
use super::retry::Retry;
use super::transport::Transport;
use crate::error::Result;

/// The connection of a request, and its slot.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    /// Declared before `slot`: it must be closed before another connection may take its place.
    pub(super) transport: Box<Transport>,
    pub(super) slot: Slot<'a>,
    /// How long the connection has been idle. Zero if it is new.
    pub(super) idle_for: Duration,
    /// Whether the application is known to keep connections open.
    application_keeps_open: bool,
    /// Whether the first write and the first read need not read the clock. False once the request
    /// has waited for its slot, for its connection or for the check of it, or if it has a body or
    /// is large.
    pub(super) skips_clock: bool,
}

impl<'a> Reserved<'a> {
    /// Waits for a slot. Opens a connection unless one is idle.
    ///
    /// # Errors
    /// [`Error::Connect`](crate::Error::Connect).
    #[inline]
    pub(super) fn acquire(pool: &'a Pool) -> Result<Self> {
        let acquired = pool.acquire()?;
        let Acquired { slot, application_keeps_open, connects_directly, has_waited, .. } = acquired;
        let skips_clock = acquired.idle.is_some() && !has_waited;
        let (transport, idle_for) = match acquired.idle {
            Some((idle, idle_for)) => (idle.transport, idle_for),
            None => (Box::new(slot.connect(connects_directly)?), Duration::ZERO),
        };
        Ok(Self { transport, slot, idle_for, application_keeps_open, skips_clock })
    }

    /// Checks a kept connection before a request that has begun in memory is sent on it. Replaces
    /// it if the application has closed it. Returns the rule that then applies.
    ///
    /// # Errors
    /// The errors of connecting.
    #[inline]
    pub(super) fn check(&mut self, retry: Retry, is_whole: bool) -> Result<Retry> {
        match retry.probe_wait(is_whole, self.idle_for, self.application_keeps_open) {
            Some(wait) => self.probe(retry, wait),
            None => Ok(retry),
        }
    }

    /// Replaces the connection unless it stays open for `wait`.
    fn probe(&mut self, retry: Retry, wait: Duration) -> Result<Retry> {
        self.skips_clock &= wait.is_zero();
        if stays_open(&mut self.transport, wait, self.slot.deadline()) {
            return Ok(retry);
        }
        self.reconnect().map(|()| Retry::Never)
    }

    /// Replaces a kept connection, which the application has closed, by a new one.
    ///
    /// # Errors
    /// The errors of connecting.
    pub(super) fn reconnect(&mut self) -> Result<()> {
        self.skips_clock = false;
        let new = self.slot.reconnect(self.transport.requests_begun())?;
        self.transport.replace(new);
        Ok(())
    }
}

/// Checks that the application does not close a kept connection within `wait`, and before the
/// deadline of the request.
fn stays_open(transport: &mut Transport, wait: Duration, deadline: Deadline) -> bool {
    // Without a wait the clock is not read.
    let wait = if wait.is_zero() { wait } else { wait.min(deadline.left()) };
    transport.stays_open(wait)
}
