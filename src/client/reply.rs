use std::borrow::Cow;
use std::sync::OnceLock;

use super::completion::Completion;
use super::config::Config;
use crate::cgi::{Head, HeadParser};
use crate::error::Result;

/// A whole response, returned by [`Client::fetch`](crate::Client::fetch).
///
/// Its methods parse the response head when one of them is called for the first time, with the
/// limits of the client's [`Config`]. They return an error if the head is not valid, because the
/// response is then not one that a web server could send to a browser.
///
/// ```
/// use fcgi::client::{Completion, Reply};
///
/// let stdout = b"Status: 404\r\nContent-Type: text/plain\r\n\r\nNo such user.\n".to_vec();
/// let reply = Reply::new(stdout, Completion::default());
/// assert_eq!(reply.status()?, 404);
/// assert_eq!(reply.header("content-type")?, Some("text/plain"));
/// assert_eq!(reply.text()?, "No such user.\n");
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The response as the application sent it: the head, then the body.
    pub stdout: Vec<u8>,
    /// The application status, and what the application wrote to STDERR.
    pub completion: Completion,
    limits: Limits,
    /// Whether the method of the request was HEAD.
    is_head: bool,
    /// The head, once it has been parsed, and where the body begins.
    head: OnceLock<Box<(Head, usize)>>,
}

/// What the head of a response may contain.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes: usize,
    fields: usize,
    is_strict: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Config::new())
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let Config { max_head: bytes, max_head_fields: fields, strict_heads: is_strict, .. } =
            *config;
        Self { bytes, fields, is_strict }
    }
}

impl Reply {
    /// Creates a reply from the output of an application. Its head may have 64 KiB and 1024 fields.
    pub fn new(stdout: Vec<u8>, completion: Completion) -> Self {
        Self { stdout, completion, ..Self::default() }
    }

    /// Creates a reply that was received with this configuration.
    #[inline]
    pub(super) fn received(
        stdout: Vec<u8>,
        completion: Completion,
        config: &Config,
        is_head: bool,
    ) -> Self {
        Self { stdout, completion, limits: Limits::from(config), is_head, head: OnceLock::new() }
    }

    /// Returns the response head.
    ///
    /// # Errors
    /// [`Error::HeadTooLarge`] beyond [`Config::max_head`], [`Error::TooManyFields`] beyond
    /// [`Config::max_head_fields`], [`Error::IncompleteHead`], and the errors of a malformed head.
    ///
    /// [`Error::HeadTooLarge`]: crate::Error::HeadTooLarge
    /// [`Error::TooManyFields`]: crate::Error::TooManyFields
    /// [`Error::IncompleteHead`]: crate::Error::IncompleteHead
    pub fn head(&self) -> Result<&Head> {
        self.parse_head().map(|(head, _)| head)
    }

    fn parse_head(&self) -> Result<&(Head, usize)> {
        if let Some(parsed) = self.head.get() {
            return Ok(parsed);
        }
        let Limits { bytes, fields, is_strict } = self.limits;
        let mut parser = HeadParser::new().max_bytes(bytes).max_fields(fields).strict(is_strict);
        // Interim heads come before this one, so its length is not where the body begins.
        let body_start = parser.feed(&self.stdout)?.unwrap_or(self.stdout.len());
        let head = parser.finish()?;
        Ok(self.head.get_or_init(|| Box::new((head, body_start))))
    }

    /// Returns the HTTP status of the response, like [`Head::status`].
    ///
    /// # Errors
    /// The errors of [`head`](Self::head).
    pub fn status(&self) -> Result<u16> {
        self.head().map(Head::status)
    }

    /// Returns the value of the first header field of this name, like [`Head::get`].
    ///
    /// # Errors
    /// The errors of [`head`](Self::head).
    pub fn header(&self, name: &str) -> Result<Option<&str>> {
        self.head().map(|head| head.get(name))
    }

    /// Returns the body. The response to a request with the method `HEAD` has none, whatever its
    /// `Content-Length` says.
    ///
    /// # Errors
    /// The errors of [`split_head`](Self::split_head).
    pub fn body(&self) -> Result<&[u8]> {
        let (head, body_start) = self.parse_head()?;
        if self.is_head {
            return Ok(&[]);
        }
        // The caller may have changed `stdout` since the head was parsed.
        let body = self.stdout.get(*body_start..).unwrap_or_default();
        // The Content-Length of a 304 is the length that a 200 would have had (RFC 9110, section
        // 8.6).
        if head.has_body("GET") {
            head.check_body(body.len() as u64)?;
        }
        Ok(body)
    }

    /// Returns the body as text. Bytes that are not UTF-8 are replaced by U+FFFD.
    ///
    /// # Errors
    /// The errors of [`split_head`](Self::split_head).
    pub fn text(&self) -> Result<Cow<'_, str>> {
        self.body().map(String::from_utf8_lossy)
    }

    /// Returns the response head and the body.
    ///
    /// ```
    /// use fcgi::client::{Completion, Reply};
    ///
    /// let stdout = b"Content-Type: text/plain\r\n\r\nHello.\n".to_vec();
    /// let reply = Reply::new(stdout, Completion::default());
    /// let (head, body) = reply.split_head()?;
    /// assert_eq!(head.status(), 200);
    /// assert_eq!(body, b"Hello.\n");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`head`](Self::head), and [`Error::StreamTooShort`] or
    /// [`Error::StreamTooLong`] if the length of the body is not the `Content-Length` of the head.
    ///
    /// [`Error::StreamTooShort`]: crate::Error::StreamTooShort
    /// [`Error::StreamTooLong`]: crate::Error::StreamTooLong
    pub fn split_head(&self) -> Result<(&Head, &[u8])> {
        Ok((self.head()?, self.body()?))
    }
}

impl PartialEq for Reply {
    /// Compares what was received. Limits make no difference.
    fn eq(&self, other: &Self) -> bool {
        (&self.stdout, &self.completion) == (&other.stdout, &other.completion)
    }
}

impl Eq for Reply {}
