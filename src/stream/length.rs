use crate::error::{Error, Result};

/// The length that a stream may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamLength {
    Any,
    /// Exactly this length, which a variable or header field announces.
    Announced {
        /// The name of the variable or field, for errors.
        variable: &'static str,
        bytes: u64,
    },
    /// At most this many bytes. The stream is a request body.
    AtMost(u64),
}

impl StreamLength {
    /// Creates the length of a stream for which a variable or field may announce one.
    pub(crate) fn announced(variable: &'static str, bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Any, |bytes| Self::Announced { variable, bytes })
    }

    /// Checks the length of a stream that has ended.
    pub(crate) fn check(self, received: u64) -> Result<()> {
        match self {
            Self::Announced { variable, bytes: announced } if received < announced => {
                Err(Error::StreamTooShort { variable, announced, received })
            }
            Self::Announced { variable, bytes: announced } if received > announced => {
                Err(Error::StreamTooLong { variable, announced })
            }
            Self::AtMost(limit) if received > limit => Err(Error::BodyTooLarge(limit)),
            _ => Ok(()),
        }
    }

    /// Returns how many of `available` bytes belong to a stream of which `received` bytes were read
    /// before. The result is 0 only if `available` is.
    ///
    /// # Errors
    /// [`Error::StreamTooLong`] or [`Error::BodyTooLarge`] if bytes are available after the end.
    pub(crate) fn limit(self, received: u64, available: usize) -> Result<usize> {
        let (Self::Announced { bytes: max, .. } | Self::AtMost(max)) = self else {
            return Ok(available);
        };
        // The caller of `BufRead::consume` may have consumed more than belongs to the stream.
        match max.saturating_sub(received) {
            0 if available > 0 => self.check(received + available as u64).map(|()| 0),
            left => Ok(usize::try_from(left).map_or(available, |left| available.min(left))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(bytes: u64) -> StreamLength {
        StreamLength::announced("CONTENT_LENGTH", Some(bytes))
    }

    fn outcome(length: StreamLength, received: u64) -> Option<&'static str> {
        match length.check(received) {
            Ok(()) => None,
            Err(Error::StreamTooShort { variable: "CONTENT_LENGTH", .. }) => Some("short"),
            Err(Error::StreamTooLong { variable: "CONTENT_LENGTH", .. }) => Some("long"),
            Err(Error::BodyTooLarge(5)) => Some("large"),
            Err(error) => panic!("unexpected error: {error}"),
        }
    }

    #[test]
    fn a_shorter_and_a_longer_stream_are_errors() {
        assert_eq!(
            [4, 5, 6].map(|received| outcome(announced(5), received)),
            [Some("short"), None, Some("long")]
        );
        assert_eq!(
            [0, 5, 6].map(|received| outcome(StreamLength::AtMost(5), received)),
            [None, None, Some("large")]
        );
        assert_eq!(outcome(StreamLength::Any, u64::MAX), None);
    }

    #[test]
    fn bytes_after_the_end_are_an_error() {
        for length in [announced(5), StreamLength::AtMost(5)] {
            assert_eq!(length.limit(0, 9).unwrap(), 5);
            assert_eq!(length.limit(3, 1).unwrap(), 1);
            assert_eq!(length.limit(5, 0).unwrap(), 0);
        }
        assert!(matches!(announced(5).limit(5, 1), Err(Error::StreamTooLong { announced: 5, .. })));
        assert!(matches!(StreamLength::AtMost(5).limit(5, 1), Err(Error::BodyTooLarge(5))));
        assert!(matches!(StreamLength::AtMost(5).limit(6, 1), Err(Error::BodyTooLarge(5))));
        assert_eq!(StreamLength::Any.limit(5, 9).unwrap(), 9);
    }
}
