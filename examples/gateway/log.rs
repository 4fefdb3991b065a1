//! Log lines on stderr. Control characters are escaped, so that neither a client nor an application
//! can forge lines or control the terminal.

use std::io::{self, Write};

/// The maximum length of an application's line, in bytes. A longer line is split.
const MAX_LINE: usize = 8 * 1024;
/// The maximum number of bytes that an application can log for one response. The client library
/// stores the same amount by default.
const MAX_BYTES: usize = 64 * 1024;
/// The maximum number of lines that an application can log for one response. Each line is longer in
/// the log than in STDERR, because of its prefix.
const MAX_LINES: usize = 1000;

/// Logs a message of the gateway.
pub fn message(text: &str) {
    write_line("gateway", text.as_bytes());
}

/// Logs what an application writes to STDERR for one response, line by line.
///
/// After [`MAX_BYTES`] or [`MAX_LINES`], the rest is dropped and counted. The count is logged once,
/// at the end of the response.
#[derive(Default)]
pub struct ApplicationLog {
    /// The beginning of a line whose end has not been received.
    line: Vec<u8>,
    logged: Size,
    dropped: Size,
}

/// An amount of text.
#[derive(Default)]
struct Size {
    bytes: usize,
    lines: usize,
}

impl Write for ApplicationLog {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let rest = self.store(piece);
            self.dropped.bytes += rest.len();
            self.dropped.lines += usize::from(rest.ends_with(b"\n"));
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end_line();
        Ok(())
    }
}

impl ApplicationLog {
    /// Stores a part of a line, and logs the line if it is complete or too long. Returns what
    /// exceeds the limits.
    fn store<'a>(&mut self, mut piece: &'a [u8]) -> &'a [u8] {
        while !piece.is_empty() && !self.is_full() {
            let room = (MAX_LINE - self.line.len()).min(MAX_BYTES - self.logged.bytes);
            let (stored, rest) = piece.split_at(piece.len().min(room));
            self.line.extend_from_slice(stored);
            self.logged.bytes += stored.len();
            if self.line.len() == MAX_LINE || self.line.ends_with(b"\n") {
                self.end_line();
            }
            piece = rest;
        }
        piece
    }

    fn is_full(&self) -> bool {
        self.logged.bytes == MAX_BYTES || self.logged.lines == MAX_LINES
    }

    /// Logs the stored line, unless it is blank.
    fn end_line(&mut self) {
        if !self.line.iter().all(u8::is_ascii_whitespace) {
            write_line("application", &self.line);
            self.logged.lines += 1;
        }
        self.line.clear();
    }
}

impl Drop for ApplicationLog {
    fn drop(&mut self) {
        self.end_line();
        let Size { bytes, lines } = self.dropped;
        if bytes > 0 {
            message(&format!("dropped {bytes} bytes of STDERR ({lines} complete lines)"));
        }
    }
}

fn write_line(source: &str, text: &[u8]) {
    let mut line = format!("{source}: ");
    for c in String::from_utf8_lossy(text).trim_end().chars() {
        if is_control(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    // A single write keeps the lines of several threads apart. An error cannot be reported.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Returns whether a character may begin a new line, control a terminal or change the direction of
/// text.
fn is_control(c: char) -> bool {
    let is_bidirectional = matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_bidirectional || matches!(c, '\u{2028}' | '\u{2029}')
}
