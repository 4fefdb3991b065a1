//! The exit statuses of the examples, and how a program ends early.
//!
//! [`EXIT_STATUSES`] is the only description of the statuses. It is a part of every `--help`.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::path::Path;

use fcgi::Error;

/// The meaning of each exit status.
pub const EXIT_STATUSES: &str = "\
Exit status:
  0    success; also if the reader of stdout has closed it
  64   invalid arguments
  69   the address cannot be connected to or listened on, or a program cannot be started
  74   a file cannot be read, or stdout cannot be written
  75   the application has refused the request
  76   the response is incomplete, or is not FastCGI
  124  a timeout has expired
`fetch` and `cgi-fcgi` exit with the app status of a response that is complete, or with 255 if
the app status is above 255.
";

// Exit statuses, named as in sysexits.h.
pub const EX_USAGE: u8 = 64;
pub const EX_UNAVAILABLE: u8 = 69;
pub const EX_IOERR: u8 = 74;
pub const EX_TEMPFAIL: u8 = 75;
pub const EX_PROTOCOL: u8 = 76;
/// The exit status of timeout(1).
pub const TIMED_OUT: u8 = 124;

/// Why a program ends early.
#[derive(Clone, Debug)]
pub enum Exit {
    /// `--help` was given.
    Help,
    /// `--version` was given.
    Version,
    /// An exit status, and the reason for it, which the program prints to stderr.
    Failure(u8, String),
}

impl Exit {
    pub fn usage(reason: impl Display) -> Self {
        Self::Failure(EX_USAGE, reason.to_string())
    }

    /// Creates a failure that names the address or program that is not available.
    pub fn unavailable(what: impl Display, error: impl Display) -> Self {
        Self::Failure(EX_UNAVAILABLE, format!("{what}: {error}"))
    }

    /// Creates a failure that names the file that cannot be read or written.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::Failure(EX_IOERR, format!("{}: {error}", path.display()))
    }
}

impl Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str("--help"),
            Self::Version => f.write_str("--version"),
            Self::Failure(_, reason) => f.write_str(reason),
        }
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Self {
        Self::Failure(exit_status(&error), error.to_string())
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Error::from(error).into()
    }
}

/// Returns the exit status after this error.
fn exit_status(error: &Error) -> u8 {
    match error {
        Error::TimedOut(_) => TIMED_OUT,
        Error::Connect { source, .. } if source.kind() == ErrorKind::TimedOut => TIMED_OUT,
        Error::Socket { source, .. } => exit_status_of_io(source.kind()),
        Error::Refused(_) => EX_TEMPFAIL,
        Error::InvalidAddress(_) | Error::ContentTooLong(_) | Error::ParamTooLong(_) => EX_USAGE,
        Error::Connect { .. } | Error::NotListening { .. } | Error::InvalidAllowList(_) => {
            EX_UNAVAILABLE
        }
        Error::Io(error) => exit_status_of_io(error.kind()),
        _ => EX_PROTOCOL,
    }
}

fn exit_status_of_io(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::ConnectionRefused
        | ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::AddrInUse
        | ErrorKind::AddrNotAvailable => EX_UNAVAILABLE,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => EX_PROTOCOL,
        _ => EX_IOERR,
    }
}
