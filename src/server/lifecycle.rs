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
//! | a connection waits for a slot | a thread of the pool, in `Pool::free_slots` | `SlotNeeded` |
//! | the same, and all are busy | its thread, when its request has ended | `SlotNeeded` |
//! | no thread is accepting | the main thread, in `Pool::wait_for_stop` | `SlotNeeded` |
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

use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::close_reason::CloseReason;
use super::output::{Output, OutputLock};
use crate::error::{Error, Result};
use crate::net::Stream;

/// How long a new connection may send nothing before its slot may be taken away.
///
/// Web servers treat a close of a new connection as an error. They tolerate it on a kept one.
const NEW_CONNECTION_GRACE: Duration = Duration::from_millis(200);

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

/// The part of a connection that other threads see and change.
///
/// [`State::next`] is the table of transitions. Every change is a compare-and-exchange, so exactly
/// one thread makes it. A request in progress is never interrupted to free a slot. Only
/// [`abort`](Self::abort) interrupts it, during a shutdown. A connection whose read half was shut
/// down begins a request only if the whole request has arrived.
///
/// # Ordering
///
/// A thread that waits for a slot does not miss a connection that becomes idle. The connection
/// stores `Idle`, then loads `yield_requests`. The thread stores the number of slots that are
/// needed in `yield_requests`, then searches for `Idle`. All four operations are sequentially
/// consistent, so they have one order. Either the store of `yield_requests` comes before the load,
/// and the connection observes the waiting thread and closes. Or the load comes first: then the
/// store of `Idle` does as well, and the waiting thread observes it.
///
/// Two changes do not notify the waiting thread. It finds them at its next regular check, after at
/// most 200 ms:
///
/// 1. A new connection becomes idle, because it has sent a query.
/// 2. A connection that was asked to yield its slot serves a last request, which had arrived.
///
/// A connection is closed as unused only if nothing was received. Its thread applies `FirstInput`
/// directly after its first successful read, before it inspects what it has read. Another thread
/// loads `New`, then finds no input in the socket, then applies `CloseUnused`. A connection that
/// has received bytes can be closed in three cases only: the bytes arrive between the check of the
/// socket and `CloseUnused`, the check happens between the read and `FirstInput`, or the check
/// fails because the process has no descriptor left. The first two windows are short, and the peer
/// cannot extend them. A connection that cannot be checked has to be closed, because silent peers
/// could otherwise hold all descriptors. A request that arrives then is still served if it is
/// complete.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// A [`State`].
    state: AtomicU8,
    stream: Stream,
    accepted: Instant,
    /// The number of connections that have to yield their slot at the end of their request. All
    /// connections of a server share it.
    yield_requests: Arc<AtomicUsize>,
    /// It is held during each write, so that the records of several threads are not interleaved.
    output: OutputLock,
}

/// The state of a connection, as other threads observe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// Nothing has been received yet.
    New,
    /// The same, and the server stops.
    NewStopping,
    /// The first bytes were received, but no record yet.
    Started,
    /// The same, and the server stops.
    StartedStopping,
    /// The last request has ended, or another record was received and no request has begun.
    Idle,
    /// The same, and a slot was needed since then.
    IdleMarked,
    /// A request has begun.
    Busy,
    /// The same, and the server stops.
    BusyStopping,
    /// The connection closes, because a waiting connection needs its slot.
    Yielding,
    /// The same, and the read half was shut down to wake the thread.
    ShutDownYielding,
    /// The read half was shut down because the server stops.
    ShutDownStopping,
    /// The connection serves its last request, which had arrived before the read half was shut down
    /// to free the slot.
    LastYielding,
    /// The connection serves its last request, which had arrived before the server stopped.
    LastStopping,
}

/// What changes the state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Its thread has received the first bytes.
    FirstInput,
    /// Its thread has received BEGIN_REQUEST.
    Begin,
    /// Its thread has received another record, such as a query.
    Query,
    /// Its thread has ended the request.
    End,
    /// Its thread yields the slot of the connection, which has just become idle.
    Yield,
    /// A slot is needed.
    Mark,
    /// A slot is needed, and the connection has sent nothing for too long.
    CloseUnused,
    /// A slot is needed, and the connection is one of those that were idle for longest.
    CloseMarked,
    /// The server stops.
    Stop,
}

impl State {
    /// Every state, in the order of the numbers that represent them.
    const ALL: [Self; 13] = [
        Self::New,
        Self::NewStopping,
        Self::Started,
        Self::StartedStopping,
        Self::Idle,
        Self::IdleMarked,
        Self::Busy,
        Self::BusyStopping,
        Self::Yielding,
        Self::ShutDownYielding,
        Self::ShutDownStopping,
        Self::LastYielding,
        Self::LastStopping,
    ];

    /// Returns the state after an event. Returns `None` if the event changes nothing.
    #[allow(clippy::match_same_arms)] // One line for each transition, grouped by event.
    #[inline]
    fn next(self, event: Event) -> Option<Self> {
        Some(match (event, self) {
            (Event::FirstInput, Self::New) => Self::Started,
            (Event::FirstInput, Self::NewStopping) => Self::StartedStopping,
            (Event::Begin, Self::New | Self::Started) => Self::Busy,
            (Event::Begin, Self::Idle | Self::IdleMarked) => Self::Busy,
            (Event::Begin, Self::NewStopping | Self::StartedStopping) => Self::BusyStopping,
            (Event::Begin, Self::ShutDownYielding) => Self::LastYielding,
            (Event::Begin, Self::ShutDownStopping) => Self::LastStopping,
            (Event::Query, Self::New | Self::Started) => Self::Idle,
            (Event::Query, Self::NewStopping | Self::StartedStopping) => Self::ShutDownStopping,
            (Event::End, Self::Busy) => Self::Idle,
            (Event::Yield, Self::Idle | Self::IdleMarked) => Self::Yielding,
            (Event::Mark, Self::Idle) => Self::IdleMarked,
            (Event::CloseUnused, Self::New) => Self::ShutDownYielding,
            (Event::CloseUnused, Self::NewStopping) => Self::ShutDownStopping,
            (Event::CloseMarked, Self::IdleMarked) => Self::ShutDownYielding,
            (Event::Stop, Self::New) => Self::NewStopping,
            (Event::Stop, Self::Started) => Self::StartedStopping,
            (Event::Stop, Self::Idle | Self::IdleMarked) => Self::ShutDownStopping,
            (Event::Stop, Self::Busy) => Self::BusyStopping,
            _ => return None,
        })
    }

    fn is_read_shut_down(self) -> bool {
        self.is_shut_down_and_idle() || matches!(self, Self::LastYielding | Self::LastStopping)
    }

    fn is_shut_down_and_idle(self) -> bool {
        matches!(self, Self::ShutDownYielding | Self::ShutDownStopping)
    }

    /// Returns why the connection is to close. Returns `None` while it may stay open.
    fn close_reason(self) -> Option<CloseReason> {
        match self {
            Self::New | Self::Started | Self::Idle | Self::IdleMarked | Self::Busy => None,
            Self::Yielding | Self::ShutDownYielding | Self::LastYielding => {
                Some(CloseReason::SlotNeeded)
            }
            Self::NewStopping
            | Self::StartedStopping
            | Self::BusyStopping
            | Self::ShutDownStopping
            | Self::LastStopping => Some(CloseReason::Shutdown),
        }
    }
}

impl ConnectionState {
    pub(super) fn new(
        stream: Stream,
        write_timeout: Option<Duration>,
        yield_requests: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            state: AtomicU8::new(State::New as u8),
            stream,
            accepted: Instant::now(),
            yield_requests,
            output: OutputLock::new(write_timeout),
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn output(&self) -> Output<'_> {
        Output::new(&self.stream, &self.output)
    }

    /// Asks the connection to close: immediately if it is idle, otherwise after its request. A new
    /// connection may still begin its first request.
    pub(super) fn stop(&self) {
        self.apply_and_wake(Event::Stop);
    }

    /// Closes the connection if the peer has sent nothing since it was accepted, for longer than
    /// [`NEW_CONNECTION_GRACE`]. Returns `false` otherwise.
    pub(super) fn close_if_unused(&self) -> bool {
        self.is_new()
            && self.accepted.elapsed() >= NEW_CONNECTION_GRACE
            && !self.has_unread_input()
            && self.apply_and_wake(Event::CloseUnused)
    }

    /// Returns whether the first bytes of a new connection have arrived. On a busy machine it may
    /// take long until the connection's thread reads them.
    ///
    /// The socket is in non-blocking mode meanwhile. The lock of the output keeps the thread from
    /// writing, and [`on_first_input`](Self::on_first_input) from returning, so that only the first
    /// read can fail with `WouldBlock`. It is treated like a timeout: it is repeated, or ends the
    /// connection if an idle timeout is set.
    fn has_unread_input(&self) -> bool {
        let check = || self.is_new() && self.stream.has_input().unwrap_or(false);
        self.output().while_not_writing(check).unwrap_or(false)
    }

    /// Closes the connection if it has been idle since [`mark_idle`](Self::mark_idle). Returns
    /// `false` otherwise.
    pub(super) fn close_if_marked(&self) -> bool {
        self.apply_and_wake(Event::CloseMarked)
    }

    /// Marks an idle connection. The mark is removed when a request begins.
    pub(super) fn mark_idle(&self) {
        let _ = self.apply(Event::Mark);
    }

    /// Returns whether nothing has been received since the connection was accepted.
    #[inline]
    pub(super) fn is_new(&self) -> bool {
        // The states of a new connection have the lowest numbers.
        self.state.load(SeqCst) <= State::NewStopping as u8
    }

    /// Returns whether another thread has shut down the read half. The end of the input then does
    /// not mean that the peer has closed the connection.
    pub(super) fn is_read_shut_down(&self) -> bool {
        self.load().is_read_shut_down()
    }

    /// Returns whether the slot becomes free soon: the connection closes without serving another
    /// request.
    pub(super) fn is_yielding_slot(&self) -> bool {
        matches!(self.load(), State::Yielding | State::ShutDownYielding | State::ShutDownStopping)
    }

    /// Ends both directions of the connection, whatever it is doing.
    pub(super) fn abort(&self) {
        // An error means that the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Records that the first bytes were received. The connection is no longer new.
    pub(super) fn on_first_input(&self) {
        let _ = self.apply(Event::FirstInput);
        // A thread that has observed `New` may be checking the input.
        self.output.wait();
    }

    /// Records that a record was received that begins no request.
    #[inline]
    pub(super) fn on_other_record(&self) {
        if self.state.load(SeqCst) <= State::StartedStopping as u8 {
            self.apply_and_wake(Event::Query);
        }
    }

    /// Returns `false` if the read half was shut down.
    #[inline]
    fn begin_request(&self) -> bool {
        self.change(State::Idle, Event::Begin) || self.begin_request_slow()
    }

    /// Does the same for a connection in any state.
    #[cold]
    fn begin_request_slow(&self) -> bool {
        self.apply(Event::Begin).is_some_and(|state| !state.is_read_shut_down())
    }

    /// Marks the connection idle, or returns the reason to close it.
    #[inline]
    fn end_request(&self) -> Option<CloseReason> {
        if !self.change(State::Busy, Event::End) {
            return self.load().close_reason();
        }
        // After the store of `Idle`, as the ordering argument requires.
        if self.yield_requests.load(SeqCst) == 0 {
            return None;
        }
        self.yield_slot()
    }

    /// Yields the slot of the connection, unless enough other connections have yielded theirs.
    #[cold]
    fn yield_slot(&self) -> Option<CloseReason> {
        let take_one = |requests: usize| requests.checked_sub(1);
        if self.yield_requests.fetch_update(SeqCst, SeqCst, take_one).is_ok() {
            // This changes nothing if the waiting thread has observed `Idle` and closes the
            // connection.
            let _ = self.apply(Event::Yield);
        }
        self.load().close_reason()
    }

    /// Returns why the read half was shut down, if it was.
    fn shut_down_reason(&self) -> Option<CloseReason> {
        let state = self.load();
        state.close_reason().filter(|_| state.is_read_shut_down())
    }

    /// Applies an event of another thread. If the connection waits for a request, shuts down the
    /// read half, so that its read returns 0. If a slot is needed, and the thread is blocked by a
    /// peer that does not read, shuts down the write half as well.
    fn apply_and_wake(&self, event: Event) -> bool {
        let Some(state) = self.apply(event) else {
            return false;
        };
        if state.is_shut_down_and_idle() {
            let is_blocked = event != Event::Stop && self.output.is_writing();
            let how = if is_blocked { Shutdown::Both } else { Shutdown::Read };
            // An error means that the connection has ended already.
            let _ = self.stream.shutdown(how);
        }
        true
    }

    /// Applies an event to a connection in this state. Returns `false` if it is in another one.
    #[inline]
    fn change(&self, from: State, event: Event) -> bool {
        let Some(next) = from.next(event) else { return false };
        self.state.compare_exchange(from as u8, next as u8, SeqCst, SeqCst).is_ok()
    }

    /// Applies an event. Returns the new state, or `None` if the event changes nothing.
    #[inline(never)]
    fn apply(&self, event: Event) -> Option<State> {
        let next = |byte: u8| State::ALL[usize::from(byte)].next(event).map(|state| state as u8);
        let before = self.state.fetch_update(SeqCst, SeqCst, next).ok()?;
        State::ALL[usize::from(before)].next(event)
    }

    #[inline]
    fn load(&self) -> State {
        State::ALL[usize::from(self.state.load(SeqCst))]
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn numbers_represent_their_states() {
        for (number, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            let is_new = matches!(state, State::New | State::NewStopping);
            assert_eq!(state as u8 <= State::NewStopping as u8, is_new, "{state:?}");
        }
    }

    /// Nothing but the end of its request may change what a connection does during a request, and
    /// nothing may reopen one whose read half was shut down.
    #[test]
    fn no_event_interrupts_a_request_or_reopens_a_connection() {
        use Event::*;
        let events = [FirstInput, Begin, Query, End, Yield, Mark, CloseUnused, CloseMarked, Stop];
        for (state, event) in
            State::ALL.iter().flat_map(|state| events.map(|event| (*state, event)))
        {
            let Some(next) = state.next(event) else { continue };
            let is_busy = matches!(state, State::Busy | State::BusyStopping);
            assert!(!(is_busy && next.is_read_shut_down()), "{state:?} and {event:?}");
            assert!(
                !state.is_read_shut_down() || next.is_read_shut_down(),
                "{state:?} and {event:?}"
            );
            assert!(
                state.close_reason().is_none() || next.close_reason() == state.close_reason(),
                "{state:?} and {event:?}"
            );
        }
    }

    /// The thread that needs the slot and the connection's thread change the state at once.
    #[test]
    fn a_connection_that_begins_a_request_is_not_closed() {
        let (stream, _peer) = Stream::pair().expect("two sockets");
        let state = ConnectionState::new(stream, None, Arc::default());
        assert!(state.begin_request());
        assert_eq!(state.end_request(), None);
        assert!(!state.close_if_marked(), "not marked");
        state.mark_idle();
        assert!(state.begin_request());
        assert!(!state.close_if_marked(), "busy");
        state.stop();
        assert_eq!(state.end_request(), Some(CloseReason::Shutdown));
    }

    #[test]
    fn new_connection_may_begin_its_first_request_while_the_server_stops() {
        let (stream, _peer) = Stream::pair().expect("two sockets");
        let state = ConnectionState::new(stream, None, Arc::default());
        state.stop();
        assert!(state.is_new() && !state.is_read_shut_down());
        assert!(state.begin_request());
        assert!(!state.is_new());
        assert_eq!(state.end_request(), Some(CloseReason::Shutdown));
    }

    /// Its thread may have to wait for a processor for a long time.
    #[test]
    fn new_connection_whose_request_has_arrived_is_not_closed() {
        for (mut state, mut peer) in silent_connections() {
            assert!(!state.close_if_unused(), "it is new");
            state.accepted -= NEW_CONNECTION_GRACE;
            peer.write_all(b"x").expect("input is sent");
            while !state.stream().has_input().expect("a check") {
                std::thread::yield_now();
            }
            assert!(!state.close_if_unused() && !state.is_read_shut_down());
            assert_eq!(state.stream().read(&mut [0]).expect("the input"), 1);
            state.on_first_input();
            assert!(!state.close_if_unused() && !state.is_read_shut_down());
        }
    }

    #[test]
    fn new_connection_that_has_sent_nothing_is_closed_when_its_slot_is_needed() {
        for (mut state, _peer) in silent_connections() {
            assert!(!state.close_if_unused(), "it is new");
            state.accepted -= NEW_CONNECTION_GRACE;
            assert!(state.close_if_unused() && state.is_read_shut_down());
        }
    }

    /// New connections over a Unix socket and TCP, and their peers.
    fn silent_connections() -> [(ConnectionState, Stream); 2] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listening socket");
        let peer = TcpStream::connect(listener.local_addr().expect("its address"));
        let accepted = listener.accept().expect("a connection").0.into();
        let pairs = [Stream::pair().expect("two sockets"), (accepted, peer.unwrap().into())];
        pairs.map(|(stream, peer)| (ConnectionState::new(stream, None, Arc::default()), peer))
    }

    /// It is not read after that in non-blocking mode.
    #[test]
    fn first_bytes_are_used_when_no_other_thread_checks_the_input() {
        let (stream, _peer) = Stream::pair().expect("two sockets");
        let state = &ConnectionState::new(stream, None, Arc::default());
        let (has_checked, is_checking) = (&AtomicBool::new(false), &AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                state.output().while_not_writing(|| {
                    is_checking.store(true, SeqCst);
                    while state.is_new() {
                        std::thread::yield_now();
                    }
                    std::thread::sleep(Duration::from_millis(10));
                    has_checked.store(true, SeqCst);
                })
            });
            while !is_checking.load(SeqCst) {
                std::thread::yield_now();
            }
            state.on_first_input();
            assert!(has_checked.load(SeqCst));
        });
    }

    /// A peer that sends queries all the time must not keep a slot that is needed.
    #[test]
    fn connection_that_has_sent_a_query_is_closed_like_an_idle_one() {
        for is_stopping in [false, true] {
            let (stream, _peer) = Stream::pair().expect("two sockets");
            let state = ConnectionState::new(stream, None, Arc::default());
            if is_stopping {
                state.stop();
            }
            state.on_other_record();
            assert!(!state.is_new());
            assert_eq!(state.is_read_shut_down(), is_stopping);
            state.mark_idle();
            assert_eq!(state.close_if_marked(), !is_stopping);
        }
    }

    /// The slot becomes free soon only if no request has arrived.
    #[test]
    fn connection_that_serves_its_last_request_does_not_yield_its_slot() {
        let close_marked = |state: &ConnectionState| {
            state.mark_idle();
            assert!(state.close_if_marked());
        };
        for (close, reason) in [
            (&close_marked as &dyn Fn(&_), CloseReason::SlotNeeded),
            (&ConnectionState::stop, CloseReason::Shutdown),
        ] {
            let (stream, _peer) = Stream::pair().expect("two sockets");
            let state = ConnectionState::new(stream, None, Arc::default());
            assert!(state.begin_request());
            assert_eq!(state.end_request(), None);
            assert!(!state.is_yielding_slot());
            close(&state);
            assert!(state.is_yielding_slot());
            assert!(!state.begin_request(), "the read half was shut down");
            assert!(!state.is_yielding_slot() && state.is_read_shut_down());
            assert_eq!(state.end_request(), Some(reason));
        }
    }

    /// Its peer does not read. The end of the input alone would not wake the thread.
    #[cfg(unix)]
    #[test]
    fn thread_that_is_blocked_in_a_write_is_woken_if_its_slot_is_needed() {
        let (stream, _peer) = Stream::pair().expect("two sockets");
        let timeout = Some(Duration::from_secs(10));
        let state = ConnectionState::new(stream, timeout, Arc::default());
        assert!(state.begin_request());
        assert_eq!(state.end_request(), None);
        let write = || state.output().write_all(&vec![0; 16 << 20]);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(write);
            while state.output().while_not_writing(|| ()).is_some() {
                std::thread::yield_now();
            }
            state.mark_idle();
            assert!(state.close_if_marked());
            writer.join().expect("the result of the write")
        });
        assert_eq!(written.expect_err("a failed write").kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn one_connection_yields_for_each_request_to_yield() {
        let yield_requests = Arc::new(AtomicUsize::new(1));
        let idle_connection = || {
            let (stream, _peer) = Stream::pair().expect("two sockets");
            let state = ConnectionState::new(stream, None, Arc::clone(&yield_requests));
            state.begin_request();
            state
        };
        assert_eq!(idle_connection().end_request(), Some(CloseReason::SlotNeeded));
        assert_eq!(idle_connection().end_request(), None);
    }
}
