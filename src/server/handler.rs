use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::request::{ErrorResponse, Request};
use crate::error::{Error, Result};

/// The result of a handler. Any error ends the request with `Status: 500`, but
/// [`Error::BodyTooLarge`](crate::Error::BodyTooLarge) ends it with `Status: 413`.
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use std::io::{Read, Write};
///
/// fn handle(request: &mut Request) -> HandlerResult {
///     let mut body = String::new();
///     request.stdin.read_to_string(&mut body)?;
///     let number: u32 = body.trim().parse()?;
///     write!(request.stdout, "Content-Type: text/plain\r\n\r\n{}\n", number * 2)?;
///     Ok(())
/// }
/// ```
pub type HandlerResult = std::result::Result<(), Box<dyn StdError + Send + Sync>>;

/// Passes a request to a handler, and ends the request. Returns an error that the handler has not
/// returned, and after which the connection can be used.
///
/// # Errors
/// The errors of [`Request::finish`].
pub(crate) fn answer(
    request: &mut Request<'_>,
    handler: &(impl Fn(&mut Request<'_>) -> HandlerResult + ?Sized),
) -> Result<Option<Error>> {
    match catch_unwind(AssertUnwindSafe(|| handler(request).map_err(Failure::boxed))) {
        Ok(Ok(())) => match request.response_error() {
            None => end(request),
            Some(error) => {
                request.end_failed(ErrorResponse::Failed, &error)?;
                Ok(Some(error))
            }
        },
        Ok(Err(failure)) => {
            request.end_failed(failure.response, &failure.reason)?;
            Ok(None)
        }
        Err(panic) => {
            let reason = format!("handler panicked: {}", panic_message(&*panic));
            drop_payload(panic);
            request.end_failed(ErrorResponse::Failed, &reason)?;
            Ok(None)
        }
    }
}

/// What is needed of the error of a handler to end its request.
struct Failure {
    response: ErrorResponse,
    reason: String,
}

impl Failure {
    /// Displays and drops an error. Both are code of the application, which may panic.
    // The box keeps the result of a handler that succeeds small. The error is dropped here.
    #[cold]
    #[allow(clippy::needless_pass_by_value, clippy::unnecessary_box_returns)]
    fn boxed(error: Box<dyn StdError + Send + Sync>) -> Box<Self> {
        Box::new(Self { response: response_to(&*error), reason: error.to_string() })
    }
}

/// Ends a request that has a response. Returns the error of reading the body, if there was one.
fn end(request: &mut Request<'_>) -> Result<Option<Error>> {
    let failure = request.stdin.failure().map(Error::duplicate);
    request.end()?;
    Ok(failure)
}

/// Returns the response for an error of a handler.
fn response_to(error: &(dyn StdError + 'static)) -> ErrorResponse {
    if let Some(Error::BodyTooLarge(_)) = error.downcast_ref::<Error>() {
        return ErrorResponse::BodyTooLarge;
    }
    // `source` of an I/O error does not return its inner error, but the source of that.
    let inner = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn StdError + 'static)),
        None => error.source(),
    };
    inner.map_or(ErrorResponse::Failed, response_to)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "no message",
    }
}

/// Drops the payload of a panic. If that panics as well, the payload of the second panic is leaked.
fn drop_payload(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
