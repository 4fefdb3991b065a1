//! Runs CGI programs.

mod environment;
mod process;
mod pump;
mod response;
mod supervisor;

use std::io::Write;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use self::environment::set_environment;
use self::pump::BodyPump;
use self::supervisor::{Limits, ProgramFailure, Step, Supervisor};
use super::forward::{gateway_status, write_failure};
use crate::error::{Error, Result};
use crate::params::Params;
use crate::server::{Output, Request};
use crate::stream::StreamWriter;

/// A CGI program to be run, and the bounds on its time.
///
/// ```
/// use fcgi::bridge::Program;
/// use std::process::Command;
/// use std::time::Duration;
///
/// let program = Program::from(Command::new("/usr/lib/cgi-bin/report"))
///     .timeout(Some(Duration::from_secs(30)));
/// assert_eq!(program.kill_timeout, Duration::from_secs(2));
/// ```
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Program {
    /// The command that runs the program. Its standard streams, its process group and the
    /// environment that it inherits are replaced.
    pub command: Command,
    /// How long the program may run. `None` means no limit.
    ///
    /// Default one hour, so that large repositories can be cloned.
    pub timeout: Option<Duration>,
    /// How long the program may run without reading or writing anything. `None` means no limit.
    ///
    /// Default 5 minutes. Web servers commonly wait for one minute and then close the connection,
    /// which ends the program too.
    pub idle_timeout: Option<Duration>,
    /// How long the program may continue after SIGTERM, before SIGKILL is sent.
    ///
    /// Default 2 seconds, in which a program can remove its temporary files.
    pub kill_timeout: Duration,
    /// Whether output is sent before the whole body was received. Otherwise it is buffered until
    /// then, up to 64 KiB.
    ///
    /// Default `false`: nginx stops sending the body when the response begins. A push to
    /// `git-http-backend`, which writes its head first, would hang.
    pub early_output: bool,
}

impl From<Command> for Program {
    fn from(command: Command) -> Self {
        Self {
            command,
            timeout: Some(Duration::from_secs(60 * 60)),
            idle_timeout: Some(Duration::from_secs(5 * 60)),
            kill_timeout: Duration::from_secs(2),
            early_output: false,
        }
    }
}

impl Program {
    /// Sets [`timeout`](Self::timeout).
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets [`kill_timeout`](Self::kill_timeout).
    pub fn kill_timeout(mut self, timeout: Duration) -> Self {
        self.kill_timeout = timeout;
        self
    }

    /// Sets [`early_output`](Self::early_output).
    pub fn early_output(mut self, early_output: bool) -> Self {
        self.early_output = early_output;
        self
    }

    fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout,
            idle_timeout: self.idle_timeout,
            kill_timeout: self.kill_timeout,
        }
    }
}

/// Runs a CGI program ([RFC 3875]) that answers a request. Returns its exit status.
///
/// The program gets the params as its environment and the body as its stdin. What it writes to
/// stdout becomes the response after its head was checked, and stderr goes to the log of the web
/// server. All three flow at the same time. When the body has been received, output is passed on at
/// once: see [`Program::early_output`]. The exit status becomes the
/// [`app_status`](Request::app_status).
///
/// # Environment
///
/// The program inherits no variable of this process. Variables that were set on the [`Command`]
/// before are added to the params, and take precedence. `HTTP_PROXY` is left out, because a client
/// can set it with a header field (CVE-2016-5385).
///
/// # The end of a program
///
/// - When the program exits, the response ends.
/// - If it closes stdout and continues to run, the response still ends with the program. A program
///   that has more to do should start another process for that.
/// - If it has exited, but a process that it has started keeps stdout open, the response ends when
///   nothing was written for half a second. That process continues to run. Until it ends, a thread
///   waits for each pipe that it keeps open.
/// - If it closes stdin, or exits before it has read the body, the rest of the body is dropped. If
///   the web server is still sending the body, the request ends after the part that arrives next,
///   or after [`Config::read_timeout`](crate::server::Config::read_timeout).
/// - After a timeout, the program is ended.
/// - If the web server aborts the request or closes the connection, the program is ended. This is
///   noticed within 0.1 seconds. On TCP, the close is not noticed while the program leaves more
///   than a few hundred KiB of the body unread.
///
/// A program runs in a process group of its own. To end it, SIGTERM is sent to the group, which
/// includes the processes that the program has started. SIGKILL follows when the program has ended
/// and all of them have closed stdout and stderr, or after [`Program::kill_timeout`]. A process
/// that has moved to another group is not ended. Without `/proc`, as on macOS, SIGKILL is not sent
/// to processes that remain after the program has ended. The signals are sent by `kill` of
/// `/bin/sh`, because `std` cannot send them. If this process is killed, its programs are not
/// ended.
///
/// The child is always waited for, so it never remains as a zombie. A server runs at most one
/// program for each connection: [`Config::max_connections`](crate::server::Config::max_connections)
/// limits the number of programs that run at the same time.
///
/// If a program has changed its real user, as a setuid program can, this process may lack the
/// permission to kill it. Such a program continues to run, and no longer counts toward
/// `max_connections` once its request has ended. A thread waits for its end.
///
/// # Security
///
/// The caller decides which program is run. It must not derive that from the request without
/// checks: see the example `cgi-wrap`. The query string does not become arguments (RFC 3875,
/// section 4.4).
///
/// # Errors
/// If no part of the response was sent, the response is `Status: 504` after a timeout, and `Status:
/// 502` after the other errors of a program. The caller should return the error from its handler,
/// so that the log of the web server contains it.
///
/// - [`Error::Io`] if the program cannot be started
/// - [`Error::TimedOut`] if a timeout expires
/// - [`Error::ProgramFailed`] if a signal ended the program, or it failed without a response
/// - [`Error::IncompleteHead`] and the errors of
///   [`HeadParser::feed`](crate::cgi::HeadParser::feed) if the head of the response is invalid
/// - [`Error::StreamTooShort`] if the response is shorter than its `Content-Length`
/// - [`Error::Aborted`] if the request was aborted, and any error of reading
///   [`Request::stdin`] or writing [`Request::stdout`]
///
/// ```
/// use fcgi::server::{HandlerResult, Request};
/// use fcgi::bridge;
/// use std::process::Command;
///
/// fn handle(request: &mut Request) -> HandlerResult {
///     bridge::run_program(request, Command::new("/usr/lib/cgi-bin/report"))?;
///     Ok(())
/// }
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn run_program(request: &mut Request<'_>, program: impl Into<Program>) -> Result<ExitStatus> {
    let mut program = program.into();
    set_environment(&mut program.command, request.params);
    match start_and_watch(request, &mut program) {
        Ok(status) => {
            request.app_status = status.code().map_or(1, i32::unsigned_abs);
            Ok(status)
        }
        Err(ProgramFailure::Program(error)) => {
            send_failure(&mut request.stdout, &error);
            Err(error)
        }
        Err(ProgramFailure::Request(error)) => Err(error),
    }
}

type Outcome<T> = std::result::Result<T, ProgramFailure>;
type Stdout<'a> = StreamWriter<Output<'a>>;

const ABORTED: ProgramFailure = ProgramFailure::Request(Error::Aborted);

/// Starts a program, and watches it until it ends.
fn start_and_watch(request: &mut Request<'_>, program: &mut Program) -> Outcome<ExitStatus> {
    let limits = program.limits();
    let method = request.params.get("REQUEST_METHOD").unwrap_or_default();
    let (supervisor, pump) = Supervisor::start(&mut program.command, limits, method)
        .map_err(|error| ProgramFailure::Program(error.into()))?;
    if has_no_body(request.params) {
        // Closes the stdin of the program. Starting a thread would cost more than closing the pipe.
        drop(pump);
        return watch(request, supervisor);
    }
    match watch_with_body(request, supervisor, pump, program.early_output)? {
        Watched::Exited(status) => Ok(status),
        Watched::BodyEnded(supervisor) => watch(request, *supervisor),
    }
}

/// Returns whether a request is certain to have no body. Other requests than GET and HEAD may have
/// a body of unknown length.
fn has_no_body(params: &Params) -> bool {
    let is_get = matches!(params.get("REQUEST_METHOD"), Some("GET" | "HEAD"));
    params.content_length().map_or(is_get, |len| len == 0)
}

/// How the first part of a request has ended.
enum Watched {
    Exited(ExitStatus),
    /// The body has been read to its end, and the program is still running.
    BodyEnded(Box<Supervisor>),
}

/// Watches a program while another thread reads the body of the request.
///
/// The abort handle cannot check the connection during a read of that thread. It detects a closed
/// connection only while the thread waits for the program.
fn watch_with_body(
    request: &mut Request<'_>,
    mut supervisor: Supervisor,
    pump: BodyPump,
    early_output: bool,
) -> Outcome<Watched> {
    let abort_handle = request.abort_handle();
    let Request { stdin, stdout, stderr, .. } = request;
    thread::scope(|scope| {
        // Both this value and the supervisor are dropped before the scope waits for the pump.
        let _stop = pump.stop_on_drop();
        let pumping = thread::Builder::new()
            .name("fcgi-pump".into())
            .spawn_scoped(scope, move || pump.run(stdin));
        pumping.map_err(|error| ProgramFailure::Program(error.into()))?;
        loop {
            match supervisor.step(stdout, stderr, early_output) {
                Ok(Step::Continue) => {}
                Ok(Step::Check) if !abort_handle.is_aborted() => {}
                Ok(Step::Check) => return Err(end(supervisor, stdout, ABORTED)),
                Ok(Step::BodyEnded) => return Ok(Watched::BodyEnded(Box::new(supervisor))),
                Ok(Step::Exited(status)) => {
                    // The next part of the body may take long, and this function waits for it.
                    stdout.flush().map_err(|error| ProgramFailure::Request(error.into()))?;
                    return Ok(Watched::Exited(status));
                }
                Err(failure) => return Err(end(supervisor, stdout, failure)),
            }
        }
    })
}

/// Watches a program after the body has been read. `Request::is_aborted` detects every kind of
/// abort.
fn watch(request: &mut Request<'_>, mut supervisor: Supervisor) -> Outcome<ExitStatus> {
    loop {
        match supervisor.step(&mut request.stdout, &mut request.stderr, true) {
            Ok(Step::Continue | Step::BodyEnded) => {}
            Ok(Step::Check) if !request.is_aborted() => {}
            Ok(Step::Check) => return Err(end(supervisor, &mut request.stdout, ABORTED)),
            Ok(Step::Exited(status)) => return Ok(status),
            Err(failure) => return Err(end(supervisor, &mut request.stdout, failure)),
        }
    }
}

/// Ends a program after a failure, and reports it. Returns the failure.
fn end(
    mut supervisor: Supervisor,
    stdout: &mut Stdout<'_>,
    failure: ProgramFailure,
) -> ProgramFailure {
    supervisor.end_program();
    if let ProgramFailure::Program(error) = &failure {
        // The next part of the body may take long, and the request waits for it.
        send_failure(stdout, error);
    }
    failure
}

/// Sends a response that reports the failure of a program, unless a part of a response was sent.
fn send_failure(stdout: &mut Stdout<'_>, error: &Error) {
    if !stdout.has_sent() {
        stdout.buffer_mut().discard_open_record();
        // A write error is ignored: `error` is what the caller must report.
        let _ = write_failure(stdout, gateway_status(error));
    }
}
