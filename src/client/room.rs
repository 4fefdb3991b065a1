use std::fmt;

/// Closes connections that are kept, so that the application can accept another one.
///
/// Many applications have a fixed number of processes, each of which serves one connection until it
/// is closed. If all of them serve kept connections, a new one waits in the backlog until one of
/// those is closed. A client cannot tell this from an application that takes long to answer.
pub(super) trait MakeRoom: fmt::Debug + Send + Sync {
    /// Closes an idle connection, or the next one that would become idle, because the application
    /// has not answered on a new one for some time. `is_repeated` tells whether this was called for
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
    /// Records that a connection needs room. If it has needed room before, what was made has not
    /// helped.
    pub(super) fn need(&mut self, is_repeated: bool) {
        if is_repeated {
            self.made = self.made.saturating_sub(1);
        } else {
            self.needed += 1;
        }
    }

    /// Records that a connection needs no room any longer.
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
