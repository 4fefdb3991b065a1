//! Forwards a CGI call to a FastCGI application.

use std::io::{self, BufRead, Read, Take, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::thread;

use crate::cgi::canonical_reason;
use crate::client::{CancelHandle, Client, Completion, Connection, Exchange, Stdin, Stdout};
use crate::error::{Error, Result};
use crate::params::Params;
use crate::record::{Role, MAX_ALIGNED_LEN};
use crate::stream::retry_interrupted;

/// The maximum number of bytes of the body that are read and sent at a time: two full records.
const PIECE_LEN: usize = 2 * MAX_ALIGNED_LEN;

/// Forwards a CGI call to a FastCGI application, and the response to the web server.
///
/// It sends `CONTENT_LENGTH` bytes of `stdin`, or none if that variable is missing or not a decimal
/// number. It writes the response to `stdout` as it is received, after its head has been checked,
/// and STDERR to `stderr`.
///
/// A separate thread reads `stdin`. This function does not wait for it if the request ends before
/// the body does.
///
/// Any failure cancels the request by closing its connection. If `stdin` cannot be read, the
/// application therefore does not treat the body as complete. If `stdin` ends too early, the body
/// ends too, and the application has to compare its length with `CONTENT_LENGTH` ([FastCGI
/// specification], section 6.2).
///
/// # Errors
/// Any error of the request. If no part of the response has been written to `stdout` yet, a CGI
/// response with the status that [`gateway_status`] returns for the error is written there instead.
/// It does not contain the error itself. The caller should write that to a log.
///
/// ```
/// use fcgi::{bridge, Client, Params};
/// use std::io;
///
/// // Nothing listens at this address.
/// let client = Client::new("127.0.0.1:1")?;
/// let mut stdout = Vec::new();
/// let outcome =
///     bridge::forward(&client, &Params::new(), io::empty(), &mut stdout, io::sink());
/// assert!(outcome.is_err());
/// assert!(stdout.starts_with(b"Status: 503 Service Unavailable\r\n"));
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
pub fn forward(
    client: &Client,
    params: &Params,
    stdin: impl Read + Send + 'static,
    stdout: &mut impl Write,
    stderr: impl Write + Send,
) -> Result<Completion> {
    forward_exchange(client.begin(Role::Responder, params), params, stdin, stdout, stderr)
}

/// Does the same as [`forward`] over a connection that is already open, and closes it.
///
/// # Errors
/// The errors of [`forward`].
///
/// ```no_run
/// // An application must be listening.
/// use fcgi::{bridge, Client};
/// use std::io;
///
/// let connection = Client::new("unix:/run/app.sock")?.connect()?;
/// let params = bridge::cgi_params(std::env::vars_os())?;
/// bridge::forward_on(connection, &params, io::stdin(), &mut io::stdout(), io::stderr())?;
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn forward_on(
    connection: Connection,
    params: &Params,
    stdin: impl Read + Send + 'static,
    stdout: &mut impl Write,
    stderr: impl Write + Send,
) -> Result<Completion> {
    let mut connection = ShutDownOnDrop(connection);
    forward_exchange(connection.0.begin(Role::Responder, params), params, stdin, stdout, stderr)
}

/// A connection that is shut down when it is dropped: the thread that reads `stdin` may hold its
/// socket open.
struct ShutDownOnDrop(Connection);

impl Drop for ShutDownOnDrop {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

fn forward_exchange<'a>(
    exchange: Result<Exchange<'a>>,
    params: &Params,
    stdin: impl Read + Send + 'static,
    stdout: &mut impl Write,
    stderr: impl Write + Send + 'a,
) -> Result<Completion> {
    let response = exchange
        .and_then(|exchange| start(exchange, params, stdin, stderr))
        .map_err(|error| reply_failure(stdout, error))?;
    copy_response(response, stdout)
}

/// Returns the HTTP status with which a gateway reports an error of the application (RFC 9110,
/// sections 15.6.3 to 15.6.5).
///
/// | Error | Status |
/// | --- | --- |
/// | [`Error::InvalidRequest`], of [`cgi`](crate::cgi) | 400 |
/// | [`Error::TimedOut`], and [`Error::Connect`] with that cause | 504 |
/// | Any other [`Error::Connect`] | 503 |
/// | A refusal that [is transient](Error::is_transient) | 503 |
/// | Any other error | 502 |
///
/// ```
/// use fcgi::{bridge::gateway_status, Error};
///
/// let client = fcgi::Client::new("127.0.0.1:1")?;
/// let refused = client.fetch(&fcgi::Params::new(), b"").unwrap_err();
/// assert_eq!(gateway_status(&refused), 503);
/// assert_eq!(gateway_status(&Error::IncompleteHead), 502);
/// # Ok::<(), Error>(())
/// ```
pub fn gateway_status(error: &Error) -> u16 {
    match error {
        Error::InvalidRequest { .. } => 400,
        Error::TimedOut(_) => 504,
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => 504,
        Error::Connect { .. } => 503,
        error if error.is_transient() => 503,
        _ => 502,
    }
}

/// Starts sending the body of a request. Returns its response.
fn start<'a>(
    exchange: Exchange<'a>,
    params: &Params,
    stdin: impl Read + Send + 'static,
    stderr: impl Write + Send + 'a,
) -> Result<Stdout<'a>> {
    let (request, mut response) = exchange.into_parts();
    response.stderr_to(stderr);
    let body = stdin.take(params.content_length().unwrap_or(0));
    start_sending(body, request, response.cancel_handle())?;
    Ok(response)
}

/// Sends an empty body at once. Starts a thread that sends any other body.
///
/// Write errors are ignored: the application may have sent its response without reading the whole
/// body, and reading the response reports any other failure, including a write that timed out.
fn start_sending(
    body: Take<impl Read + Send + 'static>,
    mut request: Stdin,
    handle: CancelHandle,
) -> io::Result<()> {
    if body.limit() == 0 {
        let _ = request.finish();
        return Ok(());
    }
    // The application receives the params even if the body is slow.
    let _ = request.flush();
    thread::Builder::new().name("fcgi-stdin".into()).spawn(move || {
        // Both are dropped after a panic, so neither is used in an invalid state.
        let sent = catch_unwind(AssertUnwindSafe(|| send_body(body, request)));
        if !matches!(sent, Ok(Ok(()))) {
            handle.cancel();
        }
    })?;
    Ok(())
}

/// Sends the body until it ends or the application stops reading it. Returns an error if the body
/// cannot be read. Its stream then has no end, so the application does not treat it as complete.
fn send_body(mut body: Take<impl Read>, mut request: Stdin) -> io::Result<()> {
    let mut piece = vec![0; PIECE_LEN];
    loop {
        let len = retry_interrupted(|| body.read(&mut piece))?;
        let is_last = len == 0 || body.limit() == 0;
        let sent = request.send(&piece[..len], is_last);
        if is_last || sent.is_err() {
            return Ok(());
        }
    }
}

/// Writes the response to `stdout`. Without a valid head, writes one that reports the failure.
fn copy_response(mut response: Stdout<'_>, stdout: &mut impl Write) -> Result<Completion> {
    let head = response.read_head().map_err(|error| reply_failure(stdout, error))?;
    stdout.write_all(head.as_bytes())?;
    copy_body(&mut response, stdout)?;
    response.finish()
}

/// Writes each piece of the response body as soon as it is received.
fn copy_body(response: &mut Stdout<'_>, stdout: &mut impl Write) -> Result<()> {
    loop {
        let piece = response.fill_buf()?;
        let len = piece.len();
        stdout.write_all(piece)?;
        stdout.flush()?;
        if len == 0 {
            return Ok(());
        }
        response.consume(len);
    }
}

/// Writes a CGI response that reports a failure, and returns the error that caused it.
fn reply_failure(stdout: &mut impl Write, error: Error) -> Error {
    // A write error is ignored: `error` is what the caller must report.
    let _ = write_failure(stdout, gateway_status(&error));
    error
}

/// Writes the CGI response with which [`forward`] reports a failure, and flushes it. It has this
/// status, and a line of plain text that does not contain the reason.
///
/// # Errors
/// The errors of `stdout`.
///
/// ```
/// let mut stdout = Vec::new();
/// fcgi::bridge::write_failure(&mut stdout, 503)?;
/// assert!(stdout.starts_with(b"Status: 503 Service Unavailable\r\n"));
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn write_failure(stdout: &mut impl Write, status: u16) -> Result<()> {
    let reason = canonical_reason(status).unwrap_or_default();
    let text = "The request could not be served.";
    write!(stdout, "Status: {status} {reason}\r\nContent-Type: text/plain\r\n\r\n{text}\n")?;
    Ok(stdout.flush()?)
}
