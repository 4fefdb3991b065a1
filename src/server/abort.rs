//! How a server notices an abort, after which no peer receives the response.
//!
//! | The web server | `is_aborted` | `AbortHandle` | A read of stdin | A write | Hook |
//! | --- | --- | --- | --- | --- | --- |
//! | sends ABORT_REQUEST | true | once noticed | [`Error::Aborted`] | succeeds | `Aborted` |
//! | closes the connection | true | true | [`Error::UnexpectedEof`] | see below | `Aborted` |
//! | resets the connection | true | true | `ConnectionReset` | fails | `Aborted` |
//! | half-closes inside the body | true | true over TCP | `UnexpectedEof` | succeeds | `Aborted` |
//! | half-closes after it (TCP) | see below | the same | the end | succeeds | as `is_aborted` |
//! | half-closes after it (Unix) | false | false | the end | succeeds | `Finished` |
//! | sends an invalid record | after a read | once noticed | the error | succeeds | `Failed` |
//! | is silent too long | after a read | once noticed | [`Error::TimedOut`] | succeeds | `Failed` |
//! | sends a body above the limit | false | false | [`Error::BodyTooLarge`] | succeeds | `Failed` |
//!
//! Nothing watches a connection. An abort is noticed when one of these is called:
//!
//! - [`Request::is_aborted`](super::Request::is_aborted), in the request's thread. It buffers the
//!   input that has arrived, then checks the connection: see [`find`].
//! - [`AbortHandle::is_aborted`], in any thread. It only checks the connection, because the input
//!   belongs to the request's thread. "Once noticed" means after that thread has read
//!   ABORT_REQUEST, or has called `is_aborted`. After the end of the request it returns `false`.
//! - A read of stdin. The end of the input is an error only inside the body.
//! - A write. If it fails after something else has noticed the abort, that error is reported
//!   instead of its [consequence](is_consequence). After a close, writes fail. Over TCP the first
//!   one still succeeds: the peer answers it with a reset.
//!
//! The half-close of a TCP connection cannot be distinguished from a close. After all input was
//! received, both are an abort, or neither is if
//! [`Config::peers_half_close`](super::Config::peers_half_close) is set: see [`is_closed`]. A close
//! is then noticed once a write was answered with a reset. On systems other than Linux, Unix
//! sockets may not report a close to a check.
//!
//! The hook for the end of a request receives this [`Outcome`](super::Outcome) if the handler has
//! noticed the abort ([`Abort::is_by_peer`]), and returns the error of the read in the other cases.
//! If only the last write has noticed it, the hook receives `NotSent`.
//!
//! [`ConnectionState::abort`] has the effect of a reset by the web server, except that a read of
//! stdin returns [`Error::UnexpectedEof`]. ABORT_REQUEST before the end of the params ends the
//! request without a call of the handler. After the end of the request it is ignored.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::connection_state::ConnectionState;
use super::input::Input;
use crate::error::Error;
use crate::net::PeerState;
use crate::stream::StreamState;

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
    fn new(state: Arc<ConnectionState>, read_lock: Arc<Mutex<()>>, peers_half_close: bool) -> Self {
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
    fn is_noticed(&self) -> bool {
        self.lock().as_ref().is_some_and(|request| request.is_aborted)
    }

    /// Makes every clone return `true` until the request ends.
    fn set_aborted(&self) {
        if let Some(request) = &mut *self.lock() {
            request.is_aborted = true;
        }
    }

    /// Makes every clone return `false` from now on, because the request has ended. Returns what
    /// was known. Waits until no other thread checks the connection.
    fn end(&self) -> bool {
        self.lock().take().is_some_and(|request| request.is_aborted)
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
        let check = || is_closed(&self.state, self.peers_half_close);
        self.state.output().while_not_writing(check).unwrap_or(false)
    }
}

/// What the thread of a connection knows of the abort of its request.
#[derive(Debug, Default)]
pub(super) struct Abort {
    /// Whether the request has noticed an abort, or its handle had done so when it ended.
    is_noticed: bool,
    /// The handle of the active request, if one was created.
    handle: Option<AbortHandle>,
}

/// What shows that a request was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbortCause {
    /// ABORT_REQUEST is buffered.
    Record,
    /// The peer has closed the connection.
    Close,
}

impl Abort {
    /// Forgets the last request, whose handle has ended.
    #[inline]
    pub(super) fn on_request(&mut self) {
        self.is_noticed = false;
    }

    /// Records that the request has noticed an abort.
    #[cold]
    pub(super) fn set_noticed(&mut self) {
        self.is_noticed = true;
        if let Some(handle) = &self.handle {
            handle.set_aborted();
        }
    }

    /// Returns the handle of the active request. Later reads of the request hold the read lock.
    pub(super) fn handle(&mut self, input: &mut Input, peers_half_close: bool) -> AbortHandle {
        let handle = self.handle.get_or_insert_with(|| {
            let read_lock = input.reader_mut().get_mut().read_lock();
            AbortHandle::new(Arc::clone(input.state()), read_lock, peers_half_close)
        });
        handle.clone()
    }

    /// Ends the handle, because its request ends. Keeps what it has noticed.
    #[inline]
    pub(super) fn end_handle(&mut self, input: &mut Input) {
        if self.handle.is_some() {
            self.remove_handle(input);
        }
    }

    #[cold]
    fn remove_handle(&mut self, input: &mut Input) {
        input.reader_mut().get_mut().remove_read_lock();
        if let Some(handle) = self.handle.take() {
            self.is_noticed |= handle.end();
        }
    }

    /// Returns whether nothing receives the response, as far as is known: the request was aborted,
    /// or a read of its body has failed, except with [`Error::BodyTooLarge`].
    pub(super) fn has_no_receiver(&self, body: &StreamState) -> bool {
        match body {
            StreamState::Aborted => true,
            StreamState::Failed(error) => !matches!(**error, Error::BodyTooLarge(_)),
            StreamState::Open | StreamState::Ended => self.is_noticed(),
        }
    }

    /// Returns whether the web server has aborted the request or closed the connection, as far as
    /// the handler or its handle has noticed. A connection that has failed in another way does not
    /// count.
    pub(super) fn is_by_peer(&self, body: &StreamState, failure: Option<&Error>) -> bool {
        match failure {
            Some(Error::UnexpectedEof(_)) => true,
            // The connection was closed before everything that was sent on it had been received.
            Some(error) if error.kind() == ConnectionReset => true,
            _ => matches!(body, StreamState::Aborted) || self.is_noticed(),
        }
    }

    fn is_noticed(&self) -> bool {
        self.is_noticed || self.handle.as_ref().is_some_and(AbortHandle::is_noticed)
    }
}

/// Looks for an abort without waiting: buffers the input that has arrived, then checks the
/// connection. No other thread may write meanwhile.
pub(super) fn find(
    input: &mut Input,
    request_id: u16,
    has_whole_input: impl Fn(&Input) -> bool,
    peers_half_close: bool,
) -> Option<AbortCause> {
    loop {
        if input.has_buffered_abort(request_id) {
            return Some(AbortCause::Record);
        }
        if input.reader().is_full() {
            break;
        }
        match input.try_fill() {
            Ok(Some(0)) if has_whole_input(input) => break,
            Ok(Some(0)) | Err(_) => return Some(AbortCause::Close),
            Ok(Some(_)) => {}
            Ok(None) => return None,
        }
    }
    let check = |_: &_| is_closed(input.state(), peers_half_close);
    input.reader().get_ref().with_read_lock(check).then_some(AbortCause::Close)
}

/// Returns whether the peer has closed the connection, as far as that is known without reading, or
/// this server has aborted it. No other thread may read or write meanwhile.
fn is_closed(state: &ConnectionState, peers_half_close: bool) -> bool {
    if state.is_aborted() {
        return true;
    }
    match state.stream().peer_state() {
        Ok(PeerState::Open) => false,
        // The read half may have been shut down on this side.
        Ok(PeerState::InputEnded) => !peers_half_close && !state.is_read_shut_down(),
        Ok(PeerState::Closed) | Err(_) => true,
    }
}

/// Returns whether a write has failed with an error that may only be the consequence of an abort.
pub(super) fn is_consequence(error: &Error) -> bool {
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}
