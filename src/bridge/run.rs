//! Runs a program that can be started as a FastCGI application or as a CGI program.

use std::env;
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use super::forward::forward_on;
use super::params::cgi_params;
use crate::client::{self, Completion};
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::params::Params;
use crate::server::{self, Handler, HandlerResult, Request, Server};

/// Runs an application. It serves FastCGI or a CGI call, depending on how the program was started.
///
/// | Started | Behavior |
/// | --- | --- |
/// | With a listening socket on descriptor 0 | Serves FastCGI, like [`Server::from_stdin`]. |
/// | With the variable `GATEWAY_INTERFACE` | Responds to one CGI call. |
/// | Otherwise | Returns [`Error::NotListening`]. |
///
/// Web servers and process managers such as `spawn-fcgi` start a program in the first way. The
/// second way is that of a CGI program ([RFC 3875]). The handler is the same for both.
///
/// Returns the exit status of the process. For a CGI call it is the
/// [`app_status`](Request::app_status) of the request, or 255 if that is above 255. A handler that
/// returns an error or panics ends its request with app status 1.
///
/// If stdout is closed during a CGI call, reads and writes of the handler fail.
///
/// # Errors
/// - [`Error::NotListening`], whose message explains how to start the program
/// - any error of [`Server::serve`] or [`forward`](super::forward())
///
/// ```no_run
/// // Serves indefinitely.
/// use std::process::ExitCode;
///
/// fn main() -> fcgi::Result<ExitCode> {
///     fcgi::run(|request| request.respond(fcgi::ResponseHead::text(), "Hello.\n"))
/// }
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn run<H>(handler: H) -> Result<ExitCode>
where
    H: Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'static,
{
    match Server::from_stdin() {
        Err(Error::NotListening { .. }) if env::var_os("GATEWAY_INTERFACE").is_some() => {
            let params = cgi_params(env::vars_os())?;
            let (stdin, mut stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
            let completion = serve_cgi_call(&handler, &params, stdin, &mut stdout, stderr)?;
            Ok(exit_code(completion.app_status))
        }
        server => server?.serve(handler).map(|()| ExitCode::SUCCESS),
    }
}

fn exit_code(app_status: u32) -> ExitCode {
    u8::try_from(app_status).unwrap_or(u8::MAX).into()
}

/// Responds to a CGI call: forwards it over a pair of connected sockets to a thread that runs the
/// handler. There are no timeouts, because the web server limits the time of a CGI program.
fn serve_cgi_call(
    handler: &Handler<'_>,
    params: &Params,
    stdin: impl Read + Send + 'static,
    stdout: &mut impl Write,
    stderr: impl Write + Send,
) -> Result<Completion> {
    let (client_end, server_end) = Stream::pair()?;
    let config = client::Config::new().deadline(None).read_timeout(None).write_timeout(None);
    let connection = client::Connection::new(client_end, Arc::new(config))?;
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("fcgi".into())
            .spawn_scoped(scope, move || serve_connection(server_end, handler))?;
        let forwarded = forward_on(connection, params, stdin, stdout, stderr);
        let served = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        // If both have failed, the error of the server is a consequence of the other one.
        forwarded.and_then(|completion| served.map(|()| completion))
    })
}

/// Serves the requests of one connection in this thread.
fn serve_connection(stream: Stream, handler: &Handler<'_>) -> Result<()> {
    let config = server::Config::new()
        .read_timeout(None)
        .request_timeout(None)
        .write_timeout(None)
        .max_params(usize::MAX);
    let mut connection = server::Connection::with_config(stream, Arc::new(config))?;
    while let Some(mut request) = connection.next_request()? {
        if let Err(errors) = server::answer(&mut request, handler, &server::Hooks::default()) {
            // An error of stderr is ignored: there is nowhere else to report it.
            errors.report(|error| drop(writeln!(io::stderr(), "fcgi: {error}")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A reader that blocks until the sender is dropped.
    struct Blocking(mpsc::Receiver<()>);

    impl Read for Blocking {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(0)
        }
    }

    /// A writer whose other end is closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Responds to a CGI call while its stdin is open and empty.
    fn call(
        mut stdout: impl Write + Send + 'static,
        handler: fn(&mut Request<'_>) -> HandlerResult,
    ) -> Result<Completion> {
        let (_stdin, receiver) = mpsc::channel();
        let (sender, outcome) = mpsc::channel();
        thread::spawn(move || {
            let params = Params::from_pairs([("CONTENT_LENGTH", "5")]).unwrap();
            let stdin = Blocking(receiver);
            let _ = sender.send(serve_cgi_call(&handler, &params, stdin, &mut stdout, io::sink()));
        });
        outcome.recv_timeout(Duration::from_secs(20)).expect("the call ends")
    }

    #[test]
    fn a_call_ends_if_stdout_is_closed() {
        let error = call(Closed, |request| {
            write!(request.stdout, "Status: 200\n\n")?;
            loop {
                request.stdout.write_all(&[b'x'; 4096])?;
            }
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        let error = call(Closed, |request| {
            write!(request.stdout, "Status: 200\n\n")?;
            request.stdout.flush()?;
            Ok(request.stdin.read_exact(&mut [0])?)
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_call_ends_with_the_response_if_its_body_is_not_read() {
        let completion = call(io::sink(), |request| {
            request.app_status = 300;
            Ok(write!(request.stdout, "Status: 200\n\n")?)
        });
        assert_eq!(completion.unwrap().app_status, 300);
    }

    #[test]
    fn a_failed_handler_ends_its_call_with_app_status_1() {
        let completion = call(io::sink(), |_| Err("failed".into()));
        assert_eq!(completion.unwrap().app_status, 1);
    }

    #[test]
    fn the_exit_status_is_the_app_status_up_to_255() {
        for (app_status, status) in [(0, 0), (7, 7), (255, 255), (256, 255), (u32::MAX, 255)] {
            let expected = ExitCode::from(status);
            assert_eq!(format!("{:?}", exit_code(app_status)), format!("{expected:?}"));
        }
    }
}
