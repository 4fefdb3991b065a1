//! An HTTP request, as a server has parsed it.

use std::net::{Ipv6Addr, SocketAddr};

use crate::cgi::path::{decode_path, invalid};
use crate::cgi::rules;
use crate::error::Result;

/// An HTTP request as the server received it, of which an [`Environment`](crate::cgi::Environment)
/// makes params.
///
/// Every field has to be named, so none can be forgotten. All of them are checked when the params
/// are made.
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
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method, in the case in which it came.
    pub method: &'a str,
    /// The target of the request line, undecoded: a path with its query, or a whole URI (RFC 9112,
    /// sections 3.2.1 and 3.2.2). The other two forms, `*` and the `host:port` of `CONNECT`,
    /// name nothing that a script could answer for.
    pub target: &'a str,
    /// The protocol as `HTTP/1.1`; `HTTP/2` is passed on as `HTTP/2.0`.
    pub version: &'a str,
    /// The names and values of the header fields, in order, with repetitions; folded lines already
    /// unfolded.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The client's address.
    pub remote: SocketAddr,
    /// The server's address, on this connection.
    pub local: SocketAddr,
    /// Whether the client's connection is encrypted.
    pub https: bool,
    /// The length of the body in bytes, without transfer coding; `None` if there is no body. A
    /// chunked body has to be received whole before its length is known (or to be refused,
    /// with `411 Length Required`).
    pub content_length: Option<u64>,
}

impl<'a> HttpRequest<'a> {
    /// The path that is requested, decoded and checked: what decides which script, or file,
    /// answers.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a bad target, or a path that
    /// [`decode_path`] refuses.
    pub fn path(&self) -> Result<Vec<u8>> {
        decode_path(self.parse_target()?.path)
    }

    /// The query behind the path, undecoded; empty if there is none.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a bad target.
    pub fn query(&self) -> Result<&'a str> {
        Ok(self.parse_target()?.query.unwrap_or(""))
    }

    pub(super) fn parse_target(&self) -> Result<Target<'a>> {
        Target::parse(self.target).ok_or_else(|| invalid("target", self.target.as_bytes()))
    }

    /// The host and port that the client asked for, in the target or else in `Host`; `None` if it
    /// named none.
    pub(super) fn authority(&self, target: &Target<'a>) -> Result<Option<&'a [u8]>> {
        let host = self.header("Host")?;
        Ok(target.authority.map(str::as_bytes).or(host))
    }

    /// The value of a header that may come once, if it is there and not empty.
    pub(super) fn header(&self, name: &'a str) -> Result<Option<&'a [u8]>> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (_, Some(second)) => Err(invalid(name, second)),
            (first, None) => Ok(first.filter(|value| !value.is_empty())),
        }
    }

    /// Checks that the length of the body is the one that the headers tell of.
    pub(super) fn check_length(&self) -> Result<()> {
        if self.values("Transfer-Encoding").next().is_some() {
            // Its length shows when it has been decoded; what `Content-Length` says beside it does
            // not count (RFC 9112, section 6.3).
            let known = self.content_length.is_some();
            return known
                .then_some(())
                .ok_or_else(|| invalid("Transfer-Encoding", b"a body of unknown length"));
        }
        let right = |value: &&[u8]| {
            rules::parse_length(value).ok() == Some(self.content_length.unwrap_or(0))
        };
        let wrong = self.values("Content-Length").find(|value| !right(value));
        wrong.map_or(Ok(()), |value| Err(invalid("Content-Length", value)))
    }

    /// The values of each header of this name, without the blanks around them.
    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let wanted = move |header: &&(&str, &[u8])| header.0.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(wanted)
            .map(|&(_, value)| &value[rules::trim(value, 0..value.len())])
    }
}

/// The parts of a request's target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// Host and port, where the target is a whole URI.
    pub(super) authority: Option<&'a str>,
    /// Begins with `/`.
    pub(super) path: &'a str,
    /// What is behind the `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(target: &'a str) -> Option<Self> {
        if target.bytes().any(|byte| byte <= b' ' || matches!(byte, 0x7f | b'#')) {
            return None;
        }
        let behind_scheme =
            ["http://", "https://"].iter().find_map(|scheme| rules::strip_prefix(target, scheme));
        let (authority, rest) = match behind_scheme {
            Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => ("", target),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let authority = behind_scheme.map(|_| authority);
        let path = if path.is_empty() && authority.is_some() { "/" } else { path };
        (path.starts_with('/') && authority != Some("")).then_some(Self { authority, path, query })
    }
}

/// The host of an authority without its port, an IPv6 address in its brackets; `None` if it is not
/// a host and a port.
pub(super) fn host_name(authority: &[u8]) -> Option<&str> {
    let authority = std::str::from_utf8(authority).ok()?;
    let end = authority
        .find(']')
        .map_or_else(|| authority.find(':').unwrap_or(authority.len()), |at| at + 1);
    let (host, port) = authority.split_at(end);
    (is_host(host) && is_port(port)).then_some(host)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !host.is_empty() && host.bytes().all(allowed)
}

/// Whether this is what may be behind a host: nothing, a colon, or a colon and a number.
fn is_port(port: &str) -> bool {
    let digits = port.strip_prefix(':').unwrap_or(port);
    digits.is_empty() || (digits.len() < port.len() && is_number(digits))
}

fn is_number(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}
