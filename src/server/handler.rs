use std::any::Any;
use std::error::Error;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::request::Request;
use crate::error::Result;

/// The result of a handler. Any error ends the request with `Status: 500`.
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
pub type HandlerResult = std::result::Result<(), Box<dyn Error + Send + Sync>>;

/// Passes a request to a handler, and ends the request.
pub(crate) fn answer(
    request: &mut Request<'_>,
    handler: &(impl Fn(&mut Request<'_>) -> HandlerResult + ?Sized),
) -> Result<()> {
    match catch_unwind(AssertUnwindSafe(|| handler(request))) {
        Ok(Ok(())) => request.end(),
        Ok(Err(error)) => request.end_failed(error),
        Err(panic) => {
            request.end_failed(format_args!("handler panicked: {}", panic_message(&*panic)))
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
