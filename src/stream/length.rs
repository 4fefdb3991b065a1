use crate::error::{Error, Result};

/// The length that a variable or header field announces for a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnnouncedLength {
    /// The name of the variable or field, for errors.
    variable: &'static str,
    /// The length in bytes; `None` if nothing announces one, and the stream may have any length.
    bytes: Option<u64>,
}

impl AnnouncedLength {
    /// The length of a stream for which none is announced.
    pub(crate) const NONE: Self = Self { variable: "", bytes: None };

    pub(crate) fn new(variable: &'static str, bytes: Option<u64>) -> Self {
        Self { variable, bytes }
    }

    /// Compares the length of a stream that has ended with the announced length.
    pub(crate) fn check(self, received: u64) -> Result<()> {
        let variable = self.variable;
        match self.bytes {
            Some(announced) if received < announced => {
                Err(Error::StreamTooShort { variable, announced, received })
            }
            Some(announced) if received > announced => {
                Err(Error::StreamTooLong { variable, announced })
            }
            _ => Ok(()),
        }
    }

    /// Returns how many of `available` bytes belong to a stream of which `received` bytes were
    /// read before. The result is 0 only if `available` is.
    ///
    /// # Errors
    /// [`Error::StreamTooLong`] if bytes are available after the announced length.
    pub(crate) fn limit(self, received: u64, available: usize) -> Result<usize> {
        match self.bytes.map(|announced| announced - received) {
            Some(0) if available > 0 => self.check(received + available as u64).map(|()| 0),
            Some(left) => Ok(usize::try_from(left).map_or(available, |left| available.min(left))),
            None => Ok(available),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(bytes: Option<u64>, received: u64) -> Option<&'static str> {
        match AnnouncedLength::new("CONTENT_LENGTH", bytes).check(received) {
            Ok(()) => None,
            Err(Error::StreamTooShort { variable: "CONTENT_LENGTH", .. }) => Some("short"),
            Err(Error::StreamTooLong { variable: "CONTENT_LENGTH", .. }) => Some("long"),
            Err(error) => panic!("unexpected error: {error}"),
        }
    }

    #[test]
    fn a_shorter_and_a_longer_stream_are_errors() {
        assert_eq!([None, Some(5)].map(|bytes| outcome(bytes, 5)), [None, None]);
        assert_eq!(
            [4, 6].map(|received| outcome(Some(5), received)),
            [Some("short"), Some("long")]
        );
        assert_eq!(outcome(None, u64::MAX), None);
    }

    #[test]
    fn bytes_after_the_announced_length_are_an_error() {
        let length = AnnouncedLength::new("CONTENT_LENGTH", Some(5));
        assert_eq!(length.limit(0, 9).unwrap(), 5);
        assert_eq!(length.limit(3, 1).unwrap(), 1);
        assert_eq!(length.limit(5, 0).unwrap(), 0);
        assert!(matches!(length.limit(5, 1), Err(Error::StreamTooLong { announced: 5, .. })));
        assert_eq!(AnnouncedLength::NONE.limit(5, 9).unwrap(), 9);
    }
}
