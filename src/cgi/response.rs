//! The head of a response, written.

use std::io::Write;

use crate::cgi::head::Head;
use crate::cgi::rules;
use crate::error::{Error, Result};

/// Builds the head of a response, for an application.
///
/// It holds to the rules by which a [`HeadParser`](crate::cgi::HeadParser) judges, so what it
/// writes every web server can read: no value can break out of its line, a name is a token, and
/// what may come once comes once. Values lose the blanks around them; a field with an empty value
/// is left out, as it would mean nothing (RFC 3875, section 6.3).
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
///
/// let split = ResponseHead::new().field("X-Name", "ferris\r\nSet-Cookie: admin=1");
/// assert!(matches!(split, Err(fcgi::Error::InvalidField(_))));
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The fields so far, each with its line's end; nothing of what was refused.
    head: Head,
}

impl ResponseHead {
    /// A head without a field, to which at least one of `Content-Type`, `Location` and `Status` has
    /// to be added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the `Status`: a code from 100 to 999 and the reason; an empty one stands for the usual
    /// phrase. Without it the web server takes 200, or 302 where there is a `Location`.
    ///
    /// # Errors
    /// [`Error::InvalidStatus`] for another code; else as [`field`](Self::field).
    pub fn status(self, code: u16, reason: &str) -> Result<Self> {
        let reason = if reason.is_empty() { rules::standard_reason(code) } else { reason };
        self.field("Status", format!("{code} {reason}"))
    }

    /// Adds a field.
    ///
    /// # Errors
    /// * [`Error::InvalidField`] for a name that is no token, or a value with a CR, LF or NUL
    /// * [`Error::DuplicateField`] for a second `Content-Type`, `Location` or `Status`
    /// * [`Error::InvalidStatus`], [`Error::InvalidLocation`], [`Error::InvalidContentLength`]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        let value = value.as_ref();
        let value = &value[rules::trim(value, 0..value.len())];
        if !rules::is_token(name.as_bytes()) || rules::value_len(value) < value.len() {
            return Err(Error::InvalidField(rules::shown(
                &[name.as_bytes(), b": ", value].concat(),
            )));
        }
        if !value.is_empty() {
            let start = self.head.bytes.len();
            self.head.bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].into_iter().flatten());
            let end = self.head.bytes.len() - 2;
            self.head.index.add(&self.head.bytes, start, start + name.len(), end)?;
        }
        Ok(self)
    }

    /// Adds a variable that an authorizer which allows the request, with status 200, sends along:
    /// the field `Variable-NAME` (FastCGI specification, section 6.3).
    ///
    /// # Errors
    /// As [`field`](Self::field).
    ///
    /// ```
    /// use fcgi::cgi::ResponseHead;
    /// let mut stdout = Vec::new();
    /// ResponseHead::new()
    ///     .status(200, "")?
    ///     .variable("AUTH_METHOD", "database lookup")?
    ///     .write_to(&mut stdout)?;
    /// assert_eq!(stdout, b"Status: 200 OK\r\nVariable-AUTH_METHOD: database lookup\r\n\r\n");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn variable(self, name: &str, value: impl AsRef<[u8]>) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::InvalidField("Variable-".into()));
        }
        self.field(&format!("Variable-{name}"), value)
    }

    /// Writes the head and its empty line, in one write.
    ///
    /// # Errors
    /// [`Error::MissingField`] if there is none of `Content-Type`, `Location` and `Status`; else
    /// what the writer reports.
    pub fn write_to(mut self, writer: &mut impl Write) -> Result<()> {
        self.head.index.check_whole()?;
        self.head.bytes.extend(b"\r\n");
        Ok(writer.write_all(&self.head.bytes)?)
    }
}
