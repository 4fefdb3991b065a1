//! The way of a request to the application and of its response back.

use std::io::{self, BufRead, Write};

use fcgi::cgi::{set_variable, Environment, Head, HttpRequest, Script};
use fcgi::client::{Authorization, Response};
use fcgi::{Client, Params};
use hyper::http::request::Parts;

use crate::failure::Failure;
use crate::http::{Request, Responder, ResponseWriter};
use crate::log::{self, ApplicationLog};
use crate::reply::Reply;
use crate::site::{Site, Target};
use crate::upload::Upload;

/// The local redirects that are followed for a request.
const MAX_REDIRECTS: usize = 10;

/// The headers that tell about a body.
const BODY_HEADERS: &[&str] = &["content-length", "content-type", "transfer-encoding"];

/// Answers HTTP requests with files and through an application.
pub struct Gateway {
    pub client: Client,
    /// Who is asked first whether a request is allowed.
    pub authorizer: Option<Client>,
    pub site: Site,
    pub environment: Environment,
    /// The longest body of a request, in bytes.
    pub max_body: u64,
}

/// What came of a request that was sent to the application.
enum Received {
    /// The response, all of which has been written.
    Whole(ResponseWriter),
    /// A response that has no body.
    HeadOnly(Head),
    /// Another path to answer for (RFC 3875, section 6.2.2).
    Redirect(String),
}

impl Gateway {
    /// Answers a request; what goes wrong is logged.
    pub fn handle(&self, request: Request, responder: Responder) {
        let line = format!("{} {}", request.head.method, request.head.uri);
        let mut reply = Reply::new(responder);
        match self.answer(request, &mut reply) {
            Ok(()) => {}
            Err(_) if reply.is_gone() => log::line(&format!("{line}: the client has left")),
            Err(failure) => {
                log::line(&format!("{line}: {failure}"));
                reply.fail(&failure);
            }
        }
    }

    fn answer(&self, request: Request, reply: &mut Reply) -> Result<(), Failure> {
        let Request { head, body, remote, local } = request;
        let mut headers: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let mut upload =
            Upload::new(body, head.headers.contains_key("content-length"), self.max_body)?;
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
            let Some(variables) = self.authorize(&request, reply)? else { return Ok(()) };
            let script = match self.site.find(&request)? {
                Target::Script(script) => script,
                Target::File(file) => return file.send(method, reply),
                Target::Elsewhere(location) => return reply.redirect(&location),
            };
            let mut params = self.environment.params(&request, &script)?;
            for (name, value) in &variables {
                set_variable(&mut params, &String::from_utf8_lossy(name), value)?;
            }
            match self.forward(&params, &mut upload, method, reply)? {
                Some(location) => target = location,
                None => return Ok(()),
            }
            // As if the client had asked for it: without the body, and by a method that has none.
            upload = Upload::none();
            headers.retain(|(name, _)| !BODY_HEADERS.contains(name));
            method = if method == "HEAD" { "HEAD" } else { "GET" };
        }
        Err(Failure::new(
            500,
            format!("more than {MAX_REDIRECTS} local redirects, the last to {target}"),
        ))
    }

    /// Asks the authorizer, before anything else is looked at: the variables that it adds to the
    /// request's, or nothing where it has refused the request and the client has its answer.
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

    /// Sends a request to the application, and its response to the client; or tells to which path
    /// it is redirected.
    fn forward(
        &self,
        params: &Params,
        upload: &mut Upload,
        method: &str,
        reply: &mut Reply,
    ) -> Result<Option<String>, Failure> {
        let received =
            self.client.send(params, upload, |response| receive(response, method, reply));
        let (received, completion) = received?;
        if completion.app_status != 0 {
            log::line(&format!(
                "the application ended the request with status {}",
                completion.app_status
            ));
        }
        match received {
            Received::Whole(writer) => writer.finish(),
            Received::HeadOnly(head) => reply.start(&head)?.finish(),
            Received::Redirect(location) => return Ok(Some(location)),
        }
        Ok(None)
    }
}

/// Passes a response on while it comes. Whether it was whole is known only when the request has
/// ended.
fn receive(response: &mut Response<'_>, method: &str, reply: &mut Reply) -> io::Result<Received> {
    response.stdout.stderr_to(ApplicationLog::default());
    let cancel_handle = response.stdout.cancel_handle();
    reply.when_gone(move || cancel_handle.cancel());

    let head = response.read_head()?;
    if let Some(location) = head.local_redirect() {
        return Ok(Received::Redirect(location.to_owned()));
    }
    if !head.has_body(method) {
        return Ok(Received::HeadOnly(head));
    }
    let mut writer = reply.start(&head)?;
    let length = copy(&mut response.stdout, &mut writer, head.content_length())?;
    head.check_body(length)?;
    Ok(Received::Whole(writer))
}

/// Copies a body piece by piece as it comes, at most as much as was announced, and tells how long
/// it is.
fn copy(
    body: &mut impl BufRead,
    writer: &mut ResponseWriter,
    announced: Option<u64>,
) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let piece = body.fill_buf()?;
        if piece.is_empty() {
            return Ok(length);
        }
        let left = announced.map_or(u64::MAX, |announced| announced.saturating_sub(length));
        let wanted = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        writer.write_all(&piece[..wanted])?;
        length += piece.len() as u64;
        let len = piece.len();
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
