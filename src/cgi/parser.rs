//! The head of a response, taken off the stream that carries it.

use std::io::{BufRead, ErrorKind};

use crate::cgi::head::Head;
use crate::cgi::rules;
use crate::error::{Error, Result};

/// How much of a piece is copied before its lines are looked at, in bytes: the head ends in one of
/// the first, and the rest of a large piece is body.
const STEP: usize = 1024;

/// Parses the head of a response from pieces of any size.
///
/// What was looked at once is not looked at again, so a head that comes a byte at a time takes no
/// more steps than one that comes whole. Lines end in LF or CR LF, or some in one and some in the
/// other. Refused are, with an error: a line without a name and a colon, a blank before the colon,
/// a line that continues the one before it, a CR that no LF follows, a NUL, and a response that
/// begins as HTTP does (`HTTP/1.1 200 OK`).
///
/// ```
/// use fcgi::cgi::HeadParser;
///
/// let mut parser = HeadParser::new();
/// assert_eq!(parser.feed(b"Content-Type: text/html\r\nSta")?, None);
/// assert_eq!(parser.feed(b"tus: 404\r\n\r\n<h1>Sorry")?, Some(12), "where the body begins");
/// assert_eq!(parser.finish()?.status(), 404);
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HeadParser {
    /// What came of the head, and the fields of its whole lines.
    head: Head,
    /// Up to where that is known.
    cursor: Cursor,
    /// Whether the empty line has come, and the head is valid.
    complete: bool,
    /// At most `u32::MAX`.
    max_bytes: usize,
    /// Compared with the fields in the index.
    max_fields: usize,
}

impl Default for HeadParser {
    fn default() -> Self {
        Self {
            head: Head::default(),
            cursor: Cursor::default(),
            complete: false,
            max_bytes: 64 * 1024,
            max_fields: 256,
        }
    }
}

impl HeadParser {
    /// A parser with the limits of 64 KiB and 256 fields; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes that a head may take, its empty line included. 64 KiB by default: large
    /// cookies and policies fit, and a thousand such heads fit the memory of a small server. At
    /// most 2³² − 1.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes.min(u32::MAX as usize);
        self
    }

    /// The most fields that a head may have; those with an empty value do not count. 256 by
    /// default: more than any application has a use for.
    #[must_use]
    pub fn max_fields(mut self, max_fields: usize) -> Self {
        self.max_fields = max_fields;
        self
    }

    /// Takes the next piece of the response. `None`: all of it belongs to the head, of which more
    /// is to come. `Some(n)`: the head is complete, its end is at `n` bytes of this piece, and
    /// the rest is body.
    ///
    /// # Errors
    /// The head is not valid, and stays so: answer `502 Bad Gateway`, and [`clear`](Self::clear)
    /// the parser for another.
    /// * [`Error::HeadTooLarge`], [`Error::TooManyFields`]
    /// * [`Error::InvalidField`] for a line that is none
    /// * [`Error::DuplicateField`] for a second `Content-Type`, `Location` or `Status`
    /// * [`Error::InvalidStatus`], [`Error::InvalidLocation`]
    /// * [`Error::InvalidContentLength`], also for two that differ; one that says the same again is
    ///   dropped
    /// * [`Error::MissingField`] if none of `Content-Type`, `Location` and `Status` came before the
    ///   empty line
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>> {
        if self.complete {
            return Ok(Some(0));
        }
        let before = self.head.bytes.len();
        for step in piece.chunks(STEP) {
            if self.take(step)? {
                return Ok(Some(self.head.bytes.len() - before));
            }
        }
        Ok(None)
    }

    /// Reads the head from a buffered reader, and leaves the body in it.
    ///
    /// # Errors
    /// As [`feed`](Self::feed); [`Error::IncompleteHead`] if the reader ends first; and what the reader
    /// reports.
    ///
    /// ```
    /// use fcgi::cgi::HeadParser;
    /// let mut script: &[u8] = b"Location: http://example.org/\n\nbody";
    /// assert_eq!(HeadParser::new().read(&mut script)?.status(), 302);
    /// assert_eq!(script, b"body");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn read(&mut self, reader: &mut impl BufRead) -> Result<&Head> {
        while !self.complete {
            let piece = match reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                piece => piece?,
            };
            if piece.is_empty() {
                break;
            }
            let used = self.feed(piece)?.unwrap_or(piece.len());
            reader.consume(used);
        }
        self.head().ok_or(Error::IncompleteHead)
    }

    /// The head, if it is complete.
    pub fn head(&self) -> Option<&Head> {
        self.complete.then_some(&self.head)
    }

    /// The head, when the response has ended or no more of it is wanted.
    ///
    /// # Errors
    /// [`Error::IncompleteHead`] if its empty line has not come.
    pub fn finish(self) -> Result<Head> {
        if self.complete {
            Ok(self.head)
        } else {
            Err(Error::IncompleteHead)
        }
    }

    /// Makes ready for another head, in the memory of this one.
    pub fn clear(&mut self) {
        self.head.clear();
        self.cursor = Cursor::default();
        self.complete = false;
    }

    /// Takes a part of a piece, and tells whether the head ends in it; then what is behind its end
    /// is dropped again.
    fn take(&mut self, step: &[u8]) -> Result<bool> {
        let Head { bytes, index } = &mut self.head;
        let room = self.max_bytes.saturating_sub(bytes.len());
        bytes.extend_from_slice(&step[..step.len().min(room)]);
        let mut cursor = self.cursor;
        while let Some(line) = cursor.next_line(bytes)? {
            if line.end == line.start {
                index.check_whole()?;
                bytes.truncate(cursor.line);
                self.complete = true;
                return Ok(true);
            }
            index.add(bytes, line.start, line.colon, line.end)?;
            if index.len() > self.max_fields {
                return Err(Error::TooManyFields(self.max_fields));
            }
            // Not before: a line that is refused is refused again, should more be fed.
            self.cursor = cursor;
        }
        self.cursor = cursor;
        if step.len() > room {
            return Err(Error::HeadTooLarge(self.max_bytes));
        }
        Ok(false)
    }
}

/// Where a parser is in the bytes of its head.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// The offset at which the present line begins; those before it are in the index.
    line: usize,
    /// The offset of its colon, once that has come; till then not above `line`.
    colon: usize,
    /// The offset up to which it was looked at; not above that of a CR of which it is open whether
    /// it ends the line.
    scanned: usize,
}

impl Cursor {
    /// The present line, if all of it has come; then the one behind it is the present one.
    #[inline]
    fn next_line(&mut self, bytes: &[u8]) -> Result<Option<Line>> {
        let start = self.line;
        if self.colon <= start {
            let at = self.scanned + rules::token_len(&bytes[self.scanned..]);
            self.scanned = at;
            match bytes.get(at) {
                Some(b':') if at > start => (self.colon, self.scanned) = (at, at + 1),
                Some(b'\n' | b'\r') if at == start => {}
                None => return Ok(None),
                // No name: a blank before the colon, a folded line, `HTTP/1.1 200 OK`. All are
                // refused (section 6.3).
                Some(_) => return Err(invalid_line(&bytes[start..])),
            }
        }
        let end = self.scanned + rules::value_len(&bytes[self.scanned..]);
        let next = match &bytes[end..] {
            [b'\n', ..] => end + 1,
            [b'\r', b'\n', ..] => end + 2,
            [] | [b'\r'] => {
                self.scanned = end;
                return Ok(None);
            }
            // A CR alone ends a line for some clients: a way to slip them a field of one's own.
            _ => return Err(invalid_line(&bytes[start..])),
        };
        (self.line, self.scanned) = (next, next);
        Ok(Some(Line { start, colon: self.colon, end }))
    }
}

/// A line of the head: where it begins, where its colon is, and where the CR or LF that ends it.
/// The empty line, whose end is its beginning, has no colon.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    colon: usize,
    end: usize,
}

#[cold]
fn invalid_line(rest: &[u8]) -> Error {
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    Error::InvalidField(rules::shown(&rest[..end]))
}
