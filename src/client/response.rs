use std::io::BufRead;

use super::completion::Completion;
use super::stdout::Stdout;
use crate::cgi::Head;
use crate::error::{Error, Result};

/// A response that is being received, for [`Client::send`](crate::Client::send).
#[derive(Debug)]
#[non_exhaustive]
pub struct Response<'a> {
    /// The response as the application sends it: the head, then the body.
    pub stdout: Stdout<'a>,
}

impl Response<'_> {
    /// Reads the response head. [`stdout`](Self::stdout) then continues with the body.
    ///
    /// ```
    /// use fcgi::{Client, Params};
    /// use std::io;
    ///
    /// fn download(client: &Client, params: &Params) -> fcgi::Result<u16> {
    ///     let (status, _completion) = client.send(params, io::empty(), |response| {
    ///         let head = response.read_head()?;
    ///         io::copy(&mut response.stdout, &mut io::stdout())?;
    ///         fcgi::Result::Ok(head.status())
    ///     })?;
    ///     Ok(status)
    /// }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Stdout::read_head`].
    pub fn read_head(&mut self) -> Result<Head> {
        self.stdout.read_head()
    }

    /// Calls `receive`, reads and drops what it has left, and waits for the end of the request.
    pub(super) fn receive<T, E: From<Error>>(
        &mut self,
        receive: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<(T, Completion), E> {
        let value = receive(self)?;
        Ok((value, self.stdout.complete()?))
    }

    /// Reads the response to its end, up to `max` bytes.
    pub(super) fn read_to_end(&mut self, max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.stdout.fill_buf()?;
            let len = piece.len();
            if len == 0 {
                return Ok(bytes);
            }
            if len > max - bytes.len() {
                return Err(Error::ResponseTooLarge(max));
            }
            if bytes.is_empty() {
                bytes = piece.to_vec();
            } else {
                bytes.extend_from_slice(piece);
            }
            self.stdout.consume(len);
        }
    }
}
