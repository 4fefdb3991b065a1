use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use crate::net::Stream;

/// What a connection is doing, for those who may want it to close: one atomic, so that a request takes no lock.
///
/// The connection's thread goes from idle to busy and back; anyone may ask it to close, once. A request that has begun is
/// never cut by that: only a connection that was idle has its reading side shut down, which wakes its thread.
#[derive(Debug)]
pub(super) struct Activity {
    state: AtomicU8,
    stream: Stream,
}

const IDLE: u8 = 0;
const BUSY: u8 = 1;
/// Was asked to close while idle.
const CLOSING_IDLE: u8 = 2;
/// Was asked to close while busy.
const CLOSING_BUSY: u8 = 3;

impl Activity {
    pub(super) fn new(stream: Stream) -> Self {
        Self { state: AtomicU8::new(IDLE), stream }
    }

    /// A request begins. False if the reading side was shut down before, so that its input may be cut.
    pub(super) fn begin(&self) -> bool {
        self.state.compare_exchange(IDLE, BUSY, SeqCst, SeqCst).is_ok()
    }

    /// A request has ended. False if the connection is to close.
    pub(super) fn end(&self) -> bool {
        self.state.compare_exchange(BUSY, IDLE, SeqCst, SeqCst).is_ok()
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

    /// Whether the connection waits for a request, or did when it was asked to close, so that it ends without delay.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state.load(SeqCst), IDLE | CLOSING_IDLE)
    }

    /// Ends the connection at once, whatever it is doing.
    pub(super) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn is_closing(&self) -> bool {
        matches!(self.state.load(SeqCst), CLOSING_IDLE | CLOSING_BUSY)
    }
}
