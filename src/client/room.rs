use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long a request on a new connection waits for the application before a kept connection is
/// closed for it. It is longer than most applications take to answer, and short enough for a user
/// who waits.
const MAX_RESPONSE_DELAY: Duration = Duration::from_millis(100);

/// Nothing has been read from the connection.
const MISSING: u8 = 0;
/// Nothing has been read from the connection, and it needs room.
const NEEDS_ROOM: u8 = 1;
/// The application has answered on the connection, or closed it.
const ARRIVED: u8 = 2;

/// A pool that closes kept connections, so that the application can accept another one.
///
/// Many applications have a fixed number of processes, each of which serves one connection until it
/// is closed. If all of them serve kept connections, a new one waits in the backlog until one of
/// those is closed. A client cannot distinguish this from an application that takes long to answer.
pub(super) trait MakeRoom: fmt::Debug + Send + Sync {
    /// Closes an idle connection, or the next one that would become idle, because the application
    /// has not answered on a new one for some time. `is_repeated` is true if this was called for
    /// the new connection before.
    fn make_room(&self, is_repeated: bool);

    /// Ends the need of a connection for which [`make_room`](Self::make_room) was called: it has
    /// been answered, or is closed.
    fn end_need(&self);
}

/// How many new connections need room, and how many kept ones have been closed for them.
///
/// Invariant: `made <= needed`.
#[derive(Debug, Default)]
pub(super) struct Room {
    needed: usize,
    made: usize,
}

impl Room {
    /// Records that a connection needs room. If this was recorded before, closing one kept
    /// connection was not enough, so another must be closed.
    pub(super) fn need(&mut self, is_repeated: bool) {
        if is_repeated {
            self.made = self.made.saturating_sub(1);
        } else {
            self.needed += 1;
        }
    }

    /// Records that a connection no longer needs room.
    pub(super) fn end_need(&mut self) {
        self.needed = self.needed.saturating_sub(1);
        self.made = self.made.saturating_sub(1);
    }

    /// Returns whether a kept connection must be closed. The caller then closes one.
    pub(super) fn make(&mut self) -> bool {
        let is_needed = self.made < self.needed;
        self.made += usize::from(is_needed);
        is_needed
    }
}

/// Whether the application has answered on a connection, and what makes room for it until then.
#[derive(Debug)]
pub(super) struct FirstAnswer {
    /// [`MISSING`], [`NEEDS_ROOM`] or [`ARRIVED`]. It guards no other data, so `Relaxed` is enough.
    state: AtomicU8,
    room: Option<Weak<dyn MakeRoom>>,
    /// How long a wait may take before a kept connection is closed.
    max_delay: Duration,
}

impl FirstAnswer {
    /// Creates the value for a new connection with this read timeout. Room is made after a quarter
    /// of a short timeout.
    pub(super) fn new(room: Option<Weak<dyn MakeRoom>>, read_timeout: Option<Duration>) -> Self {
        let max_delay =
            read_timeout.map_or(MAX_RESPONSE_DELAY, |timeout| MAX_RESPONSE_DELAY.min(timeout / 4));
        Self { state: AtomicU8::new(MISSING), room, max_delay }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.state.load(Relaxed) != ARRIVED
    }

    /// Returns the longest wait before the next call of [`make_room`](Self::make_room).
    pub(super) fn max_wait(&self) -> Duration {
        if self.room.is_some() && self.is_missing() {
            self.max_delay
        } else {
            Duration::MAX
        }
    }

    /// Makes room after a wait, if the answer is still missing.
    pub(super) fn make_room(&self) {
        if let Some(room) = self.room().filter(|_| self.is_missing()) {
            room.make_room(self.state.swap(NEEDS_ROOM, Relaxed) == NEEDS_ROOM);
        }
    }

    /// Records that the application has answered or closed the connection.
    #[cold]
    pub(super) fn set_arrived(&self) {
        if self.state.swap(ARRIVED, Relaxed) == NEEDS_ROOM {
            if let Some(room) = self.room() {
                room.end_need();
            }
        }
    }

    fn room(&self) -> Option<Arc<dyn MakeRoom>> {
        self.room.as_ref().and_then(Weak::upgrade)
    }
}

impl Drop for FirstAnswer {
    fn drop(&mut self) {
        if self.is_missing() {
            self.set_arrived();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_is_closed_for_each_that_needs_room() {
        let mut room = Room::default();
        assert!(!room.make());
        room.need(false);
        room.need(false);
        assert_eq!([room.make(), room.make(), room.make()], [true, true, false]);
        room.end_need();
        assert!(!room.make(), "the other connection has its room");
    }

    #[test]
    fn another_connection_is_closed_if_the_first_did_not_help() {
        let mut room = Room::default();
        room.need(false);
        assert_eq!([room.make(), room.make()], [true, false]);
        room.need(true);
        assert_eq!([room.make(), room.make()], [true, false]);
    }

    #[test]
    fn nothing_is_closed_after_the_need_has_ended() {
        let mut room = Room::default();
        room.need(false);
        room.need(true);
        room.end_need();
        assert!(!room.make());
    }
}
