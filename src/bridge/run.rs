//! Runs a program that can be started as a FastCGI application or as a CGI program.

use std::env;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use super::forward::forward;
use super::params::cgi_params;
use crate::client;
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::params::Params;
use crate::server::{self, HandlerResult, Request, Server};

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
/// # Errors
///
/// Returns [`Error::NotListening`], which explains how to start the program, and any error of
/// [`Server::serve`] or [`forward`].
///
/// # Examples
///
/// ```no_run
/// // It would not return.
/// use std::io::Write;
///
/// fcgi::run(|request| {
///     write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello.\n")?;
///     Ok(())
/// })?;
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn run<H>(handler: H) -> Result<()>
where
    H: Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'static,
{
    match Server::from_stdin() {
        Err(Error::NotListening(_)) if env::var_os("GATEWAY_INTERFACE").is_some() => {
            serve_cgi_call(&handler, &cgi_params(env::vars_os())?)
        }
        server => server?.serve(handler),
    }
}

/// Responds to a CGI call: forwards it over a pair of connected sockets to a thread that runs the
/// handler. There are no timeouts, because the web server limits the time of a CGI program.
fn serve_cgi_call<H>(handler: &H, params: &Params) -> Result<()>
where
    H: Fn(&mut Request<'_>) -> HandlerResult + Sync,
{
    let (client_end, server_end) = Stream::pair()?;
    let config = client::Config::new().read_timeout(None).write_timeout(None);
    let connection = client::Connection::new(client_end, Arc::new(config));
    thread::scope(|scope| {
        thread::Builder::new()
            .spawn_scoped(scope, move || serve_connection(server_end, handler))?;
        forward(connection, params, io::stdin(), &mut io::stdout(), io::stderr())
    })
    .map(drop)
}

/// Serves the requests of one connection in this thread.
fn serve_connection<H>(stream: Stream, handler: &H) -> Result<()>
where
    H: Fn(&mut Request<'_>) -> HandlerResult,
{
    let config = server::Config::new()
        .read_timeout(None)
        .request_timeout(None)
        .write_timeout(None)
        .max_params(usize::MAX);
    let mut connection = server::Connection::with_config(stream, Arc::new(config))?;
    while let Some(mut request) = connection.next_request()? {
        if let Some(error) = server::answer(&mut request, handler)? {
            // An error of stderr is ignored: there is nowhere else to report it.
            let _ = writeln!(io::stderr(), "fcgi: {error}");
        }
    }
    Ok(())
}
