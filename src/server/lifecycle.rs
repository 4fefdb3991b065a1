//! The life of a connection: when it is closed, why, and by whom.
//!
//! ```text
//!                              accepted
//!                                 │
//!     ┌───────────────────────────▼                     on_params
//!     │ on_refusal / on_end,   Waiting ───► Receiving ───────────► Handling
//!     │ keep_conn set             │ on_begin    │                     │
//!     └───────────────────────────┼─────────────┴─────────────────────┘
//!                                 │ on_refusal, on_end, on_last_response,
//!                                 │ on_end_of_input, on_failure
//!                                 ▼
//!                              Closing { reason, mode }
//! ```
//!
//! | Event | Noticed by | Reason |
//! | --- | --- | --- |
//! | the web server closes the connection | its thread, reading | `EndOfInput` |
//! | a read or write fails | its thread | `ConnectionFailed` |
//! | a read or write times out | its thread | `TimedOut`, `IdleTimeout` |
//! | a record is invalid | its thread | `ProtocolError` |
//! | a request exceeds a bound | its thread | `ParamsTooLarge`, `BodyTooLarge` |
//! | the request has ended, and is the last one | its thread | `KeepConnNotSet`, `RequestLimit` |
//! | the handler continues after `finish_early` | its thread | `FinishedEarly` |
//! | a request is dropped before it has ended | its thread | `RequestNotFinished` |
//! | the connection is rejected | its thread | `Overloaded` |
//! | a connection waits for a slot | a thread of the pool, in `Slots::free` | `SlotNeeded` |
//! | the same, and all are busy | its thread, when its request has ended | `SlotNeeded` |
//! | no thread is accepting | the main thread, in `Slots::free` | `SlotNeeded` |
//! | `accept` has failed | the accepting thread, in `Pool::wait_to_retry` | `SlotNeeded` |
//! | [`Handle::shutdown`](super::Handle::shutdown) | its caller, in `Pool::stop` | `Shutdown` |
//! | the same, nothing received for 200 ms | the main thread, in `wait_for_threads` | `Shutdown` |
//! | the server stops before it is admitted | its thread, in `Pool::admit` | `Shutdown` |
//! | connections are aborted before it is admitted | its thread, in `Pool::admit` | none |
//!
//! The connection's own thread closes the socket in every case: `Connection::drop` first drains the
//! input as [`CloseMode`] requires, because closing a socket with unread input resets the
//! connection. `Pool::release` drops the last reference. Other threads only change
//! [`ConnectionState`] and wake the thread. The exception is [`ConnectionState::abort`] after
//! [`Config::shutdown_timeout`](super::Config::shutdown_timeout).
//!
//! A connection from an address that is not allowed has no [`Lifecycle`]: the thread that has
//! accepted it closes it at once.

use std::sync::Arc;
use std::time::Instant;

use super::close_reason::CloseReason;
use super::connection_state::ConnectionState;
use crate::error::{Error, Result};

/// The phase of a connection.
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

    /// Returns how the connection is to be closed.
    pub(super) fn close_mode(&self) -> CloseMode {
        match self.phase {
            Phase::Closing { mode, .. } => mode,
            // The owner has dropped a connection that could carry another request.
            Phase::Waiting | Phase::Receiving | Phase::Handling { .. } => self.drain_mode(),
        }
    }

    /// Records that BEGIN_REQUEST was received. Returns `false` if the read half was shut down
    /// before that, so that the rest of the request may not arrive.
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
    pub(super) fn on_refusal(&mut self, keep_conn: bool) {
        let reason = self.become_idle(keep_conn);
        self.on_response(false, reason);
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
        match outcome {
            RequestOutcome::Finished { close_reason, has_whole_input } => {
                let reason = if close_reason.is_some() {
                    close_reason
                } else if max_requests.is_some_and(|max| self.requests >= max) {
                    Some(CloseReason::RequestLimit)
                } else {
                    self.become_idle(keep_conn)
                };
                self.on_response(has_whole_input, reason);
                Ok(())
            }
            RequestOutcome::Failed { reason } => {
                self.close(reason, CloseMode::AtOnce);
                Ok(())
            }
            RequestOutcome::Unfinished => {
                self.close(CloseReason::RequestNotFinished, CloseMode::AtOnce);
                Err(Error::RequestNotFinished)
            }
        }
    }

    /// Records that the input has ended, or could not be read, before a request was received.
    /// Returns the error, unless the connection was closed on purpose.
    pub(super) fn on_end_of_input(&mut self, error: Option<Error>, is_idle: bool) -> Result<()> {
        if self.close_reason().is_none() {
            let (reason, mode) = match (&error, self.state.shut_down_reason()) {
                (None | Some(Error::UnexpectedEof(_)), Some(reason)) => (reason, self.drain_mode()),
                (None, None) => (CloseReason::EndOfInput, CloseMode::AtOnce),
                (Some(Error::TimedOut(_)), _) if is_idle => {
                    (CloseReason::IdleTimeout, CloseMode::AtOnce)
                }
                (Some(error), _) => (error.into(), CloseMode::AtOnce),
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
        let reason = self.close_reason().unwrap_or_else(|| error.into());
        if self.close_reason().is_none() {
            self.close(reason, CloseMode::AtOnce);
        }
        reason
    }

    /// Records that a response was sent before its input was received, and that no request follows.
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

    fn close(&mut self, reason: CloseReason, mode: CloseMode) {
        self.phase = Phase::Closing { reason, mode };
    }

    /// Returns how the connection is closed if no response follows the last one.
    fn drain_mode(&self) -> CloseMode {
        self.answered_early.map_or(CloseMode::AtOnce, CloseMode::AfterDraining)
    }

    /// Marks the connection idle, or returns the reason to close it.
    #[inline]
    fn become_idle(&self, keep_conn: bool) -> Option<CloseReason> {
        if !keep_conn {
            return Some(CloseReason::KeepConnNotSet);
        }
        self.state.end_request()
    }
}
