//! CGI on one side, FastCGI on the other: what a `cgi-fcgi` program is made of, and programs that
//! can be started as either.
//!
//! [`forward`] makes a FastCGI request of a CGI call and gives the answer back; [`start`] starts
//! applications; [`run`] lets one program be started in every way that there is.
//!
//! ```no_run
//! // It is a CGI program: its environment, stdin and stdout are the request and the response.
//! use fcgi::{bridge, Client};
//! use std::io;
//!
//! let client = Client::new("unix:/run/app.sock")?;
//! let params = bridge::cgi_params(std::env::vars_os())?;
//! bridge::forward(client.connect(), &params, io::stdin(), &mut io::stdout(), io::stderr())?;
//! # Ok::<(), fcgi::Error>(())
//! ```

mod run;
#[cfg(unix)]
mod start;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Read, Write};
use std::thread;

pub use self::run::run;
#[cfg(unix)]
pub use self::start::start;

use crate::cgi::ResponseHead;
use crate::client::{send_body, Completion, Connection, Stdin, Stdout};
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::Role;

/// The variables of RFC 3875, section 4.1, and those that web servers commonly add to them. `HTTP_`
/// and some other prefixes stand for all that begin with them.
const CGI_VARIABLES: &[&str] = &[
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "CONTEXT_DOCUMENT_ROOT",
    "CONTEXT_PREFIX",
    "DOCUMENT_ROOT",
    "DOCUMENT_URI",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_FILENAME",
    "SCRIPT_NAME",
    "SCRIPT_URI",
    "SCRIPT_URL",
    "SERVER_ADDR",
    "SERVER_ADMIN",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SIGNATURE",
    "SERVER_SOFTWARE",
    "UNIQUE_ID",
];
const CGI_PREFIXES: &[&str] = &[
    "HTTP_",
    "REDIRECT_",
    "SSL_CIPHER",
    "SSL_CLIENT_",
    "SSL_PROTOCOL",
    "SSL_SERVER_",
    "SSL_SESSION_",
    "SSL_TLS_",
    "X_",
];

/// The params of a CGI call: those variables of an environment that CGI defines, and those that web
/// servers commonly add. The rest of the process's environment, which may hold secrets, is left
/// out, and so is `HTTP_PROXY`, which a client can forge.
///
/// # Errors
/// As [`Params::push`].
///
/// ```
/// let environment = [
///     ("REQUEST_METHOD", "GET"),
///     ("HTTP_HOST", "example.org"),
///     ("HTTP_PROXY", "evil"),
///     ("HOME", "/root"),
/// ];
/// let params = fcgi::bridge::cgi_params(environment)?;
/// assert_eq!(
///     params,
///     fcgi::Params::from_pairs([("REQUEST_METHOD", "GET"), ("HTTP_HOST", "example.org")])?
/// );
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn cgi_params(
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Params> {
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
    all_params(environment.filter(|(name, _)| name.to_str().is_some_and(is_cgi_variable)))
}

/// The params of a CGI call with everything that is in an environment, as the FastCGI kit's
/// `cgi-fcgi` sends it.
///
/// # Errors
/// As [`Params::push`].
pub fn all_params(
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Params> {
    let bytes = |text: OsString| bytes_of(&text).into_owned();
    Params::from_pairs(
        environment.into_iter().map(|(name, value)| (bytes(name.into()), bytes(value.into()))),
    )
}

fn is_cgi_variable(name: &str) -> bool {
    let is_known =
        CGI_VARIABLES.contains(&name) || CGI_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_known && name != "HTTP_PROXY"
}

#[cfg(unix)]
fn bytes_of(text: &OsStr) -> std::borrow::Cow<'_, [u8]> {
    std::os::unix::ffi::OsStrExt::as_bytes(text).into()
}

#[cfg(not(unix))]
fn bytes_of(text: &OsStr) -> std::borrow::Cow<'_, [u8]> {
    text.to_string_lossy().into_owned().into_bytes().into()
}

/// Makes a FastCGI request of a CGI call, and gives the answer back as it comes.
///
/// `CONTENT_LENGTH` bytes of `stdin` are sent, by a thread of their own, which is left behind if
/// the application ends the request without them. The response goes to `stdout` when its head is
/// complete and valid, STDERR to `stderr`.
///
/// # Errors
/// If the connection could not be made, which is what `connection` then says, or the request fails
/// in another way. Where nothing of the response was written yet, `stdout` gets a CGI response in
/// its place: `Status: 503` if the application cannot be reached or is overloaded, 504 if it takes
/// too long, 502 otherwise. The reason is the caller's to report.
///
/// ```
/// use fcgi::{bridge, Client, Params};
///
/// let nobody = Client::new("127.0.0.1:1")?;
/// let mut stdout = Vec::new();
/// let outcome = bridge::forward(
///     nobody.connect(),
///     &Params::new(),
///     std::io::empty(),
///     &mut stdout,
///     std::io::sink(),
/// );
/// assert!(outcome.is_err());
/// assert!(stdout.starts_with(b"Status: 503 Service Unavailable\r\n"));
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn forward(
    connection: Result<Connection>,
    params: &Params,
    stdin: impl Read + Send + 'static,
    stdout: &mut impl Write,
    stderr: impl Write + Send,
) -> Result<Completion> {
    let mut connection = match connection {
        Ok(connection) => connection,
        Err(error) => return Err(answer_failure(stdout, 503, error)),
    };
    let (to_application, mut response) = connection.begin(Role::Responder, params)?.into_parts();
    response.stderr_to(stderr);
    let head = send(to_application, params, stdin).and_then(|()| response.read_head());
    match head {
        Ok(head) => stdout.write_all(head.as_bytes())?,
        Err(error) => return Err(answer_failure(stdout, gateway_status(&error), error)),
    }
    copy(&mut response, stdout)?;
    response.finish()
}

/// Sends the request's body: at once if there is none, else in a thread that may be left behind.
fn send(
    mut to_application: Stdin,
    params: &Params,
    stdin: impl Read + Send + 'static,
) -> Result<()> {
    let length = params.content_length().unwrap_or(0);
    if length == 0 {
        // If it cannot be written, the response says why.
        let _ = to_application.finish();
        return Ok(());
    }
    let _ = to_application.flush();
    thread::Builder::new().spawn(move || send_body(stdin, length, to_application))?;
    Ok(())
}

/// Copies the response as it comes.
fn copy(response: &mut Stdout<'_>, stdout: &mut impl Write) -> Result<()> {
    loop {
        let piece = response.fill_buf()?;
        if piece.is_empty() {
            return Ok(stdout.flush()?);
        }
        stdout.write_all(piece)?;
        stdout.flush()?;
        let len = piece.len();
        response.consume(len);
    }
}

/// The HTTP status that tells a client of a gateway of this error (RFC 9110, sections 15.6.3 to
/// 15.6.5): 503 for a refusal that another try may not meet, 504 for a time-out, 502 for anything
/// else that came of the application.
///
/// ```
/// use fcgi::{bridge::gateway_status, Error};
/// assert_eq!(gateway_status(&Error::TimedOut("read")), 504);
/// assert_eq!(gateway_status(&Error::HeadCut), 502);
/// ```
pub fn gateway_status(error: &Error) -> u16 {
    match error {
        Error::TimedOut(_) => 504,
        error if error.is_transient() => 503,
        _ => 502,
    }
}

/// Answers for an application that gave no answer.
fn answer_failure(stdout: &mut impl Write, status: u16, error: Error) -> Error {
    let head = ResponseHead::new()
        .status(status, "")
        .and_then(|head| head.field("Content-Type", "text/plain"));
    // If it cannot be written, nobody waits for it.
    let _ = head.and_then(|head| head.write_to(stdout));
    let _ = stdout.write_all(b"The application gave no answer.\n").and_then(|()| stdout.flush());
    error
}
