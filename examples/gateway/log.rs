//! Log lines on stderr. Control characters are escaped, so that an application cannot forge lines.

use std::io::{self, Write};

/// The maximum length of an application's line, in bytes. A longer line is split.
const MAX_LINE: usize = 8 * 1024;

/// Logs a message of the gateway.
pub fn message(text: &str) {
    write_line("gateway", text.as_bytes());
}

/// Logs what an application writes to STDERR, line by line.
#[derive(Default)]
pub struct ApplicationLog {
    /// The beginning of a line whose end has not been received.
    line: Vec<u8>,
}

impl Write for ApplicationLog {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        for &byte in data {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() == MAX_LINE {
                self.flush()?;
            }
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            write_line("application", &self.line);
            self.line.clear();
        }
        Ok(())
    }
}

impl Drop for ApplicationLog {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn write_line(source: &str, text: &[u8]) {
    let mut line = format!("{source}: ");
    for c in String::from_utf8_lossy(text).trim_end().chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    // A single write keeps the lines of several threads apart. An error cannot be reported.
    let _ = io::stderr().write_all(line.as_bytes());
}
