//! The head of a response, as an application writes it.

use std::io::Write;
use std::ops::Range;

use super::head_fields::{Fields, Line};
use super::{status, syntax};
use crate::error::{Error, Result};
use crate::record::Role;

/// The memory that is allocated for the fields of most heads, in bytes.
const INITIAL_CAPACITY: usize = 256;
/// The maximum number of bytes of the fields of a head. Web servers accept far fewer.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Builds the head of a response, on the application side ([RFC 3875], section 6).
///
/// [`Request::respond`](crate::server::Request::respond) sends it with a body. To write a body
/// piece by piece, write the head first, with [`write_to`](Self::write_to).
///
/// It applies the rules of a [strict](super::HeadParser::strict) parser: names are tokens, values
/// contain no line breaks, so a value cannot add another field, and `Content-Type`, `Location` and
/// `Status` appear at most once. Blanks around a value are removed. A field with an empty value is
/// left out, because it means the same as a missing field (RFC 3875, section 6.3). A second
/// `Content-Length` with the same number is left out, too.
///
/// ```
/// use fcgi::cgi::ResponseHead;
///
/// let mut stdout = Vec::new();
/// ResponseHead::json().status(201)?.field("Location", "/users/7")?.write_to(&mut stdout)?;
/// assert_eq!(
///     String::from_utf8_lossy(&stdout),
///     "Content-Type: application/json\r\nLocation: /users/7\r\nStatus: 201 Created\r\n\r\n"
/// );
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
    /// Where the `Status` field is in the bytes of `fields`.
    status_line: Range<usize>,
}

impl ResponseHead {
    /// Creates a head without fields. At least one of `Content-Type`, `Location` and `Status` must
    /// be added to it.
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    ///
    /// let head = ResponseHead::new().field("Content-Type", "image/png")?;
    /// # let _ = head;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the head of a plain-text response in UTF-8.
    pub fn text() -> Self {
        Self::with_type("text/plain; charset=utf-8")
    }

    /// Creates the head of an HTML page in UTF-8.
    pub fn html() -> Self {
        Self::with_type("text/html; charset=utf-8")
    }

    /// Creates the head of a JSON document.
    pub fn json() -> Self {
        Self::with_type("application/json")
    }

    /// Creates the head of a stream of server-sent events: `text/event-stream`, which is not
    /// cached, and which nginx does not buffer. A guide shows [how to send
    /// events](crate::guide::streaming#server-sent-events).
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    ///
    /// let mut stdout = Vec::new();
    /// ResponseHead::event_stream().write_to(&mut stdout)?;
    /// assert_eq!(
    ///     String::from_utf8_lossy(&stdout),
    ///     "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    ///      X-Accel-Buffering: no\r\n\r\n"
    /// );
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn event_stream() -> Self {
        let mut head = Self::with_type("text/event-stream");
        head.push_valid("Cache-Control", "no-store");
        head.push_valid("X-Accel-Buffering", "no");
        head
    }

    /// Creates the head of a plain-text response in UTF-8 with status 404.
    ///
    /// [`Server::error_page`](crate::Server::error_page) does not see such a response. To have the
    /// same page for every error, return a
    /// [`StatusError::new(404, …)`](crate::server::StatusError::new) instead.
    pub fn not_found() -> Self {
        let mut head = Self::text();
        head.push_valid("Status", "404 Not Found");
        head
    }

    /// Creates the head of a redirect to a path or an absolute URI. The response to a POST request
    /// usually is a redirect with status 303, which browsers follow with a GET request.
    ///
    /// # Errors
    /// - [`Error::InvalidStatus`] if the status is not from 300 to 399
    /// - [`Error::InvalidLocation`] if the location contains a control byte, or is neither an
    ///   absolute URI nor a path. `//host/` and `/\host/` are not paths: browsers treat them as
    ///   URLs of another host.
    /// - [`Error::InvalidField`] if the location contains a CR, LF or NUL
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    ///
    /// let mut stdout = Vec::new();
    /// ResponseHead::redirect(303, "/thanks")?.write_to(&mut stdout)?;
    /// assert_eq!(stdout, b"Location: /thanks\r\nStatus: 303 See Other\r\n\r\n");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn redirect(status: u16, location: &str) -> Result<Self> {
        if !matches!(status, 300..=399) {
            return Err(Error::InvalidStatus(status.to_string()));
        }
        let head = Self::new().status(status)?.field("Location", location)?;
        // `field` leaves out an empty value.
        if !head.fields.has_location() {
            return Err(Error::InvalidLocation(String::new()));
        }
        Ok(head)
    }

    fn with_type(content_type: &'static str) -> Self {
        let mut head = Self::new();
        head.fields.bytes.reserve(INITIAL_CAPACITY);
        head.push_valid("Content-Type", content_type);
        head
    }

    /// Adds the `Status` field: a code from 100 to 999 and its [canonical](super::canonical_reason)
    /// reason phrase.
    ///
    /// Without a `Status`, a web server uses 302 if there is a `Location`, and 200 otherwise. A
    /// reason phrase of your own is added with `field("Status", "404 No Such User")`. Clients
    /// ignore it.
    ///
    /// # Errors
    /// [`Error::InvalidStatus`] if the code is not from 100 to 999, and [`Error::DuplicateField`]
    /// if there already is a `Status`.
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    ///
    /// let mut stdout = Vec::new();
    /// ResponseHead::new().status(204)?.write_to(&mut stdout)?;
    /// assert_eq!(stdout, b"Status: 204 No Content\r\n\r\n");
    /// assert!(ResponseHead::new().status(99).is_err());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn status(self, code: u16) -> Result<Self> {
        let reason = status::canonical_reason(code).unwrap_or_default();
        self.field("Status", format!("{code} {reason}"))
    }

    /// Adds a cookie: the field `Set-Cookie`, which may be added several times ([RFC 6265], section
    /// 4.1). `attributes` may be empty. A value that contains other bytes than those allowed below
    /// must be encoded, for example in Base64.
    ///
    /// # Errors
    /// [`Error::InvalidField`] if the name is not a token, if the value contains a byte that is not
    /// visible ASCII, or one of `"`, `,`, `;` and `\`, or if the attributes contain a CR, LF or
    /// NUL.
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    ///
    /// let mut stdout = Vec::new();
    /// ResponseHead::html()
    ///     .cookie("id", "7f3a", "Path=/; Secure; HttpOnly; SameSite=Lax")?
    ///     .cookie("theme", "dark", "")?
    ///     .write_to(&mut stdout)?;
    /// assert!(String::from_utf8_lossy(&stdout).ends_with(
    ///     "Set-Cookie: id=7f3a; Path=/; Secure; HttpOnly; SameSite=Lax\r\n\
    ///      Set-Cookie: theme=dark\r\n\r\n"
    /// ));
    /// assert!(ResponseHead::html().cookie("id", "7f3a; Domain=example.org", "").is_err());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// [RFC 6265]: https://www.rfc-editor.org/rfc/rfc6265
    pub fn cookie(self, name: &str, value: &str, attributes: &str) -> Result<Self> {
        if !syntax::is_token(name.as_bytes()) || !value.bytes().all(is_cookie_octet) {
            let cookie = format!("Set-Cookie: {name}={value}");
            return Err(Error::InvalidField(syntax::excerpt(cookie.as_bytes())));
        }
        let separator = if attributes.is_empty() { "" } else { "; " };
        self.field("Set-Cookie", format!("{name}={value}{separator}{attributes}"))
    }

    /// Adds a field.
    ///
    /// # Errors
    /// - [`Error::InvalidField`] if the name is not a token, or the value contains a CR, LF or NUL
    /// - [`Error::DuplicateField`] if the field is `Content-Type`, `Location` or `Status`, and the
    ///   head already has it
    /// - [`Error::InvalidStatus`] if a `Status` has no valid code
    /// - [`Error::InvalidLocation`] if a `Location` contains a control byte, or is neither an
    ///   absolute URI nor a path
    /// - [`Error::InvalidContentLength`] if a `Content-Length` is not a number, or differs from an
    ///   earlier one
    /// - [`Error::HeadTooLarge`] if the fields have more than 16 MiB
    ///
    /// ```
    /// use fcgi::{cgi::ResponseHead, Error};
    ///
    /// let head = ResponseHead::text().field("ETag", "\"7\"")?.field("Cache-Control", "no-cache")?;
    /// assert!(matches!(head.field("Not a name", "1"), Err(Error::InvalidField(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        let value = syntax::trim(value.as_ref());
        check_field(name.as_bytes(), value)?;
        self.push(name, value)?;
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
    ///     .status(200)?
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
    /// Writes `Status` first, or last if there is a `Location`: HAProxy would otherwise replace the
    /// status with 302.
    ///
    /// # Errors
    /// - [`Error::MissingField`] if there is no `Content-Type`, `Location` or `Status`
    /// - [`Error::Io`] if the writer fails
    ///
    /// ```
    /// use fcgi::{cgi::ResponseHead, Error};
    ///
    /// let mut stdout = Vec::new();
    /// ResponseHead::text().status(404)?.write_to(&mut stdout)?;
    /// stdout.extend_from_slice(b"no such page\n");
    /// assert_eq!(
    ///     String::from_utf8_lossy(&stdout),
    ///     "Status: 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nno such page\n"
    /// );
    ///
    /// let outcome = ResponseHead::new().write_to(&mut stdout);
    /// assert!(matches!(outcome, Err(Error::MissingField)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn write_to(self, writer: &mut impl Write) -> Result<()> {
        let status_is_first = !self.fields.has_location();
        self.write_in_order(status_is_first, writer)
    }

    fn write_in_order(mut self, status_is_first: bool, writer: &mut impl Write) -> Result<()> {
        self.fields.check_required_field()?;
        let (bytes, Range { start, end }) = (&mut self.fields.bytes, self.status_line);
        if status_is_first {
            bytes[..end].rotate_right(end - start);
        } else {
            bytes[start..].rotate_left(end - start);
        }
        bytes.extend(b"\r\n");
        Ok(writer.write_all(bytes)?)
    }

    /// Writes a whole response to a request with this method: the head, to which a `Content-Length`
    /// is added, and the body. The method HEAD, and the statuses 1xx, 204 and 304, exclude a body.
    ///
    /// In the response of an authorizer, `Status` is always the first field: lighttpd drops what
    /// precedes it.
    ///
    /// # Errors
    /// The errors of [`write_to`](Self::write_to), and [`Error::InvalidContentLength`] if the head
    /// has a `Content-Length` that is not the length of the body. A response to HEAD may have one
    /// while its body is empty.
    pub(crate) fn write_response(
        self,
        role: Role,
        method: &str,
        body: &[u8],
        writer: &mut impl Write,
    ) -> Result<()> {
        let is_head = method == "HEAD";
        let has_length = self.fields.content_length().is_some();
        let has_content = status::allows_body(self.fields.status_or_default());
        let adds_length = has_content && !(is_head && body.is_empty() && has_length);
        let head = if adds_length { self.content_length(body.len())? } else { self };
        let status_is_first = role == Role::Authorizer || !head.fields.has_location();
        head.write_in_order(status_is_first, writer)?;
        if has_content && !is_head {
            writer.write_all(body)?;
        }
        Ok(())
    }

    /// Adds the `Content-Length`, without allocating memory for the text of the number.
    fn content_length(self, len: usize) -> Result<Self> {
        let mut text = [0; 20];
        let mut rest = &mut text[..];
        write!(rest, "{len}")?;
        let text_len = 20 - rest.len();
        self.field("Content-Length", &text[..text_len])
    }

    /// Adds a field of this crate, which is valid.
    fn push_valid(&mut self, name: &'static str, value: &'static str) {
        let added = self.push(name, value.as_bytes());
        debug_assert!(added.is_ok(), "{name} is invalid");
    }

    /// Adds a field that [`check_field`] accepts, unless it has no effect.
    fn push(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let bytes = &mut self.fields.bytes;
        let start = bytes.len();
        for part in [name.as_bytes(), b": ", value] {
            bytes.extend_from_slice(part);
        }
        let line = Line { start, colon: start + name.len(), end: bytes.len() };
        bytes.extend_from_slice(b"\r\n");
        if bytes.len() > MAX_BYTES {
            return Err(Error::HeadTooLarge(MAX_BYTES));
        }
        if !self.fields.add(line)? {
            self.fields.bytes.truncate(start);
        } else if name.eq_ignore_ascii_case("Status") {
            self.status_line = start..self.fields.bytes.len();
        }
        Ok(())
    }
}

/// Checks that the name is a token and that the value contains no CR, LF or NUL.
pub(crate) fn check_field(name: &[u8], value: &[u8]) -> Result<()> {
    if syntax::is_token(name) && syntax::is_value(value) {
        return Ok(());
    }
    Err(Error::InvalidField(syntax::excerpt(&[name, b": ", value].concat())))
}

/// Returns whether a byte may be part of a cookie's value (RFC 6265, section 4.1.1).
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}
