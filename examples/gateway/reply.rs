//! The response to an HTTP request. It can be started once.

use std::io::Write;
use std::sync::Arc;

use fcgi::cgi::{canonical_reason, Head};
use hyper::ext::ReasonPhrase;
use hyper::header::{
    HeaderName, HeaderValue, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::failure::Failure;
use crate::http::{ClientStatus, Responder, ResponseWriter};

/// A response that may have been started.
pub struct Reply {
    /// `None` once the response has been started.
    responder: Option<Responder>,
    client: Arc<ClientStatus>,
}

impl Reply {
    pub fn new(responder: Responder) -> Self {
        Self { client: responder.client(), responder: Some(responder) }
    }

    /// Runs `action` if the client disconnects before it has received the whole response.
    pub fn on_disconnect(&self, action: impl FnOnce() + Send + 'static) {
        self.client.on_disconnect(Box::new(action));
    }

    /// Returns whether the client disconnected before it received the whole response.
    pub fn is_disconnected(&self) -> bool {
        self.client.is_disconnected()
    }

    /// Sends the head of an application's response.
    pub fn start(&mut self, head: &Head) -> Result<ResponseWriter, Failure> {
        // An informational status would not end the exchange.
        let status = StatusCode::from_u16(head.status())
            .ok()
            .filter(|status| !status.is_informational())
            .ok_or(Failure::new(502, format!("invalid status {}", head.status())))?;
        let mut response = response(status);
        if let Ok(reason) = ReasonPhrase::try_from(head.reason().as_bytes()) {
            response.extensions_mut().insert(reason);
        }
        let fields = head
            .http_fields()
            .map(|(name, value)| (HeaderName::try_from(name), HeaderValue::try_from(value)));
        for field in fields {
            match field {
                // hyper adds this field itself.
                (Ok(name), _) if name == CONTENT_LENGTH => {}
                (Ok(name), Ok(value)) => drop(response.headers_mut().append(name, value)),
                _ => return Err(Failure::new(502, "a header field is not valid in HTTP")),
            }
        }
        self.send_head(response, head.content_length())
    }

    /// Sends the head of a response that contains a file.
    pub fn start_file(
        &mut self,
        content_type: &'static str,
        length: u64,
    ) -> Result<ResponseWriter, Failure> {
        let mut response = response(StatusCode::OK);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.send_head(response, Some(length))
    }

    /// Redirects the client to another URL.
    pub fn redirect(&mut self, location: &str) -> Result<(), Failure> {
        let location = HeaderValue::try_from(location)
            .map_err(|_| Failure::new(400, "the URL is not valid in a header field"))?;
        let mut response = response(StatusCode::MOVED_PERMANENTLY);
        response.headers_mut().insert(LOCATION, location);
        self.send_head(response, Some(0))?.finish();
        Ok(())
    }

    /// Reports a failure to the client. If the response has been started, it is broken off.
    pub fn fail(mut self, failure: &Failure) {
        let status =
            StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = canonical_reason(status.as_u16()).unwrap_or_default();
        let text = format!("{} {reason}\n", status.as_u16());
        let mut response = response(status);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if let Ok(mut writer) = self.send_head(response, Some(text.len() as u64)) {
            // Writing fails only if the client has disconnected.
            let _ = writer.write_all(text.as_bytes());
            writer.finish();
        }
    }

    fn send_head(
        &mut self,
        head: Response<()>,
        length: Option<u64>,
    ) -> Result<ResponseWriter, Failure> {
        let responder =
            self.responder.take().ok_or(Failure::new(500, "the response has been started"))?;
        Ok(responder.respond(head, length))
    }
}

fn response(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
