//! What header fields are, for those that read and those that write them.

use crate::error::{Error, Result};

/// The most of a bad line or value that an error carries, in bytes: its sender may have made it as long as the limits let
/// it.
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
    text.iter().position(|&byte| !TOKEN[usize::from(byte)]).unwrap_or(text.len())
}

/// Whether all of `text` is one token.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token_len(text) == text.len()
}

/// Whether a value holds one of the bytes that would end its line, or the string that some application makes of it.
pub(super) fn breaks_line(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_some()
}

/// Whether a byte may stand before and behind a value.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A value without the blanks around it.
#[inline]
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value {
        if !is_blank(*first) {
            break;
        }
        value = rest;
    }
    while let [rest @ .., last] = value {
        if !is_blank(*last) {
            break;
        }
        value = rest;
    }
    value
}

/// The fields that are about one HTTP connection and not about the resource (RFC 9110, section 7.6.1, and those that
/// RFC 2616, section 13.5.1, adds).
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

/// The code of a `Status` (RFC 3875, section 6.3.3): three digits, and a blank before what follows. A missing reason is
/// accepted, as many applications send none.
pub(super) fn parse_status(value: &[u8]) -> Result<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'\t', ..] => {
            Ok(value[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
        }
        _ => Err(Error::InvalidStatus(shown(value))),
    }
}

/// Checks a `Location` (RFC 3875, section 6.3.2).
pub(super) fn check_location(value: &[u8]) -> Result<()> {
    let location = std::str::from_utf8(value).ok().filter(|text| !text.contains(|c: char| c.is_ascii_control()));
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
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_scheme_char) && !rest.is_empty()
}

/// A length in bytes, as decimal digits and nothing else.
pub(super) fn parse_length(value: &[u8]) -> Result<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| Error::InvalidContentLength(shown(value)))
}

/// A bad value as an error carries it.
pub(super) fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(SHOWN)]).into_owned()
}

/// The reason phrases of the registered status codes (RFC 9110, section 15, and the registry that it names).
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
