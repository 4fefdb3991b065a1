//! Status codes and their reason phrases.

use super::syntax::excerpt;
use crate::error::{Error, Result};

/// Parses the code of a `Status` value: three digits, followed by a blank or by nothing (RFC 3875,
/// section 6.3.3).
///
/// The reason phrase is optional here, because many applications send none.
#[inline]
pub(super) fn parse_code(value: &[u8]) -> Result<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']
        | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'\t', ..] => {
            Ok(value[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')))
        }
        _ => Err(Error::InvalidStatus(excerpt(value))),
    }
}

/// Returns whether a response with this status may have a body (RFC 9110, section 6.4.1).
pub(super) fn allows_body(code: u16) -> bool {
    !matches!(code, 100..=199 | 204 | 304)
}

/// Returns the reason phrase of a registered status code, or `None` for any other code.
///
/// ```
/// use fcgi::cgi::canonical_reason;
///
/// assert_eq!(canonical_reason(404), Some("Not Found"));
/// assert_eq!(canonical_reason(799), None);
/// ```
pub fn canonical_reason(status: u16) -> Option<&'static str> {
    let position = REASONS.binary_search_by_key(&status, |&(code, _)| code).ok()?;
    Some(REASONS[position].1)
}

/// The status codes of the IANA registry with their reason phrases (RFC 9110, section 16.2.1).
///
/// Invariant: sorted by code.
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
