//! The response of a CGI program, as it is passed on.

use std::io::Write;
use std::process::ExitStatus;

use crate::cgi::HeadParser;
use crate::error::{Error, Result};

/// The response of a program, which is forwarded once its head is complete and valid.
pub(super) struct ProgramResponse {
    /// Invariant: complete once the head was forwarded.
    head: HeadParser,
    /// The number of bytes of the body that were forwarded.
    body_len: u64,
    method: String,
}

/// Why a response was not passed on.
pub(super) enum WriteError {
    /// The head is invalid.
    Head(Error),
    /// The writer failed.
    Output(Error),
}

impl ProgramResponse {
    /// Creates the response to a request with this method.
    pub(super) fn new(method: &str) -> Self {
        Self { head: HeadParser::new(), body_len: 0, method: method.to_owned() }
    }

    /// Passes on the next piece.
    pub(super) fn write(
        &mut self,
        mut piece: &[u8],
        output: &mut impl Write,
    ) -> std::result::Result<(), WriteError> {
        if self.head.head().is_none() {
            let Some(len) = self.head.feed(piece).map_err(WriteError::Head)? else {
                return Ok(());
            };
            piece = &piece[len..];
            let head = self.head.head().map_or(&[][..], |head| head.as_bytes());
            output.write_all(head).map_err(|error| WriteError::Output(error.into()))?;
        }
        self.body_len += piece.len() as u64;
        output.write_all(piece).map_err(|error| WriteError::Output(error.into()))
    }

    /// Checks that the response is complete after the program has ended.
    pub(super) fn check(&self, status: ExitStatus) -> Result<()> {
        let is_killed = status.code().is_none();
        match self.head.head() {
            _ if is_killed => Err(Error::ProgramFailed(status)),
            None if !status.success() => Err(Error::ProgramFailed(status)),
            None => Err(Error::IncompleteHead),
            Some(head) if head.has_body(&self.method) => head.check_body(self.body_len),
            Some(_) => Ok(()),
        }
    }
}
