//! What header fields are, for those that read and those that write them.

use std::ops::Range;

use crate::error::{Error, Result};

/// The most of a bad line or value that an error carries, in bytes: its sender may have made it as
/// long as the limits let it.
const SHOWN: usize = 200;

/// Which bytes a `token` may hold (RFC 3875, section 2.2): a field's name, a method.
static TOKEN: [bool; 256] = token_bytes();

const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = !matches!(
            byte,
            b'(' | b')'
                | b'<'
                | b'>'
                | b'@'
                | b','
                | b';'
                | b':'
                | b'\\'
                | b'"'
                | b'/'
                | b'['
                | b']'
                | b'?'
                | b'='
                | b'{'
                | b'}'
        );
        byte += 1;
    }
    table
}

/// The length of the token at the beginning of `text`.
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

/// Whether all of `text` is one token.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token_len(text) == text.len()
}

/// The offset of the first CR, LF or NUL in `text`, none of which a value may hold; its length if
/// there is none.
///
/// Values are short, so this goes by words of eight bytes, which costs half of what a call of
/// `memchr3` for each does.
#[inline]
pub(super) fn value_len(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += control_position(&text[at..]);
        if matches!(text.get(at), None | Some(b'\r' | b'\n' | 0)) {
            return at;
        }
        at += 1;
    }
}

/// The offset of the first byte up to CR (13) in `text`; its length if there is none.
#[inline]
fn control_position(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut words = text.chunks_exact(8);
    let mut at = 0;
    for word in words.by_ref() {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        // The high bit of each byte that is below 14; a borrow can set one too many, but only
        // behind one that is right.
        let found = word.wrapping_sub(ONES * 14) & !word & (ONES << 7);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = words.remainder();
    at + rest.iter().position(|&byte| byte < 14).unwrap_or(rest.len())
}

/// Whether a byte may stand before and behind a value.
#[inline]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The part of a range that is left without the blanks at its ends.
#[inline]
pub(super) fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
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

/// The fields that are about one HTTP connection and not about the resource (RFC 9110, section
/// 7.6.1, and those that RFC 2616, section 13.5.1, adds).
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

/// Whether a field ends at the next HTTP hop.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// `value` without `prefix`, if it begins so in upper or lower case.
pub(super) fn strip_prefix<'a>(value: &'a str, prefix: &str) -> Option<&'a str> {
    let begins = value.get(..prefix.len())?.eq_ignore_ascii_case(prefix);
    begins.then(|| &value[prefix.len()..])
}

/// The code of a `Status` (RFC 3875, section 6.3.3): three digits, and a blank before what follows.
/// A missing reason is accepted, as many applications send none.
#[inline]
pub(super) fn parse_status(value: &[u8]) -> Result<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']
        | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'\t', ..] => {
            Ok(value[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
        }
        _ => Err(Error::InvalidStatus(shown(value))),
    }
}

/// Checks a `Location` (RFC 3875, section 6.3.2).
pub(super) fn check_location(value: &[u8]) -> Result<()> {
    let location = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.contains(|c: char| c.is_ascii_control()));
    match location {
        Some(text) if is_path(text) || is_absolute(text) => Ok(()),
        _ => Err(Error::InvalidLocation(shown(value))),
    }
}

/// Whether this is a path: `//host` is none, but a URI that lacks its scheme.
pub(super) fn is_path(location: &str) -> bool {
    location.starts_with('/') && !location.starts_with("//")
}

fn is_absolute(location: &str) -> bool {
    let Some((scheme, rest)) = location.split_once(':') else { return false };
    let is_scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(is_scheme_char)
        && !rest.is_empty()
}

/// A length in bytes, as decimal digits and nothing else.
#[inline]
pub(super) fn parse_length(value: &[u8]) -> Result<u64> {
    let next = |length: u64, &byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        length.checked_mul(10)?.checked_add(digit.into())
    };
    let length = value.iter().try_fold(0, next).filter(|_| !value.is_empty());
    length.ok_or_else(|| Error::InvalidContentLength(shown(value)))
}

/// A bad value as an error carries it.
pub(super) fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(SHOWN)]).into_owned()
}

/// The reason phrases of the registered status codes (RFC 9110, section 15, and the registry that
/// it names).
const REASONS: &[(u16, &str)] = &[
    (100, "Continue"),
    (101, "Switching Protocols"),
    (102, "Processing"),
    (103, "Early Hints"),
    (200, "OK"),
    (201, "Created"),
    (202, "Accepted"),
    (203, "Non-Authoritative Information"),
    (204, "No Content"),
    (205, "Reset Content"),
    (206, "Partial Content"),
    (207, "Multi-Status"),
    (208, "Already Reported"),
    (226, "IM Used"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (305, "Use Proxy"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (425, "Too Early"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (511, "Network Authentication Required"),
];

/// The usual reason phrase of a status code; empty for one that is not registered.
///
/// ```
/// assert_eq!(fcgi::cgi::standard_reason(404), "Not Found");
/// assert_eq!(fcgi::cgi::standard_reason(799), "");
/// ```
pub fn standard_reason(status: u16) -> &'static str {
    REASONS.binary_search_by_key(&status, |&(code, _)| code).map_or("", |at| REASONS[at].1)
}
