//! Stdout and stderr, whose readers may close them at any time.

use std::io::{self, ErrorKind, Write};

/// Stdout.
#[derive(Default)]
pub struct Stdout {
    /// Whether a write has failed because the reader has closed the other end.
    pub is_closed: bool,
}

impl Stdout {
    fn check<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        let is_broken_pipe = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
        self.is_closed |= outcome.as_ref().is_err_and(is_broken_pipe);
        outcome
    }
}

impl Write for Stdout {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check(io::stdout().write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check(io::stdout().flush())
    }
}

/// Stderr. What is written to it is dropped if its reader has closed it.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        ignore_closed(io::stderr().write(data), data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a text to stdout, unless its reader has closed it.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    ignore_closed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()), ())
}

/// Returns `closed` if an error means that the reader has closed the other end.
fn ignore_closed<T>(outcome: io::Result<T>, closed: T) -> io::Result<T> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(closed),
        outcome => outcome,
    }
}
