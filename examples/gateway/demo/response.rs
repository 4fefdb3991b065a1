use fcgi::cgi::ResponseHead;
use fcgi::server::{HandlerResult, Request};

/// Writes a response head with a status and a content type.
pub(super) fn write_head(request: &mut Request, status: u16, content_type: &str) -> HandlerResult {
    let head = ResponseHead::new().status(status)?.field("Content-Type", content_type)?;
    head.write_to(&mut request.stdout)?;
    Ok(())
}
