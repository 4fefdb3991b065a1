//! What goes to stderr: lines, which nobody else can forge.

use std::io::{self, Write};

/// The longest line of an application, in bytes; a longer one is cut into several.
const MAX_LINE: usize = 8 * 1024;

/// Writes a line of the gateway's own.
pub fn line(text: &str) {
    write("gateway", text.as_bytes());
}

/// What an application writes to STDERR, line by line.
#[derive(Default)]
pub struct ApplicationLog {
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
            write("application", &self.line);
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

fn write(who: &str, text: &[u8]) {
    let mut line = format!("{who}: ");
    for c in String::from_utf8_lossy(text).trim_end().chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    // One write, so that lines of several threads stay apart; nobody is left to tell that it
    // failed.
    let _ = io::stderr().write_all(line.as_bytes());
}
