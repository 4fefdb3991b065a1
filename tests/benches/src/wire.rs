//! Encoded requests and responses.

use std::borrow::Cow;
use std::io::{self, Read};

use crate::{Workload, FILLER};

/// The maximum content length of a record that keeps the next record aligned to 8 bytes.
const MAX_CONTENT: usize = 65528;

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// The params that a web server sends for a page: 25 pairs, which are encoded in 1006 bytes.
pub const PAIRS: [(&str, &str); 25] = [
    ("QUERY_STRING", "page=2&sort=date&filter=open"),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", ""),
    ("SCRIPT_NAME", "/index.php"),
    ("REQUEST_URI", "/projects/ferris/issues?page=2&sort=date&filter=open"),
    ("DOCUMENT_URI", "/index.php"),
    ("DOCUMENT_ROOT", "/srv/www/example.org/public"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_SCHEME", "https"),
    ("HTTPS", "on"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx/1.24.0"),
    ("REMOTE_ADDR", "192.0.2.7"),
    ("REMOTE_PORT", "49152"),
    ("SERVER_ADDR", "192.0.2.1"),
    ("SERVER_PORT", "443"),
    ("SERVER_NAME", "example.org"),
    ("SCRIPT_FILENAME", "/srv/www/example.org/public/index.php"),
    ("HTTP_HOST", "example.org"),
    ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (
        "HTTP_ACCEPT",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
         */*;q=0.8",
    ),
    ("HTTP_ACCEPT_LANGUAGE", "en-GB,en;q=0.7,de;q=0.3"),
    ("HTTP_ACCEPT_ENCODING", "gzip, deflate, br"),
    (
        "HTTP_COOKIE",
        "session=7f3c2a9e5b1d4860a7c3e9f2b8d6054c; theme=dark; seen=1; \
         consent=all; csrf=Zm9yZ2VyeS1pcy1ub3QtYWxsb3dlZC1oZXJl; \
         cart=3f9b41d27c5e4a6f; last=%2Fprojects%2Fferris%2Fissues%3Fpage%3D101",
    ),
];

/// Returns the params of a request.
pub fn pairs(workload: Workload) -> Vec<(&'static str, String)> {
    let value = |name, value: &str| match (workload, name) {
        (Workload::Body | Workload::Post, "REQUEST_METHOD") => "POST".into(),
        (Workload::Body, "CONTENT_TYPE") => "application/octet-stream".into(),
        (Workload::Body, "CONTENT_LENGTH") => workload.body_len().to_string(),
        _ => value.into(),
    };
    PAIRS.iter().map(|(name, v)| (*name, value(name, v))).collect()
}

/// Returns the encoded params of a request.
pub fn params(workload: Workload) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs(workload) {
        for len in [name.len(), value.len()] {
            match u8::try_from(len) {
                Ok(short @ 0..=127) => bytes.push(short),
                _ => bytes.extend((len as u32 | 1 << 31).to_be_bytes()),
            }
        }
        bytes.extend(name.bytes().chain(value.bytes()));
    }
    bytes
}

fn record(record_type: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() & 7;
    let ([id1, id0], [len1, len0]) = (id.to_be_bytes(), (content.len() as u16).to_be_bytes());
    let mut bytes = vec![1, record_type, id1, id0, len1, len0, padding as u8, 0];
    bytes.extend(content);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

/// Encodes a stream, including the empty record at its end.
fn stream(record_type: u8, id: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        data.chunks(MAX_CONTENT).flat_map(|content| record(record_type, id, content)).collect();
    bytes.extend(record(record_type, id, b""));
    bytes
}

/// Encodes a request with the id 1.
pub fn request(workload: Workload, keep_conn: bool) -> Vec<u8> {
    let mut bytes = record(BEGIN, 1, &[0, 1, keep_conn.into(), 0, 0, 0, 0, 0]);
    bytes.extend(stream(PARAMS, 1, &params(workload)));
    bytes.extend(stream(STDIN, 1, &vec![FILLER; workload.body_len()]));
    bytes
}

/// Returns the id of a request if these are its last bytes: the empty record that ends STDIN.
pub fn request_end(last: [u8; 8]) -> Option<u16> {
    let [_, _, id1, id0, ..] = last;
    (last == [1, STDIN, id1, id0, 0, 0, 0, 0]).then_some(u16::from_be_bytes([id1, id0]))
}

/// Encodes the response to a request. A large one consists of several slices for a vectored write:
/// a header, its content, the next header, and so on. The content is not copied.
pub fn response(stdout: &[u8], id: u16) -> Vec<Cow<'_, [u8]>> {
    if stdout.len() <= MAX_CONTENT {
        return vec![[stream(STDOUT, id, stdout), record(END, id, &[0; 8])].concat().into()];
    }
    let mut parts = Vec::new();
    for content in stdout.chunks(MAX_CONTENT) {
        let mut header = record(STDOUT, id, content);
        let padding = header.split_off(8 + content.len());
        header.truncate(8);
        parts.extend([header.into(), content.into(), padding.into()]);
    }
    parts.push([record(STDOUT, id, b""), record(END, id, &[0; 8])].concat().into());
    parts.retain(|part: &Cow<'_, [u8]>| !part.is_empty());
    parts
}

/// Finds the end of a response. It keeps only its position in the current record.
#[derive(Debug, Default)]
pub struct Scanner {
    header: [u8; 8],
    /// The number of bytes of the header that have been received.
    filled: usize,
    /// The number of bytes of content and padding that are still to be received.
    left: usize,
}

impl Scanner {
    /// Reads until the end of END_REQUEST. Passes the content of STDOUT to `on_stdout`.
    pub fn read(
        &mut self,
        from: &mut impl Read,
        buffer: &mut [u8],
        mut on_stdout: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        loop {
            let n = from.read(buffer)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.scan(&buffer[..n], &mut on_stdout) {
                return Ok(());
            }
        }
    }

    fn scan(&mut self, mut bytes: &[u8], on_stdout: &mut impl FnMut(&[u8])) -> bool {
        loop {
            if self.filled == 8 {
                let n = self.left.min(bytes.len());
                if self.header[1] == STDOUT {
                    // The padding is at the end.
                    on_stdout(&bytes[..n.min(self.left.saturating_sub(self.header[6].into()))]);
                }
                bytes = &bytes[n..];
                self.left -= n;
                if self.left > 0 {
                    return false;
                }
                self.filled = 0;
                if self.header[1] == END {
                    assert!(bytes.is_empty(), "bytes after the response");
                    return true;
                }
            }
            let n = (8 - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
            if self.filled < 8 {
                return false;
            }
            let [_, _, _, _, len1, len0, padding, _] = self.header;
            self.left = usize::from(u16::from_be_bytes([len1, len0])) + usize::from(padding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_params_have_1006_bytes() {
        assert_eq!(params(Workload::Small).len(), 1006);
    }

    #[test]
    fn request_end_returns_id_of_two_bytes() {
        assert_eq!(request_end([1, STDIN, 1, 2, 0, 0, 0, 0]), Some(258));
        assert_eq!(request_end([1, STDIN, 1, 2, 0, 8, 0, 0]), None);
        assert_eq!(request_end([1, PARAMS, 1, 2, 0, 0, 0, 0]), None);
        assert_eq!(response(b"", 258).concat()[..4], [1, STDOUT, 1, 2]);
    }

    #[test]
    fn scanner_finds_end_of_response_split_at_any_size() {
        for workload in Workload::ALL {
            let response = workload.response();
            let bytes = super::response(&response, 1).concat();
            for size in [1, 7, 4096, bytes.len()] {
                let mut stdout = Vec::new();
                let mut from = &bytes[..];
                let on_stdout = |content: &[u8]| stdout.extend_from_slice(content);
                Scanner::default().read(&mut from, &mut vec![0; size], on_stdout).unwrap();
                assert!(from.is_empty());
                assert!(stdout == response);
            }
        }
    }
}
