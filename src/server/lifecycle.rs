//! The life of a connection: when it is closed, why, and by whom.
//!
//! ```text
//!                              accepted
//!                                 │
//!     ┌───────────────────────────▼                     on_params
//!     │ on_end,                Waiting ───► Receiving ───────────► Handling
//!     │ on_end_without_handler    │ on_begin    │                     │
//!     └───────────────────────────┼─────────────┴─────────────────────┘
//!                                 │ on_end, on_end_without_handler, on_last_response,
//!                                 │ on_end_of_input, on_failure
//!                                 ▼
//!                              Closing { reason, mode }
//! ```
//!
//! | Event | Noticed by | Reason |
//! | --- | --- | --- |
//! | the web server closes the connection between requests | its thread, reading | `EndOfInput` |
//! | the same inside a request | its thread, reading | `ConnectionFailed` |
//! | a read or write fails | its thread | `ConnectionFailed` |
//! | a read, a write or a request times out | its thread | `TimedOut`, `IdleTimeout` |
//! | a record is invalid | its thread | `ProtocolError` |
//! | a request exceeds a bound | its thread | `ParamsTooLarge`, `BodyTooLarge` |
//! | the request has ended, and is the last one | its thread | `KeepConnNotSet`, `RequestLimit` |
//! | the handler calls `finish_early` | its thread | `FinishedEarly` |
//! | a request is dropped before it has ended | its thread | `RequestNotFinished` |
//! | the connection is rejected | its thread | `Overloaded` |
//! | another connection waits for a slot | a thread of the pool, in `Slots` | `SlotNeeded` |
//! | the same, and all are busy | its thread, when its request has ended | `SlotNeeded` |
//! | no thread accepts | the thread that could start none, or that in `serve` | `SlotNeeded` |
//! | `accept` has failed | the accepting thread, in `Pool::wait_to_retry` | `SlotNeeded` |
//! | `accept` cannot succeed again | the accepting thread, in `Pool::fail` | `Shutdown` |
//! | [`Handle::shutdown`](super::Handle::shutdown) | its caller, in `Pool::stop` | `Shutdown` |
//! | the same, nothing received for 200 ms | the thread in `Server::serve` | `Shutdown` |
//! | the same, and the shutdown timeout ends | the thread in `Server::serve` | `Shutdown` |
//! | the server stops before it is admitted | its thread, in `Pool::admit` | `Shutdown` |
//! | the shutdown timeout ends while it waits | its thread, in `Pool::admit` | none |
//! | its address is not allowed | its thread, in `Worker::accept` | none |
//! | its owner drops it, or its thread panics | its thread, in `Connection::drop` | none |
//!
//! The connection's own thread closes the socket in every case: `Connection::drop` first drains the
//! input as [`CloseMode`] requires, because closing a socket with unread input resets the
//! connection. In a server, `Pool::release` drops the last reference. A connection that is not
//! admitted, or whose address is not allowed, has no [`Lifecycle`] and is closed at once.
//!
//! Other threads only change [`ConnectionState`], and wake the thread by shutting down the read
//! half. They shut down both halves if a slot is needed and the thread is blocked in a write, or if
//! the connection is aborted after
//! [`Config::shutdown_timeout`](super::Config::shutdown_timeout).

use std::sync::Arc;
use std::time::Instant;

use super::close_reason::CloseReason;
use super::connection_state::ConnectionState;
use crate::error::{Error, Result};

/// The phase of a connection. [`ConnectionState`] has the part that other threads see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next BEGIN_REQUEST has not been received yet.
    Waiting,
    /// BEGIN_REQUEST was received, and the params are being received.
    Receiving,
    /// The request was passed to a handler.
    Handling { keep_conn: bool },
    /// No request follows.
    Closing { reason: CloseReason, mode: CloseMode },
}

/// What is done with input that the peer may still be sending when the connection is closed.
///
/// If a socket is closed while it has unread input, the system resets the connection, and the peer
/// may lose the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseMode {
    /// Close at once: no response is on its way, or the peer has closed the connection.
    AtOnce,
    /// Close at once, unless there is input to read. All input of the last request was received.
    DrainIfInputIsLeft,
    /// Read and drop input. The end of the last request was recorded at this time. Not all of its
    /// input had been received.
    AfterDraining(Instant),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// It has not ended.
    #[default]
    Unfinished,
    /// END_REQUEST was sent.
    Finished {
        /// Why no other request can follow, if the input failed.
        close_reason: Option<CloseReason>,
        /// Whether all input of the request was received.
        has_whole_input: bool,
    },
    /// The response could not be sent.
    Failed { reason: CloseReason },
}

/// The phase of a connection and its transitions. It is owned by the thread that serves the
/// connection.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: Phase,
    /// The number of requests that were passed to a handler.
    requests: u64,
    /// When the end of the last request was recorded, if not all of its input had been received.
    answered_early: Option<Instant>,
    state: Arc<ConnectionState>,
}

impl Lifecycle {
    pub(super) fn new(state: Arc<ConnectionState>) -> Self {
        Self { phase: Phase::Waiting, requests: 0, answered_early: None, state }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// Returns why the connection is to be closed. Returns `None` while requests may follow.
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closing { reason, .. } => Some(reason),
            Phase::Waiting | Phase::Receiving | Phase::Handling { .. } => None,
        }
    }

    /// Returns why the connection is to be closed, even if the outcome of its last request has not
    /// been applied.
    pub(super) fn close_reason_after(
        &self,
        outcome: RequestOutcome,
        max_requests: Option<u64>,
    ) -> Option<CloseReason> {
        match self.phase {
            Phase::Handling { keep_conn } => {
                self.reason_after_end(outcome, keep_conn, max_requests)
            }
            Phase::Waiting | Phase::Receiving | Phase::Closing { .. } => self.close_reason(),
        }
    }

    /// Returns how the connection is to be closed.
    pub(super) fn close_mode(&self) -> CloseMode {
        match self.phase {
            Phase::Closing { mode, .. } => mode,
            // The owner has dropped a connection that could carry another request.
            Phase::Waiting | Phase::Receiving | Phase::Handling { .. } => self.drain_mode(),
        }
    }

    /// Records that BEGIN_REQUEST was received. Returns `false` if the read half was shut down
    /// before that. The rest of the request may then never arrive.
    pub(super) fn on_begin(&mut self) -> bool {
        self.phase = Phase::Receiving;
        self.state.begin_request()
    }

    /// Records that the params of the request were received, and that it is passed to a handler.
    pub(super) fn on_params(&mut self, keep_conn: bool) {
        self.requests += 1;
        self.phase = Phase::Handling { keep_conn };
    }

    /// Records that the request was ended without being passed to a handler.
    pub(super) fn on_end_without_handler(&mut self, keep_conn: bool) {
        let not_kept = (!keep_conn).then_some(CloseReason::KeepConnNotSet);
        self.on_response(false, not_kept.or_else(|| self.state.end_request()));
    }

    /// Records that the handler has returned.
    #[inline]
    pub(super) fn on_end(
        &mut self,
        outcome: RequestOutcome,
        max_requests: Option<u64>,
    ) -> Result<()> {
        let Phase::Handling { keep_conn } = self.phase else {
            return Ok(());
        };
        let reason = self.reason_after_end(outcome, keep_conn, max_requests);
        if let RequestOutcome::Finished { has_whole_input, .. } = outcome {
            let reason = reason.or_else(|| self.state.end_request());
            self.on_response(has_whole_input, reason);
            return Ok(());
        }
        if let Some(reason) = reason {
            self.close(reason, CloseMode::AtOnce);
        }
        match outcome {
            RequestOutcome::Unfinished => Err(Error::RequestNotFinished),
            RequestOutcome::Finished { .. } | RequestOutcome::Failed { .. } => Ok(()),
        }
    }

    /// Returns why no request follows one with this outcome, unless only another thread knows of a
    /// reason.
    #[inline]
    fn reason_after_end(
        &self,
        outcome: RequestOutcome,
        keep_conn: bool,
        max_requests: Option<u64>,
    ) -> Option<CloseReason> {
        match outcome {
            RequestOutcome::Unfinished => Some(CloseReason::RequestNotFinished),
            RequestOutcome::Failed { reason }
            | RequestOutcome::Finished { close_reason: Some(reason), .. } => {
                Some(self.cause_of(reason))
            }
            RequestOutcome::Finished { close_reason: None, .. } => {
                if max_requests.is_some_and(|max| self.requests >= max) {
                    return Some(CloseReason::RequestLimit);
                }
                (!keep_conn).then_some(CloseReason::KeepConnNotSet)
            }
        }
    }

    /// Records that the input has ended, or that a read or the write of an answer has failed,
    /// before a request was received. Returns the error, unless the connection was closed on
    /// purpose.
    pub(super) fn on_end_of_input(&mut self, error: Option<Error>, is_idle: bool) -> Result<()> {
        if self.close_reason().is_none() {
            let (reason, mode) = match (&error, self.state.shut_down_reason()) {
                (None, Some(reason)) => (reason, self.drain_mode()),
                (Some(error), Some(reason)) if is_caused_by_shut_down(error) => {
                    (reason, self.drain_mode())
                }
                (None, None) => (CloseReason::EndOfInput, CloseMode::AtOnce),
                (Some(Error::TimedOut(_)), _) if is_idle => {
                    (CloseReason::IdleTimeout, CloseMode::AtOnce)
                }
                (Some(error), _) => (error.into(), self.drain_mode()),
            };
            self.close(reason, mode);
            if !reason.is_error() {
                return Ok(());
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// Records that the connection has failed. Returns the reason of the close, which may have been
    /// set before.
    pub(super) fn on_failure(&mut self, error: &Error) -> CloseReason {
        let reason = self.close_reason().unwrap_or_else(|| self.cause_of(error.into()));
        if self.close_reason().is_none() {
            self.close(reason, CloseMode::AtOnce);
        }
        reason
    }

    /// Records that a request was answered before all of its input was received, and that no
    /// request follows.
    pub(super) fn on_last_response(&mut self, reason: CloseReason) {
        self.on_response(false, Some(reason));
    }

    /// Records that the response was sent.
    #[inline]
    fn on_response(&mut self, has_whole_input: bool, reason: Option<CloseReason>) {
        self.answered_early = (!has_whole_input).then(Instant::now);
        self.phase = match (reason, self.answered_early) {
            (None, _) => Phase::Waiting,
            (Some(reason), None) => Phase::Closing { reason, mode: CloseMode::DrainIfInputIsLeft },
            (Some(reason), Some(_)) => Phase::Closing { reason, mode: self.drain_mode() },
        };
    }

    /// Returns [`CloseReason::Shutdown`] if the connection has failed because the server has
    /// aborted it, and otherwise the same reason.
    #[cold]
    fn cause_of(&self, reason: CloseReason) -> CloseReason {
        if reason == CloseReason::ConnectionFailed && self.state.is_aborted() {
            return CloseReason::Shutdown;
        }
        reason
    }

    fn close(&mut self, reason: CloseReason, mode: CloseMode) {
        self.phase = Phase::Closing { reason, mode };
    }

    /// Returns how the connection is closed if no response follows the last one.
    fn drain_mode(&self) -> CloseMode {
        self.answered_early.map_or(CloseMode::AtOnce, CloseMode::AfterDraining)
    }
}

/// Returns whether this may be the error of a connection of which another thread has shut down one
/// half or both.
fn is_caused_by_shut_down(error: &Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | BrokenPipe | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, Other, TimedOut};

    use super::*;
    use crate::net::Stream;

    /// A thread that needs the slot shuts down both halves if the connection's thread is writing.
    #[test]
    fn write_that_fails_because_the_slot_is_needed_is_not_an_error() {
        for (kind, reason) in [
            (BrokenPipe, CloseReason::SlotNeeded),
            (ConnectionReset, CloseReason::SlotNeeded),
            (TimedOut, CloseReason::ConnectionFailed),
            (Other, CloseReason::ConnectionFailed),
        ] {
            for is_needed in [false, true] {
                let (stream, _peer) = Stream::pair().expect("two sockets");
                let state = Arc::new(ConnectionState::new(stream, None, Arc::default()));
                let mut lifecycle = Lifecycle::new(Arc::clone(&state));
                state.on_other_record();
                state.mark_idle();
                assert!(!is_needed || state.close_if_marked());
                let error = Error::Io(kind.into());
                let ended = lifecycle.on_end_of_input(Some(error), true);
                let reason = if is_needed { reason } else { CloseReason::ConnectionFailed };
                assert_eq!(lifecycle.close_reason(), Some(reason), "{kind:?} {is_needed}");
                assert_eq!(ended.is_err(), reason.is_error());
            }
        }
    }
}
