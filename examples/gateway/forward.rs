//! Answers HTTP requests with files and with the responses of an application.

use std::io::{self, BufRead, Cursor, Read, Write};

use fcgi::cgi::{set_variable, Environment, Head, HttpRequest, Script};
use fcgi::client::{Authorization, Response};
use fcgi::{Client, Params};
use hyper::http::request::Parts;

use crate::failure::Failure;
use crate::http::{Request, Responder, ResponseWriter};
use crate::log::{self, ApplicationLog};
use crate::reply::Reply;
use crate::request_head;
use crate::site::{Site, Target};
use crate::upload::Upload;

/// The maximum number of local redirects for a request.
const MAX_REDIRECTS: usize = 10;

/// The header fields that describe a body.
const BODY_HEADERS: &[&str] = &["content-length", "content-type", "transfer-encoding"];

pub struct Gateway {
    pub client: Client,
    /// The authorizer that is asked before each request.
    pub authorizer: Option<Client>,
    pub site: Site,
    pub environment: Environment,
    /// The maximum length of a request's body, in bytes.
    pub max_body: u64,
}

/// The application's response to a request.
enum Outcome {
    /// The head and the whole body have been sent to the client.
    Sent(ResponseWriter),
    /// The response has no body.
    HeadOnly(Head),
    /// A local redirect to another path ([RFC 3875](https://www.rfc-editor.org/rfc/rfc3875),
    /// section 6.2.2).
    LocalRedirect(String),
}

impl Gateway {
    /// Answers a request. Failures are logged.
    pub fn handle(&self, request: Request, responder: Responder) {
        let line = format!("{} {}", request.head.method, request.head.uri);
        let mut reply = Reply::new(responder);
        match self.answer(request, &mut reply) {
            Ok(()) => {}
            Err(_) if reply.is_disconnected() => {
                log::message(&format!("{line}: the client disconnected"));
            }
            Err(failure) => {
                log::message(&format!("{line}: {failure}"));
                reply.fail(&failure);
            }
        }
    }

    fn answer(&self, request: Request, reply: &mut Reply) -> Result<(), Failure> {
        let Request { head, body, remote, local } = request;
        request_head::check(&head)?;
        let is_announced = head.headers.contains_key("content-length");
        let mut upload = Upload::new(body, is_announced, self.max_body)?;
        let mut headers: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let mut method = head.method.as_str();
        let mut target = head.uri.to_string();
        for _ in 0..=MAX_REDIRECTS {
            let request = HttpRequest {
                method,
                target: &target,
                version: version(&head),
                headers: &headers,
                remote,
                local,
                https: false,
                content_length: upload.length(),
            };
            let Some(location) = self.answer_once(&request, &mut upload, reply)? else {
                return Ok(());
            };
            check_location(&HttpRequest { target: &location, ..request })?;
            target = location;
            // The redirected request is a GET or HEAD request without a body.
            upload = Upload::none();
            headers.retain(|(name, _)| !BODY_HEADERS.contains(name));
            method = if method == "HEAD" { "HEAD" } else { "GET" };
        }
        let reason = format!("more than {MAX_REDIRECTS} local redirects, the last to {target}");
        Err(Failure::new(500, reason))
    }

    /// Answers a request. If the application responds with a local redirect, returns its path
    /// instead.
    fn answer_once(
        &self,
        request: &HttpRequest<'_>,
        upload: &mut Upload,
        reply: &mut Reply,
    ) -> Result<Option<String>, Failure> {
        let Some(variables) = self.authorize(request, reply)? else { return Ok(None) };
        let script = match self.site.find(request)? {
            Target::Script(script) => script,
            Target::File(file) => return file.send(request.method, reply).map(|()| None),
            Target::Redirect(url) => return reply.redirect(&url).map(|()| None),
        };
        let mut params = self.environment.params(request, &script)?;
        for (name, value) in &variables {
            set_variable(&mut params, &String::from_utf8_lossy(name), value)?;
        }
        self.forward(&params, upload, request.method, reply)
    }

    /// Asks the authorizer about a request. Returns the variables to add to the request. If the
    /// authorizer denies the request, sends its response to the client and returns `None`.
    fn authorize(
        &self,
        request: &HttpRequest<'_>,
        reply: &mut Reply,
    ) -> Result<Option<Params>, Failure> {
        let Some(authorizer) = &self.authorizer else { return Ok(Some(Params::new())) };
        let params = self.environment.params(request, &Script::new(request.path()?, ""))?;
        let refusal = match authorizer.authorize(&params)? {
            Authorization::Allowed(variables) => return Ok(Some(variables)),
            Authorization::Denied(refusal) => refusal,
        };
        let (head, body) = Head::parse(&refusal.stdout)?;
        let has_body = head.has_body(request.method);
        if has_body {
            head.check_body(body.len() as u64)?;
        }
        let mut writer = reply.start(&head)?;
        if has_body {
            writer.write_all(body).map_err(fcgi::Error::from)?;
        }
        writer.finish();
        Ok(None)
    }

    /// Sends a request to the application, and its response to the client. If the response is a
    /// local redirect, returns its path instead.
    fn forward(
        &self,
        params: &Params,
        upload: &mut Upload,
        method: &str,
        reply: &mut Reply,
    ) -> Result<Option<String>, Failure> {
        let (outcome, completion) =
            self.client.send(params, upload, |response| receive(response, method, reply))?;
        if completion.app_status != 0 {
            log::message(&format!(
                "the application ended the request with status {}",
                completion.app_status
            ));
        }
        match outcome {
            Outcome::Sent(writer) => writer.finish(),
            Outcome::HeadOnly(head) => reply.start(&head)?.finish(),
            Outcome::LocalRedirect(location) => return Ok(Some(location)),
        }
        Ok(None)
    }
}

/// Checks the target of a local redirect. If it is invalid, so is the application's response.
fn check_location(redirected: &HttpRequest<'_>) -> Result<(), Failure> {
    let invalid =
        |error| Failure::new(502, format!("the application's Location is invalid: {error}"));
    redirected.path().map(drop).map_err(invalid)
}

/// Sends a response to the client while it arrives. The caller finishes the response, because
/// only the end of the request tells whether it is complete.
fn receive(response: &mut Response<'_>, method: &str, reply: &mut Reply) -> io::Result<Outcome> {
    response.stdout.stderr_to(ApplicationLog::default());
    let cancel_handle = response.stdout.cancel_handle();
    reply.on_disconnect(move || cancel_handle.cancel());

    let head = response.read_head()?;
    if let Some(location) = head.local_redirect() {
        return Ok(Outcome::LocalRedirect(location.to_owned()));
    }
    if !head.has_body(method) {
        return Ok(Outcome::HeadOnly(head));
    }
    let first = read_first(&head, &mut response.stdout)?;
    let mut writer = reply.start(&head)?;
    let mut body = first.chain(&mut response.stdout);
    let length = copy(&mut body, &mut writer, head.content_length())?;
    head.check_body(length)?;
    Ok(Outcome::Sent(writer))
}

/// Reads the first piece of a body of announced length, and waits for the second one. If it does
/// not arrive, the client receives status 502 instead of a response that is too short.
fn read_first(head: &Head, body: &mut impl BufRead) -> io::Result<Cursor<Vec<u8>>> {
    let mut first = Vec::new();
    if let Some(announced) = head.content_length() {
        first.extend_from_slice(body.fill_buf()?);
        body.consume(first.len());
        if (first.len() as u64) < announced && body.fill_buf()?.is_empty() {
            head.check_body(first.len() as u64)?;
        }
    }
    Ok(Cursor::new(first))
}

/// Copies a body while it arrives, but not more than the announced length. Returns the length of
/// the whole body.
fn copy(
    body: &mut impl BufRead,
    writer: &mut ResponseWriter,
    announced: Option<u64>,
) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let received = body.fill_buf()?;
        if received.is_empty() {
            return Ok(length);
        }
        let left = announced.map_or(u64::MAX, |announced| announced.saturating_sub(length));
        let wanted = received.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        writer.write_all(&received[..wanted])?;
        length += received.len() as u64;
        let len = received.len();
        body.consume(len);
    }
}

fn version(head: &Parts) -> &'static str {
    if head.version == hyper::Version::HTTP_10 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    }
}
