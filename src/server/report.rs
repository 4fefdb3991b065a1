use std::fmt;

use super::close_reason::CloseReason;
use crate::error::Error;

/// An error that is reported to [`Server::on_error`](super::Server::on_error). An error that a
/// handler returns is among them only after [`finish_early`](super::Request::finish_early), or if
/// it cannot be sent to the log of the web server. Others are in
/// [`Outcome::Failed`](super::Outcome::Failed).
///
/// Its [`Display`](fmt::Display) is one line of text, unless the text of the error
/// contains line breaks.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The error.
    pub error: &'a Error,
    /// Why the connection was closed. `None` if the error has not closed it, or does not concern
    /// one connection, such as a failure to accept connections.
    pub close_reason: Option<CloseReason>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reason) = self.close_reason else { return self.error.fmt(f) };
        match self.error {
            Error::UnexpectedEof(what) if reason == CloseReason::ConnectionFailed => {
                f.write_str("the web server closed the connection before the end of ")?;
                return f.write_str(what);
            }
            _ => f.write_str("connection closed: ")?,
        }
        // Most reasons follow from the error, and would only repeat it.
        if reason == CloseReason::ProtocolError || reason != CloseReason::from(self.error) {
            reason.fmt(f)?;
            f.write_str(": ")?;
        }
        self.error.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_text(error: &Error, close_reason: Option<CloseReason>, text: &str) {
        assert_eq!(Report { error, close_reason }.to_string(), text);
    }

    #[test]
    fn report_names_a_reason_that_does_not_follow_from_the_error() {
        let closed = Error::UnexpectedEof("a request");
        let sentence = "the web server closed the connection before the end of a request";
        assert_text(&closed, Some(CloseReason::ConnectionFailed), sentence);
        assert_text(&closed, None, "input ended before the end of a request");
        let too_large = Error::ParamsTooLarge(9);
        let limit = "connection closed: params exceed the limit of 9 bytes";
        assert_text(&too_large, Some(CloseReason::ParamsTooLarge), limit);
        let shutdown = "connection closed: the server was shut down: params exceed the limit \
                        of 9 bytes";
        assert_text(&too_large, Some(CloseReason::Shutdown), shutdown);
        let violation = "connection closed: the web server violated the protocol: \
                         BEGIN_REQUEST record cannot have request id 0";
        let invalid = Error::InvalidRequestId {
            record_type: crate::record::RecordType::BeginRequest,
            request_id: 0,
        };
        assert_text(&invalid, Some(CloseReason::ProtocolError), violation);
    }
}
