use std::error::Error as StdError;
use std::io;

use crate::error::Error;

/// A response that does not come from the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorResponse {
    ParamsTooLarge,
    BodyTooLarge,
    /// The handler has returned [`Error::InvalidRequest`].
    BadRequest,
    /// The handler has failed.
    Failed,
}

impl ErrorResponse {
    /// Returns the response for an error of a handler.
    pub(super) fn for_error(error: &(dyn StdError + 'static)) -> Self {
        match error.downcast_ref::<Error>() {
            Some(Error::BodyTooLarge(_)) => return Self::BodyTooLarge,
            Some(Error::InvalidRequest { .. }) => return Self::BadRequest,
            _ => {}
        }
        // `source` of an I/O error does not return its inner error, but the source of that.
        let inner = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
        inner.map_or(Self::Failed, Self::for_error)
    }

    /// Returns the status code.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::ParamsTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::BadRequest => 400,
            Self::Failed => 500,
        }
    }

    /// Returns the line of text that is the body.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::ParamsTooLarge => "The request's header is too large.\n",
            Self::BodyTooLarge => "The request's body is too large.\n",
            Self::BadRequest => "The request is invalid.\n",
            Self::Failed => "The application failed.\n",
        }
    }
}
