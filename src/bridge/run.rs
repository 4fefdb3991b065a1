use std::env;
use std::io;
use std::sync::Arc;
use std::thread;

use super::{cgi_params, forward};
use crate::client;
use crate::error::{Error, Result};
use crate::net::Stream;
use crate::params::Params;
use crate::server::{self, HandlerResult, Request, Server};

/// Runs an application in whatever way it was started.
///
/// * With a listening socket on descriptor 0, as web servers, `spawn-fcgi` and other process
///   managers leave it there: serves FastCGI, as [`Server::from_stdin`] does.
/// * As a CGI program (`GATEWAY_INTERFACE` is set): answers that one request with the same handler.
///
/// # Errors
/// [`Error::NotListening`], which says how to start the program, if it was started in another way.
/// Else as [`Server::serve`] or [`forward`].
///
/// ```no_run
/// // It would serve for ever.
/// use std::io::Write;
///
/// fcgi::run(|request| {
///     write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello.\n")?;
///     Ok(())
/// })?;
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn run<H>(handler: H) -> Result<()>
where
    H: Fn(&mut Request<'_>) -> HandlerResult + Send + Sync + 'static,
{
    match Server::from_stdin() {
        Err(Error::NotListening(_)) if env::var_os("GATEWAY_INTERFACE").is_some() => {
            answer_cgi(&handler, &cgi_params(env::vars_os())?)
        }
        server => server?.serve(handler),
    }
}

/// Answers a CGI call: a connection to ourselves carries it to the handler. No time-out applies:
/// those are the web server's.
fn answer_cgi<H>(handler: &H, params: &Params) -> Result<()>
where
    H: Fn(&mut Request<'_>) -> HandlerResult + Sync,
{
    let (ours, theirs) = Stream::pair()?;
    let config = client::Config::new().read_timeout(None).write_timeout(None);
    let connection = client::Connection::new(ours, Arc::new(config));
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || serve_one(theirs, handler))?;
        forward(connection, params, io::stdin(), &mut io::stdout(), io::stderr())
    })
    .map(drop)
}

fn serve_one<H>(stream: Stream, handler: &H) -> Result<()>
where
    H: Fn(&mut Request<'_>) -> HandlerResult,
{
    let config =
        server::Config::new().read_timeout(None).write_timeout(None).max_params(usize::MAX);
    let mut connection = server::Connection::with_config(stream, Arc::new(config))?;
    while let Some(mut request) = connection.next_request()? {
        server::answer(&mut request, handler)?;
    }
    Ok(())
}
