//! Escapes in a path: decoding them safely, and encoding them.

use super::syntax::invalid_request;
use crate::error::Result;

const HEX_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// What [`unescape`] does with `%2F`, which would separate two segments once it is decoded.
#[derive(Clone, Copy)]
pub(super) enum EscapedSlash {
    Reject,
    /// It remains `%2F`.
    Keep,
}

/// Decodes the percent-escapes of a request path, and rejects paths that could lead out of a
/// directory.
///
/// The result starts with `/`, contains no control byte, and has no `..` segment, whether it was
/// escaped or not. Both `/` and `\` count as separators. Everything else remains as it is: empty
/// segments, `.` segments, the case of letters, and bytes that are not UTF-8.
///
/// # Errors
/// [`Error::InvalidRequest`](crate::Error::InvalidRequest), to which a web server responds with
/// `400 Bad Request`, if the path
///
/// - does not start with `/`
/// - contains `?` or `#`, which end a path
/// - contains `%` without two hexadecimal digits after it
/// - contains a control byte such as NUL or LF, whether it is escaped or not
/// - has a `..` segment, which clients resolve before they send a request
/// - contains an escaped slash, `%2F`, which would name a different path once it is decoded
///   ([RFC 3875], section 4.1.5, allows a server to reject it)
///
/// ```
/// use fcgi::cgi::decode_path;
///
/// assert_eq!(decode_path("/caf%C3%A9/a+b")?, "/café/a+b".as_bytes());
/// assert!(decode_path("/static/%2e%2e/secret").is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn decode_path(path: &str) -> Result<Vec<u8>> {
    let is_path = path.starts_with('/') && !path.contains(['?', '#']);
    let decoded = unescape(path, EscapedSlash::Reject);
    let decoded = decoded.filter(|decoded| is_path && is_safe(decoded));
    decoded.ok_or_else(|| invalid_request("path", path.as_bytes()))
}

/// Escapes a path for a header field, such as `Location` or `X-Accel-Redirect`.
///
/// It escapes every byte except letters, digits, `-`, `.`, `_`, `~` and `/`. The reverse is
/// [`decode_path`].
///
/// ```
/// use fcgi::cgi::encode_path;
///
/// assert_eq!(encode_path("/files/50% café?.pdf"), "/files/50%25%20caf%C3%A9%3F.pdf");
/// ```
pub fn encode_path(path: impl AsRef<[u8]>) -> String {
    let mut encoded = String::new();
    for &byte in path.as_ref() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push('%');
            encoded
                .extend([byte >> 4, byte & 15].map(|digit| char::from(HEX_DIGITS[digit as usize])));
        }
    }
    encoded
}

/// Decodes the escapes of a path. Returns `None` for an invalid escape, and for an escaped slash
/// that is rejected.
pub(super) fn unescape(path: &str, slash: EscapedSlash) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut pieces = path.split('%').map(str::as_bytes);
    decoded.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (byte, rest) = decode_escape(piece)?;
        match (byte, slash) {
            (b'/', EscapedSlash::Reject) => return None,
            (b'/', EscapedSlash::Keep) => decoded.extend_from_slice(b"%2F"),
            (byte, _) => decoded.push(byte),
        }
        decoded.extend_from_slice(rest);
    }
    Some(decoded)
}

/// Decodes the two digits after a `%`. Returns the byte, and what follows the digits.
fn decode_escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = text.split_first_chunk()?;
    Some((hex_value(high)? << 4 | hex_value(low)?, rest))
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Returns whether a decoded path has no `..` segment and contains no control byte.
pub(super) fn is_safe(path: &[u8]) -> bool {
    let climbs = path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..");
    !climbs && !path.iter().any(|byte| byte.is_ascii_control())
}
