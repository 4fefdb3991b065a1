//! What the client is told when something goes wrong.

use std::io;

use fcgi::record::ProtocolStatus;
use fcgi::Error;

/// A status for the client, and a reason for the log.
#[derive(Debug)]
pub struct Failure {
    pub status: u16,
    pub reason: String,
}

impl Failure {
    pub fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl From<Error> for Failure {
    /// A request that could not be passed on to the application, or has no proper answer.
    fn from(error: Error) -> Self {
        let (status, what) = match &error {
            Error::InvalidRequest { .. } => (400, "not a request for an application"),
            Error::TimedOut(_) => (504, "the application is too slow"),
            Error::Refused(ProtocolStatus::Overloaded) => (503, "the application is overloaded"),
            Error::Io(cause) if is_unreachable(cause.kind()) => (503, "cannot connect to the application"),
            _ => (502, "the application's answer is of no use"),
        };
        Self::new(status, format!("{what}: {error}"))
    }
}

fn is_unreachable(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AddrNotAvailable
    )
}
