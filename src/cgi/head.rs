//! The head of a response (RFC 3875, section 6): its fields, kept as they came.

use std::fmt;
use std::mem::replace;

use crate::cgi::parser::HeadParser;
use crate::cgi::rules;
use crate::error::{Error, Result};
use crate::stream::AnnouncedLength;

/// The head of an application's response: a valid one, since only [`HeadParser`] makes it.
///
/// The fields are the bytes that came and an index over them, in their order, with every repetition
/// (`Set-Cookie` comes once for each cookie). Names are compared without regard to case. A field
/// with an empty value is as good as not sent (RFC 3875, section 6.3) and is left out.
///
/// # What the web server does with it
///
/// * a [`local_redirect`](Self::local_redirect) is a path that the server answers for as if it had
///   been requested; the body is dropped
/// * else the client gets [`status`](Self::status), [`reason`](Self::reason) and the
///   [`http_fields`](Self::http_fields). If it is missing the server adds a `Date`; a
///   `Content-Type` is never guessed (a browser that guesses can be made to run what was meant as
///   text)
/// * the body follows unless [`has_body`](Self::has_body) says that there can be none; when it
///   ends, [`check_body`](Self::check_body) tells whether it was whole
///
/// ```
/// use fcgi::cgi::Head;
///
/// let (head, body) =
///     Head::parse(b"Status: 201\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\n\r\nmade")?;
/// assert_eq!((head.status(), head.reason()), (201, "Created"));
/// assert_eq!(head.get("set-cookie"), Some("a=1"));
/// assert_eq!(body, b"made");
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The head as it came, at most `u32::MAX` bytes.
    pub(super) bytes: Vec<u8>,
    /// What they hold; while a head is parsed it covers the lines that are whole.
    pub(super) index: Index,
}

/// What the bytes of a head hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Where each field that counts is, in their order; every name is a token, no value is empty.
    fields: Vec<Field>,
    /// The code of the `Status` among the fields.
    status: Option<u16>,
    /// The number of the `Content-Length` among the fields.
    content_length: Option<u64>,
    /// Whether a `Location` is among the fields.
    has_location: bool,
    /// Whether a `Content-Type` is among the fields.
    has_content_type: bool,
}

/// Offsets in the bytes of the head.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Field {
    name: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
}

impl Head {
    /// The head at the beginning of a whole response, and the body behind it, under the limits that
    /// [`HeadParser`] has by default.
    ///
    /// # Errors
    /// As [`HeadParser::feed`], and [`Error::HeadCut`] if there is no empty line.
    pub fn parse(response: &[u8]) -> Result<(Self, &[u8])> {
        let mut parser = HeadParser::new();
        let end = parser.feed(response)?.ok_or(Error::HeadCut)?;
        Ok((parser.finish()?, &response[end..]))
    }

    /// The status code: the one in `Status`; else 302 where there is a `Location` and 200 where
    /// there is none (sections 6.2.1 and 6.2.3).
    pub fn status(&self) -> u16 {
        self.index.status.unwrap_or(if self.index.has_location { 302 } else { 200 })
    }

    /// The reason that `Status` gives; where it gives none, the usual phrase for the code.
    pub fn reason(&self) -> &str {
        let sent = self.get("Status").map_or("", |status| status[3..].trim());
        if sent.is_empty() {
            rules::standard_reason(self.status())
        } else {
            sent
        }
    }

    /// The value of the first field of this name, if it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// The value of the first field of this name.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        let wanted = |field: &&Field| self.name(field).eq_ignore_ascii_case(name.as_bytes());
        self.index.fields.iter().find(wanted).map(|field| self.value(field))
    }

    /// The media type of the body, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.get("Content-Type")
    }

    /// The length of the body in bytes, where the application announces it.
    pub fn content_length(&self) -> Option<u64> {
        self.index.content_length
    }

    /// Where the client is sent: an absolute URI, or a path.
    pub fn location(&self) -> Option<&str> {
        self.get("Location")
    }

    /// The path, with its query if any, that the web server has to answer for as if it had been
    /// requested (section 6.2.2).
    ///
    /// Such a redirect consists of one `Location`, which holds a path, and of no other field. Where
    /// others come with it this is `None` and the client is redirected (`302`, or the `Status`
    /// that was sent): so no `Set-Cookie` is lost, and a script that asks for a redirect by
    /// `Status` gets what it asks for. The same goes for a path with a fragment, which
    /// only a client can use.
    ///
    /// A script may redirect to itself: count how often, and check the path as if the client had
    /// sent it.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    /// let (head, _) = Head::parse(b"Location: /login?from=a\n\n")?;
    /// assert_eq!(head.local_redirect(), Some("/login?from=a"));
    ///
    /// let (head, _) = Head::parse(b"Location: /login\nSet-Cookie: seen=1\n\n")?;
    /// assert_eq!((head.local_redirect(), head.status()), (None, 302));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn local_redirect(&self) -> Option<&str> {
        let alone = self.index.fields.len() == 1;
        self.location()
            .filter(|location| alone && rules::is_path(location) && !location.contains('#'))
    }

    /// Every field, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        // Names are tokens, which are ASCII.
        self.index.fields.iter().map(|field| {
            (std::str::from_utf8(self.name(field)).unwrap_or_default(), self.value(field))
        })
    }

    /// The fields that belong into the HTTP response, in order: all but
    ///
    /// * `Status`, of which the status line is made
    /// * those about one connection, which is not the application's: `Connection`, `Keep-Alive`,
    ///   `Proxy-Authenticate`, `Proxy-Authorization`, `Proxy-Connection`, `TE`, `Trailer`,
    ///   `Transfer-Encoding`, `Upgrade`
    /// * `X-CGI-…`, which are reserved for the talk between script and server (section 6.3.5)
    ///
    /// `Date`, `Server` and `Content-Length` are among them if the application sent them: a server
    /// that writes its own leaves these out.
    ///
    /// ```
    /// let (head, _) =
    ///     fcgi::cgi::Head::parse(b"Status: 200\nTransfer-Encoding: chunked\nETag: \"7\"\n\n")?;
    /// assert_eq!(head.http_fields().collect::<Vec<_>>(), [("ETag", &b"\"7\""[..])]);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn http_fields(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        self.fields().filter(|(name, _)| {
            !name.eq_ignore_ascii_case("Status")
                && !rules::is_hop_by_hop(name)
                && rules::strip_prefix(name, "X-CGI-").is_none()
        })
    }

    /// The variables that an authorizer's response of status 200 adds to the request: the fields
    /// `Variable-NAME`, each as its `NAME` as sent and its value (FastCGI specification,
    /// section 6.3).
    ///
    /// The body of such a response and its other fields are ignored; of any other status the whole
    /// response goes to the client. [`set_variable`](crate::cgi::set_variable) puts them into
    /// the params of the request proper.
    ///
    /// ```
    /// let (head, _) =
    ///     fcgi::cgi::Head::parse(b"Status: 200 OK\nVariable-AUTH_METHOD: database lookup\n\n")?;
    /// assert_eq!(
    ///     head.variables().collect::<Vec<_>>(),
    ///     [("AUTH_METHOD", &b"database lookup"[..])]
    /// );
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn variables(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        let variable = |(name, value)| Some((rules::strip_prefix(name, "Variable-")?, value));
        self.fields().filter_map(variable).filter(|(name, _)| !name.is_empty())
    }

    /// Whether a response to a request of this method has a body; what the application sends all
    /// the same is dropped (section 4.3.3; RFC 9110, section 6.4.1).
    ///
    /// ```
    /// let (head, _) = fcgi::cgi::Head::parse(b"Content-Type: text/plain\n\n")?;
    /// assert!(head.has_body("GET") && !head.has_body("HEAD"));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn has_body(&self, method: &str) -> bool {
        method != "HEAD" && !matches!(self.status(), 100..=199 | 204 | 304)
    }

    /// Checks the whole length of the body in bytes, when it has ended, against the
    /// `Content-Length` that announced it; of a response that [`has_body`](Self::has_body).
    ///
    /// A server that passes the body on as it comes stops at
    /// [`content_length`](Self::content_length) bytes, and ends the client's connection if
    /// fewer came: the client must not take a part for the whole.
    ///
    /// # Errors
    /// [`Error::StreamTooShort`] and [`Error::StreamTooLong`].
    ///
    /// ```
    /// use fcgi::{cgi::Head, Error};
    /// let (head, body) = Head::parse(b"Content-Type: text/plain\nContent-Length: 5\n\ncut")?;
    /// assert!(matches!(
    ///     head.check_body(body.len() as u64),
    ///     Err(Error::StreamTooShort { received: 3, .. })
    /// ));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_body(&self, received: u64) -> Result<()> {
        AnnouncedLength::new("Content-Length", self.index.content_length).check(received)
    }

    /// The head as it came, its empty line included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes all out, and keeps the memory for another head.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.index.clear();
    }

    #[inline]
    fn name(&self, field: &Field) -> &[u8] {
        &self.bytes[field.name as usize..field.name_end as usize]
    }

    #[inline]
    fn value(&self, field: &Field) -> &[u8] {
        &self.bytes[field.value as usize..field.value_end as usize]
    }
}

impl Index {
    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Takes all out, and keeps the memory for another head.
    fn clear(&mut self) {
        self.fields.clear();
        self.status = None;
        self.content_length = None;
        self.has_location = false;
        self.has_content_type = false;
    }

    /// Adds the field of the line that begins at `start`, has its colon at `colon` and the CR or LF
    /// that ends it at `end`: the name is a token, the value holds no CR, LF or NUL.
    #[inline]
    pub(super) fn add(
        &mut self,
        bytes: &[u8],
        start: usize,
        colon: usize,
        end: usize,
    ) -> Result<()> {
        let value = rules::trim(bytes, colon + 1..end);
        if value.is_empty() {
            return Ok(());
        }
        if self.obey_rules(&bytes[start..colon], &bytes[value.clone()])? {
            let [name, name_end, value, value_end] =
                [start, colon, value.start, value.end].map(|at| at as u32);
            self.fields.push(Field { name, name_end, value, value_end });
        }
        Ok(())
    }

    /// Applies the rules of the fields that the server itself acts on; false for one that says
    /// again what was said.
    #[inline]
    fn obey_rules(&mut self, name: &[u8], value: &[u8]) -> Result<bool> {
        if is(name, b"content-type") {
            return once("Content-Type", replace(&mut self.has_content_type, true));
        }
        if is(name, b"content-length") {
            return self.set_content_length(rules::parse_length(value)?);
        }
        if is(name, b"status") {
            let status = rules::parse_status(value)?;
            return once("Status", self.status.replace(status).is_some());
        }
        if is(name, b"location") {
            rules::check_location(value)?;
            return once("Location", replace(&mut self.has_location, true));
        }
        Ok(true)
    }

    #[inline]
    fn set_content_length(&mut self, length: u64) -> Result<bool> {
        match self.content_length {
            Some(other) if other != length => Err(Error::InvalidContentLength(length.to_string())),
            other => {
                self.content_length = Some(length);
                Ok(other.is_none())
            }
        }
    }

    /// Checks what only the end of the head can tell: one of three fields has to be there (section
    /// 6.2).
    pub(super) fn check_whole(&self) -> Result<()> {
        let found = self.has_content_type || self.has_location || self.status.is_some();
        found.then_some(()).ok_or(Error::MissingField)
    }
}

/// Whether a token is this name, which is given in lower case. Of the bytes that a token may hold
/// only letters become letters by the bit that is set here.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let differs =
        |name: &[u8; N]| (0..N).fold(0, |bits, at| bits | ((name[at] | 0x20) ^ lower[at]));
    name.try_into().is_ok_and(|name| differs(name) == 0)
}

/// That a field counts which may come once (section 6.3).
#[inline]
fn once(name: &str, seen: bool) -> Result<bool> {
    if seen {
        return Err(Error::DuplicateField(name.into()));
    }
    Ok(true)
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value)| (name, String::from_utf8_lossy(value));
        f.debug_map().entries(self.fields().map(text)).finish()
    }
}
