//! An HTTP request, as a web server has parsed it.

use std::net::SocketAddr;

use super::path::decode_path;
use super::request_target::Target;
use super::syntax::{self, invalid_request};
use crate::error::Result;

/// An HTTP request that a web server has received. An [`Environment`](super::Environment) converts
/// it to params.
///
/// There is no `Default` value, so no field can be forgotten. The fields are not checked until they
/// are used.
///
/// ```
/// use fcgi::cgi::HttpRequest;
///
/// let request = HttpRequest {
///     method: "POST",
///     target: "/a%20b.php?x=1",
///     version: "HTTP/1.1",
///     headers: &[("Host", b"example.org"), ("Content-Length", b"3")],
///     remote: "192.0.2.7:49152".parse().unwrap(),
///     local: "192.0.2.1:80".parse().unwrap(),
///     https: false,
///     content_length: Some(3),
/// };
/// assert_eq!(request.path()?, b"/a b.php");
/// assert_eq!(request.query()?, "x=1");
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method, as it was received. Methods are case-sensitive.
    pub method: &'a str,
    /// The target in the request line, not decoded: a path with its query, or an absolute URI (RFC
    /// 9112, sections 3.2.1 and 3.2.2). The other two forms, `*` and the `host:port` of a `CONNECT`
    /// request, do not name a script and are rejected.
    pub target: &'a str,
    /// The protocol and its version, such as `HTTP/1.1` or `HTTP/2`.
    pub version: &'a str,
    /// The names and values of the header fields, in order. A name may appear more than once.
    /// Folded lines must have been unfolded.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The address of the client.
    pub remote: SocketAddr,
    /// The address of the server, on this connection.
    pub local: SocketAddr,
    /// Whether the connection of the client is encrypted.
    pub https: bool,
    /// The length of the body in bytes, without any transfer coding, or `None` if there is no body.
    /// The length of a chunked body is not known until all of it has been received. A web server
    /// can also reject such a request with `411 Length Required`.
    pub content_length: Option<u64>,
}

impl<'a> HttpRequest<'a> {
    /// Returns the path of the target, decoded and checked by [`decode_path`]. It selects the
    /// script or file that a request is for.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) if the target is invalid or
    /// [`decode_path`] rejects the path.
    pub fn path(&self) -> Result<Vec<u8>> {
        decode_path(self.parse_target()?.path)
    }

    /// Returns the query of the target, not decoded. It is empty if there is none.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) if the target is invalid.
    pub fn query(&self) -> Result<&'a str> {
        Ok(self.parse_target()?.query.unwrap_or(""))
    }

    /// Splits the target into its parts.
    pub(super) fn parse_target(&self) -> Result<Target<'a>> {
        Target::parse(self.target).ok_or_else(|| invalid_request("target", self.target.as_bytes()))
    }

    /// Returns the host and port in the target, or else those in `Host`. Returns `None` if there is
    /// neither.
    pub(super) fn authority(&self, target: &Target<'a>) -> Result<Option<&'a [u8]>> {
        let host = self.header("Host")?;
        Ok(target.authority.map(str::as_bytes).or(host))
    }

    /// Returns the value of a header field that may appear once, if it is present and not empty.
    pub(super) fn header(&self, name: &'a str) -> Result<Option<&'a [u8]>> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (_, Some(second)) => Err(invalid_request(name, second)),
            (first, None) => Ok(first.filter(|value| !value.is_empty())),
        }
    }

    /// Checks that the header fields agree with `content_length`.
    pub(super) fn check_length(&self) -> Result<()> {
        if let Some(coding) = self.values("Transfer-Encoding").next() {
            // `Content-Length` is ignored if both are present (RFC 9112, section 6.3).
            return match self.content_length {
                Some(_) => Ok(()),
                None => Err(invalid_request("Transfer-Encoding", coding)),
            };
        }
        let length = self.content_length.unwrap_or(0);
        let differs = |value: &&[u8]| syntax::parse_length(value).ok() != Some(length);
        match self.values("Content-Length").find(differs) {
            Some(value) => Err(invalid_request("Content-Length", value)),
            None => Ok(()),
        }
    }

    /// Returns the values of all header fields of this name, without the blanks around them.
    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let matches = move |header: &&(&str, &[u8])| header.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(matches).map(|&(_, value)| syntax::trim(value))
    }
}
