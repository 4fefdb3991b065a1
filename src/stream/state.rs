use crate::error::{Error, Result};

/// The state of one stream of a request, as its reader knows it.
///
/// ```text
///          end
///   Open ───────► Ended         any state ── abort ──► Aborted
///    ▲              │           any state ── fail ───► Failed
///    └── reopen ────┘
/// ```
#[derive(Debug)]
pub(crate) enum StreamState {
    /// The reader is at a record of the stream, or at one whose content was read.
    Open,
    /// The last record of the stream was read.
    Ended,
    /// The peer aborted the request.
    Aborted,
    /// A read failed with this error. Nothing more can be read from the connection.
    Failed(Box<Error>),
}

impl StreamState {
    /// Returns the error of a stream that was aborted or has failed.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Open | Self::Ended => Ok(()),
            Self::Aborted | Self::Failed(_) => Err(self.error()),
        }
    }

    #[cold]
    fn error(&self) -> Error {
        match self {
            Self::Failed(error) => error.duplicate(),
            _ => Error::Aborted,
        }
    }

    /// Returns whether more of the stream may follow.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Notes that the last record of the stream was read.
    #[inline]
    pub(super) fn end(&mut self) {
        *self = Self::Ended;
    }

    /// Continues with another stream of the request.
    pub(super) fn reopen(&mut self) {
        debug_assert!(matches!(self, Self::Ended), "a stream that is {self:?} has not ended");
        *self = Self::Open;
    }

    /// Notes that the peer aborted the request.
    pub(super) fn abort(&mut self) {
        *self = Self::Aborted;
    }

    /// Notes an error after which nothing more can be read.
    pub(super) fn fail(&mut self, error: &Error) {
        *self = Self::Failed(Box::new(error.duplicate()));
    }

    /// Notes the error of a read. A wrong length changes nothing: the next read compares it again,
    /// and another stream may follow.
    pub(super) fn after_error(&mut self, error: &Error) {
        match error {
            Error::StreamTooShort { .. } | Error::StreamTooLong { .. } => {}
            Error::Aborted => self.abort(),
            error => self.fail(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(error: &Error) -> StreamState {
        let mut state = StreamState::Ended;
        state.after_error(error);
        state
    }

    #[test]
    fn a_wrong_length_leaves_the_stream_usable() {
        let variable = "CONTENT_LENGTH";
        let short = after(&Error::StreamTooShort { variable, announced: 2, received: 1 });
        let mut long = after(&Error::StreamTooLong { variable, announced: 2 });
        assert!(matches!((&short, &long), (StreamState::Ended, StreamState::Ended)));
        assert!(short.check().is_ok());
        long.reopen();
        assert!(long.is_open());
    }

    #[test]
    fn other_errors_are_returned_again() {
        assert!(matches!(after(&Error::Aborted), StreamState::Aborted));
        assert!(matches!(after(&Error::Aborted).check(), Err(Error::Aborted)));
        let failed = after(&Error::BodyTooLarge(9));
        assert!(!failed.is_open());
        assert!(matches!(failed.check(), Err(Error::BodyTooLarge(9))));
    }

    #[test]
    fn any_error_can_make_a_stream_fail() {
        let mut state = StreamState::Open;
        state.fail(&Error::Aborted);
        assert!(matches!(&state, StreamState::Failed(error) if matches!(**error, Error::Aborted)));
    }
}
