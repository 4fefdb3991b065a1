//! The checks of a request head that hyper leaves to its caller.

use hyper::header::{HeaderValue, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::Version;

use crate::failure::Failure;

/// Checks the fields that say which host the request is for and how its body is encoded.
pub fn check(head: &Parts) -> Result<(), Failure> {
    check_host(head)?;
    check_transfer_coding(head)
}

/// Checks that the request has one valid `Host` field. It may be missing in HTTP/1.0 ([RFC 9112],
/// section 3.2).
///
/// [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112
fn check_host(head: &Parts) -> Result<(), Failure> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(Failure::new(400, "the request has no Host field")),
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(host), None) => Err(Failure::new(400, format!("invalid Host {host:?}"))),
        _ => Err(Failure::new(400, "the request has more than one Host field")),
    }
}

/// Returns whether a value is empty, or a host with an optional port.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(value.as_bytes()) else { return value.is_empty() };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| port.is_empty() || port == ":" || authority.port_u16().is_some())
}

/// Checks that the body has no transfer coding other than `chunked`, which hyper decodes. A server
/// answers with status 501 to a coding that it does not understand (RFC 9112, section 6.1).
fn check_transfer_coding(head: &Parts) -> Result<(), Failure> {
    let mut is_chunked = false;
    for value in head.headers.get_all(TRANSFER_ENCODING) {
        let codings = String::from_utf8_lossy(value.as_bytes());
        for coding in codings.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
            if !coding.eq_ignore_ascii_case("chunked") {
                let reason = format!("the transfer coding {coding:?} is not supported");
                return Err(Failure::new(501, reason));
            }
            if is_chunked {
                return Err(Failure::new(400, "the body is chunked more than once"));
            }
            is_chunked = true;
        }
    }
    Ok(())
}
