//! Sending a request, and sending it again if that is safe. `retry` has the rules.
//!
//! The steps are types, each of which consumes the one before: [`Prepared`] has the records in
//! memory, [`Sent`] has written them, and [`Committed`] can no longer be retried and gives access
//! to the exchange.
//!
//! [`begin`] uses none of these types: it checks the connection and returns, because its caller
//! writes the body and reads the response.

use std::time::{Duration, Instant};

use super::completion::Completion;
use super::duplex;
use super::exchange::Exchange;
use super::input::Input;
use super::lease::Pooled;
use super::pool::Pool;
use super::reserved::Reserved;
use super::response::Response;
use super::retry::{AfterWrite, Retry};
use super::shared_request::SharedRequest;
use super::socket::{Progress, SMALL_WRITE};
use crate::error::Error;
use crate::params::Params;
use crate::record::{Role, HEADER_LEN};

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
    Prepared::new(pool, role, params, input)?.send()?.commit()
}

/// Begins a request whose body the caller writes.
pub(super) fn begin(pool: &Pool, role: Role, params: &Params) -> Result<Exchange<'static>, Error> {
    let mut reserved = Reserved::acquire(pool)?;
    let start = reserved.transport.encode_start(role, params)?;
    let may_be_whole = params.content_length().unwrap_or(0) == 0;
    let retry = Retry::new(reserved.transport.is_kept(), params);
    let retry = reserved.check(retry, may_be_whole)?;
    let Reserved { mut transport, slot, .. } = reserved;
    transport.start_timers(slot.deadline(), false);
    let request = SharedRequest::new(slot.into_owned(), &transport, retry);
    Ok(Exchange::pooled(Pooled::new(transport, request), start))
}

/// A request whose first part is in memory.
struct Prepared<'a> {
    reserved: Reserved<'a>,
    /// BEGIN_REQUEST, PARAMS and the first part of the body, in whole records.
    records: Vec<u8>,
    /// Whether `records` holds the whole request.
    is_whole: bool,
    retry: Retry,
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
        let mut reserved = Reserved::acquire(pool)?;
        let mut first_part = reserved.transport.begin_in_memory(role, params)?;
        let len_without_body = first_part.ready_bytes().len() + HEADER_LEN;
        reserved.skips_clock &= input.is_empty() && len_without_body <= SMALL_WRITE;
        let read_began = (!input.is_in_memory()).then(Instant::now);
        let is_whole = input.move_first_part(&mut first_part)?;
        // The first read of a body may block.
        reserved.idle_for += read_began.map_or(Duration::ZERO, |began| began.elapsed());
        let records = first_part.take_records();
        let retry = Retry::new(reserved.transport.is_kept(), params);
        Ok(Self { reserved, records, is_whole, retry })
    }

    #[inline]
    fn send(mut self) -> Result<Sent<'a>, Error> {
        self.retry = self.reserved.check(self.retry, self.is_whole)?;
        self.write()
    }

    #[inline]
    fn write(mut self) -> Result<Sent<'a>, Error> {
        let Reserved { transport, slot, skips_clock, .. } = &mut self.reserved;
        transport.start_timers(slot.deadline(), *skips_clock);
        let progress = transport.send(&self.records)?;
        Ok(Sent { request: self, progress })
    }
}

impl<'a> Sent<'a> {
    /// Sends the request again if [`Retry::after_write`] requires it.
    fn commit(mut self) -> Result<Committed<'a>, Error> {
        if !self.must_send_again()? {
            return Ok(Committed(self));
        }
        self.send_again()
    }

    #[cold]
    fn send_again(self) -> Result<Committed<'a>, Error> {
        let mut request = self.request;
        request.reserved.reconnect()?;
        Ok(Committed(request.write()?))
    }

    /// Waits for the response if that decides whether the request is sent again.
    fn must_send_again(&mut self) -> Result<bool, Error> {
        match self.request.retry.after_write(self.progress, self.request.is_whole) {
            AfterWrite::Receive => {
                self.request.reserved.transport.end_clock_skip();
                Ok(false)
            }
            AfterWrite::SendAgain => Ok(true),
            AfterWrite::AwaitResponse => {
                Ok(!self.request.reserved.transport.wait_for_response()?)
            }
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
        let Prepared { reserved, records, .. } = self.0.request;
        // `slot` comes first, so that it is dropped after the connection.
        let Reserved { slot, mut transport, .. } = reserved;
        let outcome = receive(Exchange::resume(&mut transport, progress, is_whole));
        transport.keep_buffer(records);
        if transport.is_reusable() {
            slot.release(transport);
        } else if transport.is_overloaded() {
            slot.lower_limit();
        } else if outcome.is_ok() && !transport.is_kept() {
            drop(transport);
            slot.end();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::Arc;
    use std::thread;

    use super::super::body::Body;
    use super::super::transport::Transport;
    use super::*;
    use crate::net::Stream;

    /// Otherwise a request with a slow body would wait even longer for the connection to close.
    #[test]
    fn idle_time_includes_the_first_read_of_the_body() -> Result<(), Error> {
        const PAUSE: Duration = Duration::from_millis(20);
        struct Slow;
        impl Read for Slow {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                thread::sleep(PAUSE);
                Ok(0)
            }
        }
        let mut pool = Pool::new("127.0.0.1:9000".parse()?);
        pool.configure(|config| config.keep_alive = true);
        let (stream, _peer) = Stream::pair()?;
        let transport = Transport::open(stream, None, Arc::clone(pool.config()), None)?;
        pool.acquire()?.slot.release(Box::new(transport));

        let mut input = Input::new(Body::from_reader(Slow), || None);
        let request = Prepared::new(&pool, Role::Responder, &Params::new(), &mut input)?;
        assert!(request.reserved.idle_for >= PAUSE);
        Ok(())
    }
}
