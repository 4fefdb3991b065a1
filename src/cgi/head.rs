//! The head of a response (RFC 3875, section 6): its fields, kept as they came.

use std::fmt;

use crate::cgi::parser::HeadParser;
use crate::cgi::rules;
use crate::error::{Error, Result};

/// The head of an application's response: a valid one, since only [`HeadParser`] makes it.
///
/// The fields are the bytes that came and an index over them, in their order, with every repetition (`Set-Cookie` comes
/// once for each cookie). Names are compared without regard to case. A field with an empty value is as good as not sent
/// (RFC 3875, section 6.3) and is left out.
///
/// # What the web server does with it
///
/// * a [`local_redirect`](Self::local_redirect) is a path that the server answers for as if it had been requested; the
///   body is dropped
/// * else the client gets [`status`](Self::status), [`reason`](Self::reason) and the [`http_fields`](Self::http_fields).
///   If it is missing the server adds a `Date`; a `Content-Type` is never guessed (a browser that guesses can be made to
///   run what was meant as text)
/// * the body follows unless [`has_body`](Self::has_body) says that there can be none; when it ends,
///   [`check_body`](Self::check_body) tells whether it was whole
///
/// ```
/// use fcgi::cgi::Head;
///
/// let (head, body) = Head::parse(b"Status: 201\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\n\r\nmade")?;
/// assert_eq!((head.status(), head.reason()), (201, "Created"));
/// assert_eq!(head.get("set-cookie"), Some("a=1"));
/// assert_eq!(body, b"made");
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The head as it came, at most `u32::MAX` bytes.
    pub(super) bytes: Vec<u8>,
    /// Where each field that counts is in `bytes`, in their order; every name is a token, no value is empty.
    fields: Vec<Field>,
    /// The code of the `Status` among the fields.
    status: Option<u16>,
    /// The number of the `Content-Length` among the fields.
    content_length: Option<u64>,
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
    /// The head at the beginning of a whole response, and the body behind it, under the limits that [`HeadParser`] has by
    /// default.
    ///
    /// # Errors
    /// As [`HeadParser::feed`], and [`Error::HeadCut`] if there is no empty line.
    pub fn parse(response: &[u8]) -> Result<(Self, &[u8])> {
        let mut parser = HeadParser::new();
        let end = parser.feed(response)?.ok_or(Error::HeadCut)?;
        Ok((parser.into_head()?, &response[end..]))
    }

    /// The status code: the one in `Status`; else 302 where there is a `Location` and 200 where there is none
    /// (sections 6.2.1 and 6.2.3).
    pub fn status(&self) -> u16 {
        let assumed = || if self.get_bytes("Location").is_some() { 302 } else { 200 };
        self.status.unwrap_or_else(assumed)
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
        self.fields.iter().find(wanted).map(|field| self.value(field))
    }

    /// The media type of the body, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.get("Content-Type")
    }

    /// The length of the body in bytes, where the application announces it.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Where the client is sent: an absolute URI, or a path.
    pub fn location(&self) -> Option<&str> {
        self.get("Location")
    }

    /// The path, with its query if any, that the web server has to answer for as if it had been requested
    /// (section 6.2.2).
    ///
    /// Such a redirect consists of one `Location`, which holds a path, and of no other field. Where others come with it
    /// this is `None` and the client is redirected (`302`, or the `Status` that was sent): so no `Set-Cookie` is lost, and
    /// a script that asks for a redirect by `Status` gets what it asks for. The same goes for a path with a fragment, which
    /// only a client can use.
    ///
    /// A script may redirect to itself: count how often, and check the path as if the client had sent it.
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
        let alone = self.fields.len() == 1;
        self.location().filter(|location| alone && rules::is_path(location) && !location.contains('#'))
    }

    /// Every field, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        // Names are tokens, which are ASCII.
        self.fields.iter().map(|field| (std::str::from_utf8(self.name(field)).unwrap_or_default(), self.value(field)))
    }

    /// The fields that belong into the HTTP response, in order: all but
    ///
    /// * `Status`, of which the status line is made
    /// * those about one connection, which is not the application's: `Connection`, `Keep-Alive`, `Proxy-Authenticate`,
    ///   `Proxy-Authorization`, `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`
    /// * `X-CGI-…`, which are reserved for the talk between script and server (section 6.3.5)
    ///
    /// `Date`, `Server` and `Content-Length` are among them if the application sent them: a server that writes its own
    /// leaves these out.
    ///
    /// ```
    /// let (head, _) = fcgi::cgi::Head::parse(b"Status: 200\nTransfer-Encoding: chunked\nETag: \"7\"\n\n")?;
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

    /// The variables that an authorizer's response of status 200 adds to the request: the fields `Variable-NAME`, each as
    /// its `NAME` as sent and its value (FastCGI specification, section 6.3).
    ///
    /// The body of such a response and its other fields are ignored; of any other status the whole response goes to the
    /// client. [`set_variable`](crate::cgi::set_variable) puts them into the params of the request proper.
    ///
    /// ```
    /// let (head, _) = fcgi::cgi::Head::parse(b"Status: 200 OK\nVariable-AUTH_METHOD: database lookup\n\n")?;
    /// assert_eq!(head.variables().collect::<Vec<_>>(), [("AUTH_METHOD", &b"database lookup"[..])]);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn variables(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        let variable = |(name, value)| Some((rules::strip_prefix(name, "Variable-")?, value));
        self.fields().filter_map(variable).filter(|(name, _)| !name.is_empty())
    }

    /// Whether a response to a request of this method has a body; what the application sends all the same is dropped
    /// (section 4.3.3; RFC 9110, section 6.4.1).
    ///
    /// ```
    /// let (head, _) = fcgi::cgi::Head::parse(b"Content-Type: text/plain\n\n")?;
    /// assert!(head.has_body("GET") && !head.has_body("HEAD"));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn has_body(&self, method: &str) -> bool {
        method != "HEAD" && !matches!(self.status(), 100..=199 | 204 | 304)
    }

    /// Checks the whole length of the body in bytes, when it has ended, against the `Content-Length` that announced it;
    /// of a response that [`has_body`](Self::has_body).
    ///
    /// A server that passes the body on as it comes stops at [`content_length`](Self::content_length) bytes, and ends the
    /// client's connection if fewer came: the client must not take a part for the whole.
    ///
    /// # Errors
    /// [`Error::StreamTooShort`] and [`Error::StreamTooLong`].
    ///
    /// ```
    /// use fcgi::{cgi::Head, Error};
    /// let (head, body) = Head::parse(b"Content-Type: text/plain\nContent-Length: 5\n\ncut")?;
    /// assert!(matches!(head.check_body(body.len() as u64), Err(Error::StreamTooShort { received: 3, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_body(&self, received: u64) -> Result<()> {
        let variable = "Content-Length";
        match self.content_length {
            Some(announced) if received < announced => Err(Error::StreamTooShort { variable, announced, received }),
            Some(announced) if received > announced => Err(Error::StreamTooLong { variable, announced }),
            _ => Ok(()),
        }
    }

    /// The head as it came, its empty line included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many fields there are.
    pub(super) fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Takes all out, and keeps the memory for another head.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.status = None;
        self.content_length = None;
    }

    /// Makes a field of a line without its end, which takes up `start..end` of the bytes and holds no CR, LF or NUL.
    #[inline]
    pub(super) fn add_line(&mut self, start: usize, end: usize) -> Result<()> {
        let line = &self.bytes[start..end];
        let name_len = rules::token_len(line);
        // No token: a blank before the colon, a folded line, `HTTP/1.1 200 OK`. All of it is refused (section 6.3).
        if name_len == 0 || line.get(name_len) != Some(&b':') {
            return Err(Error::InvalidField(rules::shown(line)));
        }
        let behind = &line[name_len + 1..];
        let leading = behind.iter().position(|&byte| !rules::is_blank(byte)).unwrap_or(behind.len());
        let value = start + name_len + 1 + leading;
        let value_end = value + rules::trim(&behind[leading..]).len();
        if value < value_end {
            let [name, name_end, value, value_end] = [start, start + name_len, value, value_end].map(|at| at as u32);
            self.add(Field { name, name_end, value, value_end })?;
        }
        Ok(())
    }

    #[inline]
    fn add(&mut self, field: Field) -> Result<()> {
        // The names of the fields with rules of their own have these lengths; most others are told by it alone.
        let counts = !matches!(field.name_end - field.name, 6 | 8 | 12 | 14) || self.obey_rules(field)?;
        if counts {
            self.fields.push(field);
        }
        Ok(())
    }

    /// Applies the rules of the fields that the server itself acts on; false for one that says again what was said.
    fn obey_rules(&mut self, field: Field) -> Result<bool> {
        let (name, value) = (self.name(&field), self.value(&field));
        if name.eq_ignore_ascii_case(b"Content-Length") {
            let length = rules::parse_length(value)?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(Error::InvalidContentLength(rules::shown(value)));
            }
            return Ok(self.content_length.replace(length).is_none());
        }
        let Some(known) = ["Status", "Location", "Content-Type"].into_iter().find(|known| eq(name, known)) else {
            return Ok(true);
        };
        if self.get_bytes(known).is_some() {
            return Err(Error::DuplicateField(known.into()));
        }
        match known {
            "Status" => self.status = Some(rules::parse_status(value)?),
            "Location" => rules::check_location(value)?,
            _ => {}
        }
        Ok(true)
    }

    /// Checks what only the end of the head can tell: one of three fields has to be there (section 6.2).
    pub(super) fn check_whole(&self) -> Result<()> {
        let known = ["Content-Type", "Location", "Status"];
        let found = self.fields.iter().any(|field| known.iter().any(|known| eq(self.name(field), known)));
        found.then_some(()).ok_or(Error::MissingField)
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

fn eq(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value)| (name, String::from_utf8_lossy(value));
        f.debug_map().entries(self.fields().map(text)).finish()
    }
}
