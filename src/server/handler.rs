//! Calls a handler, ends its request, and calls the hook for the end.
//!
//! | The handler | The request is ended by | Response | Log of the web server |
//! | --- | --- | --- | --- |
//! | returns `Ok`, has written a response | [`finish`] | the handler's | |
//! | returns `Ok`, and the request was aborted | [`finish`] | what was written | |
//! | returns `Ok` without a response | [`fail`] | error page | the reason |
//! | returns a [`StatusError`] below 500 | [`fail`] | error page | |
//! | returns another error, or panics | [`fail`] | error page | the reason |
//! | fails after a part was sent | [`fail`] | ends there | the reason |
//! | has called [`Request::finish_early`] | the handler | the handler's | |
//!
//! The error page is that of the application or, if there is none or it fails, a line of text. If
//! the reason is written to the log, the app status is at least 1. It is written before the error
//! page, which may end the request.
//!
//! An error that nothing else reports is reported to the application ([`EndErrors`]): of a handler
//! without a response, of an error page, of the end of the request, of reading the body if the
//! handler has ignored it, and the reason if it could not be written to the log.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::mem::forget;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Instant, SystemTime};

use super::end_errors::{EndErrors, Ended};
use super::failure::{Failure, HandlerResult};
use super::hooks::{EndedRequest, ErrorPage, Hooks, OnRequestEnd, Outcome};
use super::request::Request;
use super::status_error::StatusError;
use crate::error::{Error, Result};

pub(crate) type Handler<'a> = dyn Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'a;

/// What a handler has returned.
type Returned = std::result::Result<(), HandlerError>;

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
    /// Whether it is a [`StatusError`] below 500, and no part of another response was sent. Such an
    /// error is not a failure of the application.
    is_client_error: bool,
    reason: String,
}

impl ReturnedError {
    /// Displays an error. This is code of the application, which may panic.
    #[cold]
    #[allow(clippy::unnecessary_box_returns)]
    fn boxed(error: Box<dyn StdError + Send + Sync>, has_sent: bool) -> Box<Self> {
        let is_client_error = !has_sent && StatusError::is_client_error(&*error);
        let reason = error.to_string();
        Box::new(Self { error, is_client_error, reason })
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

    fn is_client_error(&self) -> bool {
        matches!(self, Self::Error(returned) if returned.is_client_error)
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
        let error = match self {
            Self::NoResponse(error) => Some(&**error),
            Self::Error(returned) => returned.error.downcast_ref(),
            Self::Panic(_) => None,
        };
        let other = || io::Error::other(self.reason().into_owned()).into();
        error.map_or_else(other, Error::duplicate)
    }

    /// Drops the error or the payload of a panic. This is code of the application. If it panics,
    /// the payload of that panic is leaked.
    #[cold]
    fn drop_guarded(self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(self))) {
            forget(panic);
        }
    }
}

/// Passes a request to a handler, and ends the request.
pub(crate) fn answer(request: &mut Request<'_>, handler: &Handler<'_>, hooks: &Hooks) -> Ended {
    if let Some(on_end) = &hooks.on_request_end {
        return answer_observed(request, handler, hooks, on_end);
    }
    let returned = call(request, handler);
    let ended = end(request, &returned, hooks);
    if let Err(failed) = returned {
        failed.drop_guarded();
    }
    ended
}

/// Passes a request to a handler, ends the request, and calls the hook for its end.
#[cold]
fn answer_observed(
    request: &mut Request<'_>,
    handler: &Handler<'_>,
    hooks: &Hooks,
    on_end: &OnRequestEnd,
) -> Ended {
    let (started, clock) = (SystemTime::now(), Instant::now());
    request.stdout.get_ref().start_tracking();
    let returned = call(request, handler);
    let was_aborted = request.was_aborted_by_peer();
    let has_ended_early = request.has_ended();
    let ended = end(request, &returned, hooks);
    let (status, body_bytes) = request.stdout.get_ref().take_sent().status_and_body_len();
    let closing = ended.as_ref().err().and_then(|errors| errors.closing());
    let not_sent = closing.filter(|_| request.is_unsent());
    let outcome = match failure(&returned) {
        _ if was_aborted => Outcome::Aborted,
        Some(failure) if has_ended_early => Outcome::Failed(failure),
        failure => outcome(failure, not_sent),
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

/// Returns how the handler has failed, unless it has returned a [`StatusError`] below 500.
fn failure(returned: &Returned) -> Option<Failure<'_>> {
    let failed = returned.as_ref().err().filter(|failed| !failed.is_client_error());
    failed.map(HandlerError::failure)
}

/// Returns how a request ended that was not aborted, and ended after its handler had returned.
fn outcome<'a>(failure: Option<Failure<'a>>, not_sent: Option<&'a Error>) -> Outcome<'a> {
    match (not_sent, failure) {
        (Some(error), _) => Outcome::NotSent(error),
        (None, Some(failure)) => Outcome::Failed(failure),
        (None, None) => Outcome::Finished,
    }
}

/// Calls the hook for the end of a request. If it panics, the server continues.
pub(super) fn notify(on_end: &OnRequestEnd, ended: &EndedRequest<'_>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on_end(ended))) {
        forget(panic);
    }
}

/// Calls a handler. Returns an error if it has failed.
#[inline]
fn call(request: &mut Request<'_>, handler: &Handler<'_>) -> Returned {
    let returned = catch_unwind(AssertUnwindSafe(|| {
        handler(request).map_err(|error| ReturnedError::boxed(error, request.stdout.has_sent()))
    }));
    match returned {
        Ok(Ok(())) => match request.response_error() {
            None => Ok(()),
            Some(error) => Err(HandlerError::NoResponse(Box::new(error))),
        },
        Ok(Err(error)) => Err(HandlerError::Error(error)),
        Err(panic) => Err(HandlerError::Panic(panic)),
    }
}

/// Ends a request whose handler has returned, unless it has ended before.
#[inline]
fn end(request: &mut Request<'_>, returned: &Returned, hooks: &Hooks) -> Ended {
    match returned {
        Ok(()) => finish(request),
        Err(failed) => fail(request, failed, hooks),
    }
}

/// Ends a request with the response of its handler.
#[inline]
fn finish(request: &mut Request<'_>) -> Ended {
    if request.has_ended() {
        return request.take_early_errors().into_ended();
    }
    match (request.end(), request.stdin.failure()) {
        (Ok(()), None) => Ok(()),
        (ended, _) => request.end_errors(ended).into_ended(),
    }
}

/// Ends a request as failed: with the error page of the application, or with the default response.
#[cold]
fn fail(request: &mut Request<'_>, failed: &HandlerError, hooks: &Hooks) -> Ended {
    if request.has_ended() {
        let mut errors = request.take_early_errors();
        errors.add(failed.error());
        return errors.into_ended();
    }
    let was_usable = request.is_usable();
    if !failed.is_client_error() {
        request.log_failure(&failed.reason());
    }
    let failure = failed.failure();
    let page = hooks.error_page.as_deref().map(|page| write_page(request, page, &failure));
    let mut errors = end_failed(request, &failure, matches!(page, Some(Ok(()))));
    let is_lost = was_usable && request.is_unsent() && !failed.is_client_error();
    if is_lost || matches!(failed, HandlerError::NoResponse(_)) {
        errors.add(failed.error());
    }
    if let Some(Err(error)) = page {
        errors.add(error);
    }
    errors.into_ended()
}

/// Ends a request whose handler has failed, unless the error page has ended it with
/// `finish_early`.
fn end_failed(request: &mut Request<'_>, failure: &Failure<'_>, has_page: bool) -> EndErrors {
    if request.has_ended() {
        return request.take_early_errors();
    }
    if !has_page {
        request.replace_response(&failure.status_error());
    }
    EndErrors::new(request.end())
}

/// Lets the application write its error page, unless a part of the response was sent. Returns an
/// error if the page has failed.
fn write_page(request: &mut Request<'_>, page: &ErrorPage, failure: &Failure<'_>) -> Result<()> {
    if !request.discard_response() {
        return Ok(());
    }
    let page: &Handler<'_> = &|request: &mut Request<'_>| page(request, failure);
    let Err(failed) = call(request, page) else { return Ok(()) };
    let reason = format!("error page failed: {}", failed.reason());
    failed.drop_guarded();
    Err(io::Error::other(reason).into())
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "no message",
    }
}
