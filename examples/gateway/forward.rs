//! Answers HTTP requests with files and with the responses of an application.

use std::io::{self, BufRead, Cursor, Read, Write};

use fcgi::cgi::{set_variable, Environment, Head, HttpRequest, Script};
use fcgi::client::{self, Authorization, Response};
use fcgi::{Client, Params};

use crate::access_log::AccessLog;
use crate::failure::Failure;
use crate::http::{pipe, PipeWriter, Reply, Request, RequestBody, ResponseHead};
use crate::log::{self, ApplicationLog};
use crate::site::{Site, Target};
use crate::upload::{Limits, Upload};

/// The maximum number of local redirects for a request.
const MAX_REDIRECTS: usize = 10;

/// The header fields that describe a body, in lower case.
const BODY_HEADERS: &[&str] = &["content-length", "content-type", "transfer-encoding"];

pub struct Gateway {
    pub client: Client,
    /// The authorizer that is asked before each request.
    pub authorizer: Option<Client>,
    pub site: Site,
    pub environment: Environment,
    pub limits: Limits,
    pub access_log: AccessLog,
}

/// The application's response to a request.
enum Outcome {
    /// The head and the whole body are on their way to the client.
    Sent(PipeWriter),
    /// The response has no body.
    HeadOnly(Head),
    /// A local redirect to another path ([RFC 3875](https://www.rfc-editor.org/rfc/rfc3875),
    /// section 6.2.2).
    LocalRedirect(String),
}

impl Gateway {
    /// Answers a request. Failures are logged.
    pub fn handle(&self, request: &Request, body: &mut RequestBody<'_>, reply: &mut Reply) {
        let line = format!("{} {}", request.method, request.target);
        match self.answer(request, body, reply) {
            Ok(()) => {}
            Err(_) if reply.is_disconnected() => {
                log::message(&format!("{line}: the client disconnected"));
            }
            Err(failure) => {
                log::message(&format!("{line}: {failure}"));
                reply.close_if_unread(Some(body));
                reply.fail(&failure);
            }
        }
        self.access_log.write(request, reply);
    }

    fn answer(
        &self,
        request: &Request,
        body: &mut RequestBody<'_>,
        reply: &mut Reply,
    ) -> Result<(), Failure> {
        let headers = request.headers.iter().map(|(name, value)| (&**name, &**value));
        let mut headers: Vec<_> = headers.collect();
        let mut method = &*request.method;
        let mut target = request.target.clone();
        // The length of a chunked body is not known yet. Only a script receives the length.
        let mut content_length = Some(body.length().unwrap_or(0));
        for _ in 0..=MAX_REDIRECTS {
            let cgi_request = HttpRequest {
                method,
                target: &target,
                version: request.version(),
                headers: &headers,
                remote: request.remote,
                local: request.local,
                https: false,
                content_length,
            };
            let unread = content_length.map(|_| &mut *body);
            let location = self.answer_once(&cgi_request, request, unread, reply)?;
            let Some(location) = location else { return Ok(()) };
            reply.close_if_unread(Some(body));
            check_location(&HttpRequest { target: &location, ..cgi_request })?;
            target = location;
            // The redirected request is a GET or HEAD request without a body.
            content_length = None;
            headers.retain(|(name, _)| !BODY_HEADERS.contains(&&*name.to_ascii_lowercase()));
            method = if method == "HEAD" { "HEAD" } else { "GET" };
        }
        let reason = format!("more than {MAX_REDIRECTS} local redirects, the last to {target}");
        Err(Failure::new(500, reason))
    }

    /// Answers a request. If the application responds with a local redirect, returns its path
    /// instead. `original` is the request that the client has sent. Only a script receives `body`.
    fn answer_once(
        &self,
        request: &HttpRequest<'_>,
        original: &Request,
        body: Option<&mut RequestBody<'_>>,
        reply: &mut Reply,
    ) -> Result<Option<String>, Failure> {
        // The params of the authorizer. Creating them also checks requests for files.
        let params = self.environment.params(request, &Script::new(request.path()?, ""))?;
        let variables = match self.authorize(&params)? {
            Authorization::Allowed(variables) => variables,
            Authorization::Denied(refusal) => {
                reply.close_if_unread(body);
                return refuse(&refusal, request.method, reply).map(|()| None);
            }
        };
        let script = match self.site.find(request)? {
            Target::Script(script) => script,
            Target::File(file) => {
                reply.close_if_unread(body);
                return file.send(request.method, original, reply).map(|()| None);
            }
            Target::Redirect(url) => {
                reply.close_if_unread(body);
                return redirect(&url, reply).map(|()| None);
            }
        };
        let is_announced = original.header("Content-Length").is_some();
        let mut upload = match body {
            Some(body) => Upload::new(body, is_announced, &self.limits)?,
            None => Upload::Empty,
        };
        let request = HttpRequest { content_length: upload.length(), ..*request };
        let params = self.script_params(&request, &script, &variables)?;
        reply.user = params.get("REMOTE_USER").map(str::to_owned);
        self.forward(&params, &mut upload, request.method, reply)
    }

    /// Returns the params for a script, with the variables of the authorizer.
    fn script_params(
        &self,
        request: &HttpRequest<'_>,
        script: &Script,
        variables: &Params,
    ) -> Result<Params, Failure> {
        let mut params = self.environment.params(request, script)?;
        for (name, value) in variables {
            set_variable(&mut params, &String::from_utf8_lossy(name), value)?;
        }
        Ok(params)
    }

    /// Asks the authorizer, if there is one, whether a request is allowed.
    fn authorize(&self, params: &Params) -> Result<Authorization, Failure> {
        match &self.authorizer {
            Some(authorizer) => Ok(authorizer.authorize(params)?),
            None => Ok(Authorization::Allowed(Params::new())),
        }
    }

    /// Sends a request to the application, and its response to the client. If the response is a
    /// local redirect, returns its path instead.
    fn forward(
        &self,
        params: &Params,
        upload: &mut Upload<'_, '_>,
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
        // The application is free for another request, even if the client is slow.
        let finished = match outcome {
            Outcome::Sent(writer) => writer.finish(),
            Outcome::HeadOnly(head) => {
                reply.start(response_head(&head)?, head.content_length())?.finish()
            }
            Outcome::LocalRedirect(location) => return Ok(Some(location)),
        };
        finished.map_err(fcgi::Error::from)?;
        Ok(None)
    }
}

/// Sends the response of an authorizer that has denied a request.
fn refuse(refusal: &client::Reply, method: &str, reply: &mut Reply) -> Result<(), Failure> {
    let head = refusal.head()?;
    let body = if head.has_body(method) { refusal.body()? } else { b"" };
    reply.send(response_head(head)?, body)
}

fn redirect(url: &str, reply: &mut Reply) -> Result<(), Failure> {
    reply.send(ResponseHead::new(301, "Moved Permanently").field("Location", url), b"")
}

/// Checks the target of a local redirect. If it is invalid, so is the application's response.
fn check_location(redirected: &HttpRequest<'_>) -> Result<(), Failure> {
    let invalid =
        |error| Failure::new(502, format!("the application's Location is invalid: {error}"));
    redirected.path().map(drop).map_err(invalid)
}

/// Sends a response to the client while it arrives. The caller finishes the response, because
/// only the end of the request tells whether it is complete.
fn receive(
    response: &mut Response<'_>,
    method: &str,
    reply: &mut Reply,
) -> Result<Outcome, Failure> {
    response.stdout.stderr_to(ApplicationLog::default());
    let cancel_handle = response.stdout.cancel_handle();
    reply.on_disconnect(move || cancel_handle.cancel());

    let head = response.read_head()?;
    if let Some(location) = head.local_redirect() {
        return Ok(Outcome::LocalRedirect(location.to_owned()));
    }
    if !head.has_body(method) {
        response_head(&head)?;
        return Ok(Outcome::HeadOnly(head));
    }
    let first = read_first(&head, &mut response.stdout)?;
    let mut writer = pipe(reply.start(response_head(&head)?, head.content_length())?)?;
    let mut body = first.chain(&mut response.stdout);
    let length = copy(&mut body, &mut writer, head.content_length())?;
    head.check_body(length)?;
    Ok(Outcome::Sent(writer))
}

/// Converts the head of an application's response.
fn response_head(head: &Head) -> Result<ResponseHead, Failure> {
    // An informational status would not end the exchange.
    if head.status() < 200 {
        return Err(Failure::new(502, format!("invalid status {}", head.status())));
    }
    let fields =
        head.http_fields().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length"));
    let response = ResponseHead::new(head.status(), head.reason());
    Ok(fields.fold(response, |response, (name, value)| response.field(name, value)))
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

/// Copies a body while it arrives, but not more than the announced length. Returns the number of
/// bytes that have arrived, up to the first ones that exceed that length.
fn copy(
    body: &mut impl BufRead,
    writer: &mut impl Write,
    announced: Option<u64>,
) -> io::Result<u64> {
    let limit = announced.unwrap_or(u64::MAX);
    let mut length = 0;
    while length <= limit {
        let received = body.fill_buf()?;
        if received.is_empty() {
            break;
        }
        let wanted = received.len().min(usize::try_from(limit - length).unwrap_or(usize::MAX));
        writer.write_all(&received[..wanted])?;
        let len = received.len();
        length += len as u64;
        body.consume(len);
    }
    Ok(length)
}
