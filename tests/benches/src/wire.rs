//! Requests and answers as ready bytes, made by hand.

use std::io::{self, Read};

use crate::{Workload, FILLER};

/// The most content that a record holds if the next is to be aligned.
const RECORD: usize = 65528;

const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// What a web server sends for a page: 25 pairs, 1006 bytes when they are encoded.
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
    ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("HTTP_ACCEPT_LANGUAGE", "en-GB,en;q=0.7,de;q=0.3"),
    ("HTTP_ACCEPT_ENCODING", "gzip, deflate, br"),
    (
        "HTTP_COOKIE",
        "session=7f3c2a9e5b1d4860a7c3e9f2b8d6054c; theme=dark; seen=1; consent=all; csrf=Zm9yZ2VyeS1pcy1ub3QtYWxsb3dlZC1oZXJl; cart=3f9b41d27c5e4a6f; last=%2Fprojects%2Fferris%2Fissues%3Fpage%3D101",
    ),
];

/// The pairs of a request of this kind.
pub fn pairs(workload: Workload) -> Vec<(&'static str, String)> {
    let value = |name, value: &str| match (workload, name) {
        (Workload::Body, "REQUEST_METHOD") => "POST".into(),
        (Workload::Body, "CONTENT_TYPE") => "application/octet-stream".into(),
        (Workload::Body, "CONTENT_LENGTH") => workload.body_len().to_string(),
        _ => value.into(),
    };
    PAIRS.iter().map(|(name, v)| (*name, value(name, v))).collect()
}

/// The pairs, encoded.
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

fn record(record_type: u8, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() & 7;
    let [len1, len0] = (content.len() as u16).to_be_bytes();
    let mut bytes = vec![1, record_type, 0, 1, len1, len0, padding as u8, 0];
    bytes.extend(content);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

/// Data as records, and the one that ends the stream.
fn stream(record_type: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        data.chunks(RECORD).flat_map(|content| record(record_type, content)).collect();
    bytes.extend(record(record_type, b""));
    bytes
}

/// A whole request with id 1.
pub fn request(workload: Workload, keep_conn: bool) -> Vec<u8> {
    let mut bytes = record(BEGIN, &[0, 1, keep_conn.into(), 0, 0, 0, 0, 0]);
    bytes.extend(stream(PARAMS, &params(workload)));
    bytes.extend(stream(STDIN, &vec![FILLER; workload.body_len()]));
    bytes
}

/// What every request ends with.
pub const REQUEST_END: [u8; 8] = [1, STDIN, 0, 1, 0, 0, 0, 0];

/// A whole answer to it, in pieces as they would be sent in a vectored write: header, content,
/// header, content…
pub fn answer(workload: Workload) -> Vec<Vec<u8>> {
    let response = workload.response();
    if response.len() <= RECORD {
        return vec![[stream(STDOUT, &response), record(END, &[0; 8])].concat()];
    }
    let mut parts = Vec::new();
    for content in response.chunks(RECORD) {
        let record = record(STDOUT, content);
        parts.extend([
            record[..8].to_vec(),
            content.to_vec(),
            record[8 + content.len()..].to_vec(),
        ]);
    }
    parts.push([record(STDOUT, b""), record(END, &[0; 8])].concat());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Finds the end of an answer, with nothing kept but where in a record it is.
#[derive(Debug, Default)]
pub struct Scanner {
    header: [u8; 8],
    /// How much of it is there.
    filled: usize,
    /// What is left of the record behind it.
    left: usize,
}

impl Scanner {
    /// Reads until END_REQUEST has come whole; hands each piece of STDOUT to `take`.
    pub fn read(
        &mut self,
        from: &mut impl Read,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        loop {
            let n = from.read(buffer)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.scan(&buffer[..n], &mut take) {
                return Ok(());
            }
        }
    }

    fn scan(&mut self, mut bytes: &[u8], take: &mut impl FnMut(&[u8])) -> bool {
        loop {
            if self.filled == 8 {
                let n = self.left.min(bytes.len());
                if self.header[1] == STDOUT {
                    // Padding comes last.
                    take(&bytes[..n.min(self.left.saturating_sub(self.header[6].into()))]);
                }
                bytes = &bytes[n..];
                self.left -= n;
                if self.left > 0 {
                    return false;
                }
                self.filled = 0;
                if self.header[1] == END {
                    assert!(bytes.is_empty(), "something came behind the answer");
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
    fn the_pairs_are_those_of_a_page() {
        assert_eq!(params(Workload::Small).len(), 1006);
    }

    #[test]
    fn the_end_of_an_answer_is_found_however_it_is_cut() {
        for workload in Workload::ALL {
            let bytes = answer(workload).concat();
            for size in [1, 7, 4096, bytes.len()] {
                let mut stdout = Vec::new();
                let mut from = &bytes[..];
                let take = |piece: &[u8]| stdout.extend_from_slice(piece);
                Scanner::default().read(&mut from, &mut vec![0; size], take).unwrap();
                assert!(from.is_empty());
                assert!(stdout == workload.response());
            }
        }
    }
}
