use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

use super::connection_state::ConnectionState;
use crate::net::Stream;

/// How often a thread that waits for a slot looks for new connections that have sent nothing for
/// too long. Nothing notifies the condition variable when that time ends.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How often a thread that waits for a slot looks for other connections that can be closed. A
/// thread that takes a slot and a connection that ends notify the threads that wait, but not every
/// connection that becomes idle does: see [`ConnectionState`].
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The slots of a server: the connections that are served, the threads that wait for a slot, and
/// which connections have to close for them.
///
/// Every method that changes the demand for slots ends with [`free`](Self::free), which asks as
/// many connections to close as are needed, and no more. Its fields are private, so nothing else
/// changes the demand.
#[derive(Debug, Default)]
pub(super) struct Slots {
    max: usize,
    /// The connections that are served, in the order in which they were accepted.
    /// Invariant: `serving.len() <= max`.
    serving: Vec<Arc<ConnectionState>>,
    /// The numbers of the threads that wait, in the order of their arrival. The first one gets the
    /// next slot.
    waiting: VecDeque<u64>,
    next_number: u64,
    /// Whether no thread accepts, because none could be started.
    lacks_acceptor: bool,
    /// The number of connections that have to yield their slot at the end of their request, because
    /// every connection is busy. [`free`](Self::free) alone sets it.
    yield_requests: Arc<AtomicUsize>,
}

/// The place of a thread that waits for a slot. It is used once, to get a slot or to leave.
#[derive(Debug)]
#[must_use]
pub(super) struct Ticket(u64);

/// When a slot becomes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// A slot is free, or a connection was asked to close.
    Soon,
    /// There are new connections, each of which is closed unless it sends something soon.
    Likely,
    /// Every connection is busy.
    Unlikely,
}

/// The result of asking connections to close.
struct Closed {
    /// The number of connections that were asked.
    count: usize,
    vacancy: Vacancy,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Returns the connections that are served.
    pub(super) fn serving(&self) -> &[Arc<ConnectionState>] {
        &self.serving
    }

    /// Returns whether a thread waits for a slot.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns whether no thread accepts, because none could be started.
    pub(super) fn lacks_acceptor(&self) -> bool {
        self.lacks_acceptor
    }

    /// Records whether no thread accepts. A connection has to close then, so that its thread can.
    pub(super) fn set_lacks_acceptor(&mut self, lacks_acceptor: bool) {
        if self.lacks_acceptor != lacks_acceptor {
            self.lacks_acceptor = lacks_acceptor;
            self.free();
        }
    }

    /// Creates the state of a connection, which yields its slot if it is needed.
    pub(super) fn connection(
        &self,
        stream: Stream,
        write_timeout: Option<Duration>,
    ) -> ConnectionState {
        ConnectionState::new(stream, write_timeout, Arc::clone(&self.yield_requests))
    }

    /// Adds a thread that waits for a slot.
    pub(super) fn enter(&mut self) -> Ticket {
        let ticket = Ticket(self.next_number);
        self.next_number += 1;
        self.waiting.push_back(ticket.0);
        self.free();
        ticket
    }

    /// Returns whether a slot is free, and this thread has waited longest.
    pub(super) fn is_next(&self, ticket: &Ticket) -> bool {
        self.serving.len() < self.max && self.waiting.front() == Some(&ticket.0)
    }

    /// Gives a free slot to the connection of a thread that has waited.
    pub(super) fn serve(&mut self, ticket: Ticket, connection: Arc<ConnectionState>) {
        self.serving.push(connection);
        debug_assert!(self.serving.len() <= self.max, "{} connections", self.serving.len());
        self.leave(ticket);
    }

    /// Removes a thread that no longer waits.
    pub(super) fn leave(&mut self, Ticket(number): Ticket) {
        self.waiting.retain(|other| *other != number);
        self.free();
    }

    /// Removes a connection that has ended, if it had a slot.
    pub(super) fn release(&mut self, connection: &Arc<ConnectionState>) {
        self.serving.retain(|other| !Arc::ptr_eq(other, connection));
        self.free();
    }

    /// Asks as many idle connections to close as there are waiting threads without a slot that is
    /// about to become free. If too few are idle, sets `yield_requests`, so that the next requests
    /// to end free a slot.
    ///
    /// A thread that waits calls it regularly, because new connections may be closed later, and not
    /// every connection that becomes idle notifies it.
    pub(super) fn free(&self) -> Vacancy {
        self.yield_requests.store(0, SeqCst);
        let demand = self.unmet_demand();
        let closed = self.close_up_to(demand);
        if closed.vacancy != Vacancy::Unlikely {
            return closed.vacancy;
        }
        let demand = demand - closed.count;
        self.yield_requests.store(demand, SeqCst);
        // Again, after that store, as the ordering argument of `ConnectionState` requires.
        let closed = self.close_up_to(demand);
        let fewer = |requests: usize| Some(requests.saturating_sub(closed.count));
        let _ = self.yield_requests.fetch_update(SeqCst, SeqCst, fewer);
        closed.vacancy
    }

    /// Returns how many connections have to yield, in addition to those that are yielding: one for
    /// each thread that waits and finds no free slot, and one whose thread can accept if no other
    /// does.
    ///
    /// Slots stay free while the threads that wait for them have not been woken yet.
    pub(super) fn unmet_demand(&self) -> usize {
        let free = self.max.saturating_sub(self.serving.len());
        let demand = self.waiting.len().saturating_sub(free) + usize::from(self.lacks_acceptor);
        if demand == 0 {
            return 0;
        }
        let is_yielding = |connection: &&Arc<ConnectionState>| connection.is_yielding_slot();
        demand.saturating_sub(self.serving.iter().filter(is_yielding).count())
    }

    /// Asks at most `count` connections to close.
    fn close_up_to(&self, count: usize) -> Closed {
        for closed in 0..count {
            let vacancy = self.close_one();
            if vacancy != Vacancy::Soon {
                return Closed { count: closed, vacancy };
            }
        }
        Closed { count, vacancy: Vacancy::Soon }
    }

    /// Asks a connection to close.
    ///
    /// One that has sent nothing since it was accepted is closed first, so that such connections
    /// cannot displace those that are used. While there are new connections that may still send a
    /// request, no other is closed. Then follows one that has been idle since the last time a slot
    /// was needed, then any other idle one.
    pub(super) fn close_one(&self) -> Vacancy {
        if self.close_first(ConnectionState::close_if_unused) {
            return Vacancy::Soon;
        }
        if self.serving.iter().any(|connection| connection.is_new()) {
            return Vacancy::Likely;
        }
        if self.close_first(ConnectionState::close_if_marked) {
            return Vacancy::Soon;
        }
        self.serving.iter().for_each(|connection| connection.mark_idle());
        if self.close_first(ConnectionState::close_if_marked) {
            return Vacancy::Soon;
        }
        Vacancy::Unlikely
    }

    /// Closes the first connection for which `close` succeeds.
    fn close_first(&self, close: impl Fn(&ConnectionState) -> bool) -> bool {
        for connection in &self.serving {
            if close(connection) {
                return true;
            }
        }
        false
    }

    #[cfg(test)]
    pub(super) fn yield_requests(&self) -> &AtomicUsize {
        &self.yield_requests
    }
}

impl Vacancy {
    /// Returns how long a thread that waits for a slot may wait before it looks again.
    pub(super) fn poll_interval(self) -> Duration {
        match self {
            Self::Likely => POLL_INTERVAL,
            Self::Soon | Self::Unlikely => CHECK_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::lifecycle::{Lifecycle, RequestOutcome};

    /// A connection that has sent nothing.
    fn new(slots: &mut Slots) -> (Arc<ConnectionState>, Stream) {
        let (stream, peer) = Stream::pair().expect("two sockets");
        let state = Arc::new(slots.connection(stream, None));
        let ticket = slots.enter();
        assert!(slots.is_next(&ticket));
        slots.serve(ticket, Arc::clone(&state));
        (state, peer)
    }

    /// A connection whose request was passed to a handler.
    fn busy(slots: &mut Slots) -> (Lifecycle, Arc<ConnectionState>, Stream) {
        let (state, peer) = new(slots);
        let mut lifecycle = Lifecycle::new(Arc::clone(&state));
        assert!(lifecycle.on_begin());
        lifecycle.on_params(true);
        (lifecycle, state, peer)
    }

    fn end_request(lifecycle: &mut Lifecycle) {
        let outcome = RequestOutcome::Finished { close_reason: None, has_whole_input: true };
        lifecycle.on_end(outcome, None).expect("an ended request");
    }

    /// The slot is free, but the thread that waits for it has not been woken yet.
    #[test]
    fn a_connection_does_not_yield_while_a_slot_is_free() {
        let mut slots = Slots::new(2);
        let (mut lifecycle, _state, _peer) = busy(&mut slots);
        end_request(&mut lifecycle);
        let _ticket = slots.enter();
        assert_eq!(slots.free(), Vacancy::Soon);
        assert!(lifecycle.on_begin(), "the connection is kept");
    }

    /// Two connections wait. One other connection is idle, and two are busy.
    #[test]
    fn busy_connections_yield_only_for_the_slots_that_idle_ones_do_not_free() {
        let mut slots = Slots::new(3);
        let mut served = [(); 3].map(|()| busy(&mut slots));
        end_request(&mut served[0].0);
        let _tickets = [slots.enter(), slots.enter()];
        assert_eq!(slots.yield_requests().load(SeqCst), 1);
        assert_eq!(slots.free(), Vacancy::Unlikely);
        assert_eq!(slots.yield_requests().load(SeqCst), 1);
        for (lifecycle, ..) in &mut served[1..] {
            end_request(lifecycle);
        }
        assert_eq!(
            served.each_ref().map(|(_, state, _)| state.is_yielding_slot()),
            [true, true, false]
        );
    }

    /// Two connections wait. A new one becomes idle because it sends a query, and two are busy.
    #[test]
    fn idle_connection_reduces_the_number_of_busy_ones_that_yield() {
        let mut slots = Slots::new(3);
        let (connection, _peer) = new(&mut slots);
        let _busy = [busy(&mut slots), busy(&mut slots)];
        let _tickets = [slots.enter(), slots.enter()];
        assert_eq!(slots.free(), Vacancy::Likely);
        connection.on_other_record();
        assert_eq!(slots.free(), Vacancy::Unlikely);
        assert!(connection.is_yielding_slot());
        assert_eq!(slots.yield_requests().load(SeqCst), 1);
    }

    /// Two connections wait, and two others are idle.
    #[test]
    fn as_many_idle_connections_are_closed_as_others_wait() {
        let mut slots = Slots::new(3);
        let mut served = [(); 3].map(|()| busy(&mut slots));
        for (lifecycle, ..) in &mut served {
            end_request(lifecycle);
        }
        let _tickets = [slots.enter(), slots.enter()];
        assert_eq!(slots.free(), Vacancy::Soon);
        assert_eq!(
            served.each_ref().map(|(_, state, _)| state.is_yielding_slot()),
            [true, true, false]
        );
    }

    /// Every other connection is busy.
    #[test]
    fn no_connection_yields_for_a_demand_that_has_ended() {
        type End = fn(&mut Slots, Ticket, &Arc<ConnectionState>);
        let ends: [End; 3] = [
            |slots, ticket, _| slots.leave(ticket),
            |slots, _ticket, connection| slots.release(connection),
            |slots, ticket, connection| {
                slots.release(connection);
                let (stream, _peer) = Stream::pair().expect("two sockets");
                slots.serve(ticket, Arc::new(slots.connection(stream, None)));
            },
        ];
        for end in ends {
            let mut slots = Slots::new(2);
            let served = [busy(&mut slots), busy(&mut slots)];
            let ticket = slots.enter();
            assert_eq!(slots.yield_requests().load(SeqCst), 1);
            end(&mut slots, ticket, &served[0].1);
            assert_eq!(slots.yield_requests().load(SeqCst), 0);
        }
    }

    #[test]
    fn a_connection_yields_if_no_thread_accepts() {
        let mut slots = Slots::new(2);
        let (mut lifecycle, state, _peer) = busy(&mut slots);
        slots.set_lacks_acceptor(true);
        assert_eq!(slots.yield_requests().load(SeqCst), 1);
        slots.set_lacks_acceptor(false);
        assert_eq!(slots.yield_requests().load(SeqCst), 0);
        slots.set_lacks_acceptor(true);
        end_request(&mut lifecycle);
        assert!(state.is_yielding_slot());
    }
}
