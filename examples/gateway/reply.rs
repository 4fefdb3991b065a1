//! The response to an HTTP request, which is begun once.

use std::io::Write;
use std::sync::Arc;

use fcgi::cgi::{canonical_reason, Head};
use hyper::ext::ReasonPhrase;
use hyper::header::{
    HeaderName, HeaderValue, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::failure::Failure;
use crate::http::{Client, Responder, ResponseWriter};

/// A response that may have begun.
pub struct Reply {
    /// `None` when it has.
    responder: Option<Responder>,
    client: Arc<Client>,
}

impl Reply {
    pub fn new(responder: Responder) -> Self {
        Self { client: responder.client(), responder: Some(responder) }
    }

    /// Has something done if the client leaves before it has the whole response.
    pub fn when_gone(&self, action: impl FnOnce() + Send + 'static) {
        self.client.when_gone(Box::new(action));
    }

    /// Whether the client has left before it had the whole response.
    pub fn is_gone(&self) -> bool {
        self.client.is_gone()
    }

    /// Sends the head of an application's response.
    pub fn start(&mut self, head: &Head) -> Result<ResponseWriter, Failure> {
        // 1xx would not be the response.
        let status =
            StatusCode::from_u16(head.status()).ok().filter(|status| !status.is_informational());
        let mut response =
            response(status.ok_or(Failure::new(502, format!("status {}", head.status())))?);
        if let Ok(reason) = ReasonPhrase::try_from(head.reason().as_bytes()) {
            response.extensions_mut().insert(reason);
        }
        let fields = head
            .http_fields()
            .map(|(name, value)| (HeaderName::try_from(name), HeaderValue::try_from(value)));
        for field in fields {
            match field {
                (Ok(name), _) if name == CONTENT_LENGTH => {}
                (Ok(name), Ok(value)) => drop(response.headers_mut().append(name, value)),
                _ => return Err(Failure::new(502, "a header field that HTTP cannot carry")),
            }
        }
        self.begin(response, head.content_length())
    }

    /// Begins to send a file.
    pub fn start_file(
        &mut self,
        content_type: &'static str,
        length: u64,
    ) -> Result<ResponseWriter, Failure> {
        let mut response = response(StatusCode::OK);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.begin(response, Some(length))
    }

    /// Sends the client elsewhere.
    pub fn redirect(&mut self, location: &str) -> Result<(), Failure> {
        let location =
            HeaderValue::try_from(location).map_err(|_| Failure::new(400, "no location"))?;
        let mut response = response(StatusCode::MOVED_PERMANENTLY);
        response.headers_mut().insert(LOCATION, location);
        self.begin(response, Some(0))?.finish();
        Ok(())
    }

    /// Tells the client of a failure, by breaking the response off if it has begun.
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
        if let Ok(mut writer) = self.begin(response, Some(text.len() as u64)) {
            // A client that has gone need not be told.
            let _ = writer.write_all(text.as_bytes());
            writer.finish();
        }
    }

    fn begin(
        &mut self,
        response: Response<()>,
        length: Option<u64>,
    ) -> Result<ResponseWriter, Failure> {
        let responder = self.responder.take().ok_or(Failure::new(500, "the response has begun"))?;
        Ok(responder.respond(response, length))
    }
}

fn response(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
