//! The head of a response, as an application writes it.

use std::io::Write;

use super::fields::Fields;
use super::{status, syntax};
use crate::error::{Error, Result};

/// The maximum number of bytes of the fields of a head. Web servers accept far fewer.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Builds the head of a response, on the application side ([RFC 3875], section 6).
///
/// It applies the rules of [`HeadParser`](super::HeadParser), so every web server can parse
/// what it writes. Names are tokens, values contain no line breaks, and `Content-Type`, `Location`
/// and `Status` appear at most once. Blanks around a value are removed. A field with an empty value
/// is left out, because it means the same as a missing field (RFC 3875, section 6.3). A second
/// `Content-Length` with the same number is left out, too.
///
/// ```
/// use fcgi::cgi::ResponseHead;
///
/// let mut stdout = Vec::new();
/// ResponseHead::new()
///     .status(404, "Not Found")?
///     .field("Content-Type", "text/plain")?
///     .write_to(&mut stdout)?;
/// assert_eq!(stdout, b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\n");
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// A value cannot inject another field:
///
/// ```
/// use fcgi::{cgi::ResponseHead, Error};
///
/// let outcome = ResponseHead::new().field("X-Name", "ferris\r\nSet-Cookie: admin=1");
/// assert!(matches!(outcome, Err(Error::InvalidField(_))));
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Invariant: valid fields, each ending with CR LF.
    fields: Fields,
}

impl ResponseHead {
    /// Creates a head without fields. At least one of `Content-Type`, `Location` and `Status` must
    /// be added to it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the `Status` field: a code from 100 to 999 and a reason phrase. An empty `reason` is
    /// replaced by the [canonical](super::canonical_reason) one.
    ///
    /// Without a `Status`, a web server uses 302 if there is a `Location`, and 200 otherwise.
    ///
    /// # Errors
    /// [`Error::InvalidStatus`] if the code is not from 100 to 999, and the errors of
    /// [`field`](Self::field).
    pub fn status(self, code: u16, reason: &str) -> Result<Self> {
        let canonical = status::canonical_reason(code).unwrap_or_default();
        let reason = if reason.is_empty() { canonical } else { reason };
        self.field("Status", format!("{code} {reason}"))
    }

    /// Adds a field.
    ///
    /// # Errors
    /// - [`Error::InvalidField`] if the name is not a token, or the value contains a CR, LF or NUL
    /// - [`Error::DuplicateField`] if there already is a `Content-Type`, `Location` or `Status`
    /// - [`Error::InvalidStatus`] if a `Status` has no valid code
    /// - [`Error::InvalidLocation`] if a `Location` is neither an absolute URI nor a path
    /// - [`Error::InvalidContentLength`] if a `Content-Length` is not a number, or differs from an
    ///   earlier one
    /// - [`Error::HeadTooLarge`] if the fields have more than 16 MiB
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        let value = syntax::trim(value.as_ref());
        check_field(name.as_bytes(), value)?;
        let bytes = &mut self.fields.bytes;
        let start = bytes.len();
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        let end = bytes.len();
        if end > MAX_BYTES {
            return Err(Error::HeadTooLarge(MAX_BYTES));
        }
        if !self.fields.add(start, start + name.len(), end - 2)? {
            self.fields.bytes.truncate(start);
        }
        Ok(self)
    }

    /// Adds a variable that an authorizer sends with status 200 to add it to the request: the field
    /// `Variable-NAME` ([FastCGI specification], section 6.3).
    ///
    /// # Errors
    /// [`Error::InvalidField`] if `name` is empty, and the errors of [`field`](Self::field).
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    ///
    /// let mut stdout = Vec::new();
    /// ResponseHead::new()
    ///     .status(200, "")?
    ///     .variable("AUTH_METHOD", "database lookup")?
    ///     .write_to(&mut stdout)?;
    /// assert_eq!(stdout, b"Status: 200 OK\r\nVariable-AUTH_METHOD: database lookup\r\n\r\n");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
    pub fn variable(self, name: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::InvalidField("Variable-".into()));
        }
        self.field(&format!("Variable-{name}"), value)
    }

    /// Writes the head and its empty line, in one call of `write_all`.
    ///
    /// # Errors
    /// - [`Error::MissingField`] if there is no `Content-Type`, `Location` or `Status`
    /// - [`Error::Io`] if the writer fails
    pub fn write_to(mut self, writer: &mut impl Write) -> Result<()> {
        self.fields.check_complete()?;
        self.fields.bytes.extend(b"\r\n");
        Ok(writer.write_all(&self.fields.bytes)?)
    }
}

/// Checks that the name is a token and that the value contains no CR, LF or NUL.
fn check_field(name: &[u8], value: &[u8]) -> Result<()> {
    if syntax::is_token(name) && syntax::is_value(value) {
        return Ok(());
    }
    Err(Error::InvalidField(syntax::excerpt(&[name, b": ", value].concat())))
}
