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
/// | `NEW`, `IDLE`, `IDLE_SEEN` | `BUSY` | `set_busy`: BEGIN_REQUEST was received | its own |
/// | `NEW + SHUTDOWN` | `BUSY + SHUTDOWN` | `set_busy` | its own |
/// | `BUSY` | `IDLE` | `set_idle`: the request has ended | its own |
/// | `IDLE` | `BUSY + SLOT_NEEDED` | `set_idle`: a newcomer needs the slot | its own |
/// | `IDLE` | `IDLE_SEEN` | `mark_seen` | any |
/// | `NEW`, `IDLE_SEEN` | `READ_SHUT_DOWN + SLOT_NEEDED` | `close_if_silent`, `close_if_seen` | any |
/// | `IDLE`, `IDLE_SEEN` | `READ_SHUT_DOWN + SHUTDOWN` | `ask_to_close` | any |
/// | `NEW` | `NEW + SHUTDOWN` | `ask_to_close` | any |
/// | `NEW + SHUTDOWN` | `READ_SHUT_DOWN + SHUTDOWN` | `close_if_silent` | any |
/// | `BUSY` | `BUSY + SHUTDOWN` | `ask_to_close` | any |
///
/// Every change is a compare-and-exchange, so exactly one thread makes it. A request that has begun
/// is never interrupted. A connection whose read half was shut down begins no request that did not
/// arrive as a whole.
///
/// # Ordering
///
/// No newcomer may wait while a connection is idle. A connection that becomes idle stores `IDLE`,
/// then loads `slots_needed`. A newcomer increases `slots_needed`, then looks for `IDLE`. All four
/// operations are sequentially consistent, so they have one order. Either the increase comes before
/// the load, and the connection observes the newcomer and closes. Or the load comes before the
/// increase: then the store does as well, and the newcomer observes `IDLE`.
#[derive(Debug)]
pub(super) struct ConnectionState {
    state: AtomicU8,
    stream: Stream,
    accepted: Instant,
    /// The number of connections that have to close at the end of their request, shared by all
    /// connections of a server.
    slots_needed: Arc<AtomicUsize>,
    /// Keeps records whole that several threads write.
    output: OutputLock,
}

/// No request has begun.
const NEW: u8 = 0;
/// The last request has ended.
const IDLE: u8 = 1;
/// The last request had already ended when a slot was last needed.
const IDLE_SEEN: u8 = 2;
/// A request has begun.
const BUSY: u8 = 3;
/// The connection is to close, and its read half was shut down.
const READ_SHUT_DOWN: u8 = 4;
/// Added to another state: the connection is to close because a newcomer needs its slot.
const SLOT_NEEDED: u8 = 0x10;
/// Added to another state: the connection is to close because the server stops.
const SHUTDOWN: u8 = 0x20;
/// The server stops, and the connection may still begin its first request.
const NEW_STOPPING: u8 = NEW + SHUTDOWN;

/// How long a new connection may take to begin its first request before it counts as silent.
///
/// A web server that has just connected takes a close for a failure. On a kept connection it
/// expects one.
pub(super) const NEW_CONNECTION_GRACE: Duration = Duration::from_millis(250);

impl ConnectionState {
    pub(super) fn new(
        stream: Stream,
        write_timeout: Option<Duration>,
        slots_needed: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            state: AtomicU8::new(NEW),
            stream,
            accepted: Instant::now(),
            slots_needed,
            output: OutputLock::new(write_timeout),
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn output(&self) -> Output<'_> {
        Output::new(&self.stream, &self.output)
    }

    /// Asks the connection to close: at once if it is idle, else after its request. A new
    /// connection may still begin its first request.
    pub(super) fn ask_to_close(&self) {
        // The connection's thread may change the state meanwhile, so one round may find nothing.
        while !self.is_closing() {
            if self.shut_down_read_from(IDLE, SHUTDOWN)
                || self.shut_down_read_from(IDLE_SEEN, SHUTDOWN)
                || self.change(NEW, NEW_STOPPING)
                || self.change(BUSY, BUSY + SHUTDOWN)
            {
                return;
            }
        }
    }

    /// Closes the connection if it has begun no request since it was accepted, for longer than
    /// [`NEW_CONNECTION_GRACE`]. Returns `false` otherwise.
    pub(super) fn close_if_silent(&self) -> bool {
        self.is_new()
            && self.accepted.elapsed() >= NEW_CONNECTION_GRACE
            && (self.shut_down_read_from(NEW, SLOT_NEEDED)
                || self.shut_down_read_from(NEW_STOPPING, SHUTDOWN))
    }

    /// Closes the connection if it has been idle since [`mark_seen`](Self::mark_seen). Returns
    /// `false` otherwise.
    pub(super) fn close_if_seen(&self) -> bool {
        self.shut_down_read_from(IDLE_SEEN, SLOT_NEEDED)
    }

    /// Marks an idle connection. The mark is removed when a request begins.
    pub(super) fn mark_seen(&self) {
        self.change(IDLE, IDLE_SEEN);
    }

    /// Returns whether the connection has begun no request since it was accepted.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.state.load(SeqCst), NEW | NEW_STOPPING)
    }

    /// Returns whether another thread has shut down the read half. The end of the input then does
    /// not mean that the peer has closed the connection.
    pub(super) fn is_read_shut_down(&self) -> bool {
        self.state.load(SeqCst) & 0x0f == READ_SHUT_DOWN
    }

    /// Returns whether the connection closes because its slot is needed.
    pub(super) fn is_giving_way(&self) -> bool {
        self.state.load(SeqCst) & SLOT_NEEDED != 0
    }

    /// Ends both directions of the connection, whatever it is doing.
    pub(super) fn abort(&self) {
        // An error means that the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Returns `false` if the read half was shut down.
    fn set_busy(&self) -> bool {
        self.change(IDLE, BUSY)
            || self.change(NEW, BUSY)
            || self.change(IDLE_SEEN, BUSY)
            || self.change(NEW_STOPPING, BUSY + SHUTDOWN)
    }

    /// Returns an error with the reason if the connection is to be closed.
    #[inline]
    fn set_idle(&self) -> std::result::Result<(), CloseReason> {
        if !self.change(BUSY, IDLE) {
            return Err(reason(self.state.load(SeqCst)));
        }
        // After the store of `IDLE`, as the ordering argument requires.
        if self.slots_needed.load(SeqCst) == 0 {
            return Ok(());
        }
        self.give_way()
    }

    /// Closes this connection, which has just become idle, if it is the first to take one from
    /// `slots_needed`.
    #[cold]
    fn give_way(&self) -> std::result::Result<(), CloseReason> {
        let is_needed =
            self.slots_needed.fetch_update(SeqCst, SeqCst, |needed| needed.checked_sub(1)).is_ok();
        if !is_needed || self.change(IDLE, BUSY + SLOT_NEEDED) {
            return if is_needed { Err(CloseReason::SlotNeeded) } else { Ok(()) };
        }
        // The newcomer itself has observed `IDLE`.
        self.idle_close_reason().map_or(Ok(()), Err)
    }

    /// Returns why the read half was shut down, if it was.
    fn idle_close_reason(&self) -> Option<CloseReason> {
        self.is_read_shut_down().then(|| reason(self.state.load(SeqCst)))
    }

    /// Shuts down the read half if the connection is in `state`, waiting for a request. The
    /// connection's thread is woken by that and sees the end of the input. If a slot is needed, and
    /// the thread is blocked by a peer that does not read, the write half is shut down as well.
    fn shut_down_read_from(&self, state: u8, reason: u8) -> bool {
        let is_changed = self.change(state, READ_SHUT_DOWN + reason);
        if is_changed {
            // An error means that the connection has ended already.
            let is_blocked = reason == SLOT_NEEDED && self.output.is_writing();
            let how = if is_blocked { Shutdown::Both } else { Shutdown::Read };
            let _ = self.stream.shutdown(how);
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
