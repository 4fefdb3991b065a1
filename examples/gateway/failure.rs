//! The reason why a request cannot be answered as intended.

use std::{error, fmt, io};

use fcgi::record::ProtocolStatus;
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
        let (status, what) = match &error {
            Error::InvalidRequest { .. } => (400, "the request is invalid"),
            Error::TimedOut(_) => (504, "the application timed out"),
            Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                (504, "the application timed out")
            }
            Error::Connect { .. } => (503, "cannot connect to the application"),
            Error::Refused(ProtocolStatus::Overloaded) => (503, "the application is overloaded"),
            Error::Io(cause) if is_lack_of_resources(cause.kind()) => {
                (503, "the gateway lacks a resource")
            }
            _ => (502, "the application's response is invalid"),
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
