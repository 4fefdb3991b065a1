use crate::error::{Error, Result};

/// The errors that are left to be reported when a request has ended.
#[derive(Debug, Default)]
pub(crate) struct EndErrors {
    /// The errors that would otherwise remain unnoticed, in the order in which they occurred. They
    /// leave the connection usable.
    unnoticed: Vec<Error>,
    /// The error that closes the connection.
    closing: Option<Error>,
}

/// How a request has ended: `Ok` if no error is left to be reported. The box keeps it small.
pub(crate) type Ended = std::result::Result<(), Box<EndErrors>>;

impl EndErrors {
    /// Creates the errors of a request that was ended with this result.
    pub(super) fn new(ended: Result<()>) -> Self {
        Self { unnoticed: Vec::new(), closing: ended.err() }
    }

    /// Adds an error that leaves the connection usable, unless it is a duplicate of another one.
    /// Duplicates have the same text.
    pub(super) fn add(&mut self, error: Error) {
        let text = error.to_string();
        if self.unnoticed.iter().chain(&self.closing).all(|other| other.to_string() != text) {
            self.unnoticed.push(error);
        }
    }

    /// Returns the error that closes the connection.
    pub(super) fn closing(&self) -> Option<&Error> {
        self.closing.as_ref()
    }

    pub(super) fn into_ended(self) -> Ended {
        if self.unnoticed.is_empty() && self.closing.is_none() {
            return Ok(());
        }
        Err(Box::new(self))
    }

    /// Passes each error that leaves the connection usable to `report`.
    ///
    /// # Errors
    /// The error that closes the connection. It is still to be reported.
    pub(crate) fn report(self, report: impl FnMut(&Error)) -> Result<()> {
        self.unnoticed.iter().for_each(report);
        self.closing.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failed read of the body is often also the error that closes the connection.
    #[test]
    fn each_error_is_reported_once() {
        let mut errors = EndErrors::new(Err(Error::UnexpectedEof("a request")));
        for error in [
            Error::UnexpectedEof("a record"),
            Error::UnexpectedEof("a request"),
            Error::NoResponse,
            Error::NoResponse,
        ] {
            errors.add(error);
        }
        let mut texts = Vec::new();
        let closing = errors.report(|error| texts.push(error.to_string()));
        let expected = [Error::UnexpectedEof("a record"), Error::NoResponse];
        assert_eq!(texts, expected.map(|error| error.to_string()));
        assert!(matches!(closing, Err(Error::UnexpectedEof("a request"))));
    }
}
