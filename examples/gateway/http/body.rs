//! The body of an HTTP request.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::head::BodyLength;
use super::input::{Input, IO_TIMEOUT};

/// The maximum length of a line of a chunked body, in bytes.
const MAX_LINE: usize = 8 * 1024;
/// The maximum length of the trailers of a chunked body, in bytes.
const MAX_TRAILERS: usize = 64 * 1024;

/// The body of a request. Reading it blocks until bytes arrive.
pub struct RequestBody<'a> {
    input: &'a mut Input,
    stream: &'a TcpStream,
    length: BodyLength,
    /// The number of bytes until the end of the body or of the current chunk.
    left: u64,
    /// Whether the end of a chunked body has been read.
    is_chunked_end: bool,
    /// Whether the client waits for `100 Continue`.
    expects_continue: bool,
}

impl<'a> RequestBody<'a> {
    pub(super) fn new(
        input: &'a mut Input,
        stream: &'a TcpStream,
        length: BodyLength,
        expects_continue: bool,
    ) -> Self {
        let left = if let BodyLength::Known(length) = length { length } else { 0 };
        Self { input, stream, length, left, is_chunked_end: false, expects_continue }
    }

    /// Returns the length of the body, or `None` if it is chunked.
    pub fn length(&self) -> Option<u64> {
        match self.length {
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => None,
        }
    }

    /// Asks the client for the body if it waits for that. Call this before a response is started.
    pub fn request(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.expects_continue) && !self.is_ended() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    /// Returns whether the whole body has been read, so that another request may follow.
    pub(super) fn is_ended(&self) -> bool {
        self.left == 0 && (self.length != BodyLength::Chunked || self.is_chunked_end)
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.input.fill(Instant::now() + IO_TIMEOUT)? {
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::UnexpectedEof, "the client disconnected"))
    }

    /// Reads the line that begins the next chunk, and the trailers after the last one.
    fn begin_chunk(&mut self) -> io::Result<()> {
        self.left = parse_chunk_size(&self.read_line()?).ok_or_else(invalid_chunk)?;
        if self.left == 0 {
            self.read_trailers()?;
            self.is_chunked_end = true;
        }
        Ok(())
    }

    /// Reads the fields after the last chunk and their empty line. The fields are ignored.
    fn read_trailers(&mut self) -> io::Result<()> {
        let mut left = MAX_TRAILERS;
        loop {
            let len = self.read_line()?.len();
            if len == 0 {
                return Ok(());
            }
            left = left.checked_sub(len + 2).ok_or_else(invalid_chunk)?;
        }
    }

    /// Reads a line without its CR LF. Another server on the way could use any other control
    /// character as the end of the line.
    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let buffered = self.input.buffered();
            if let Some(end) = buffered.iter().position(|byte| *byte == b'\n') {
                let line = buffered[..end].strip_suffix(b"\r").ok_or_else(invalid_chunk)?.to_vec();
                self.input.consume(end + 1);
                let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
                return if line.iter().any(is_control) { Err(invalid_chunk()) } else { Ok(line) };
            }
            if buffered.len() > MAX_LINE {
                return Err(invalid_chunk());
            }
            self.fill()?;
        }
    }
}

impl Read for RequestBody<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.is_ended() {
            self.begin_chunk()?;
        }
        if self.left == 0 || out.is_empty() {
            return Ok(0);
        }
        while self.input.buffered().is_empty() {
            self.fill()?;
        }
        let buffered = self.input.buffered();
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = buffered.len().min(out.len()).min(limit);
        out[..len].copy_from_slice(&buffered[..len]);
        self.input.consume(len);
        self.left -= len as u64;
        if self.left == 0 && self.length == BodyLength::Chunked && !self.read_line()?.is_empty() {
            return Err(invalid_chunk());
        }
        Ok(len)
    }
}

/// Parses the line that begins a chunk: a hexadecimal number, and extensions, which are ignored
/// ([RFC 9112], section 7.1).
///
/// [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112
fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|&byte| byte == b';').next()?;
    let size = std::str::from_utf8(size).ok()?.trim_end_matches([' ', '\t']);
    let is_valid = size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(size, 16).ok().filter(|_| is_valid)
}

fn invalid_chunk() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the body is not a sequence of chunks")
}
