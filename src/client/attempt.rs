//! Sending a request, with its one safe retry.
//!
//! A request is sent again, once and on a new connection, if it was sent on a kept connection that
//! the application had closed or was closing, and if the application has seen nothing of it or may
//! see it twice:
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
//! A request may be repeated if its first write carries all of it, and its method is idempotent.
//! A write that times out fails with `TimedOut` in every row.
//!
//! The steps are types, each of which consumes the one before: [`Prepared`] has the records in
//! memory, [`Sent`] has written them, and [`Committed`] is past the retry and lends the exchange.

use std::io::{self, Read};

use super::body::Body;
use super::completion::Completion;
use super::connection::{Connection, Progress};
use super::duplex;
use super::exchange::Exchange;
use super::pool::{Pool, Slot};
use super::response::Response;
use super::stdin;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::Role;

/// Sends a request and receives its response with `receive`.
pub(super) fn run<T>(
    pool: &Pool,
    role: Role,
    params: &Params,
    mut body: Body<'_, impl Read + Send, impl Read + Send>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
) -> Result<(T, Completion)> {
    let committed = Prepared::new(pool, role, params, &mut body)?.send()?.retry_if_lost()?;
    // A body that has been sent is dropped before the response is received.
    let rest = (!committed.is_whole()).then_some(body);
    committed.complete(|exchange| duplex::transfer(exchange, rest, receive))
}

/// A request whose first part is in memory.
struct Prepared<'a> {
    /// Declared before `slot`: it must be closed before another connection may take its place.
    connection: Box<Connection>,
    slot: Slot<'a>,
    /// BEGIN_REQUEST, PARAMS and the first part of the body, in whole records.
    records: Vec<u8>,
    /// Whether `records` holds the whole request.
    is_whole: bool,
    retry: Retry,
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
    fn new(is_kept: bool, is_whole: bool, params: &Params) -> Self {
        if !is_kept {
            Self::Never
        } else if is_whole && is_idempotent(params) {
            Self::IfUnanswered
        } else {
            Self::IfUnsent
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
        body: &mut Body<'_, impl Read, impl Read>,
    ) -> Result<Self> {
        let (slot, idle) = pool.acquire()?;
        let is_kept = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Box::new(slot.connect()?),
        };
        let mut first_part = connection.begin_in_memory(role, params)?;
        let is_whole = body.move_first_part(&mut first_part)?;
        let records = first_part.into_records();
        let retry = Retry::new(is_kept, is_whole, params);
        Ok(Self { connection, slot, records, is_whole, retry })
    }

    #[inline]
    fn send(mut self) -> Result<Sent<'a>> {
        let progress = self.connection.send(&self.records)?;
        Ok(Sent { request: self, progress })
    }
}

impl<'a> Sent<'a> {
    fn retry_if_lost(mut self) -> Result<Committed<'a>> {
        if !self.is_lost()? {
            return Ok(Committed(self));
        }
        let mut request = self.request;
        *request.connection = request.slot.connect()?;
        request.retry = Retry::Never;
        Ok(Committed(request.send()?))
    }

    fn is_lost(&mut self) -> Result<bool> {
        match self.request.retry {
            Retry::Never => Ok(false),
            Retry::IfUnsent => Ok(self.progress == Progress::Nothing),
            Retry::IfUnanswered => Ok(!self.request.connection.wait_for_response()?),
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
    fn complete<T>(self, receive: impl FnOnce(Exchange<'_>) -> Result<T>) -> Result<T> {
        let state = self.stdin_state();
        // `slot` comes first, so that it is dropped after the connection.
        let Prepared { slot, mut connection, records, .. } = self.0.request;
        let outcome = receive(connection.resume(state));
        connection.keep_buffer(records);
        if outcome.as_ref().is_err_and(Error::is_transient) {
            slot.lower_limit();
        } else if connection.is_reusable() {
            slot.release(connection);
        }
        outcome
    }

    fn stdin_state(&self) -> stdin::State {
        match self.0.progress {
            Progress::All if self.is_whole() => stdin::State::Finished,
            Progress::All => stdin::State::Open,
            Progress::Nothing | Progress::Part => stdin::State::Failed,
        }
    }
}

/// Returns whether a request may reach the application twice (RFC 9110, section 9.2.2).
fn is_idempotent(params: &Params) -> bool {
    let method = params.get_bytes("REQUEST_METHOD").unwrap_or_default();
    [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"].contains(&method)
}
