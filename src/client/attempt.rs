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
//! | yes | longer | any | look without waiting |
//! | no | any | known to keep connections open | look without waiting |
//! | no | any | not known | wait for the end of input until idle for [`SETTLED`], then look |
//!
//! The last row is necessary because an application that closes the connection after each response
//! may do so a moment after the client has received the response. The first request that uses a
//! connection again shows that the application keeps connections open.
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
//! A write that times out fails with `TimedOut` in every row.
//!
//! The steps are types, each of which consumes the one before: [`Prepared`] has the records in
//! memory, [`Sent`] has written them, and [`Committed`] is past the retry and lends the exchange.

use std::io::{self, Read};
use std::time::Duration;

use super::body::Body;
use super::completion::Completion;
use super::connection::{Connection, Progress};
use super::duplex;
use super::exchange::Exchange;
use super::pool::{Acquired, Pool, Slot};
use super::response::Response;
use super::stdin;
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{Role, HEADER_LEN};

/// A request that may be repeated is sent without a check on a connection that has been idle for
/// less than this. Requests sent back to back then save three system calls.
const RECENT: Duration = Duration::from_millis(1);

/// An application that closes the connection after each response has done so by then, even on a
/// busy machine.
const SETTLED: Duration = Duration::from_millis(100);

/// The most bytes that are certainly written without waiting.
const PROMPT_LEN: usize = 4096;

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
    /// Whether the slot's deadline needs no other look at the clock before the response: there is
    /// no body whose reader could block, and the params fit into the socket's buffer.
    is_prompt: bool,
    retry: Retry,
    kept: Option<Kept>,
}

/// What is known about a kept connection.
#[derive(Clone, Copy)]
struct Kept {
    idle_for: Duration,
    is_reused: bool,
    keeps_open: bool,
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
        let Acquired { mut slot, idle, idle_for, keeps_open } = pool.acquire()?;
        let (mut connection, kept) = match idle {
            Some(idle) => {
                let is_reused = idle.is_reused;
                (idle.connection, Some(Kept { idle_for, is_reused, keeps_open }))
            }
            None => (Box::new(slot.connect()?), None),
        };
        let mut first_part = connection.begin_in_memory(role, params)?;
        let without_body = first_part.complete_records().len() + HEADER_LEN;
        let is_whole = body.move_first_part(&mut first_part)?;
        let records = first_part.into_records();
        let is_prompt = records.len() <= without_body && without_body <= PROMPT_LEN;
        let retry = Retry::new(kept.is_some(), is_whole, params);
        Ok(Self { connection, slot, records, is_whole, is_prompt, retry, kept })
    }

    #[inline]
    fn send(mut self) -> Result<Sent<'a>> {
        if let Some(wait) = self.check() {
            if !self.connection.is_open(wait.min(self.slot.deadline().left())) {
                self.reconnect()?;
            }
        }
        self.connection.start_timers(self.slot.deadline(), self.is_prompt);
        let progress = self.connection.send(&self.records)?;
        Ok(Sent { request: self, progress })
    }

    /// Returns how long the check of the connection may wait, or `None` if there is no check.
    fn check(&self) -> Option<Duration> {
        let kept = self.kept?;
        match self.retry {
            Retry::Never => None,
            Retry::IfUnanswered => (kept.idle_for >= RECENT).then_some(Duration::ZERO),
            Retry::IfUnsent if kept.keeps_open => Some(Duration::ZERO),
            Retry::IfUnsent => Some(SETTLED.saturating_sub(kept.idle_for)),
        }
    }

    /// Replaces a kept connection, which the application has closed, by a new one.
    fn reconnect(&mut self) -> Result<()> {
        let is_early = self.kept.take().is_some_and(|kept| !kept.is_reused);
        self.retry = Retry::Never;
        self.connection.replace(self.slot.reconnect(is_early)?);
        Ok(())
    }
}

impl<'a> Sent<'a> {
    fn retry_if_lost(mut self) -> Result<Committed<'a>> {
        if !self.is_lost()? {
            return Ok(Committed(self));
        }
        let mut request = self.request;
        request.reconnect()?;
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
        let Prepared { slot, mut connection, records, kept, .. } = self.0.request;
        let outcome = receive(connection.resume(state));
        connection.keep_buffer(records);
        if outcome.as_ref().is_err_and(|error| is_overload(error, &connection)) {
            slot.lower_limit();
        } else if connection.is_reusable() {
            slot.release(connection, kept.is_some());
        } else if outcome.is_ok() {
            drop(connection);
            slot.end();
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

/// Returns whether a request has failed because the application serves too many others: it has
/// refused the request, or not accepted the connection while it serves kept ones.
fn is_overload(error: &Error, connection: &Connection) -> bool {
    error.is_transient()
        || matches!(error, Error::TimedOut(_)) && connection.is_kept_and_unanswered()
}

/// Returns whether a request may reach the application twice (RFC 9110, section 9.2.2).
fn is_idempotent(params: &Params) -> bool {
    let method = params.get_bytes("REQUEST_METHOD").unwrap_or_default();
    [&b"GET"[..], b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"].contains(&method)
}
