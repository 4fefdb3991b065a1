use std::error::Error as StdError;
use std::fmt;

use super::status_error::StatusError;
use crate::cgi::ResponseHead;
use crate::error::Result;

/// The result of a handler. An error ends the request, with a status that depends on the error:
///
/// | Error | For example from | Status |
/// | --- | --- | --- |
/// | [`Error::BodyTooLarge`](crate::Error::BodyTooLarge) | [`Stdin::read_limited`] | 413 |
/// | [`Error::InvalidRequest`](crate::Error::InvalidRequest) | [`Request::path`] | 400 |
/// | [`Error::StreamTooShort`](crate::Error::StreamTooShort), of the body | [`io::copy`] | 400 |
/// | [`Error::StreamTooLong`](crate::Error::StreamTooLong), of the body | [`io::copy`] | 400 |
/// | [`StatusError`] | the handler itself | its own |
/// | any other error | | 500 |
///
/// The same applies if one of these errors is the source of another error, or inside an
/// [`io::Error`](std::io::Error). The reason is written to the log of the web server, unless it is
/// a [`StatusError`] below 500 and no part of the response was sent before. It is not sent to the
/// client.
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use fcgi::ResponseHead;
///
/// fn double(request: &mut Request) -> HandlerResult {
///     let body = request.stdin.read_limited(1024)?;
///     let number: u32 = std::str::from_utf8(&body)?.trim().parse()?;
///     request.respond(ResponseHead::text(), format!("{}\n", number * 2))
/// }
/// ```
///
/// # Responses that were sent in part
///
/// The status is part of the response head, so it cannot be changed once a part of the response has
/// been sent: after a `flush` of [`stdout`], or after more than 64 KiB were written. If a handler
/// fails after that, the response ends there, and the request ends with app status 1. Web servers
/// ignore the app status. nginx and lighttpd pass what they have received to the client, with
/// status 200, as a complete response. Only a `Content-Length` shows that the rest is missing.
///
/// - Do everything that can fail before you write the response.
/// - Send a `Content-Length` if the length is known, as [`Request::respond`] does.
/// - Otherwise let the client recognize the end from the content, such as the last bracket of a
///   JSON document.
///
/// A small response is buffered to its end. To replace it before a part was sent, call
/// [`Request::discard_response`].
///
/// [`io::copy`]: std::io::copy
/// [`Stdin::read_limited`]: super::Stdin::read_limited
/// [`Request::path`]: super::Request::path
/// [`Request::respond`]: super::Request::respond
/// [`Request::discard_response`]: super::Request::discard_response
/// [`stdout`]: super::Request::stdout
pub type HandlerResult = std::result::Result<(), Box<dyn StdError + Send + Sync>>;

/// Why a handler has failed.
///
/// Its [`Display`](fmt::Display) is one line of text for a log, unless the error itself contains
/// line breaks. It is not meant for clients.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The handler returned this error. If it returned `Ok` without a response, this is
    /// [`Error::NoResponse`](crate::Error::NoResponse),
    /// [`Error::IncompleteHead`](crate::Error::IncompleteHead) (debug builds only) or the error of
    /// reading the body that it ignored.
    Error(&'a (dyn StdError + Send + Sync + 'static)),
    /// The handler panicked with this message.
    Panic(&'a str),
}

impl Failure<'_> {
    /// Returns the status code of the response, as [`HandlerResult`] describes.
    pub fn status(&self) -> u16 {
        self.status_error().status()
    }

    /// Returns the line of text for the client: that of a [`StatusError`], or one that does not
    /// contain the reason.
    ///
    /// ```
    /// use fcgi::server::Failure;
    ///
    /// assert_eq!(Failure::Panic("index out of bounds").text(), "The application failed.");
    /// ```
    pub fn text(&self) -> String {
        self.status_error().text().to_owned()
    }

    /// Adds the status to the head of an error page, and the [fields](StatusError::field) of a
    /// [`StatusError`], such as `Allow` with status 405.
    ///
    /// ```
    /// use fcgi::ResponseHead;
    ///
    /// let server = fcgi::Server::bind("127.0.0.1:0")?.error_page(|request, failure| {
    ///     let body = serde_json::json!({ "error": failure.text() });
    ///     request.respond(failure.head(ResponseHead::json())?, body.to_string())
    /// });
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DuplicateField`](crate::Error::DuplicateField) if the head has a status already.
    pub fn head(&self, head: ResponseHead) -> Result<ResponseHead> {
        self.status_error().add_to(head)
    }

    pub(super) fn status_error(&self) -> StatusError {
        match self {
            Self::Error(error) => StatusError::for_error(*error),
            Self::Panic(_) => StatusError::failed(),
        }
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "{error}"),
            Self::Panic(message) => write!(f, "handler panicked: {message}"),
        }
    }
}
