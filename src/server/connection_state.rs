use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::close_reason::CloseReason;
use super::output::{Output, OutputLock};
use crate::net::Stream;

/// How long a new connection may send nothing before its slot may be taken away.
///
/// Web servers treat a close of a new connection as an error. They tolerate it on a kept one.
const NEW_CONNECTION_GRACE: Duration = Duration::from_millis(200);

/// The part of a connection that other threads see and change.
///
/// Its [`State`] consists of an [`Activity`], a [`Reason`] to close, whether the read half was shut
/// down, and whether the connection was aborted. This is the activity:
///
/// ```text
///               FirstInput           Query             Mark
/// accepted ► New ────────► Started ────────► Idle ────────────► Marked
///             │               │              ▲  │                  │
///             │ Begin         │ Begin    End │  │ Begin            │ Begin
///             └───────────────┴──────────► Busy ◄──────────────────┘
/// ```
///
/// | Event | Applied by | Activity before | after | Reason | Read half |
/// | --- | --- | --- | --- | --- | --- |
/// | `FirstInput` | its thread | `New` | `Started` | | |
/// | `Query` | its thread | `New`, `Started` | `Idle` | | shut down, if the server stops |
/// | `Begin` | its thread | any but `Busy` | `Busy` | | |
/// | `End` | its thread | `Busy` | `Idle` | | |
/// | `Yield` | its thread | `Idle`, `Marked` | `Idle` | `SlotNeeded` | |
/// | `Mark` | one that needs a slot | `Idle` | `Marked` | | |
/// | `CloseUnused` | one that needs a slot | `New` | `Idle` | `SlotNeeded` | shut down |
/// | `CloseUnused` | one that stops the server | `New` | `Idle` | as before | shut down |
/// | `CloseMarked` | one that needs a slot | `Marked` | `Idle` | `SlotNeeded` | shut down |
/// | `Stop` | one that stops the server | `New`, `Started`, `Busy` | the same | `Shutdown` | |
/// | `Stop` | one that stops the server | `Idle`, `Marked` | `Idle` | `Shutdown` | shut down |
/// | `Abort` | one that stops the server | any | the same | `Shutdown` | shut down, as the other |
///
/// A reason stays once it is set, except that `Abort` replaces it. Then only `FirstInput`, `Query`,
/// `Begin`, `CloseUnused` and `Abort` change anything.
///
/// Every change is a compare-and-exchange, so exactly one thread makes it. A request in progress is
/// never interrupted to free a slot. Only [`abort`](Self::abort) interrupts it, during a shutdown.
/// It records the abort before it shuts down the socket, so the thread that this wakes observes it.
/// A connection whose read half was shut down begins a request only if the whole request has
/// arrived.
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
    /// A packed [`State`].
    state: AtomicU8,
    stream: Stream,
    accepted: Instant,
    /// The number of connections that have to yield their slot at the end of their request. All
    /// connections of a server share it.
    yield_requests: Arc<AtomicUsize>,
    /// It is held during each write, so that the records of several threads are not interleaved.
    output: OutputLock,
}

impl ConnectionState {
    pub(super) fn new(
        stream: Stream,
        write_timeout: Option<Duration>,
        yield_requests: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            state: AtomicU8::new(State::open(Activity::New).pack()),
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
        self.load().activity == Activity::New
    }

    /// Returns whether another thread has shut down the read half. The end of the input then does
    /// not mean that the peer has closed the connection.
    pub(super) fn is_read_shut_down(&self) -> bool {
        self.load().is_read_shut_down
    }

    /// Returns whether the slot becomes free soon: the connection closes without serving another
    /// request.
    pub(super) fn is_yielding_slot(&self) -> bool {
        let state = self.load();
        state.reason.is_some() && state.activity == Activity::Idle
    }

    /// Ends both directions of the connection, whatever it is doing.
    pub(super) fn abort(&self) {
        let _ = self.apply(Event::Abort);
        // An error means that the connection has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Returns whether [`abort`](Self::abort) was called.
    pub(super) fn is_aborted(&self) -> bool {
        self.load().is_aborted
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
        if matches!(self.load().activity, Activity::New | Activity::Started) {
            self.apply_and_wake(Event::Query);
        }
    }

    /// Returns `false` if the read half was shut down.
    #[inline]
    pub(super) fn begin_request(&self) -> bool {
        self.change(Activity::Idle, Event::Begin) || self.begin_request_slow()
    }

    /// Begins a request on a connection in any state, like [`begin_request`](Self::begin_request).
    #[cold]
    fn begin_request_slow(&self) -> bool {
        self.apply(Event::Begin).is_some_and(|state| !state.is_read_shut_down)
    }

    /// Marks the connection idle, or returns the reason to close it.
    #[inline]
    pub(super) fn end_request(&self) -> Option<CloseReason> {
        if !self.change(Activity::Busy, Event::End) {
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

    /// Returns why another thread has shut down the read half or both, if one has.
    pub(super) fn shut_down_reason(&self) -> Option<CloseReason> {
        let state = self.load();
        state.close_reason().filter(|_| state.is_read_shut_down || state.is_aborted)
    }

    /// Applies an event of another thread. If the connection waits for a request, shuts down the
    /// read half, so that its read returns 0. If a slot is needed, and the thread is blocked by a
    /// peer that does not read, shuts down the write half as well.
    fn apply_and_wake(&self, event: Event) -> bool {
        let Some(state) = self.apply(event) else {
            return false;
        };
        if state.is_read_shut_down {
            let is_in_use = event != Event::Stop && self.output.is_locked();
            let how = if is_in_use { Shutdown::Both } else { Shutdown::Read };
            // An error means that the connection has ended already.
            let _ = self.stream.shutdown(how);
        }
        true
    }

    /// Applies an event to a connection that may stay open and has this activity. Returns `false`
    /// in any other state.
    #[inline]
    fn change(&self, activity: Activity, event: Event) -> bool {
        let before = State::open(activity);
        let Some(next) = before.next(event) else { return false };
        self.state.compare_exchange(before.pack(), next.pack(), SeqCst, SeqCst).is_ok()
    }

    /// Applies an event. Returns the new state, or `None` if the event changes nothing.
    #[inline(never)]
    fn apply(&self, event: Event) -> Option<State> {
        let next = |byte: u8| State::unpack(byte).next(event).map(State::pack);
        let before = self.state.fetch_update(SeqCst, SeqCst, next).ok()?;
        State::unpack(before).next(event)
    }

    #[inline]
    fn load(&self) -> State {
        State::unpack(self.state.load(SeqCst))
    }
}

/// The state of a connection, as other threads observe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    activity: Activity,
    /// Why the connection is to close. `None` while it may stay open.
    reason: Option<Reason>,
    /// Whether another thread has shut down the read half, to wake the connection's thread.
    is_read_shut_down: bool,
    /// Whether the server has aborted the connection.
    is_aborted: bool,
}

/// What a connection does, as far as other threads need to know it. `Phase` in `lifecycle.rs` is
/// what its own thread knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// Nothing has been received yet.
    New,
    /// The first bytes were received, but no record yet.
    Started,
    /// The last request has ended, or another record was received and no request has begun.
    Idle,
    /// The same, and a slot was needed since then.
    Marked,
    /// A request has begun.
    Busy,
}

/// Why a connection is to close, if other threads are the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// A waiting connection needs its slot.
    SlotNeeded,
    /// The server stops.
    Shutdown,
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
    /// The server was stopped, and has not ended in time.
    Abort,
}

impl State {
    /// Creates the state of a connection that may stay open.
    #[inline]
    fn open(activity: Activity) -> Self {
        Self { activity, reason: None, is_read_shut_down: false, is_aborted: false }
    }

    /// Returns the state after an event. Returns `None` if the event changes nothing.
    #[inline]
    fn next(self, event: Event) -> Option<Self> {
        use Activity::{Busy, Idle, Marked, New, Started};
        let is_closing = self.reason.is_some();
        Some(match (event, self.activity) {
            (Event::FirstInput, New) => self.with(Started),
            (Event::Query, New | Started) if is_closing => self.shut_down(),
            (Event::Query, New | Started) => self.with(Idle),
            (Event::Begin, New | Started | Idle | Marked) => self.with(Busy),
            (Event::CloseUnused, New) => self.close(Reason::SlotNeeded).shut_down(),
            (Event::Abort, _) if !self.is_aborted => self.abort(),
            _ if is_closing => return None,
            (Event::End, Busy) => self.with(Idle),
            (Event::Yield, Idle | Marked) => self.close(Reason::SlotNeeded).with(Idle),
            (Event::Mark, Idle) => self.with(Marked),
            (Event::CloseMarked, Marked) => self.close(Reason::SlotNeeded).shut_down(),
            (Event::Stop, New | Started | Busy) => self.close(Reason::Shutdown),
            (Event::Stop, Idle | Marked) => self.close(Reason::Shutdown).shut_down(),
            _ => return None,
        })
    }

    #[inline]
    fn with(self, activity: Activity) -> Self {
        Self { activity, ..self }
    }

    /// Sets the reason to close, unless there is one.
    #[inline]
    fn close(self, reason: Reason) -> Self {
        Self { reason: self.reason.or(Some(reason)), ..self }
    }

    /// Shuts down the read half of a connection that waits for a request.
    #[inline]
    fn shut_down(self) -> Self {
        Self { activity: Activity::Idle, is_read_shut_down: true, ..self }
    }

    fn abort(self) -> Self {
        Self { reason: Some(Reason::Shutdown), is_aborted: true, ..self }
    }

    fn close_reason(self) -> Option<CloseReason> {
        self.reason.map(|reason| match reason {
            Reason::SlotNeeded => CloseReason::SlotNeeded,
            Reason::Shutdown => CloseReason::Shutdown,
        })
    }

    /// Encodes the state: three bits for the activity, two for the reason, one for the read half,
    /// one for an abort.
    #[inline]
    fn pack(self) -> u8 {
        let activity = match self.activity {
            Activity::New => 0,
            Activity::Started => 1,
            Activity::Idle => 2,
            Activity::Marked => 3,
            Activity::Busy => 4,
        };
        let reason = match self.reason {
            None => 0,
            Some(Reason::SlotNeeded) => 1,
            Some(Reason::Shutdown) => 2,
        };
        let (shut_down, aborted) = (self.is_read_shut_down, self.is_aborted);
        activity | reason << 3 | u8::from(shut_down) << 5 | u8::from(aborted) << 6
    }

    /// Decodes what [`pack`](Self::pack) has encoded.
    #[inline]
    fn unpack(byte: u8) -> Self {
        let activity = match byte & 0b111 {
            0 => Activity::New,
            1 => Activity::Started,
            2 => Activity::Idle,
            3 => Activity::Marked,
            _ => Activity::Busy,
        };
        let reason = match byte >> 3 & 0b11 {
            0 => None,
            1 => Some(Reason::SlotNeeded),
            _ => Some(Reason::Shutdown),
        };
        let (is_read_shut_down, is_aborted) = (byte & 1 << 5 != 0, byte & 1 << 6 != 0);
        Self { activity, reason, is_read_shut_down, is_aborted }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::atomic::AtomicBool;

    use super::*;

    const EVENTS: [Event; 10] = [
        Event::FirstInput,
        Event::Begin,
        Event::Query,
        Event::End,
        Event::Yield,
        Event::Mark,
        Event::CloseUnused,
        Event::CloseMarked,
        Event::Stop,
        Event::Abort,
    ];

    /// Every state that events can lead to.
    fn states() -> Vec<State> {
        let mut states = vec![State::open(Activity::New)];
        let mut count = 0;
        while let Some(&state) = states.get(count) {
            let reached: Vec<_> = EVENTS.iter().filter_map(|event| state.next(*event)).collect();
            let new = reached.into_iter().filter(|next| !states.contains(next)).collect::<Vec<_>>();
            states.extend(new);
            count += 1;
        }
        states
    }

    #[test]
    fn every_state_fits_a_byte() {
        for state in states() {
            assert_eq!(State::unpack(state.pack()), state);
        }
    }

    /// Nothing but the end of its request may change what a connection does during a request, and
    /// nothing may reopen one whose read half was shut down.
    #[test]
    fn no_event_interrupts_a_request_or_reopens_a_connection() {
        for (state, event) in
            states().into_iter().flat_map(|state| EVENTS.map(|event| (state, event)))
        {
            let Some(next) = state.next(event) else { continue };
            let was_shut_down = next.is_read_shut_down && !state.is_read_shut_down;
            let is_busy = state.activity == Activity::Busy;
            assert!(!is_busy || !was_shut_down, "{state:?} and {event:?}");
            assert!(!is_busy || event == Event::End || next.activity == Activity::Busy);
            assert!(next.is_read_shut_down >= state.is_read_shut_down, "{state:?} and {event:?}");
            assert_eq!(next.is_aborted, state.is_aborted || event == Event::Abort);
            let is_kept = next.reason == state.reason || event == Event::Abort;
            assert!(state.reason.is_none() || is_kept, "{state:?} and {event:?}");
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

    /// The first bytes may arrive before the server stops, or after that.
    #[test]
    fn new_connection_may_begin_its_first_request_while_the_server_stops() {
        type Step = fn(&ConnectionState);
        let steps: [&[Step]; 3] = [
            &[ConnectionState::stop],
            &[ConnectionState::stop, ConnectionState::on_first_input],
            &[ConnectionState::on_first_input, ConnectionState::stop],
        ];
        for steps in steps {
            let (stream, _peer) = Stream::pair().expect("two sockets");
            let state = ConnectionState::new(stream, None, Arc::default());
            for step in steps {
                step(&state);
            }
            assert_eq!(state.is_new(), steps.len() == 1);
            assert!(!state.is_read_shut_down() && state.begin_request() && !state.is_new());
            assert_eq!(state.end_request(), Some(CloseReason::Shutdown));
        }
    }

    #[test]
    fn connection_whose_first_bytes_were_received_begins_a_request() {
        let (stream, _peer) = Stream::pair().expect("two sockets");
        let state = ConnectionState::new(stream, None, Arc::default());
        state.on_first_input();
        assert!(state.begin_request());
        assert_eq!(state.end_request(), None);
    }

    /// Another thread has marked it as idle before it closes.
    #[test]
    fn marked_connection_closes_like_an_idle_one() {
        for (close, reason) in [
            (&ConnectionState::stop as &dyn Fn(&_), CloseReason::Shutdown),
            (&|state: &ConnectionState| _ = state.yield_slot(), CloseReason::SlotNeeded),
        ] {
            let (stream, _peer) = Stream::pair().expect("two sockets");
            let state = ConnectionState::new(stream, None, Arc::new(AtomicUsize::new(0)));
            assert!(state.begin_request());
            assert_eq!(state.end_request(), None);
            state.mark_idle();
            state.yield_requests.store(1, SeqCst);
            close(&state);
            assert!(state.is_yielding_slot() && !state.close_if_marked());
            assert_eq!(state.load().close_reason(), Some(reason));
            assert_eq!(state.is_read_shut_down(), reason == CloseReason::Shutdown);
        }
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
        for (is_stopping, has_input) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let (stream, _peer) = Stream::pair().expect("two sockets");
            let state = ConnectionState::new(stream, None, Arc::default());
            if has_input {
                state.on_first_input();
            }
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
