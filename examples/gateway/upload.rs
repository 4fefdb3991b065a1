//! The body of an HTTP request on its way to the application.

use std::io::{self, Read, Seek};

use tempfile::{spooled_tempfile, SpooledTempFile};

use crate::failure::Failure;
use crate::http::RequestBody;

/// A body of unknown length is kept in memory up to this size, and in a file beyond.
const IN_MEMORY: usize = 256 * 1024;

/// A body whose length is known: FastCGI applications are told `CONTENT_LENGTH` before they get it.
pub struct Upload {
    source: Source,
    length: Option<u64>,
}

enum Source {
    /// It flows through while it comes.
    Direct(RequestBody),
    /// It came in chunks, and was stored.
    Stored(SpooledTempFile),
    Nothing,
}

impl Upload {
    /// No body.
    pub fn none() -> Self {
        Self { source: Source::Nothing, length: None }
    }

    /// A request's body of at most so many bytes.
    pub fn new(body: RequestBody, is_announced: bool, max: u64) -> Result<Self, Failure> {
        match body.length() {
            Some(length) if length > max => Err(too_large(max)),
            Some(0) if !is_announced => Ok(Self::none()),
            Some(length) => Ok(Self { source: Source::Direct(body), length: Some(length) }),
            None => Self::store(body, max),
        }
    }

    /// The length of the body, if there is one.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn store(body: RequestBody, max: u64) -> Result<Self, Failure> {
        let mut file = spooled_tempfile(IN_MEMORY);
        let mut pieces = body.take(max.saturating_add(1));
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            let n = pieces.read(&mut buffer).map_err(|error| unreadable(&error))?;
            if n == 0 {
                break;
            }
            length += n as u64;
            if length > max {
                return Err(too_large(max));
            }
            io::Write::write_all(&mut file, &buffer[..n]).map_err(|error| not_stored(&error))?;
        }
        file.rewind().map_err(|error| not_stored(&error))?;
        Ok(Self { source: Source::Stored(file), length: Some(length) })
    }
}

impl Read for Upload {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Direct(body) => body.read(out).map_err(|error| unreadable(&error).into()),
            Source::Stored(file) => file.read(out).map_err(|error| not_stored(&error).into()),
            Source::Nothing => Ok(0),
        }
    }
}

fn too_large(max: u64) -> Failure {
    Failure::new(413, format!("the request's body is longer than {max} bytes"))
}

fn unreadable(error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::TimedOut { 408 } else { 400 };
    Failure::new(status, format!("the request's body broke off: {error}"))
}

fn not_stored(error: &io::Error) -> Failure {
    Failure::new(500, format!("cannot store the request's body: {error}"))
}
