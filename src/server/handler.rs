use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::mem::forget;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Instant, SystemTime};

use super::failure::{Failure, HandlerResult};
use super::hooks::{EndedRequest, ErrorPage, Hooks, OnRequestEnd, Outcome};
use super::request::Request;
use super::status_error::StatusError;
use crate::error::{Error, Result};

/// How a handler has failed. The boxes keep the result of a handler that succeeds small.
enum HandlerError {
    /// It has returned without an error, but also without a response, for this reason.
    NoResponse(Box<Error>),
    Error(Box<ReturnedError>),
    Panic(Box<dyn Any + Send>),
}

/// The error of a handler, and what is needed of it to end the request.
struct ReturnedError {
    error: Box<dyn StdError + Send + Sync>,
    /// Whether it is a [`StatusError`] below 500, which is no failure of the application.
    is_rejection: bool,
    reason: String,
}

impl ReturnedError {
    /// Displays an error. This is code of the application, which may panic.
    #[cold]
    #[allow(clippy::unnecessary_box_returns)]
    fn boxed(error: Box<dyn StdError + Send + Sync>) -> Box<Self> {
        let (is_rejection, reason) = (StatusError::is_rejection(&*error), error.to_string());
        Box::new(Self { error, is_rejection, reason })
    }
}

impl HandlerError {
    fn failure(&self) -> Failure<'_> {
        match self {
            Self::NoResponse(error) => Failure::Error(&**error),
            Self::Error(returned) => Failure::Error(&*returned.error),
            Self::Panic(panic) => Failure::Panic(panic_message(&**panic)),
        }
    }

    /// Returns whether the handler has rejected the request, and can do so: no part of another
    /// response was sent.
    fn is_rejection(&self, request: &Request<'_>) -> bool {
        let is_rejection = matches!(self, Self::Error(returned) if returned.is_rejection);
        is_rejection && !request.stdout.has_sent()
    }

    /// Returns the text for the log.
    fn reason(&self) -> Cow<'_, str> {
        match self {
            Self::Error(returned) => Cow::Borrowed(&returned.reason),
            Self::NoResponse(_) | Self::Panic(_) => Cow::Owned(self.failure().to_string()),
        }
    }

    /// Returns what is reported after the request has ended.
    fn error(&self) -> Error {
        if let Self::Error(returned) = self {
            if let Some(error) = returned.error.downcast_ref::<Error>() {
                return error.duplicate();
            }
        }
        io::Error::other(self.reason()).into()
    }

    /// Drops the error or the payload of a panic. This is code of the application. If it panics,
    /// the payload of that panic is leaked.
    fn drop_guarded(self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(self))) {
            forget(panic);
        }
    }
}

/// Passes a request to a handler, and ends the request. Returns an error that has to be reported
/// but leaves the connection usable.
///
/// # Errors
/// The errors of [`Request::finish`].
pub(crate) fn answer(
    request: &mut Request<'_>,
    handler: &(impl Fn(&mut Request<'_>) -> HandlerResult + ?Sized),
    hooks: &Hooks,
) -> Result<Option<Error>> {
    if let Some(on_end) = &hooks.on_request_end {
        return answer_observed(request, handler, hooks, on_end);
    }
    match call(request, handler) {
        Ok(()) => end_responded(request),
        Err(failed) => end_and_drop_failed(request, failed, hooks),
    }
}

/// Does the same, and calls the hook for the end of the request.
#[cold]
fn answer_observed(
    request: &mut Request<'_>,
    handler: &(impl Fn(&mut Request<'_>) -> HandlerResult + ?Sized),
    hooks: &Hooks,
    on_end: &OnRequestEnd,
) -> Result<Option<Error>> {
    let (started, clock) = (SystemTime::now(), Instant::now());
    request.stdout.get_ref().record_sent();
    let returned = call(request, handler);
    let was_aborted = !request.has_ended() && request.stdin.was_aborted_by_peer();
    let is_rejection = returned.as_ref().is_err_and(|failed| failed.is_rejection(request));
    let ended = match &returned {
        Ok(()) => end_responded(request),
        Err(failed) => end_failed(request, failed, hooks),
    };
    let (status, body_bytes) = request.stdout.get_ref().take_sent().status_and_body_len();
    let failure = returned.as_ref().err().filter(|_| !is_rejection).map(HandlerError::failure);
    let outcome = match &ended {
        _ if was_aborted => Outcome::Aborted,
        ended => outcome(request, failure, ended),
    };
    notify(
        on_end,
        &EndedRequest {
            role: request.role,
            params: request.params,
            status,
            body_bytes,
            app_status: request.app_status,
            started,
            duration: clock.elapsed(),
            outcome,
        },
    );
    if let Err(failed) = returned {
        failed.drop_guarded();
    }
    ended
}

/// Returns how a request ended that was not aborted.
fn outcome<'a>(
    request: &Request<'_>,
    failure: Option<Failure<'a>>,
    ended: &'a Result<Option<Error>>,
) -> Outcome<'a> {
    match (ended, failure) {
        (Err(error), _) if request.is_unsent() => Outcome::NotSent(error),
        (_, Some(failure)) => Outcome::Failed(failure),
        // The handler has ignored an error of `finish_early`.
        _ if request.is_unsent() => Outcome::Aborted,
        _ => Outcome::Finished,
    }
}

/// Calls the hook for the end of a request. If it panics, the server continues.
pub(super) fn notify(on_end: &OnRequestEnd, ended: &EndedRequest<'_>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on_end(ended))) {
        forget(panic);
    }
}

#[inline]
fn call(
    request: &mut Request<'_>,
    handler: &(impl Fn(&mut Request<'_>) -> HandlerResult + ?Sized),
) -> std::result::Result<(), HandlerError> {
    match catch_unwind(AssertUnwindSafe(|| handler(request).map_err(ReturnedError::boxed))) {
        Ok(Ok(())) => match request.response_error() {
            None => Ok(()),
            Some(error) => Err(HandlerError::NoResponse(Box::new(error))),
        },
        Ok(Err(error)) => Err(HandlerError::Error(error)),
        Err(panic) => Err(HandlerError::Panic(panic)),
    }
}

/// Ends a request that has a response, unless it has ended before. Returns the error of reading the
/// body, if there was one.
#[inline]
fn end_responded(request: &mut Request<'_>) -> Result<Option<Error>> {
    if request.stdout.has_sent() && request.has_ended() {
        return Ok(None);
    }
    request.end()?;
    Ok(request.stdin.failure().map(Error::duplicate))
}

/// Calls [`end_failed`]. Kept out of line, because most requests succeed.
#[cold]
fn end_and_drop_failed(
    request: &mut Request<'_>,
    failed: HandlerError,
    hooks: &Hooks,
) -> Result<Option<Error>> {
    let ended = end_failed(request, &failed, hooks);
    failed.drop_guarded();
    ended
}

/// Ends a request as failed, unless it has ended before.
#[cold]
fn end_failed(
    request: &mut Request<'_>,
    failed: &HandlerError,
    hooks: &Hooks,
) -> Result<Option<Error>> {
    let failure = failed.failure();
    if request.has_ended() {
        return Ok(Some(failed.error()));
    }
    let is_rejection = failed.is_rejection(request);
    let page = hooks.error_page.as_deref();
    if !page.is_some_and(|page| write_page(request, page, &failure)) {
        request.replace_response(&failure.status_error())?;
    }
    match is_rejection {
        // The error page may have called `finish_early`.
        _ if request.has_ended() => {}
        true => request.end()?,
        false => request.end_with_reason(&failed.reason())?,
    }
    match failed {
        HandlerError::NoResponse(error) => Ok(Some(error.duplicate())),
        _ => Ok(None),
    }
}

/// Lets the application write its error page. Returns `false` if it has not, or a part of the
/// response was sent before.
fn write_page(request: &mut Request<'_>, page: &ErrorPage, failure: &Failure<'_>) -> bool {
    if !request.discard_response() {
        return false;
    }
    match catch_unwind(AssertUnwindSafe(|| page(request, failure))) {
        Ok(written) => request.has_ended() || written.is_ok() && request.response_error().is_none(),
        Err(panic) => {
            forget(panic);
            false
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "no message",
    }
}
