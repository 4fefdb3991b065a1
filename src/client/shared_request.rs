use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cancel::CancelHandle;
use super::deadline::Deadline;
use super::retry::{AfterWrite, Retry};
use super::socket::{Progress, SocketWriter};
use super::transport::Transport;
use crate::error::{Error, Result};

/// The longest wait for a change, after which the time is checked again.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// The place of a connection among those of a client.
///
/// This is a trait so that a program which uses no [`Client`](crate::Client) contains no pool. That
/// saves 54 KiB of the 484 that the smallest responder has (`tests/benches/size`).
pub(super) trait ConnectionSlot: fmt::Debug + Send + Sync {
    /// Returns the deadline of the request.
    fn deadline(&self) -> Deadline;

    /// Opens another connection, in the place of one that the application has closed, and on which
    /// `requests_begun` requests have begun, including this one.
    ///
    /// # Errors
    /// The errors of connecting.
    fn reconnect(&self, requests_begun: u64) -> Result<Transport>;

    /// Gives back the slot with its connection, which becomes idle if it is reusable and is closed
    /// otherwise. `is_answered` is true if the response is complete. Called once.
    fn give_back(&self, transport: Box<Transport>, is_answered: bool);
}

/// What the body and the response of an exchange share, if the connection is one of a client's
/// pool. Two threads can use them.
///
/// The body sends the first part of the request. On a kept connection it may have to open another
/// one for that, which the response then uses. The response waits for it before its first read.
///
/// The connection is reusable only if the body has been sent to its end.
/// [`SharedRequest::wait_for_body`] returns whether that is so.
#[derive(Debug)]
pub(super) struct SharedRequest {
    slot: Box<dyn ConnectionSlot>,
    cancel_handle: CancelHandle,
    retry: Retry,
    /// The number of requests that have begun on its first connection, including this one.
    requests_begun: u64,
    state: Mutex<State>,
    /// Notified when `state` changes.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The result of sending the first part. `None` until then, and once the response has it.
    first: Option<Result<ResponseStart>>,
    body: BodyState,
    /// The writer of the connection on which the request was sent again.
    writer: Option<SocketWriter>,
}

/// How the first part of a request was sent, for the response.
#[derive(Debug, Default)]
pub(super) struct ResponseStart {
    /// The connection on which it was sent, if that is not the first one.
    pub(super) replacement: Option<Transport>,
    /// The whole request, if it may be sent again.
    pub(super) repeatable: Option<Vec<u8>>,
}

/// How the first part of a request was sent, for the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyStart {
    /// How much of it was sent.
    pub(super) progress: Progress,
    /// Whether the request is whole, and is sent again if it is not answered.
    pub(super) is_repeatable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Open,
    /// All of it has been sent.
    Sent,
    /// It was dropped before its end, or could not be sent.
    Failed,
}

/// The request, for its body. If this is dropped before the end of the body, the request is
/// canceled.
#[derive(Debug)]
pub(super) struct BodyHandle {
    request: Arc<SharedRequest>,
    /// Whether [`send_first`](Self::send_first) must be called before anything else is sent.
    must_send_first: bool,
    /// Whether the body has ended or failed.
    has_ended: bool,
}

impl BodyState {
    fn ended(is_sent: bool) -> Self {
        if is_sent {
            Self::Sent
        } else {
            Self::Failed
        }
    }
}

impl BodyHandle {
    pub(super) fn new(request: Arc<SharedRequest>) -> Self {
        Self { must_send_first: request.must_send_first(), request, has_ended: false }
    }

    pub(super) fn must_send_first(&self) -> bool {
        self.must_send_first
    }

    /// Sends the first part of the request, like [`SharedRequest::send_first`]. A repeatable
    /// request has no more body.
    pub(super) fn send_first(
        &mut self,
        writer: &mut SocketWriter,
        records: &[u8],
        is_whole: bool,
    ) -> Result<BodyStart> {
        self.must_send_first = false;
        let sent = self.request.send_first(writer, records, is_whole)?;
        self.has_ended |= sent.is_repeatable;
        Ok(sent)
    }

    /// Prevents the request from being sent again. If it has been, `writer` then writes to that
    /// connection.
    pub(super) fn stop_retries(&self, writer: &mut SocketWriter) {
        if let Some(current) = self.request.stop_retries() {
            *writer = current;
        }
    }

    /// Notes the end of the body. If it has ended before, only a failure changes that.
    pub(super) fn end_body(&mut self, is_sent: bool) {
        if !(self.has_ended && is_sent) {
            self.has_ended = true;
            self.request.end_body(is_sent);
        }
    }

    pub(super) fn cancel(&self) {
        self.request.cancel_handle.cancel();
    }
}

impl Drop for BodyHandle {
    fn drop(&mut self) {
        if !self.has_ended {
            self.request.end_body(false);
            self.cancel();
        }
    }
}

impl SharedRequest {
    /// Creates what the body and the response of a new request share.
    pub(super) fn new(
        slot: impl ConnectionSlot + 'static,
        transport: &Transport,
        retry: Retry,
    ) -> Arc<Self> {
        let first = (retry == Retry::Never).then(|| Ok(ResponseStart::default()));
        Arc::new(Self {
            slot: Box::new(slot),
            cancel_handle: CancelHandle::new(transport.socket()),
            retry,
            requests_begun: transport.requests_begun(),
            state: Mutex::new(State { first, body: BodyState::Open, writer: None }),
            changed: Condvar::new(),
        })
    }

    pub(super) fn slot(&self) -> &dyn ConnectionSlot {
        &*self.slot
    }

    pub(super) fn cancel_handle(&self) -> &CancelHandle {
        &self.cancel_handle
    }

    /// Returns whether [`BodyHandle::send_first`] must send the first part.
    pub(super) fn must_send_first(&self) -> bool {
        self.retry != Retry::Never
    }

    /// Sends the first part of the request, and once more on a new connection if no part of it
    /// could be sent. `writer` then writes to that connection. The response gets the same result.
    ///
    /// # Errors
    /// [`Error::TimedOut`], and the errors of opening a connection.
    fn send_first(
        &self,
        writer: &mut SocketWriter,
        records: &[u8],
        is_whole: bool,
    ) -> Result<BodyStart> {
        let mut first = ResponseStart::default();
        let sent = self.try_send_first(writer, records, is_whole, &mut first);
        self.update(|state| match &sent {
            Ok(sent) => {
                state.first = Some(Ok(first));
                if sent.is_repeatable {
                    state.body = BodyState::ended(sent.progress == Progress::All);
                }
            }
            Err(error) => state.first = Some(Err(error.duplicate())),
        });
        sent
    }

    fn try_send_first(
        &self,
        writer: &mut SocketWriter,
        records: &[u8],
        is_whole: bool,
        first: &mut ResponseStart,
    ) -> Result<BodyStart> {
        let mut progress = writer.send(records)?;
        match self.retry.after_write(progress, is_whole) {
            AfterWrite::SendAgain if self.cancel_handle.is_canceled() => {}
            AfterWrite::SendAgain => {
                let transport = self.reconnect()?;
                *writer = transport.writer();
                progress = writer.send(records)?;
                first.replacement = Some(transport);
            }
            AfterWrite::AwaitResponse => first.repeatable = Some(records.to_vec()),
            AfterWrite::Receive => {}
        }
        Ok(BodyStart { progress, is_repeatable: first.repeatable.is_some() })
    }

    /// Waits until the first part has been sent. Returns `None` after `max`.
    ///
    /// # Errors
    /// The errors of sending it, and [`Error::UnexpectedEof`] if the body was dropped before.
    pub(super) fn wait_until_sent(&self, max: Duration) -> Result<Option<ResponseStart>> {
        let is_waiting = |state: &State| state.first.is_none() && state.body == BodyState::Open;
        let mut state = self.wait_while(max, is_waiting);
        match (state.first.take(), state.body) {
            (Some(first), _) => first.map(Some),
            (None, BodyState::Open) => Ok(None),
            (None, BodyState::Sent | BodyState::Failed) => Err(Error::UnexpectedEof("a response")),
        }
    }

    /// Opens another connection, in the place of a kept one that the application has closed.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`] if the request has been canceled, and the errors of connecting.
    pub(super) fn reconnect(&self) -> Result<Transport> {
        let canceled = Error::UnexpectedEof("a response");
        if self.cancel_handle.is_canceled() {
            return Err(canceled);
        }
        let mut transport = self.slot.reconnect(self.requests_begun)?;
        if !self.cancel_handle.retarget(transport.socket()) {
            return Err(canceled);
        }
        transport.start_timers(self.slot.deadline(), false);
        Ok(transport)
    }

    /// Notes that the whole request was sent again, with this writer.
    pub(super) fn set_writer(&self, writer: SocketWriter) {
        self.update(|state| state.writer = Some(writer));
    }

    /// Prevents the request from being sent again. Returns the writer of the connection on which it
    /// has been, if it has.
    fn stop_retries(&self) -> Option<SocketWriter> {
        let mut state = self.lock();
        if let Some(Ok(first)) = &mut state.first {
            first.repeatable = None;
        }
        state.writer.take()
    }

    /// Notes the end of the body.
    pub(super) fn end_body(&self, is_sent: bool) {
        self.update(|state| state.body = BodyState::ended(is_sent));
    }

    /// Waits for the end of the body. Returns whether all of it has been sent.
    pub(super) fn wait_for_body(&self, max: Duration) -> bool {
        self.wait_while(max, |state| state.body == BodyState::Open).body == BodyState::Sent
    }

    fn wait_while(
        &self,
        max: Duration,
        is_waiting: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let end = Deadline::new(Instant::now(), Some(max));
        let mut state = self.lock();
        while is_waiting(&state) && !end.left().is_zero() {
            let wait = self.changed.wait_timeout(state, end.left().min(MAX_WAIT));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
