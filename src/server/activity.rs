use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

use crate::net::Stream;

/// What a connection is doing, for those who may want it to close: one atomic, so that a request takes no lock.
///
/// The connection's thread goes from idle to busy and back; anyone may ask it to close, once. A request that has begun is
/// never cut by that: only a connection that was idle has its reading side shut down, which wakes its thread.
#[derive(Debug)]
pub(super) struct Activity {
    state: AtomicU8,
    stream: Stream,
    /// How many connections wait for the place of another.
    held: Arc<AtomicUsize>,
}

const IDLE: u8 = 0;
const BUSY: u8 = 1;
/// Was asked to close while idle.
const CLOSING_IDLE: u8 = 2;
/// Was asked to close while busy, or gives way by itself.
const CLOSING_BUSY: u8 = 3;

impl Activity {
    pub(super) fn new(stream: Stream, held: Arc<AtomicUsize>) -> Self {
        Self { state: AtomicU8::new(IDLE), stream, held }
    }

    /// A request begins. False if the reading side was shut down before, so that its input may be cut.
    pub(super) fn begin(&self) -> bool {
        self.state.compare_exchange(IDLE, BUSY, SeqCst, SeqCst).is_ok()
    }

    /// A request has ended. False if the connection is to close.
    pub(super) fn end(&self) -> bool {
        if self.state.compare_exchange(BUSY, IDLE, SeqCst, SeqCst).is_err() {
            return false;
        }
        // Idle first: whoever begins to wait either is seen here, or sees that this one is idle.
        let is_wanted = self.held.load(SeqCst) > 0;
        if is_wanted {
            let _ = self.state.compare_exchange(IDLE, CLOSING_BUSY, SeqCst, SeqCst);
        }
        !is_wanted
    }

    /// Asks the connection to close: now if it is idle, else after its request.
    pub(super) fn ask_to_close(&self) {
        while !self.is_closing() {
            if self.close_if_idle() || self.state.compare_exchange(BUSY, CLOSING_BUSY, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Asks the connection to close if it is idle; false if it is not, or was asked before.
    pub(super) fn close_if_idle(&self) -> bool {
        let idle = self.state.compare_exchange(IDLE, CLOSING_IDLE, SeqCst, SeqCst).is_ok();
        if idle {
            // If this fails the connection is closed already.
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        idle
    }

    /// Whether the reading side was shut down, so that an end of the input says nothing about the web server.
    pub(super) fn is_deaf(&self) -> bool {
        self.state.load(SeqCst) == CLOSING_IDLE
    }

    /// Ends the connection at once, whatever it is doing.
    pub(super) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn is_closing(&self) -> bool {
        matches!(self.state.load(SeqCst), CLOSING_IDLE | CLOSING_BUSY)
    }
}
