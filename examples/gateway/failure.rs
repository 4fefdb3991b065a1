//! The reason why a request cannot be answered as intended.

use std::path::Path;
use std::{error, fmt, io};

use fcgi::bridge::gateway_status;
use fcgi::Error;

/// An HTTP status for the client, and a reason for the log.
#[derive(Debug)]
pub struct Failure {
    pub status: u16,
    reason: String,
}

impl Failure {
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }

    /// Creates the failure for a file that cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let status = if error.kind() == io::ErrorKind::PermissionDenied { 403 } else { 404 };
        Self::new(status, format!("{}: {error}", path.display()))
    }
}

impl From<Error> for Failure {
    /// Maps an error of the library to an HTTP status. An error that wraps a `Failure`, from
    /// reading the request's body, is unwrapped.
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Io(error) => match downcast(error) {
                Ok(failure) => return failure,
                Err(error) => Error::Io(error),
            },
            error => error,
        };
        let (status, what) = match (&error, gateway_status(&error)) {
            (Error::Io(cause), _) if is_lack_of_resources(cause.kind()) => {
                (503, "the gateway lacks a resource")
            }
            (_, 400) => (400, "the request is invalid"),
            (_, 503) => (503, "the application is not available"),
            (_, 504) => (504, "the application timed out"),
            (_, status) => (status, "the application's response is invalid"),
        };
        Self::new(status, format!("{what}: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.reason)
    }
}

impl error::Error for Failure {}

/// Returns the `Failure` that an error wraps, or else the error.
fn downcast(error: io::Error) -> Result<Failure, io::Error> {
    if !error.get_ref().is_some_and(|inner| inner.is::<Failure>()) {
        return Err(error);
    }
    let inner = error.into_inner().map(|inner| inner.downcast::<Failure>());
    inner.and_then(Result::ok).map(|failure| *failure).ok_or_else(|| io::ErrorKind::Other.into())
}

/// Returns whether the system could not start a thread or allocate memory. The library reports an
/// expired timeout as [`Error::TimedOut`], so `WouldBlock` has no other meaning.
fn is_lack_of_resources(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory)
}
