//! Why a connection is closed. `lifecycle` lists the events that lead to each reason.

use std::fmt;

use crate::error::Error;

/// Why a connection was closed, or is about to be.
///
/// ```
/// use fcgi::server::CloseReason;
///
/// assert!(!CloseReason::IdleTimeout.is_error());
/// assert_eq!(CloseReason::SlotNeeded.to_string(), "another connection needed its slot");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The web server closed the connection while no request was in progress.
    EndOfInput,
    /// The web server did not ask for the connection to be kept (FastCGI specification, section
    /// 3.5).
    KeepConnNotSet,
    /// [`Config::max_requests`](super::Config::max_requests) requests were served.
    RequestLimit,
    /// No request arrived for [`Config::idle_timeout`](super::Config::idle_timeout).
    IdleTimeout,
    /// The connection was idle, or its request had ended, and another connection waited for a slot,
    /// or the server could not accept connections: it lacked a descriptor or a thread.
    SlotNeeded,
    /// [`Handle::shutdown`](super::Handle::shutdown) was called, or the server had to stop because
    /// it could not accept connections again.
    Shutdown,
    /// The handler called [`finish_early`](super::Request::finish_early).
    FinishedEarly,
    /// The connection was rejected, because all slots were taken.
    Overloaded,
    /// The last request was dropped without [`finish`](super::Request::finish).
    RequestNotFinished,
    /// The params of a request exceeded [`Config::max_params`](super::Config::max_params).
    ParamsTooLarge,
    /// The body of a request exceeded [`Config::max_body`](super::Config::max_body).
    BodyTooLarge,
    /// The web server sent something that is not valid FastCGI.
    ProtocolError,
    /// A read, a write or a whole request exceeded its timeout.
    TimedOut,
    /// A read or write failed, or the input ended inside a request or a record.
    ConnectionFailed,
}

impl CloseReason {
    /// Returns whether the reason is reported to [`Server::on_error`](super::Server::on_error).
    ///
    /// [`Shutdown`](Self::Shutdown) is not an error. A response that could not be sent because of
    /// it is reported, with this reason.
    pub fn is_error(self) -> bool {
        match self {
            Self::EndOfInput
            | Self::KeepConnNotSet
            | Self::RequestLimit
            | Self::IdleTimeout
            | Self::SlotNeeded
            | Self::Shutdown
            | Self::FinishedEarly
            | Self::Overloaded => false,
            Self::RequestNotFinished
            | Self::ParamsTooLarge
            | Self::BodyTooLarge
            | Self::ProtocolError
            | Self::TimedOut
            | Self::ConnectionFailed => true,
        }
    }
}

impl From<&Error> for CloseReason {
    fn from(error: &Error) -> Self {
        match error {
            Error::RequestNotFinished => Self::RequestNotFinished,
            Error::ParamsTooLarge(_) => Self::ParamsTooLarge,
            Error::BodyTooLarge(_) => Self::BodyTooLarge,
            Error::TimedOut(_) | Error::RequestTimedOut(_) => Self::TimedOut,
            Error::Io(_) | Error::UnexpectedEof(_) | Error::Aborted => Self::ConnectionFailed,
            _ => Self::ProtocolError,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndOfInput => "the web server closed the connection",
            Self::KeepConnNotSet => "the web server did not ask for the connection to be kept",
            Self::RequestLimit => "the connection served its maximum number of requests",
            Self::IdleTimeout => "the connection was idle for too long",
            Self::SlotNeeded => "another connection needed its slot",
            Self::Shutdown => "the server was shut down",
            Self::FinishedEarly => "the handler ended its request early",
            Self::Overloaded => "the server was overloaded",
            Self::RequestNotFinished => "a request was dropped without being finished",
            Self::ParamsTooLarge => "the params of a request were too large",
            Self::BodyTooLarge => "the body of a request was too large",
            Self::ProtocolError => "the web server violated the protocol",
            Self::TimedOut => "a timeout expired",
            Self::ConnectionFailed => "the connection failed",
        })
    }
}
