//! The parser of a response head.

use std::io::{BufRead, ErrorKind};

use super::head_fields::{Fields, Line};
use super::parsed_head::Head;
use super::syntax::{self, Rules};
use crate::error::{Error, Result};

/// The number of bytes that are copied before their lines are parsed. The head usually ends within
/// the first of these steps, so the body in the rest of a large piece is not copied.
const STEP_LEN: usize = 1024;

/// A parser for the head of a response that is received in pieces of any size ([RFC 3875], section
/// 6).
///
/// Each byte is examined once, so a head received one byte at a time takes no more steps than a
/// head received at once. A line ends with LF or CR LF, and one head may mix both.
///
/// The parser rejects:
///
/// - a line without a name, or without a colon
/// - a blank in the name or before the colon, such as `HTTP/1.1 200: OK`
/// - a line that continues the line before it (`obs-fold`)
/// - a CR without an LF after it
/// - a NUL
/// - a second `Location` or `Status`
/// - a `Status` or `Content-Length` that is malformed, and two different `Content-Length` fields
/// - a control byte in a `Location`
///
/// It accepts what applications send in practice although [RFC 3875] does not allow it. The [module
/// documentation](super#response-heads) lists these heads, with reasons. [`strict`](Self::strict)
/// rejects them.
///
/// ```
/// use fcgi::cgi::HeadParser;
///
/// let mut parser = HeadParser::new();
/// assert_eq!(parser.feed(b"Content-Type: text/html\r\nSta")?, None);
/// // The body starts after 12 bytes of the second piece.
/// assert_eq!(parser.feed(b"tus: 404\r\n\r\n<h1>Sorry")?, Some(12));
/// assert_eq!(parser.finish()?.status(), 404);
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
#[derive(Clone, Debug)]
pub struct HeadParser {
    /// The bytes received so far, with the fields of the complete lines among them. Never visible
    /// to the caller before `is_complete` is set. A separate buffer, moved into a `Head` at the
    /// end, would cost 3 % of the instructions.
    head: Head,
    /// The position in the bytes of `head`.
    cursor: Cursor,
    /// Whether the head has ended and is valid.
    is_complete: bool,
    /// Invariant: at most `u32::MAX`.
    max_bytes: usize,
    max_fields: usize,
}

impl Default for HeadParser {
    fn default() -> Self {
        let mut fields = Fields::default();
        fields.set_rules(Rules::Lenient);
        Self {
            head: Head { fields },
            cursor: Cursor::default(),
            is_complete: false,
            max_bytes: 64 * 1024,
            max_fields: 1024,
        }
    }
}

impl HeadParser {
    /// Creates a parser that accepts heads of up to 64 KiB and 1024 fields. It does not allocate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum size of a head in bytes, including its empty line and the interim heads
    /// before it. It cannot exceed 2³² − 1.
    ///
    /// The default of 64 KiB leaves room for large cookies and security policies, and limits the
    /// memory of a thousand heads to 64 MiB.
    ///
    /// ```
    /// use fcgi::{cgi::HeadParser, Error};
    ///
    /// let mut parser = HeadParser::new().max_bytes(16);
    /// let outcome = parser.feed(b"Content-Type: text/plain\n\n");
    /// assert!(matches!(outcome, Err(Error::HeadTooLarge(16))));
    /// ```
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes.min(u32::MAX as usize);
        self
    }

    /// Sets the maximum number of fields. Fields with an empty value do not count, nor do those of
    /// an interim head before it.
    ///
    /// The default of 1024 is more than any known application sends. It limits the index of the
    /// fields to 16 KiB.
    #[must_use]
    pub fn max_fields(mut self, max_fields: usize) -> Self {
        self.max_fields = max_fields;
        self
    }

    /// Sets whether the parser rejects the heads that the [module
    /// documentation](super#response-heads) lists as accepted although RFC 3875 does not allow
    /// them. The default is `false`.
    ///
    /// A strict parser returns an interim head like any other.
    ///
    /// ```
    /// use fcgi::{cgi::HeadParser, Error};
    ///
    /// let response = b"Location: login.php?from=a\n\n";
    /// assert_eq!(HeadParser::new().read(&mut &response[..])?.status(), 302);
    /// let outcome = HeadParser::new().strict(true).feed(response);
    /// assert!(matches!(outcome, Err(Error::InvalidLocation(_))));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.head.fields.set_rules(if strict { Rules::Strict } else { Rules::Lenient });
        self
    }

    /// Parses the next piece of the response.
    ///
    /// Returns `None` if the whole piece belongs to the head and more of the head must follow.
    /// Returns `Some(n)` if the head is complete and ended after the first `n` bytes of the piece.
    /// The remaining bytes belong to the body.
    ///
    /// A `Content-Length` that is equal to an earlier one is dropped. A `Content-Type` replaces an
    /// earlier one.
    ///
    /// # Errors
    /// - [`Error::HeadTooLarge`] if the head and the interim heads before it have more than
    ///   [`max_bytes`](Self::max_bytes) bytes
    /// - [`Error::TooManyFields`] if it has more than [`max_fields`](Self::max_fields) fields
    /// - [`Error::InvalidField`] if a line is not a valid field
    /// - [`Error::DuplicateField`] if there are two `Location` or `Status` fields
    /// - [`Error::InvalidStatus`] if a `Status` has no valid code
    /// - [`Error::InvalidLocation`] if a `Location` contains a control byte
    /// - [`Error::InvalidContentLength`] if a `Content-Length` is not a number, or differs from an
    ///   earlier one
    ///
    /// A [strict](Self::strict) parser also returns:
    ///
    /// - [`Error::DuplicateField`] if there are two `Content-Type` fields
    /// - [`Error::InvalidLocation`] if a `Location` is neither an absolute URI nor a path
    /// - [`Error::MissingField`] if there is no `Content-Type`, `Location` or `Status`
    ///
    /// A web server should then respond with `502 Bad Gateway`. Call [`clear`](Self::clear) before
    /// parsing another head.
    ///
    /// ```
    /// use fcgi::{cgi::HeadParser, Error};
    ///
    /// let mut parser = HeadParser::new();
    /// assert_eq!(parser.feed(b"Status: 201 Crea")?, None);
    /// assert_eq!(parser.feed(b"ted\r\n\r\nthe body")?, Some(7));
    ///
    /// let outcome = HeadParser::new().feed(b"Status: abc\r\n\r\n");
    /// assert!(matches!(outcome, Err(Error::InvalidStatus(_))));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>> {
        if self.is_complete {
            return Ok(Some(0));
        }
        let earlier = self.head.fields.bytes.len();
        for step in piece.chunks(STEP_LEN) {
            self.parse_step(step)?;
            if self.is_complete {
                return Ok(Some(self.head.fields.bytes.len() - earlier));
            }
        }
        Ok(None)
    }

    /// Reads the head from a buffered reader. The body remains in the reader.
    ///
    /// # Errors
    /// - [`Error::IncompleteHead`] if the reader ends before the head does
    /// - [`Error::Io`] if the reader fails
    /// - the errors of [`feed`](Self::feed)
    ///
    /// ```
    /// use fcgi::cgi::HeadParser;
    ///
    /// let mut response: &[u8] = b"Location: http://example.org/\n\nbody";
    /// assert_eq!(HeadParser::new().read(&mut response)?.status(), 302);
    /// assert_eq!(response, b"body");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn read(&mut self, reader: &mut impl BufRead) -> Result<&Head> {
        while !self.is_complete {
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

    /// Returns the head, or `None` if it is not complete.
    ///
    /// ```
    /// use fcgi::cgi::HeadParser;
    ///
    /// let mut parser = HeadParser::new();
    /// parser.feed(b"Status: 404\n")?;
    /// assert!(parser.head().is_none());
    /// parser.feed(b"\n")?;
    /// assert_eq!(parser.head().map(|head| head.status()), Some(404));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn head(&self) -> Option<&Head> {
        self.is_complete.then_some(&self.head)
    }

    /// Returns the head.
    ///
    /// # Errors
    /// [`Error::IncompleteHead`] if the head is not complete.
    pub fn finish(self) -> Result<Head> {
        self.is_complete.then_some(self.head).ok_or(Error::IncompleteHead)
    }

    /// Prepares the parser for another head. It reuses the memory of this one.
    ///
    /// ```
    /// use fcgi::cgi::HeadParser;
    ///
    /// let mut parser = HeadParser::new();
    /// for response in [&b"Status: 200\n\n"[..], b"Status: 404\n\n"] {
    ///     parser.feed(response)?;
    ///     assert!(parser.head().is_some());
    ///     parser.clear();
    /// }
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn clear(&mut self) {
        self.head.fields.clear();
        self.cursor = Cursor::default();
        self.is_complete = false;
    }

    /// Parses a part of a piece. Sets `is_complete` if the head ends in it.
    fn parse_step(&mut self, step: &[u8]) -> Result<()> {
        let bytes = &mut self.head.fields.bytes;
        let room = self.max_bytes.saturating_sub(bytes.len());
        bytes.extend_from_slice(&step[..step.len().min(room)]);
        let mut cursor = self.cursor;
        let rules = self.head.fields.rules();
        while let Some(line) = cursor.next_line(&self.head.fields.bytes, rules)? {
            match line {
                ParsedLine::Empty => self.end_head(cursor.line)?,
                ParsedLine::Field(line) => self.add_field(line)?,
                ParsedLine::UnusualName => {}
            }
            if self.is_complete {
                return Ok(());
            }
            // Set only after the line was accepted, so that a rejected line is rejected again if
            // more is fed.
            self.cursor = cursor;
        }
        self.cursor = cursor;
        if step.len() > room {
            return Err(Error::HeadTooLarge(self.max_bytes));
        }
        Ok(())
    }

    #[inline]
    fn add_field(&mut self, line: Line) -> Result<()> {
        let fields = &mut self.head.fields;
        fields.add(line)?;
        if fields.len() > self.max_fields {
            return Err(Error::TooManyFields(self.max_fields));
        }
        Ok(())
    }

    /// Ends the head after its empty line, which ends at this offset. Drops it if it is that of an
    /// interim response.
    fn end_head(&mut self, end: usize) -> Result<()> {
        let fields = &mut self.head.fields;
        if fields.rules() == Rules::Strict {
            fields.check_required_field()?;
        } else if fields.is_interim() {
            fields.drop_interim(end);
            return Ok(());
        }
        fields.bytes.truncate(end);
        self.is_complete = true;
        Ok(())
    }
}

impl Head {
    /// Parses the head at the start of a complete response, with the default limits of
    /// [`HeadParser`]. Returns the head and the body.
    ///
    /// # Errors
    /// [`Error::IncompleteHead`] if there is no empty line, and the errors of [`HeadParser::feed`].
    ///
    /// ```
    /// use fcgi::cgi::Head;
    ///
    /// let (head, body) = Head::parse(b"Content-Type: text/plain\n\nhello")?;
    /// assert_eq!(head.content_type(), Some("text/plain"));
    /// assert_eq!(body, b"hello");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(response: &[u8]) -> Result<(Self, &[u8])> {
        let mut parser = HeadParser::new();
        let end = parser.feed(response)?.ok_or(Error::IncompleteHead)?;
        Ok((parser.finish()?, &response[end..]))
    }
}

/// The position of a parser in the bytes of the head.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    /// The start of the current line. All lines before it have been returned.
    line: usize,
    /// The colon of the current line if it is above `line`. Otherwise the colon is not yet known.
    colon: usize,
    /// The end of the bytes that have been examined. A CR at the end of the input does not count as
    /// examined until the next byte is known.
    scanned: usize,
    /// Whether the name of the current line contains a byte that a token cannot contain.
    is_unusual: bool,
}

impl Cursor {
    /// Returns the current line and moves to the next one. Returns `None` if the line is not
    /// complete.
    #[inline]
    fn next_line(&mut self, bytes: &[u8], rules: Rules) -> Result<Option<ParsedLine>> {
        let start = self.line;
        if self.colon <= start {
            let at = self.scanned + syntax::token_len(&bytes[self.scanned..]);
            self.scanned = at;
            match bytes.get(at) {
                Some(b':') if at > start => (self.colon, self.scanned) = (at, at + 1),
                Some(b'\n' | b'\r') if at == start => {}
                None => return Ok(None),
                Some(_) => {
                    if !self.scan_unusual_name(bytes, rules)? {
                        return Ok(None);
                    }
                }
            }
        }
        let end = self.scanned + syntax::find_line_break_or_nul(&bytes[self.scanned..]);
        let next = match &bytes[end..] {
            [b'\n', ..] => end + 1,
            [b'\r', b'\n', ..] => end + 2,
            [] | [b'\r'] => {
                self.scanned = end;
                return Ok(None);
            }
            // Some clients treat a CR alone as the end of a line, so it could inject a field.
            _ => return Err(invalid_line(&bytes[start..])),
        };
        let is_unusual = std::mem::take(&mut self.is_unusual);
        (self.line, self.scanned) = (next, next);
        Ok(Some(match is_unusual {
            true => ParsedLine::UnusualName,
            false if start == end => ParsedLine::Empty,
            false => ParsedLine::Field(Line { start, colon: self.colon, end }),
        }))
    }

    /// Continues to look for the colon after a byte that a token cannot contain. Returns `false` if
    /// more bytes are needed.
    ///
    /// A line without a name, with a blank before its colon, or that continues another line is
    /// rejected (RFC 3875, section 6.3).
    #[cold]
    fn scan_unusual_name(&mut self, bytes: &[u8], rules: Rules) -> Result<bool> {
        let at = self.scanned + syntax::unusual_name_len(&bytes[self.scanned..]);
        match bytes.get(at) {
            _ if rules == Rules::Strict => Err(invalid_line(&bytes[self.line..])),
            Some(b':') if at > self.line => {
                (self.colon, self.scanned, self.is_unusual) = (at, at + 1, true);
                Ok(true)
            }
            None => {
                (self.scanned, self.is_unusual) = (at, true);
                Ok(false)
            }
            Some(_) => Err(invalid_line(&bytes[self.line..])),
        }
    }
}

/// A complete line of a head.
enum ParsedLine {
    /// It ends the head.
    Empty,
    Field(Line),
    /// The name is not a token, so the line is dropped.
    UnusualName,
}

#[cold]
fn invalid_line(rest: &[u8]) -> Error {
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    Error::InvalidField(syntax::excerpt(&rest[..end]))
}
