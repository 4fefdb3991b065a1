use std::fmt;

use super::close_reason::CloseReason;
use crate::error::Error;

/// An error that is reported to [`Server::on_error`](super::Server::on_error).
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

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.close_reason {
            Some(reason) => write!(f, "connection closed: {reason}: {}", self.error),
            None => write!(f, "{}", self.error),
        }
    }
}
