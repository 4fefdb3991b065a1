//! Sending a request, with its one safe retry.
//!
//! A request may be repeated if its first write carries all of it, and its method is idempotent.
//!
//! Before a request is sent on a kept connection, the connection is checked, and replaced by a new
//! one if the application has closed it:
//!
//! | May be repeated | Idle for | Application | Check |
//! | --- | --- | --- | --- |
//! | yes | less than [`RECENT`] | any | none |
//! | yes | longer | any | check without waiting |
//! | no | any | known to keep connections open | check without waiting |
//! | no | any | not known | wait for the end of input until idle for [`SETTLED`] |
//!
//! The last row is necessary because an application that closes the connection after each response
//! may do so a moment after the client has received the response. The first request that uses a
//! connection again shows that the application keeps connections open.
//!
//! A request is sent again, once and on a new connection, if it was sent on a kept connection that
//! the application had closed or was closing, and if nothing of it was written, or if it may be
//! repeated and no byte of the response has arrived:
//!
//! | Connection | May be repeated | Written | Received | Action |
//! | --- | --- | --- | --- | --- |
//! | kept | yes | anything | end or error before the first byte | send again |
//! | kept | yes | anything | a byte of the response | receive the response |
//! | kept | yes | anything | nothing before the read timeout | fail with `TimedOut` |
//! | kept | no | nothing | not waited for | send again |
//! | kept | no | a part, or all | not waited for | receive the response |
//! | new | either | anything | not waited for | receive the response |
//!
//! A write that times out fails with `TimedOut` in every row.
//!
//! The steps are types, each of which consumes the one before: [`Prepared`] has the records in
//! memory, [`Sent`] has written them, and [`Committed`] can no longer be retried and gives access
//! to the exchange.
//!
//! [`begin`] follows the rules of both tables, but its caller writes the body and reads the
//! response. It checks the connection at once. It treats the request as repeatable if the method is
//! idempotent and no body is announced. [`SharedRequest`] sends the request again if nothing of it
//! was written. `Pooled::start` does so if the first write carried all of it.

use std::time::{Duration, Instant};

use super::completion::Completion;
use super::deadline::Deadline;
use super::duplex;
use super::exchange::Exchange;
use super::input::Input;
use super::lease::Pooled;
use super::pool::{Acquired, Pool, Slot};
use super::response::Response;
use super::shared_request::{ReconnectInfo, SharedRequest};
use super::socket::{Progress, SMALL_WRITE};
use super::transport::Transport;
use crate::error::Error;
use crate::params::Params;
use crate::record::{Role, HEADER_LEN};

/// A request that may be repeated is sent without a check on a connection that has been idle for
/// less than this. Requests sent back to back then save three system calls.
const RECENT: Duration = Duration::from_millis(1);

/// An application that closes the connection after each response has done so by then, even on a
/// busy machine.
const SETTLED: Duration = Duration::from_millis(100);

/// Sends a request and receives its response with `receive`.
pub(super) fn run<T, E: From<Error>>(
    pool: &Pool,
    role: Role,
    params: &Params,
    mut input: Input<'_>,
    receive: impl FnOnce(&mut Response<'_>) -> Result<T, E>,
) -> Result<(T, Completion), E> {
    let committed = commit(pool, role, params, &mut input)?;
    // An input that has been sent is dropped before the response is received.
    let rest = (!committed.is_whole()).then_some(input);
    committed.complete(|exchange| duplex::transfer(exchange, rest, receive))
}

/// Sends the first part of a request.
fn commit<'a>(
    pool: &'a Pool,
    role: Role,
    params: &Params,
    input: &mut Input<'_>,
) -> Result<Committed<'a>, Error> {
    Prepared::new(pool, role, params, input)?.send()?.retry_if_lost()
}

/// Begins a request whose body the caller writes.
pub(super) fn begin(pool: &Pool, role: Role, params: &Params) -> Result<Exchange<'static>, Error> {
    let Acquired { slot, idle, keeps_open, connects_directly, .. } = pool.acquire()?;
    let deadline = slot.deadline();
    let is_idempotent = is_idempotent(params);
    let may_be_whole = params.content_length().unwrap_or(0) == 0;
    let mut is_kept = idle.is_some();
    let closed_after_first_request = !idle.as_ref().is_some_and(|(idle, _)| idle.is_reused);
    let retry = Retry::new(is_kept, || is_idempotent && may_be_whole);
    let mut transport = match idle {
        Some((mut idle, idle_for)) => {
            let wait = retry.check(idle_for, keeps_open);
            if wait.is_none_or(|wait| stays_open(&mut idle.transport, wait, deadline)) {
                idle.transport
            } else {
                is_kept = false;
                Box::new(slot.reconnect(closed_after_first_request)?)
            }
        }
        None => Box::new(slot.connect(connects_directly)?),
    };
    let start = transport.encode_start(role, params)?;
    transport.start_timers(deadline, false);
    let retry = ReconnectInfo { is_kept, closed_after_first_request, is_idempotent };
    let request = SharedRequest::new(slot.into_owned(), &transport, retry);
    Ok(Exchange::pooled(Pooled::new(transport, request, is_kept), start))
}

/// A request whose first part is in memory.
struct Prepared<'a> {
    /// Declared before `slot`: it must be closed before another connection may take its place.
    transport: Box<Transport>,
    slot: Slot<'a>,
    /// BEGIN_REQUEST, PARAMS and the first part of the body, in whole records.
    records: Vec<u8>,
    /// Whether `records` holds the whole request.
    is_whole: bool,
    /// Whether the request is sent without any wait: it has not waited for a slot, does not
    /// connect, has no body, is not preceded by a wait for a close, and fits the send buffer.
    is_immediate: bool,
    retry: Retry,
    /// How long the check of a kept connection may wait. `None` if there is no check.
    check: Option<Duration>,
    /// Whether the connection has carried more than one request.
    is_reused: bool,
}

/// When a request is sent again.
#[derive(Clone, Copy)]
enum Retry {
    /// Never, because the connection is new.
    Never,
    /// If nothing could be written, because the request may not be repeated.
    IfUnsent,
    /// If no byte of the response arrives, because the request may be repeated.
    IfUnanswered,
}

impl Retry {
    #[inline]
    fn new(is_kept: bool, may_be_repeated: impl FnOnce() -> bool) -> Self {
        if !is_kept {
            Self::Never
        } else if may_be_repeated() {
            Self::IfUnanswered
        } else {
            Self::IfUnsent
        }
    }

    /// Returns whether the request is sent on a kept connection.
    fn is_kept(self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Returns how long the check of a kept connection may wait, or `None` if there is no check.
    fn check(self, idle_for: Duration, keeps_open: bool) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::IfUnanswered => (idle_for >= RECENT).then_some(Duration::ZERO),
            Self::IfUnsent if keeps_open => Some(Duration::ZERO),
            Self::IfUnsent => Some(SETTLED.saturating_sub(idle_for)),
        }
    }
}

/// A request whose first part has been written as far as the connection allowed.
struct Sent<'a> {
    request: Prepared<'a>,
    progress: Progress,
}

/// A request that will not be sent again.
struct Committed<'a>(Sent<'a>);

impl<'a> Prepared<'a> {
    fn new(
        pool: &'a Pool,
        role: Role,
        params: &Params,
        input: &mut Input<'_>,
    ) -> Result<Self, Error> {
        let Acquired { slot, idle, keeps_open, connects_directly, has_waited } = pool.acquire()?;
        let is_kept = idle.is_some();
        let (mut transport, idle_for, is_reused) = match idle {
            Some((idle, idle_for)) => (idle.transport, idle_for, idle.is_reused),
            None => (Box::new(slot.connect(connects_directly)?), Duration::ZERO, false),
        };
        let mut first_part = transport.begin_in_memory(role, params)?;
        let without_body = first_part.ready_bytes().len() + HEADER_LEN;
        let is_small = input.is_empty() && without_body <= SMALL_WRITE;
        let read_began = (!input.is_in_memory()).then(Instant::now);
        let is_whole = input.move_first_part(&mut first_part)?;
        // The first read of a body may block.
        let idle_for = idle_for + read_began.map_or(Duration::ZERO, |began| began.elapsed());
        let records = first_part.take_records();
        let is_immediate = is_small && is_kept && !has_waited;
        let retry = Retry::new(is_kept, || is_whole && is_idempotent(params));
        let check = retry.check(idle_for, keeps_open);
        Ok(Self { transport, slot, records, is_whole, is_immediate, retry, check, is_reused })
    }

    #[inline]
    fn send(mut self) -> Result<Sent<'a>, Error> {
        if let Some(wait) = self.check.take() {
            self.check_connection(wait)?;
        }
        self.transport.start_timers(self.slot.deadline(), self.is_immediate);
        let progress = self.transport.send(&self.records)?;
        Ok(Sent { request: self, progress })
    }

    /// Replaces a kept connection that the application closes within `wait`.
    fn check_connection(&mut self, wait: Duration) -> Result<(), Error> {
        self.is_immediate &= wait.is_zero();
        if stays_open(&mut self.transport, wait, self.slot.deadline()) {
            return Ok(());
        }
        self.reconnect()
    }

    /// Replaces a kept connection, which the application has closed, by a new one.
    fn reconnect(&mut self) -> Result<(), Error> {
        self.retry = Retry::Never;
        self.is_immediate = false;
        self.transport.replace(self.slot.reconnect(!self.is_reused)?);
        Ok(())
    }
}

impl<'a> Sent<'a> {
    fn retry_if_lost(mut self) -> Result<Committed<'a>, Error> {
        if !self.is_lost()? {
            return Ok(Committed(self));
        }
        self.send_again()
    }

    #[cold]
    fn send_again(self) -> Result<Committed<'a>, Error> {
        let mut request = self.request;
        request.reconnect()?;
        Ok(Committed(request.send()?))
    }

    fn is_lost(&mut self) -> Result<bool, Error> {
        match self.request.retry {
            Retry::Never => Ok(false),
            Retry::IfUnsent => Ok(self.progress == Progress::Nothing),
            Retry::IfUnanswered => Ok(!self.request.transport.wait_for_response()?),
        }
    }
}

impl Committed<'_> {
    /// Returns whether the first part was the whole request.
    fn is_whole(&self) -> bool {
        self.0.request.is_whole
    }

    /// Lends the exchange to `receive`. Then makes the connection idle if it is reusable, and
    /// closes it otherwise.
    fn complete<T, E>(self, receive: impl FnOnce(Exchange<'_>) -> Result<T, E>) -> Result<T, E> {
        let (progress, is_whole) = (self.0.progress, self.is_whole());
        // `slot` comes first, so that it is dropped after the connection.
        let Prepared { slot, mut transport, records, retry, .. } = self.0.request;
        let outcome = receive(Exchange::resume(&mut transport, progress, is_whole));
        transport.keep_buffer(records);
        if transport.is_reusable() {
            slot.release(transport, retry.is_kept());
        } else if transport.is_overloaded() {
            slot.lower_limit();
        } else if outcome.is_ok() && !retry.is_kept() {
            drop(transport);
            slot.end();
        }
        outcome
    }
}

/// Checks that the application does not close a kept connection within `wait`, and before the
/// deadline of the request.
fn stays_open(transport: &mut Transport, wait: Duration, deadline: Deadline) -> bool {
    // Without a wait the clock is not read.
    let wait = if wait.is_zero() { wait } else { wait.min(deadline.left()) };
    transport.is_open(wait)
}

/// Returns whether a request may reach the application twice (RFC 9110, section 9.2.2).
#[inline]
fn is_idempotent(params: &Params) -> bool {
    let method = params.get_bytes("REQUEST_METHOD").unwrap_or_default();
    [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"].contains(&method)
}
