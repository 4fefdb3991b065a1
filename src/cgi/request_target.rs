//! The target of an HTTP request (RFC 9112, section 3.2).

use std::net::Ipv6Addr;

use super::syntax::strip_prefix;

/// The parts of a request target: a path with a query, or an absolute URI.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// The host and port of an absolute URI. Invariant: not empty.
    pub(super) authority: Option<&'a str>,
    /// Invariant: starts with `/`.
    pub(super) path: &'a str,
    /// The text after the `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Parses a target. Returns `None` if it is neither a path nor an `http` or `https` URI.
    pub(super) fn parse(target: &'a str) -> Option<Self> {
        if target.bytes().any(|byte| byte <= b' ' || matches!(byte, 0x7f | b'#')) {
            return None;
        }
        let (authority, rest) = split_authority(target)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = if path.is_empty() && authority.is_some() { "/" } else { path };
        path.starts_with('/').then_some(Self { authority, path, query })
    }
}

/// Splits an absolute URI into its authority and the rest. For any other target, the authority is
/// `None` and the rest is the whole target. Returns `None` if the authority is empty.
fn split_authority(target: &str) -> Option<(Option<&str>, &str)> {
    let uri = ["http://", "https://"].iter().find_map(|scheme| strip_prefix(target, scheme));
    let Some(uri) = uri else { return Some((None, target)) };
    let (authority, rest) = uri.split_at(uri.find(['/', '?']).unwrap_or(uri.len()));
    (!authority.is_empty()).then_some((Some(authority), rest))
}

/// Returns the host of an authority without its port. An IPv6 address keeps its brackets. Returns
/// `None` if the authority is not a host with an optional port.
pub(super) fn host_name(authority: &[u8]) -> Option<&str> {
    let authority = std::str::from_utf8(authority).ok()?;
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
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

/// Returns whether `port` is empty, a colon, or a colon and a port number.
fn is_port(port: &str) -> bool {
    match port.strip_prefix(':') {
        Some(digits) => digits.is_empty() || is_port_number(digits),
        None => port.is_empty(),
    }
}

fn is_port_number(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
}
