//! The body of an HTTP request, as it is sent to the application.

use std::io::{self, Read, Seek, Write};

use tempfile::{spooled_tempfile, SpooledTempFile};

use crate::failure::Failure;
use crate::http::RequestBody;

/// The maximum length of a chunked body that is stored in memory. A longer one is stored in a file.
const MAX_IN_MEMORY: usize = 256 * 1024;

/// A body of known length. Applications receive `CONTENT_LENGTH` before the body.
pub struct Upload {
    source: Source,
    length: Option<u64>,
}

enum Source {
    /// A body whose length the client has announced. It is forwarded while it arrives.
    Direct(RequestBody),
    /// A chunked body, which is stored to determine its length.
    Stored(SpooledTempFile),
    Empty,
}

impl Upload {
    /// Creates an upload for a request without a body.
    pub fn none() -> Self {
        Self { source: Source::Empty, length: None }
    }

    /// Creates an upload for a body of at most `max` bytes. `is_announced` is whether the request
    /// has a `Content-Length` field.
    pub fn new(body: RequestBody, is_announced: bool, max: u64) -> Result<Self, Failure> {
        match body.length() {
            Some(length) if length > max => Err(too_large(max)),
            Some(0) if !is_announced => Ok(Self::none()),
            Some(length) => Ok(Self { source: Source::Direct(body), length: Some(length) }),
            None => Self::store(body, max),
        }
    }

    /// Returns the length of the body, or `None` if there is no body.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn store(body: RequestBody, max: u64) -> Result<Self, Failure> {
        let mut file = spooled_tempfile(MAX_IN_MEMORY);
        // One more byte, to notice a longer body.
        let mut body = body.take(max.saturating_add(1));
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            let n = body.read(&mut buffer).map_err(|error| unreadable(&error))?;
            if n == 0 {
                break;
            }
            length += n as u64;
            if length > max {
                return Err(too_large(max));
            }
            file.write_all(&buffer[..n]).map_err(|error| not_stored(&error))?;
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
            Source::Empty => Ok(0),
        }
    }
}

fn too_large(max: u64) -> Failure {
    Failure::new(413, format!("the request's body is longer than {max} bytes"))
}

fn unreadable(error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::TimedOut { 408 } else { 400 };
    Failure::new(status, format!("cannot read the request's body: {error}"))
}

fn not_stored(error: &io::Error) -> Failure {
    Failure::new(500, format!("cannot store the request's body: {error}"))
}
