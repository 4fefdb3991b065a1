//! The head of a response, as a web server receives it.

use super::head_fields::Fields;
use super::{status, syntax};
use crate::error::Result;
use crate::stream::StreamLength;

/// The head of an application's response ([RFC 3875], section 6): complete and valid header fields.
///
/// [`Head::parse`] parses the head of a response that is in memory, and a
/// [`HeadParser`](super::HeadParser) one that is received in pieces.
///
/// Fields are kept in the order in which they were received. A name may appear more than once:
/// there is one `Set-Cookie` field for each cookie. Methods compare names without regard to ASCII
/// case. A field with an empty value is dropped, because it means the same as a missing field (RFC
/// 3875, section 6.3). The [module documentation](super#response-heads) lists the heads that are
/// accepted although they break a rule.
///
/// Two heads are equal if their bytes are: see [`as_bytes`](Self::as_bytes).
///
/// ```
/// use fcgi::cgi::Head;
///
/// let response = b"Status: 201\r\nContent-Type: text/plain\r\nSet-Cookie: a=1\r\n\r\nmade";
/// let (head, body) = Head::parse(response)?;
/// assert_eq!((head.status(), head.reason()), (201, "Created"));
/// assert_eq!(head.get("set-cookie"), Some("a=1"));
/// assert_eq!(body, b"made");
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// # How a web server uses it
///
/// 1. If [`local_redirect`](Self::local_redirect) returns a path, it processes that path as if it
///    had been requested, and drops the body. Otherwise it continues. A plain proxy skips this
///    step: the client is then redirected.
/// 2. It sends [`status`](Self::status), [`reason`](Self::reason) and
///    [`http_fields`](Self::http_fields) to the client, and a `Date` if there is none. It does not
///    guess a missing `Content-Type`, because a browser could then execute text as a script.
/// 3. If the response [has a body](Self::has_body), it sends the body.
/// 4. At the end of the body it calls [`check_body`](Self::check_body) to detect a truncated
///    response.
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
#[derive(Clone, Debug)]
pub struct Head {
    /// Invariant: complete fields followed by the empty line. `HeadParser` establishes it before it
    /// makes the head visible.
    pub(super) fields: Fields,
}

impl Head {
    /// Returns the status code: the one in the `Status` field if there is one, otherwise 302 if
    /// there is a `Location` field, and otherwise 200 (RFC 3875, sections 6.2.1 and 6.2.3).
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Location: https://example.org/\n\n")?;
    /// assert_eq!(head.status(), 302);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn status(&self) -> u16 {
        self.fields.status_or_default()
    }

    /// Returns the reason phrase in the `Status` field. If it is missing, returns the
    /// [canonical](super::canonical_reason) one, which is empty for an unregistered code.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Status: 404 No Such User\n\n")?;
    /// assert_eq!(head.reason(), "No Such User");
    /// let (head, _) = Head::parse(b"Status: 404\n\n")?;
    /// assert_eq!(head.reason(), "Not Found");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn reason(&self) -> &str {
        let sent = self.get("Status").map_or("", |status| status[3..].trim());
        if sent.is_empty() {
            status::canonical_reason(self.status()).unwrap_or_default()
        } else {
            sent
        }
    }

    /// Returns the value of the first field of this name, or `None` if there is no such field or
    /// its value is not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// Returns the value of the first field of this name.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Status: 200\nX-Name: caf\xe9\n\n")?;
    /// assert_eq!(head.get_bytes("X-Name"), Some(&b"caf\xe9"[..]));
    /// assert_eq!(head.get("X-Name"), None);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// Returns the `Content-Type` field: the media type of the body, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.get("Content-Type")
    }

    /// Returns the `Content-Length` field: the length of the body in bytes, as announced by the
    /// application.
    pub fn content_length(&self) -> Option<u64> {
        self.fields.content_length()
    }

    /// Returns the `Location` field: a reference, which may be relative to the URL of the request.
    /// Returns `None` if there is no such field or its value is not UTF-8.
    pub fn location(&self) -> Option<&str> {
        self.get("Location")
    }

    /// Returns the path and query of a local redirect, which the web server must process as if they
    /// had been requested (RFC 3875, section 6.2.2).
    ///
    /// A local redirect consists of a `Location` field whose value begins with a single slash, and
    /// of no other field. In two cases this method returns `None` and the client must be
    /// redirected, with the `Status` that was sent or 302:
    ///
    /// - There are other fields. This way no `Set-Cookie` is lost, and an application that sends a
    ///   `Status` for a redirect gets that status.
    /// - The path has a fragment, which only a client can use.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Location: /login?from=a\n\n")?;
    /// assert_eq!(head.local_redirect(), Some("/login?from=a"));
    ///
    /// let (head, _) = Head::parse(b"Location: /login\nSet-Cookie: seen=1\n\n")?;
    /// assert_eq!((head.local_redirect(), head.status()), (None, 302));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// A proxy that cannot process a path itself need not call this method. If it sends
    /// [`status`](Self::status) and [`http_fields`](Self::http_fields), the client is redirected
    /// with status 302, as behind nginx.
    ///
    /// # Security
    ///
    /// A script can redirect to itself, so a web server must limit the number of redirects. It must
    /// also check the path like one that a client has sent.
    pub fn local_redirect(&self) -> Option<&str> {
        let is_only_field = self.fields.len() == 1;
        self.location().filter(|location| {
            is_only_field && syntax::is_path(location) && !location.contains('#')
        })
    }

    /// Returns an iterator over the names and values of all fields, in order.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Status: 200\nETag: \"7\"\n\n")?;
    /// assert_eq!(
    ///     head.fields().collect::<Vec<_>>(),
    ///     [("Status", &b"200"[..]), ("ETag", b"\"7\"")]
    /// );
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        self.fields.iter()
    }

    /// Returns an iterator over the fields that belong in the HTTP response, in order.
    ///
    /// It skips the following fields:
    ///
    /// - `Status`, which becomes the status line.
    /// - Fields that concern one HTTP connection: `Connection`, `Keep-Alive`,
    ///   `Proxy-Authenticate`, `Proxy-Authorization`, `Proxy-Connection`, `TE`, `Trailer`,
    ///   `Transfer-Encoding` and `Upgrade`.
    /// - `X-CGI-…`, which RFC 3875, section 6.3.5, reserves for extensions between the application
    ///   and the web server.
    ///
    /// It does not skip `Date`, `Server` and `Content-Length`. A web server that writes its own
    /// must skip them itself.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Status: 200\nTransfer-Encoding: chunked\nETag: \"7\"\n\n")?;
    /// assert_eq!(head.http_fields().collect::<Vec<_>>(), [("ETag", &b"\"7\""[..])]);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn http_fields(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        self.fields().filter(|(name, _)| {
            !name.eq_ignore_ascii_case("Status")
                && !syntax::is_hop_by_hop(name)
                && syntax::strip_prefix(name, "X-CGI-").is_none()
        })
    }

    /// Returns an iterator over the variables that an authorizer adds to the request, if the status
    /// is 200 ([FastCGI specification], section 6.3).
    ///
    /// The authorizer sends each variable as a field `Variable-NAME`. The iterator yields `NAME` as
    /// it was sent, and the value. [`set_variable`](super::set_variable) adds it to the params of
    /// the request that was authorized.
    ///
    /// The other fields and the body of such a response are ignored. A response with any other
    /// status is sent to the client unchanged.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Status: 200 OK\nVariable-AUTH_METHOD: database lookup\n\n")?;
    /// assert_eq!(
    ///     head.variables().collect::<Vec<_>>(),
    ///     [("AUTH_METHOD", &b"database lookup"[..])]
    /// );
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
    pub fn variables(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        let variable = |(name, value)| Some((syntax::strip_prefix(name, "Variable-")?, value));
        self.fields().filter_map(variable).filter(|(name, _)| !name.is_empty())
    }

    /// Returns whether the response to a request with this method has a body.
    ///
    /// If it has none, a web server must drop the body that the application sends anyway (RFC 3875,
    /// section 4.3.3, and RFC 9110, section 6.4.1).
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Content-Type: text/plain\n\n")?;
    /// assert!(head.has_body("GET"));
    /// assert!(!head.has_body("HEAD"));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn has_body(&self, method: &str) -> bool {
        method != "HEAD" && status::allows_body(self.status())
    }

    /// Compares the length of the body that was received with the `Content-Length` field, if there
    /// is one.
    ///
    /// Call it when the body has ended, and only for a response that [has a body](Self::has_body).
    ///
    /// A web server that forwards the body while receiving it must stop after
    /// [`content_length`](Self::content_length) bytes. If it has received fewer, it must close the
    /// client's connection, so that the client detects the truncation.
    ///
    /// # Errors
    /// [`Error::StreamTooShort`](crate::Error::StreamTooShort) or
    /// [`Error::StreamTooLong`](crate::Error::StreamTooLong) if the lengths differ.
    ///
    /// ```
    /// use fcgi::{cgi::Head, Error};
    ///
    /// let (head, body) = Head::parse(b"Content-Type: text/plain\nContent-Length: 5\n\ncut")?;
    /// assert!(matches!(
    ///     head.check_body(body.len() as u64),
    ///     Err(Error::StreamTooShort { announced: 5, received: 3, .. })
    /// ));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_body(&self, received: u64) -> Result<()> {
        StreamLength::announced("Content-Length", self.content_length()).check(received)
    }

    /// Returns the head as it was received, including the fields that were dropped and the empty
    /// line.
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, _) = Head::parse(b"Status: 204\nX-Empty:\n\n")?;
    /// assert_eq!(head.as_bytes(), b"Status: 204\nX-Empty:\n\n");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        self.fields.as_bytes()
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Head {}
