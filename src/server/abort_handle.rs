use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::lifecycle::ConnectionState;
use crate::net::PeerState;

/// A handle with which any thread can check whether a request was aborted.
///
/// [`Request::abort_handle`](super::Request::abort_handle) creates one. A handler that is busy with
/// its own work, or has started another thread for it, can stop that work if the result is no
/// longer needed.
///
/// A clone belongs to the same request. After the request has ended,
/// [`is_aborted`](Self::is_aborted) returns `false`, so the next request on a kept connection is
/// not affected.
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use fcgi::ResponseHead;
/// use std::thread;
///
/// fn add(request: &mut Request) -> HandlerResult {
///     let handle = request.abort_handle();
///     let adding =
///         thread::spawn(move || (1..=100).take_while(|_| !handle.is_aborted()).sum::<u32>());
///     let sum = adding.join().expect("the sum");
///     request.respond(ResponseHead::text(), format!("{sum}\n"))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AbortHandle {
    /// Invariant: `None` once the request has ended.
    request: Arc<Mutex<Option<WatchedRequest>>>,
}

/// What is needed to check the connection of a request.
#[derive(Debug)]
struct WatchedRequest {
    state: Arc<ConnectionState>,
    /// Held by the request's own reads and checks.
    read_lock: Arc<Mutex<()>>,
    peers_half_close: bool,
    is_aborted: bool,
}

impl AbortHandle {
    pub(super) fn new(
        state: Arc<ConnectionState>,
        read_lock: Arc<Mutex<()>>,
        peers_half_close: bool,
    ) -> Self {
        let request = WatchedRequest { state, read_lock, peers_half_close, is_aborted: false };
        Self { request: Arc::new(Mutex::new(Some(request))) }
    }

    /// Creates the handle of a request that has ended.
    pub(super) fn ended() -> Self {
        Self { request: Arc::default() }
    }

    /// Returns whether the web server has closed the connection, or the request's own thread has
    /// noticed an abort.
    ///
    /// Does not wait. The check takes a system call on a Unix socket and three on TCP. While
    /// another thread reads or writes on the connection, nothing is checked: that thread notices
    /// the abort itself, and its read or write fails.
    ///
    /// On TCP the check cannot detect a close while unread input, such as the rest of a body, is
    /// pending. [`Config::peers_half_close`](super::Config::peers_half_close) decides what the end
    /// of the input means. On a Unix socket under Linux the close is always detected. Other systems
    /// may not report it. ABORT_REQUEST is detected by
    /// [`Request::is_aborted`](super::Request::is_aborted) and by reading.
    pub fn is_aborted(&self) -> bool {
        match &mut *self.lock() {
            None => false,
            Some(request) => {
                request.is_aborted = request.is_aborted || request.is_closed();
                request.is_aborted
            }
        }
    }

    /// Returns what is known without checking the connection.
    pub(super) fn is_known_aborted(&self) -> bool {
        self.lock().as_ref().is_some_and(|request| request.is_aborted)
    }

    /// Makes every clone return `true` until the request ends.
    pub(super) fn set_aborted(&self) {
        if let Some(request) = &mut *self.lock() {
            request.is_aborted = true;
        }
    }

    /// Makes every clone return `false` from now on, because the request has ended. Waits until no
    /// other thread checks the connection.
    pub(super) fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<WatchedRequest>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchedRequest {
    /// Checks the connection, unless another thread reads or writes: the check may change the mode
    /// of the socket.
    fn is_closed(&self) -> bool {
        let _guard = match self.read_lock.try_lock() {
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(guard) => guard,
        };
        let check = || is_closed_by_peer(&self.state, self.peers_half_close);
        self.state.output().while_not_writing(check).unwrap_or(false)
    }
}

/// Returns whether the peer has closed the connection, as far as that is known without reading. No
/// other thread may read or write meanwhile.
pub(super) fn is_closed_by_peer(state: &ConnectionState, peers_half_close: bool) -> bool {
    match state.stream().peer_state() {
        Ok(PeerState::Open) => false,
        // The read half may have been shut down on this side.
        Ok(PeerState::InputEnded) => !peers_half_close && !state.is_read_shut_down(),
        Ok(PeerState::Closed) | Err(_) => true,
    }
}
