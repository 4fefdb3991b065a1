use std::io::{self, BufRead};

use super::completion::Completion;
use super::stdout::Stdout;
use crate::cgi::Head;
use crate::error::{Error, Result};

/// A response that is being received, for [`Client::send`](crate::Client::send).
#[derive(Debug)]
pub struct Response<'a> {
    /// The response as the application sends it: the head, then the body.
    pub stdout: Stdout<'a>,
    /// [`Reuse::is_overloaded`](super::exchange::Reuse::is_overloaded).
    pub(super) is_overloaded: &'a mut bool,
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
    ///         Ok(head.status())
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
    pub(super) fn receive<T>(
        mut self,
        receive: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> Result<(T, Completion)> {
        let received = receive(&mut self)
            .map_err(Error::from)
            .and_then(|value| Ok((value, self.stdout.finish()?)));
        // `receive` may have returned an error of another application.
        *self.is_overloaded = received.is_err() && self.stdout.has_met_overload();
        received
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
            bytes.extend_from_slice(piece);
            self.stdout.consume(len);
        }
    }
}

/// A whole response, returned by [`Client::fetch`](crate::Client::fetch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The response as the application sent it: the head, then the body.
    pub stdout: Vec<u8>,
    /// The application status, and what the application wrote to STDERR.
    pub completion: Completion,
}

impl Reply {
    /// Parses the response head and returns it with the body.
    ///
    /// Do not use this for the response to a `HEAD` request, which may announce a body that is not
    /// there. Use [`Head::parse`] instead.
    ///
    /// ```
    /// use fcgi::client::{Completion, Reply};
    ///
    /// let stdout = b"Content-Type: text/plain\r\n\r\nHello.\n".to_vec();
    /// let reply = Reply { stdout, completion: Completion::default() };
    /// let (head, body) = reply.split_head()?;
    /// assert_eq!(head.status(), 200);
    /// assert_eq!(body, b"Hello.\n");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Head::parse`], and [`Error::StreamTooShort`] or [`Error::StreamTooLong`] if
    /// the length of the body is not the `Content-Length` of the head.
    pub fn split_head(&self) -> Result<(Head, &[u8])> {
        let (head, body) = Head::parse(&self.stdout)?;
        // The Content-Length of a 304 is the length that a 200 would have had
        // (RFC 9110, section 8.6).
        if head.has_body("GET") {
            head.check_body(body.len() as u64)?;
        }
        Ok((head, body))
    }
}
