//! Receiving a response while the rest of the body is sent.
//!
//! An application may answer before it has read the whole body. If its answer is not read, it stops
//! reading the body. The rest of the body after the first write is therefore sent in one of two
//! ways:
//!
//! 1. The caller's thread sends a short body in memory or from a regular file before it receives
//!    the response, but only as long as the application keeps reading.
//! 2. Another thread sends everything else, while the caller's thread receives the response. Each
//!    thread holds a [`CancelOnDrop`], so that a failure or a panic of one wakes the other.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::completion::Completion;
use super::exchange::Exchange;
use super::input::{Input, SendError};
use super::lease::END_WAIT;
use super::response::Response;
use super::socket::SharedSocket;
use super::stdin::Stdin;
use crate::error::Error;

/// How long the application may stop reading before another thread sends the rest of the body. It
/// may have begun to answer.
const MAX_PAUSE: Duration = Duration::from_millis(1);

/// Sends the `rest` of the input, and receives the response with `receive`.
pub(super) fn transfer<T, E: From<Error>>(
    mut exchange: Exchange<'_>,
    rest: Option<Input<'_>>,
    receive: impl FnOnce(&mut Response<'_>) -> Result<T, E>,
) -> Result<(T, Completion), E> {
    let rest = match rest {
        Some(input) if input.may_send_now() => {
            send_now(&mut exchange.stdin, input).map_err(Error::from)?
        }
        rest => rest,
    };
    match rest {
        Some(input) => receive_while_sending(exchange, input, receive),
        None => receive_only(exchange, receive),
    }
}

/// Sends the input as long as the application keeps reading it. Returns what is left.
fn send_now<'a>(stdin: &mut Stdin, mut input: Input<'a>) -> io::Result<Option<Input<'a>>> {
    stdin.limit_wait(MAX_PAUSE)?;
    let sent = input.send_now(stdin);
    stdin.clear_wait_limit();
    match sent {
        Ok(is_sent) => Ok((!is_sent).then_some(input)),
        Err(SendError::Read(error)) => Err(error),
        // The error is ignored: the response is valid, or reading it reports why not.
        Err(SendError::Write) => Ok(None),
    }
}

fn receive_only<T, E: From<Error>>(
    exchange: Exchange<'_>,
    receive: impl FnOnce(&mut Response<'_>) -> Result<T, E>,
) -> Result<(T, Completion), E> {
    let Exchange { stdin, stdout } = exchange;
    let mut response = Response { stdout };
    let received = response.receive(receive);
    match received {
        Ok(_) => response.stdout.end_request(stdin),
        Err(_) => response.stdout.note_failure(),
    }
    received
}

fn receive_while_sending<T, E: From<Error>>(
    exchange: Exchange<'_>,
    input: Input<'_>,
    receive: impl FnOnce(&mut Response<'_>) -> Result<T, E>,
) -> Result<(T, Completion), E> {
    let Exchange { mut stdin, stdout } = exchange;
    let mut response = Response { stdout };
    let socket = &stdin.socket().clone();
    let (report_sent, is_sent) = mpsc::channel();
    let (sent, received) = thread::scope(|scope| {
        let sender = thread::Builder::new().name("fcgi-body".into()).spawn_scoped(scope, || {
            let sent = send_rest(input, &mut stdin, socket);
            // This fails if the receiver no longer waits.
            let _ = report_sent.send(());
            sent
        })?;
        let received = receive_beside(&mut response, receive, &is_sent, socket);
        Ok::<_, Error>((sender.join(), received))
    })?;
    match received {
        Ok(_) => response.stdout.end_request(stdin),
        Err(_) => response.stdout.note_failure(),
    }
    let sent = sent.unwrap_or_else(|panic| resume_unwind(panic));
    // After any other error of the response, the body may have failed as a consequence.
    let is_cut_off = received.is_err() && response.stdout.is_cut_off();
    match sent.err().filter(|_| is_cut_off).and_then(SendError::into_read_error) {
        Some(cause) => Err(Error::from(cause).into()),
        None => received,
    }
}

/// Sends the rest of the input. If reading it fails or panics, the request is canceled. A failed
/// write does not cancel it: the response may be valid.
fn send_rest(input: Input<'_>, stdin: &mut Stdin, socket: &SharedSocket) -> Result<(), SendError> {
    let guard = CancelOnDrop(socket);
    let sent = input.send_all(stdin);
    if !matches!(sent, Err(SendError::Read(_))) {
        guard.disarm();
    }
    sent
}

/// Receives the response while another thread sends the body. If receiving fails or panics, or the
/// application does not read the body to its end, the request is canceled.
fn receive_beside<'a, T, E: From<Error>>(
    response: &mut Response<'a>,
    receive: impl FnOnce(&mut Response<'a>) -> Result<T, E>,
    is_sent: &mpsc::Receiver<()>,
    socket: &SharedSocket,
) -> Result<(T, Completion), E> {
    let guard = CancelOnDrop(socket);
    let received = response.receive(receive);
    if received.is_ok() && is_sent.recv_timeout(END_WAIT).is_ok() {
        guard.disarm();
    }
    received
}

/// A guard that shuts down both directions of the connection when it is dropped, which wakes the
/// thread that waits on the other direction.
struct CancelOnDrop<'a>(&'a SharedSocket);

impl CancelOnDrop<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
