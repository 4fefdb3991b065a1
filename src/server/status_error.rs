use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};

use crate::cgi::{canonical_reason, check_field, ResponseHead};
use crate::error::{Error, Result};

/// The fields that every response to a [`StatusError`] has.
const OWN_FIELDS: [&str; 3] = ["Status", "Content-Type", "Content-Length"];

/// An error that a handler returns to end its request with a status and a line of text for the
/// client.
///
/// ```
/// use fcgi::server::{HandlerResult, Request, StatusError};
/// use fcgi::ResponseHead;
///
/// fn square(request: &mut Request) -> HandlerResult {
///     request.expect_method(&["GET", "HEAD"])?;
///     let number: Option<u32> = request.query().parse().ok();
///     let number = number.ok_or(StatusError::new(400, "The query is not a number."))?;
///     let square = number.checked_mul(number).ok_or(StatusError::new(422, "Too large."))?;
///     request.respond(ResponseHead::text(), format!("{square}\n"))
/// }
/// ```
///
/// The response is plain text, or that of [`Server::error_page`](super::Server::error_page). A
/// response that the handler writes itself, such as one with
/// [`ResponseHead::not_found`](crate::ResponseHead::not_found), does not go through `error_page`.
/// With a status below 500, the request counts as served: nothing is written to the log, and
/// [`app_status`](super::Request::app_status) does not change. If a part of the response was sent
/// before, the request has failed instead: see
/// [`HandlerResult`](super::HandlerResult#responses-that-were-sent-in-part).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it has an effect only if the handler returns it"]
pub struct StatusError {
    /// Invariant: from 400 to 599.
    status: u16,
    text: Cow<'static, str>,
    /// Further header fields. Invariant: valid lines `name: value`, each ending with CR LF, and
    /// none of `OWN_FIELDS`.
    fields: String,
}

impl StatusError {
    /// Creates an error with a status from 400 to 599. Any other number becomes 500.
    ///
    /// ```
    /// use fcgi::server::StatusError;
    ///
    /// let error = StatusError::new(404, format!("There is no user {}.", 7));
    /// assert_eq!((error.status(), error.text()), (404, "There is no user 7."));
    /// ```
    pub fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        let status = if matches!(status, 400..=599) { status } else { 500 };
        Self { status, text: text.into(), fields: String::new() }
    }

    /// Creates the error of a method that is not one of those in `allowed`: status 405, with the
    /// field `Allow`. Names that are empty or contain a byte other than visible ASCII are left out.
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request, StatusError};
    /// use fcgi::ResponseHead;
    ///
    /// fn page(request: &mut Request) -> HandlerResult {
    ///     match request.method() {
    ///         "GET" | "HEAD" => request.respond(ResponseHead::text(), "Hello.\n"),
    ///         "DELETE" => request.respond(ResponseHead::new().status(204)?, ""),
    ///         _ => Err(StatusError::method_not_allowed(&["GET", "HEAD", "DELETE"]).into()),
    ///     }
    /// }
    /// ```
    pub fn method_not_allowed(allowed: &[&str]) -> Self {
        let is_name =
            |name: &&&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let allowed: Vec<_> = allowed.iter().filter(is_name).copied().collect();
        let fields = format!("Allow: {}\r\n", allowed.join(", "));
        Self { fields, ..Self::new(405, "The method is not allowed.") }
    }

    /// Adds a header field to the response, such as `WWW-Authenticate` or `Retry-After`.
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request, StatusError};
    /// use fcgi::ResponseHead;
    ///
    /// fn page(request: &mut Request) -> HandlerResult {
    ///     if request.header("Authorization").is_none() {
    ///         let error = StatusError::new(401, "Please log in.");
    ///         return Err(error.field("WWW-Authenticate", "Basic realm=\"app\"")?.into());
    ///     }
    ///     request.respond(ResponseHead::text(), "Hello.\n")
    /// }
    /// ```
    ///
    /// # Errors
    /// - [`Error::InvalidField`] if the name is not a token, or the value contains a CR, LF or NUL
    /// - [`Error::DuplicateField`] for `Status`, `Content-Type` and `Content-Length`, which the
    ///   response has already
    pub fn field(mut self, name: &str, value: &str) -> Result<Self> {
        check_field(name.as_bytes(), value.as_bytes())?;
        if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(Error::DuplicateField(name.to_owned()));
        }
        self.fields.extend([name, ": ", value, "\r\n"]);
        Ok(self)
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds the status and the fields to a head.
    pub(super) fn add_to(&self, head: ResponseHead) -> Result<ResponseHead> {
        let head = head.status(self.status)?;
        let mut fields = self.fields.lines().filter_map(|line| line.split_once(": "));
        fields.try_fold(head, |head, (name, value)| head.field(name, value))
    }

    /// Returns the length of the response's body: the text and the end of its line.
    pub(super) fn body_len(&self) -> usize {
        self.text.len() + 1
    }

    /// Writes the response, without the body if the method is HEAD. It does without
    /// [`ResponseHead`], which would make every program 5 KiB larger.
    pub(super) fn write_to(&self, is_head: bool, stdout: &mut impl Write) -> io::Result<()> {
        let reason = canonical_reason(self.status).unwrap_or_default();
        write!(stdout, "Status: {} {reason}\r\n", self.status)?;
        stdout.write_all(b"Content-Type: text/plain; charset=utf-8\r\n")?;
        stdout.write_all(self.fields.as_bytes())?;
        write!(stdout, "Content-Length: {}\r\n\r\n", self.body_len())?;
        if is_head {
            return Ok(());
        }
        writeln!(stdout, "{}", self.text)
    }

    pub(super) fn params_too_large() -> Self {
        Self::new(431, "The header fields of the request are too large.")
    }

    pub(super) fn body_too_large() -> Self {
        Self::new(413, "The request's body is too large.")
    }

    /// Creates the error of a handler that has failed.
    pub(super) fn failed() -> Self {
        Self::new(500, "The application failed.")
    }

    /// Returns the response for an error of a handler.
    pub(super) fn for_error(error: &(dyn StdError + 'static)) -> Self {
        causes(error).find_map(response_of).unwrap_or_else(Self::failed)
    }

    /// Returns whether a handler has returned a `StatusError` below 500.
    pub(super) fn is_client_error(error: &(dyn StdError + 'static)) -> bool {
        let mut causes = causes(error);
        let found = causes.find_map(|cause| cause.downcast_ref::<Self>());
        found.is_some_and(|found| found.status < 500)
    }
}

impl fmt::Display for StatusError {
    /// Writes the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for StatusError {}

/// Returns an error, its source, the source of that, and so on.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| cause(error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // Their messages include that of the error that they contain, so `source` does not return it.
    if let Some(contained) = error.downcast_ref::<Error>().and_then(Error::io_error) {
        return Some(contained);
    }
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Returns the response for this error alone.
fn response_of(cause: &(dyn StdError + 'static)) -> Option<StatusError> {
    if let Some(error) = cause.downcast_ref::<StatusError>() {
        return Some(error.clone());
    }
    match cause.downcast_ref::<Error>()? {
        Error::BodyTooLarge(_) => Some(StatusError::body_too_large()),
        Error::InvalidRequest { .. } => Some(StatusError::new(400, "The request is invalid.")),
        Error::StreamTooShort { variable: "CONTENT_LENGTH", .. }
        | Error::StreamTooLong { variable: "CONTENT_LENGTH", .. } => {
            Some(StatusError::new(400, "The body does not have the announced length."))
        }
        _ => None,
    }
}
