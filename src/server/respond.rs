use super::failure::HandlerResult;
use super::request::Request;
use crate::cgi::ResponseHead;
use crate::error::Error;

/// # Responses in one call
impl Request<'_> {
    /// Writes a whole response: the head and the body, with a `Content-Length`.
    ///
    /// A response to the method HEAD, and one with the status 1xx, 204 or 304, is sent without its
    /// body. A response to HEAD has the `Content-Length` of the body all the same, and the others
    /// have none.
    ///
    /// The response is buffered, unless it is large. It is sent when the handler returns. If the
    /// body is too large to be held in memory, write it piece by piece instead:
    /// [`ResponseHead::write_to`] writes a head to [`stdout`](Self::stdout).
    ///
    /// # Errors
    /// - [`Error::ResponseStarted`] if something was written to `stdout` before, even if it was
    ///   not sent: see [`discard_response`](Self::discard_response)
    /// - [`Error::MissingField`] if the head has no `Content-Type`, `Location` or `Status`
    /// - [`Error::InvalidContentLength`] if it has a `Content-Length` that is not the length of the
    ///   body
    /// - any error of writing to `stdout`
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn greet(request: &mut Request) -> HandlerResult {
    ///     let head = ResponseHead::html().cookie("visited", "yes", "Path=/")?;
    ///     request.respond(head, "<!DOCTYPE html><title>Hello</title><p>Hello.")
    /// }
    /// ```
    pub fn respond(&mut self, head: ResponseHead, body: impl AsRef<[u8]>) -> HandlerResult {
        if !self.stdout.is_unused() {
            return Err(Error::ResponseStarted.into());
        }
        head.write_response(self.role, self.method(), body.as_ref(), &mut self.stdout)?;
        Ok(())
    }

    /// Drops what is buffered of the response, so that another one can be written. Returns `false`
    /// if a part was sent: the response then cannot be replaced.
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn page(request: &mut Request) -> HandlerResult {
    ///     match render(request) {
    ///         Err(_) if request.discard_response() => {
    ///             request.respond(ResponseHead::html().status(503)?, "<p>Please come back later.")
    ///         }
    ///         result => result,
    ///     }
    /// }
    ///
    /// fn render(request: &mut Request) -> HandlerResult {
    ///     ResponseHead::html().write_to(&mut request.stdout)?;
    ///     // The rest of the page.
    ///     Ok(())
    /// }
    /// ```
    pub fn discard_response(&mut self) -> bool {
        if self.stdout.has_sent() {
            return false;
        }
        self.stdout.buffer_mut().discard_open_record();
        true
    }
}
