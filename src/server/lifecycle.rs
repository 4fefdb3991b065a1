//! The life of a connection: when it is closed, why, and by whom.
//!
//! ```text
//!              accepted
//!                 │
//!                 ▼             begin_request, start_request
//!  ┌──────────► Waiting ───────────────────────────────────► InRequest
//!  │              │  │                                           │
//!  │ refuse_      │  │ stop_waiting: the peer closed, idle for   │ end_request: not kept, request
//!  │ request:     │  │ too long, slot needed, shutdown, error    │ limit, slot needed, shutdown,
//!  │ kept         │  │ refuse_request: not kept                  │ error
//!  └──────────────┘  ▼                                           │
//!                 Closing ◄──────────────────────────────────────┤
//!                 (reason)                                       │
//!  ▲                                                             │
//!  └─────────────────────────────────────────────────────────────┘ end_request: kept
//! ```
//!
//! [`Lifecycle`] is owned by the thread that serves the connection. [`ConnectionState`] is the part
//! that other threads see: they may ask an idle connection to close, and one that is serving a
//! request to close after it.

use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::close_reason::CloseReason;
use super::output::{Output, OutputLock};
use crate::error::{Error, Result};
use crate::net::Stream;

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request has been passed to a handler, or the last one has ended.
    Waiting,
    /// A request was passed to a handler.
    InRequest { keep_conn: bool },
    /// No request follows.
    Closing { reason: CloseReason, linger: Linger },
}

/// What is done with input that the peer may still be sending when the connection is closed.
///
/// If a socket is closed while it has unread input, the system resets the connection, and the peer
/// may lose the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linger {
    /// Close at once: no response is on its way, or the peer has closed the connection.
    No,
    /// Close at once, unless there is input to read. All input of the last request was received.
    IfInputIsLeft,
    /// Read and drop input. The last response was sent at this time, before all of its input was
    /// received.
    Since(Instant),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// It has not ended.
    #[default]
    Unfinished,
    /// END_REQUEST was sent.
    Finished {
        /// Whether the input can be read to the next request.
        is_reusable: bool,
        /// Whether all input of the request was received.
        has_whole_input: bool,
    },
    /// The response could not be sent.
    Failed,
}

/// The phase of a connection and its transitions.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: Phase,
    /// The number of requests that were passed to a handler.
    requests: u64,
    /// When the last response was sent, if that was before all of its input was received.
    answered_early: Option<Instant>,
    state: Arc<ConnectionState>,
}

impl Lifecycle {
    pub(super) fn new(state: Arc<ConnectionState>) -> Self {
        Self { phase: Phase::Waiting, requests: 0, answered_early: None, state }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// A BEGIN_REQUEST was received. Returns `false` if the read half was shut down before that, so
    /// that the rest of the request may not arrive.
    pub(super) fn begin_request(&self) -> bool {
        self.state.set_busy()
    }

    /// The params of a request were received, and it is passed to a handler.
    pub(super) fn start_request(&mut self, keep_conn: bool) {
        self.requests += 1;
        self.phase = Phase::InRequest { keep_conn };
    }

    /// A request was ended without being passed to a handler.
    pub(super) fn refuse_request(&mut self, keep_conn: bool) {
        if let Some(reason) = self.reason_to_close(keep_conn) {
            self.close_after_response(reason);
        }
    }

    /// The handler has returned.
    pub(super) fn end_request(
        &mut self,
        outcome: RequestOutcome,
        max_requests: Option<u64>,
    ) -> Result<()> {
        let Phase::InRequest { keep_conn } = self.phase else {
            return Ok(());
        };
        match outcome {
            RequestOutcome::Finished { is_reusable, has_whole_input } => {
                let reason = if !is_reusable {
                    Some(CloseReason::ConnectionFailed)
                } else if max_requests.is_some_and(|max| self.requests >= max) {
                    Some(CloseReason::RequestLimit)
                } else {
                    self.reason_to_close(keep_conn)
                };
                self.answered(has_whole_input, reason);
                Ok(())
            }
            RequestOutcome::Failed => {
                self.close(CloseReason::ConnectionFailed, Linger::No);
                Ok(())
            }
            RequestOutcome::Unfinished => {
                self.close(CloseReason::RequestNotFinished, Linger::No);
                Err(Error::RequestNotFinished)
            }
        }
    }

    /// The input has ended, or could not be read, before the next request was received. Returns the
    /// error, unless the connection was closed on purpose.
    pub(super) fn stop_waiting(&mut self, error: Option<Error>, is_idle: bool) -> Result<()> {
        if self.is_waiting() {
            let (reason, linger) = match (&error, self.state.idle_close_reason()) {
                (None | Some(Error::UnexpectedEof(_)), Some(reason)) => {
                    (reason, self.answered_early.map_or(Linger::No, Linger::Since))
                }
                (None, None) => (CloseReason::EndOfInput, Linger::No),
                (Some(Error::TimedOut(_)), _) if is_idle => (CloseReason::IdleTimeout, Linger::No),
                (Some(error), _) => (error.into(), Linger::No),
            };
            self.close(reason, linger);
            if !reason.is_error() {
                return Ok(());
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// No request follows.
    pub(super) fn close(&mut self, reason: CloseReason, linger: Linger) {
        self.phase = Phase::Closing { reason, linger };
    }

    /// No request follows, and a response was sent before its input was received.
    pub(super) fn close_after_response(&mut self, reason: CloseReason) {
        self.close(reason, Linger::Since(Instant::now()));
    }

    /// Returns how the connection is to be closed.
    pub(super) fn linger(&self) -> Linger {
        match self.phase {
            Phase::Closing { linger, .. } => linger,
            Phase::Waiting | Phase::InRequest { .. } => {
                self.answered_early.map_or(Linger::No, Linger::Since)
            }
        }
    }

    /// The response was sent.
    #[inline]
    fn answered(&mut self, has_whole_input: bool, reason: Option<CloseReason>) {
        self.answered_early = (!has_whole_input).then(Instant::now);
        match reason {
            None => self.phase = Phase::Waiting,
            Some(reason) => {
                self.close(
                    reason,
                    self.answered_early.map_or(Linger::IfInputIsLeft, Linger::Since),
                );
            }
        }
    }

    /// Makes the connection idle. Returns why it is to be closed instead.
    #[inline]
    fn reason_to_close(&self, keep_conn: bool) -> Option<CloseReason> {
        if !keep_conn {
            return Some(CloseReason::KeepConnNotSet);
        }
        self.state.set_idle().err()
    }
}

/// The part of a connection's state that other threads see and change.
///
/// | From | To | Method | Thread |
/// | --- | --- | --- | --- |
/// | `NEW`, `IDLE` | `BUSY` | `set_busy`: BEGIN_REQUEST was received | the connection's |
/// | `BUSY` | `IDLE` | `set_idle`: the request has ended | the connection's |
/// | `IDLE` | `BUSY + SLOT_NEEDED` | `set_idle`: a newcomer waits for a slot | the connection's |
/// | `NEW`, `IDLE` | `READ_SHUT_DOWN + reason` | `close_if_idle`, `ask_to_close` | any |
/// | `BUSY` | `BUSY + reason` | `ask_to_close` | any |
///
/// States with a reason are final. Every change is a compare-and-exchange, so exactly one thread
/// makes it: a request that has begun is never interrupted, and a connection whose read half was
/// shut down begins no request that did not arrive as a whole.
///
/// # Ordering
///
/// No newcomer may wait while a connection is idle. A connection that becomes idle stores `IDLE`,
/// then loads `waiting_for_slot`. A newcomer increments `waiting_for_slot`, then looks for a state
/// of `IDLE`. All four operations are sequentially consistent, so they have one order. Either the
/// increment comes before the load, and the connection observes the newcomer and closes. Or the
/// load comes before the increment: then the store does as well, and the newcomer observes `IDLE`.
#[derive(Debug)]
pub(super) struct ConnectionState {
    state: AtomicU8,
    stream: Stream,
    accepted: Instant,
    /// The number of connections that wait for a slot, shared by all connections of a server.
    waiting_for_slot: Arc<AtomicUsize>,
    /// Keeps records whole that several threads write.
    output: OutputLock,
}

/// No request has begun.
const NEW: u8 = 0;
/// The last request has ended.
const IDLE: u8 = 1;
/// A request has begun.
const BUSY: u8 = 2;
/// The connection is to close, and its read half was shut down.
const READ_SHUT_DOWN: u8 = 3;
/// Added to `BUSY` and `READ_SHUT_DOWN`: the connection is to close because a newcomer waits.
const SLOT_NEEDED: u8 = 0x10;
/// Added to `BUSY` and `READ_SHUT_DOWN`: the connection is to close because the server stops.
const SHUTDOWN: u8 = 0x20;

/// How long a new connection may take to begin its first request before it counts as idle.
///
/// A web server that has just connected takes a close for a failure. On a kept connection it
/// expects one.
pub(super) const NEW_CONNECTION_GRACE: Duration = Duration::from_millis(250);

impl ConnectionState {
    pub(super) fn new(
        stream: Stream,
        write_timeout: Option<Duration>,
        waiting_for_slot: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            state: AtomicU8::new(NEW),
            stream,
            accepted: Instant::now(),
            waiting_for_slot,
            output: OutputLock::new(write_timeout),
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn output(&self) -> Output<'_> {
        Output::new(&self.stream, &self.output)
    }

    /// Asks the connection to close: at once if it is idle, else after its request.
    pub(super) fn ask_to_close(&self) {
        // The connection's thread may change the state meanwhile, so one round may find nothing.
        while !self.is_closing() {
            if self.shut_down_read_from(IDLE, SHUTDOWN)
                || self.shut_down_read_from(NEW, SHUTDOWN)
                || self.change(BUSY, BUSY + SHUTDOWN)
            {
                return;
            }
        }
    }

    /// Closes the connection if it is idle, because a newcomer needs its slot. Returns `false` if
    /// it is not idle, or was asked to close before.
    pub(super) fn close_if_idle(&self) -> bool {
        self.shut_down_read_from(IDLE, SLOT_NEEDED)
            || self.accepted.elapsed() >= NEW_CONNECTION_GRACE
                && self.shut_down_read_from(NEW, SLOT_NEEDED)
    }

    /// Returns whether another thread has shut down the read half. The end of the input then does
    /// not mean that the peer has closed the connection.
    pub(super) fn is_read_shut_down(&self) -> bool {
        self.state.load(SeqCst) & 0x0f == READ_SHUT_DOWN
    }

    /// Ends both directions of the connection, whatever it is doing.
    pub(super) fn abort(&self) {
        // An error means that the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Returns `false` if the read half was shut down.
    fn set_busy(&self) -> bool {
        self.change(IDLE, BUSY) || self.change(NEW, BUSY)
    }

    /// Returns an error with the reason if the connection is to be closed.
    #[inline]
    fn set_idle(&self) -> std::result::Result<(), CloseReason> {
        if !self.change(BUSY, IDLE) {
            return Err(reason(self.state.load(SeqCst)));
        }
        // After the store of `IDLE`, as the ordering argument requires.
        if self.waiting_for_slot.load(SeqCst) == 0 {
            return Ok(());
        }
        // If this fails, the newcomer itself has observed `IDLE`.
        self.change(IDLE, BUSY + SLOT_NEEDED);
        Err(CloseReason::SlotNeeded)
    }

    /// Returns why the read half was shut down, if it was.
    fn idle_close_reason(&self) -> Option<CloseReason> {
        self.is_read_shut_down().then(|| reason(self.state.load(SeqCst)))
    }

    /// Shuts down the read half if the connection is in `state`, waiting for a request. The
    /// connection's thread is woken by that and sees the end of the input.
    fn shut_down_read_from(&self, state: u8, reason: u8) -> bool {
        let is_changed = self.change(state, READ_SHUT_DOWN + reason);
        if is_changed {
            // An error means that the connection has ended already.
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        is_changed
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn is_closing(&self) -> bool {
        self.state.load(SeqCst) & (SLOT_NEEDED | SHUTDOWN) != 0
    }
}

fn reason(state: u8) -> CloseReason {
    if state & SHUTDOWN != 0 {
        CloseReason::Shutdown
    } else {
        CloseReason::SlotNeeded
    }
}
