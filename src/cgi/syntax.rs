//! The syntax of header fields, shared by the code that parses them and the code that writes them.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::params::parse_decimal;

/// The maximum number of bytes of an invalid value that an error contains. The sender can make the
/// value as long as the limits allow.
const MAX_EXCERPT: usize = 200;

/// The header fields that concern one HTTP connection rather than the resource: those of RFC 9110,
/// section 7.6.1, and those that RFC 2616, section 13.5.1, adds.
const HOP_BY_HOP: [&str; 9] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// The bytes that a `token` must not contain although they are visible (RFC 3875, section 2.2).
const SEPARATORS: &[u8] = b"()<>@,;:\\\"/[]?={}";

/// The bytes that a `token` may contain, such as those of a field name or a method.
static TOKEN: [bool; 256] = token_bytes();

const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = true;
        byte += 1;
    }
    let mut at = 0;
    while at < SEPARATORS.len() {
        table[SEPARATORS[at] as usize] = false;
        at += 1;
    }
    table
}

/// Which response heads are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rules {
    /// Those that RFC 3875 allows.
    #[default]
    Strict,
    /// Those that applications send in practice as well.
    Lenient,
}

/// Returns the length of the token at the start of `text`.
#[inline]
pub(super) fn token_len(text: &[u8]) -> usize {
    let allowed = |byte: &u8| TOKEN[usize::from(*byte)];
    let mut at = 0;
    for four in text.chunks_exact(4) {
        if !(allowed(&four[0]) & allowed(&four[1]) & allowed(&four[2]) & allowed(&four[3])) {
            break;
        }
        at += 4;
    }
    at + text[at..].iter().position(|byte| !allowed(byte)).unwrap_or(text.len() - at)
}

/// Returns whether `text` is one token.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token_len(text) == text.len()
}

/// Returns the number of bytes at the start of `text` that are neither colons, blanks nor control
/// bytes.
pub(super) fn unusual_name_len(text: &[u8]) -> usize {
    let allowed = |byte: &u8| *byte != b':' && *byte > b' ' && *byte != 0x7f;
    text.iter().position(|byte| !allowed(byte)).unwrap_or(text.len())
}

/// Returns whether `text` is a field value: it contains no CR, LF or NUL.
pub(super) fn is_value(text: &[u8]) -> bool {
    find_line_break_or_nul(text) == text.len()
}

/// Returns the offset of the first CR, LF or NUL in `text`, or its length if there is none.
///
/// Values are short, so the search reads eight bytes at a time. This costs half as much as a call
/// of `memchr3` for each value.
#[inline]
pub(super) fn find_line_break_or_nul(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += find_byte_up_to_cr(&text[at..]);
        if matches!(text.get(at), None | Some(b'\r' | b'\n' | 0)) {
            return at;
        }
        at += 1;
    }
}

/// Returns the offset of the first byte in `text` that is not above CR (13), or the length of
/// `text` if there is none.
#[inline]
fn find_byte_up_to_cr(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut words = text.chunks_exact(8);
    let mut at = 0;
    for word in words.by_ref() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        // Sets the high bit of each byte below 14. A borrow can set the bit of a larger byte too,
        // but only after a byte whose bit is set correctly, so the first bit is always correct.
        let found = word.wrapping_sub(ONES * 14) & !word & (ONES << 7);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = words.remainder();
    at + rest.iter().position(|&byte| byte < 14).unwrap_or(rest.len())
}

/// Returns whether a byte is a blank, which may surround a field value.
#[inline]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns `range` without the blanks at its start and end.
#[inline]
pub(super) fn trim_range(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let Range { mut start, mut end } = range;
    let part = &bytes[..end];
    while part.get(start).is_some_and(|&byte| is_blank(byte)) {
        start += 1;
    }
    while start < end && is_blank(part[end - 1]) {
        end -= 1;
    }
    start..end
}

/// Returns `value` without the blanks at its start and end.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    &value[trim_range(value, 0..value.len())]
}

/// Returns whether a header field applies to one HTTP connection only.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// Removes `prefix` from the start of `text`, ignoring ASCII case. Returns `None` if `text` does
/// not start with it.
pub(super) fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let starts = text.get(..prefix.len())?.eq_ignore_ascii_case(prefix);
    starts.then(|| &text[prefix.len()..])
}

/// Checks a `Location` value: any reference (RFC 9110, section 10.2.2), or under strict rules an
/// absolute URI or a path (RFC 3875, section 6.3.2).
///
/// Browsers remove tabs from a reference, so `/\t/host` would lead to another host although it
/// begins like a path.
pub(super) fn check_location(value: &[u8], rules: Rules) -> Result<()> {
    let is_listed = |text| is_path(text) || is_absolute(text);
    let is_valid = rules == Rules::Lenient || std::str::from_utf8(value).is_ok_and(is_listed);
    if is_valid && !value.iter().any(u8::is_ascii_control) {
        return Ok(());
    }
    Err(Error::InvalidLocation(excerpt(value)))
}

/// Returns whether a location is a path. `//host/path` is not: it is a URI without its scheme.
/// Browsers treat `/\host/path` in the same way.
pub(super) fn is_path(location: &str) -> bool {
    location.strip_prefix('/').is_some_and(|rest| !rest.starts_with(['/', '\\']))
}

fn is_absolute(location: &str) -> bool {
    let Some((scheme, rest)) = location.split_once(':') else { return false };
    let is_scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(is_scheme_char)
        && !rest.is_empty()
}

/// Parses a length in bytes, which consists of decimal digits only.
#[inline]
pub(super) fn parse_length(value: &[u8]) -> Result<u64> {
    parse_decimal(value).ok_or_else(|| Error::InvalidContentLength(excerpt(value)))
}

/// Returns the start of an invalid value, as text for an error.
pub(super) fn excerpt(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(MAX_EXCERPT)]).into_owned()
}

/// Creates an [`Error::InvalidRequest`] about a part of an HTTP request.
pub(super) fn invalid_request(part: &str, value: &[u8]) -> Error {
    Error::InvalidRequest { part: part.into(), value: excerpt(value) }
}
