use std::fmt;

use super::close_reason::CloseReason;
use crate::error::Error;

/// An error that is reported to [`Server::on_error`](super::Server::on_error). The errors of
/// handlers are not among them: [`Outcome::Failed`](super::Outcome::Failed) contains those.
///
/// Its [`Display`](fmt::Display) is one line of text.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The error.
    pub error: &'a Error,
    /// Why the connection was closed. `None` if it stays open, or if the error does not concern one
    /// connection, such as a failure to accept connections.
    pub close_reason: Option<CloseReason>,
}

impl Report<'_> {
    /// Returns whether the reason says something that the error does not.
    fn adds_to_error(&self, reason: CloseReason) -> bool {
        reason == CloseReason::ProtocolError || reason != CloseReason::from(self.error)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.close_reason, self.error) {
            (Some(CloseReason::ConnectionFailed), Error::UnexpectedEof(what)) => {
                write!(f, "the web server closed the connection before the end of {what}")
            }
            (Some(reason), error) if self.adds_to_error(reason) => {
                write!(f, "connection closed: {reason}: {error}")
            }
            (Some(_), error) => write!(f, "connection closed: {error}"),
            (None, error) => write!(f, "{error}"),
        }
    }
}
