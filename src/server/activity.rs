use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::Stream;

/// What a connection is doing, for those who may want it to close: one atomic, so that a request
/// takes no lock.
///
/// The connection's thread goes from idle to busy and back; anyone may ask it to close, once. A
/// request that has begun is never cut by that: only a connection that was idle has its reading
/// side shut down, which wakes its thread.
#[derive(Debug)]
pub(super) struct Activity {
    state: AtomicU8,
    stream: Stream,
    accepted: Instant,
    /// How many connections wait for the place of another.
    held: Arc<AtomicUsize>,
}

/// Was accepted, and has begun no request yet.
const FRESH: u8 = 0;
const IDLE: u8 = 1;
const BUSY: u8 = 2;
/// Was asked to close while idle.
const CLOSING_IDLE: u8 = 3;
/// Was asked to close while busy, or gives way by itself.
const CLOSING_BUSY: u8 = 4;

/// How long a connection may take to begin its first request before it counts as idle. A web server
/// that has just connected takes a close for a failure, while on a kept connection it expects one.
pub(super) const GRACE: Duration = Duration::from_millis(250);

impl Activity {
    pub(super) fn new(stream: Stream, held: Arc<AtomicUsize>) -> Self {
        Self { state: AtomicU8::new(FRESH), stream, accepted: Instant::now(), held }
    }

    /// A request begins. False if the reading side was shut down before, so that its input may be
    /// cut.
    pub(super) fn begin(&self) -> bool {
        self.changes(IDLE, BUSY) || self.changes(FRESH, BUSY)
    }

    /// A request has ended. False if the connection is to close.
    pub(super) fn end(&self) -> bool {
        if !self.changes(BUSY, IDLE) {
            return false;
        }
        // Only now: whoever begins to wait either is seen here, or sees that this one is idle.
        let is_wanted = self.held.load(SeqCst) > 0;
        if is_wanted {
            self.changes(IDLE, CLOSING_BUSY);
        }
        !is_wanted
    }

    /// Asks the connection to close: now if it is idle, else after its request.
    pub(super) fn ask_to_close(&self) {
        while !self.is_closing() {
            if self.close_from(IDLE) || self.close_from(FRESH) || self.changes(BUSY, CLOSING_BUSY) {
                return;
            }
        }
    }

    /// Asks the connection to close if it is idle; false if it is not, or was asked before.
    pub(super) fn close_if_idle(&self) -> bool {
        self.close_from(IDLE) || self.accepted.elapsed() >= GRACE && self.close_from(FRESH)
    }

    /// Whether the reading side was shut down, so that an end of the input says nothing about the
    /// web server.
    pub(super) fn is_deaf(&self) -> bool {
        self.state.load(SeqCst) == CLOSING_IDLE
    }

    /// Ends the connection at once, whatever it is doing.
    pub(super) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Closes the connection if it is in this state, in which it waits for a request.
    fn close_from(&self, state: u8) -> bool {
        let is_closing = self.changes(state, CLOSING_IDLE);
        if is_closing {
            // If this fails the connection is closed already.
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        is_closing
    }

    fn changes(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn is_closing(&self) -> bool {
        matches!(self.state.load(SeqCst), CLOSING_IDLE | CLOSING_BUSY)
    }
}
