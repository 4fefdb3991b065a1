//! Receiving a response while the rest of the body is sent.
//!
//! An application may answer while it reads, and stop reading when its answer is not read. What
//! the first write has left of the body is therefore sent in one of two ways:
//!
//! 1. The caller's thread sends a short body that is in memory before it receives the response, but
//!    only as long as the application keeps reading.
//! 2. Another thread sends everything else, while the caller's thread receives the response. Each
//!    thread holds a [`CancelOnDrop`], so that a failure or a panic of one wakes the other.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::body::{Body, SendError};
use super::completion::Completion;
use super::exchange::Exchange;
use super::response::Response;
use super::socket::SharedSocket;
use super::stdin::Stdin;
use crate::error::Result;

/// How long the application may stop reading before another thread sends the rest of the body. It
/// may have begun to answer.
const MAX_PAUSE: Duration = Duration::from_millis(1);

/// How long the end of the body may take to be sent after the response is complete. The
/// application may have read it and answered before the thread that sent it continues.
const BODY_LAG: Duration = Duration::from_millis(5);

/// Sends the `rest` of the body, and receives the response with `receive`.
pub(super) fn transfer<T>(
    mut exchange: Exchange<'_>,
    rest: Option<Body<'_, impl Read + Send, impl Read + Send>>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
) -> Result<(T, Completion)> {
    let rest = match rest {
        Some(body) if body.may_send_now() => send_now(&mut exchange.stdin, body)?,
        rest => rest,
    };
    match rest {
        Some(body) => receive_while_sending(exchange, body, receive),
        None => receive_only(exchange, receive),
    }
}

/// Sends the body as long as the application keeps reading it. Returns what is left.
fn send_now<'a, B: Read, D: Read>(
    stdin: &mut Stdin,
    mut body: Body<'a, B, D>,
) -> io::Result<Option<Body<'a, B, D>>> {
    stdin.limit_wait(MAX_PAUSE)?;
    let sent = body.send_now(stdin);
    stdin.unlimit_wait();
    // An error is ignored: the response is valid, or reading it reports why not.
    Ok((!sent.unwrap_or(true)).then_some(body))
}

fn receive_only<T>(
    exchange: Exchange<'_>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
) -> Result<(T, Completion)> {
    let Exchange { stdin, stdout, reuse } = exchange;
    let response = Response { stdout, is_overloaded: &mut reuse.is_overloaded };
    let received = response.receive(receive)?;
    reuse.end_request(stdin);
    Ok(received)
}

fn receive_while_sending<T>(
    exchange: Exchange<'_>,
    body: Body<'_, impl Read + Send, impl Read + Send>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
) -> Result<(T, Completion)> {
    let Exchange { mut stdin, stdout, reuse } = exchange;
    let socket = &stdin.socket().clone();
    let (report_sent, is_sent) = mpsc::channel();
    let (sent, received) = thread::scope(|scope| {
        let sender = thread::Builder::new().spawn_scoped(scope, || {
            let sent = send_rest(body, &mut stdin, socket);
            // This fails if the receiver no longer waits.
            let _ = report_sent.send(());
            sent
        })?;
        let response = Response { stdout, is_overloaded: &mut reuse.is_overloaded };
        let received = receive_beside(response, receive, &is_sent, socket);
        Ok::<_, io::Error>((sender.join(), received))
    })?;
    match sent {
        Err(panic) => resume_unwind(panic),
        Ok(Err(SendError::Read(error))) if received.is_err() => return Err(error.into()),
        // Other errors are ignored: the response is complete, or its own error is returned.
        Ok(_) => {}
    }
    let received = received?;
    reuse.end_request(stdin);
    Ok(received)
}

/// Sends the rest of the body. If reading it fails or panics, the request is canceled. A failed
/// write does not cancel it: the response may be valid.
fn send_rest(
    body: Body<'_, impl Read, impl Read>,
    stdin: &mut Stdin,
    socket: &SharedSocket,
) -> std::result::Result<(), SendError> {
    let guard = CancelOnDrop(socket);
    let sent = body.send_all(stdin);
    if !matches!(sent, Err(SendError::Read(_))) {
        guard.disarm();
    }
    sent
}

/// Receives the response while another thread sends the body. If that fails or panics, or the
/// application does not read the body to its end, the request is canceled.
fn receive_beside<T>(
    response: Response<'_>,
    receive: impl FnOnce(&mut Response<'_>) -> io::Result<T>,
    is_sent: &mpsc::Receiver<()>,
    socket: &SharedSocket,
) -> Result<(T, Completion)> {
    let guard = CancelOnDrop(socket);
    let received = response.receive(receive);
    if received.is_ok() && is_sent.recv_timeout(BODY_LAG).is_ok() {
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
