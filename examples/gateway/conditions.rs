//! Conditional requests and ranges of files ([RFC 9110], sections 13 and 14).
//!
//! [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110

use std::fs::Metadata;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http::Request;

/// The last second of the year 9999, the last one that an HTTP date can express.
const MAX_DATE: Duration = Duration::from_secs(253_402_300_799);

/// What identifies the content of a file.
pub struct Validators {
    pub etag: String,
    /// The time of the last change, as an HTTP date.
    pub last_modified: String,
}

/// The part of a file that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    Range(Range<u64>),
    /// The client has the file already.
    NotModified,
    /// The range begins after the end of the file.
    OutOfRange,
}

impl Validators {
    pub fn new(metadata: &Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let nanoseconds = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            etag: format!("\"{nanoseconds:x}-{:x}\"", metadata.len()),
            // `httpdate` cannot format a time before 1970 or after 9999.
            last_modified: httpdate::fmt_http_date(
                modified.clamp(UNIX_EPOCH, UNIX_EPOCH + MAX_DATE),
            ),
        }
    }

    /// Returns the part of a file of this length that a request asks for. The fields of a method
    /// other than GET and HEAD, which a local redirect has replaced, do not concern the file.
    pub fn select(&self, request: &Request, length: u64) -> Part {
        if !["GET", "HEAD"].contains(&&*request.method) {
            return Part::Whole;
        }
        if self.is_known(request) {
            return Part::NotModified;
        }
        match request.header("Range") {
            Some(range) if request.method == "GET" && self.allows_range(request) => {
                parse_range(range, length)
            }
            _ => Part::Whole,
        }
    }

    /// Returns whether the client has the file. `If-None-Match` takes precedence.
    fn is_known(&self, request: &Request) -> bool {
        if let Some(etags) = request.header("If-None-Match") {
            let is_own = |etag: &str| etag == "*" || etag.trim_start_matches("W/") == self.etag;
            return etags.split(',').map(str::trim).any(is_own);
        }
        let since = request.header("If-Modified-Since").and_then(parse_date);
        since.is_some_and(|since| parse_date(&self.last_modified).is_some_and(|own| own <= since))
    }

    /// Returns whether the file is the one of which the client has a part.
    fn allows_range(&self, request: &Request) -> bool {
        let validator = request.header("If-Range");
        validator.is_none_or(|value| value == self.etag || value == self.last_modified)
    }
}

fn parse_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Parses the value of `Range`. An invalid one, and one with several ranges, is ignored.
fn parse_range(value: &str, length: u64) -> Part {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Part::Whole;
    };
    let number = |text: &str| {
        text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let range = match (number(first.trim()), number(last.trim())) {
        (Some(first), None) if last.trim().is_empty() => first..length,
        (Some(first), Some(last)) if first <= last => first..length.min(last.saturating_add(1)),
        (None, Some(suffix)) if first.is_empty() => length - suffix.min(length)..length,
        _ => return Part::Whole,
    };
    if range.start < range.end {
        Part::Range(range)
    } else {
        Part::OutOfRange
    }
}
