//! The body of an HTTP request, as it is sent to the application.

use std::io::{self, Read, Seek, Write};

use tempfile::{spooled_tempfile, SpooledTempFile};

use crate::failure::Failure;
use crate::http::RequestBody;

/// The maximum length of a collected body in memory. A longer one is stored in a file.
const MAX_IN_MEMORY: usize = 256 * 1024;

/// The limits for bodies, in bytes.
pub struct Limits {
    pub max: u64,
    /// The maximum length of a body that is collected although its length is known.
    pub collect: u64,
}

/// A body of known length. Applications receive `CONTENT_LENGTH` before the body.
pub enum Upload<'a, 'b> {
    Empty,
    /// A long body, which is forwarded while it arrives.
    Direct(&'a mut RequestBody<'b>),
    /// A body that was collected before the application is asked: a short one, so that the
    /// application never receives a part of it and does not wait for a slow client, or a chunked
    /// one, to determine its length.
    Collected(SpooledTempFile, u64),
}

impl<'a, 'b> Upload<'a, 'b> {
    /// Creates an upload for a body. `is_announced` is whether the request has a `Content-Length`
    /// field.
    pub fn new(
        body: &'a mut RequestBody<'b>,
        is_announced: bool,
        limits: &Limits,
    ) -> Result<Self, Failure> {
        let length = body.length();
        if length.is_some_and(|length| length > limits.max) {
            return Err(too_large(limits.max));
        }
        body.request().map_err(|error| unreadable(&error))?;
        match length {
            Some(0) if !is_announced => Ok(Self::Empty),
            Some(length) if length > limits.collect => Ok(Self::Direct(body)),
            _ => Self::collect(body, limits.max),
        }
    }

    /// Returns the length of the body, or `None` if there is no body.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => None,
            Self::Direct(body) => body.length(),
            Self::Collected(_, length) => Some(*length),
        }
    }

    fn collect(body: &mut RequestBody<'_>, max: u64) -> Result<Self, Failure> {
        let mut file = spooled_tempfile(MAX_IN_MEMORY);
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            let received = match body.read(&mut buffer).map_err(|error| unreadable(&error))? {
                0 => break,
                len => &buffer[..len],
            };
            length += received.len() as u64;
            if length > max {
                return Err(too_large(max));
            }
            file.write_all(received).map_err(|error| not_stored(&error))?;
        }
        file.rewind().map_err(|error| not_stored(&error))?;
        Ok(Self::Collected(file, length))
    }
}

impl Read for Upload<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Empty => Ok(0),
            Self::Direct(body) => body.read(out).map_err(|error| unreadable(&error).into()),
            Self::Collected(file, _) => file.read(out).map_err(|error| not_stored(&error).into()),
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
