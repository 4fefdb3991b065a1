use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::shared_request::{ResponseStart, SharedRequest};
use super::socket::Progress;
use super::transport::Transport;
use crate::error::{Error, Result};

/// How long to wait, after the response is complete, for the sending thread to report that the body
/// was sent. The application may have read it and answered before that thread continues. Also how
/// long to wait for END_REQUEST after the end of STDOUT.
pub(super) const END_WAIT: Duration = Duration::from_millis(5);

/// The connection of an exchange.
#[derive(Debug)]
pub(super) enum Lease<'a> {
    /// A connection that belongs to the caller.
    Lent(&'a mut Transport),
    /// A connection of a client's pool.
    Pooled(Box<dyn PooledConnection>),
}

/// A connection of a client's pool, which gets it back when this is dropped.
///
/// This is a trait so that a program which uses no [`Client`](crate::Client) contains no code for
/// it. That saves 3 KiB of the smallest responder, which `tests/benches/size` limits to 485 KiB.
pub(super) trait PooledConnection: fmt::Debug + Send + Sync {
    fn transport(&self) -> &Transport;

    fn transport_mut(&mut self) -> &mut Transport;

    /// Returns whether [`start`](Self::start) must be called before the response is read.
    fn must_start(&self) -> bool;

    /// Waits until the response may be read from the connection.
    ///
    /// # Errors
    /// The errors of sending the request again.
    fn start(&mut self) -> Result<()>;

    /// Ends a request whose response is complete. If another thread is about to send the end of the
    /// body, waits for it.
    fn end_request(&mut self);
}

/// The connection of an exchange that [`Client::begin`](crate::Client::begin) has returned.
#[derive(Debug)]
pub(super) struct Pooled {
    /// Invariant: it is `Some` until this is dropped.
    transport: Option<Box<Transport>>,
    request: Arc<SharedRequest>,
    /// Whether the first part of the request is known to have been sent.
    has_started: bool,
    /// Whether the response is complete.
    is_answered: bool,
}

impl Lease<'_> {
    #[inline]
    pub(super) fn transport(&self) -> &Transport {
        match self {
            Self::Lent(transport) => transport,
            Self::Pooled(pooled) => pooled.transport(),
        }
    }

    #[inline]
    pub(super) fn transport_mut(&mut self) -> &mut Transport {
        match self {
            Self::Lent(transport) => transport,
            Self::Pooled(pooled) => pooled.transport_mut(),
        }
    }

    #[inline]
    pub(super) fn is_pooled(&self) -> bool {
        matches!(self, Self::Pooled(_))
    }

    /// Returns whether [`start`](Self::start) must be called before the response is read.
    #[inline]
    pub(super) fn must_start(&self) -> bool {
        matches!(self, Self::Pooled(pooled) if pooled.must_start())
    }

    /// Waits until the response of a pooled connection may be read. Returns at once for a lent
    /// connection.
    ///
    /// # Errors
    /// The errors of sending the request again.
    #[cold]
    pub(super) fn start(&mut self) -> Result<()> {
        match self {
            Self::Lent(_) => Ok(()),
            Self::Pooled(pooled) => pooled.start(),
        }
    }

    /// Ends a request whose response is complete, on a connection of a client's pool.
    pub(super) fn end_request(&mut self) {
        if let Self::Pooled(pooled) = self {
            pooled.end_request();
        }
    }
}

impl Pooled {
    pub(super) fn new(transport: Box<Transport>, request: Arc<SharedRequest>) -> Self {
        let has_started = !request.must_send_first();
        Self { transport: Some(transport), request, has_started, is_answered: false }
    }

    pub(super) fn request(&self) -> &Arc<SharedRequest> {
        &self.request
    }

    /// Waits until the body has sent the first part of the request.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after the read timeout and at the deadline, and the errors of sending.
    fn wait_until_sent(&self) -> Result<ResponseStart> {
        let config = self.transport().config();
        let read_timeout = config.read_timeout.unwrap_or(Duration::MAX);
        let left = self.request.slot().deadline().left();
        if let Some(first) = self.request.wait_until_sent(left.min(read_timeout))? {
            return Ok(first);
        }
        Err(if left < read_timeout {
            Error::timed_out("request", config.deadline.unwrap_or_default())
        } else {
            Error::timed_out("read", read_timeout)
        })
    }

    fn send_again(&mut self, records: &[u8]) -> Result<()> {
        let replacement = self.request.reconnect()?;
        self.transport_mut().replace(replacement);
        let progress = self.transport_mut().send(records)?;
        self.request.set_writer(self.transport().writer());
        self.request.end_body(progress == Progress::All);
        Ok(())
    }
}

impl PooledConnection for Pooled {
    fn transport(&self) -> &Transport {
        self.transport.as_deref().expect("a connection until the lease is dropped")
    }

    fn transport_mut(&mut self) -> &mut Transport {
        self.transport.as_deref_mut().expect("a connection until the lease is dropped")
    }

    fn must_start(&self) -> bool {
        !self.has_started
    }

    fn start(&mut self) -> Result<()> {
        let first = self.wait_until_sent()?;
        self.has_started = true;
        if let Some(replacement) = first.replacement {
            self.transport_mut().replace(replacement);
        }
        let Some(records) = first.repeatable else { return Ok(()) };
        if self.transport_mut().wait_for_response()? {
            return Ok(());
        }
        self.send_again(&records)
    }

    fn end_request(&mut self) {
        self.is_answered = true;
        let is_body_sent = self.request.wait_for_body(END_WAIT);
        self.transport_mut().end_request(is_body_sent);
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(transport) = self.transport.take() else { return };
        if !transport.is_reusable() {
            // Before the slot is given back. The body must not send the request on a connection of
            // its own.
            self.request.cancel_handle().cancel();
        }
        self.request.slot().give_back(transport, self.is_answered);
    }
}
