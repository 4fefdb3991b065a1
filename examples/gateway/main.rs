//! An HTTP server in front of FastCGI applications.
//!
//! ```sh
//! cargo run --example gateway
//! ```
//!
//! starts a demonstration application in the same process, connects to it through a FastCGI socket,
//! and prints the URL of its page.
//!
//! ```sh
//! cargo run --example gateway -- --connect unix:/run/php/php8.2-fpm.sock --root /var/www/html
//! ```
//!
//! serves a directory whose `.php` files are run by php-fpm.
//!
//! `gateway --help` lists the options.
//!
//! # What is served
//!
//! * The name of a script may be followed by a path, which the script receives as `PATH_INFO`.
//! * With `--fallback /index.php`, that script also answers for every path that does not exist. It
//!   is the front controller of WordPress and most frameworks.
//! * Other files are sent unchanged, whole or in ranges. Those that may contain source code,
//!   configuration, keys or logs are reported as not found, and so are all paths with a segment
//!   that begins with a dot, except those below `/.well-known`.
//! * A path cannot leave DIR, but symbolic links inside DIR are followed.
//! * On Windows, a path that could name another file, such as `/index.php::$DATA`, is not found.
//! * An authorizer can allow a request and add variables to it, such as `REMOTE_USER`. If it denies
//!   the request, its response is sent to the client.
//! * With `--connect` and without `--root`, the application answers all requests.
//!
//! # Slow clients
//!
//! An application such as php-fpm has few processes, and each of them serves one request at a time.
//! The body of a request is collected before the application is asked, if it is not longer than
//! `--collect`. A longer one is forwarded while it arrives, so a slow client then holds a process.
//! Up to 4 MiB of a response are stored for a slow client, while the application serves others.
//!
//! # Errors
//!
//! A request that fails is answered with one of these statuses, and the reason is written to
//! stderr:
//!
//! | Status | Reason |
//! | --- | --- |
//! | 400 | The request is invalid. For example, it has no `Host` field. |
//! | 403 | The gateway has no permission to read the file. |
//! | 404 | There is no such file, or it is not public. |
//! | 405 | The method is neither GET nor HEAD, and the path is that of a file. |
//! | 408 | The client has not sent its request in time. |
//! | 413 | The body is longer than `--max-body`. |
//! | 431 | The request head has more than 64 KiB or 256 fields. |
//! | 500 | The gateway cannot store a body or read a file, or there are too many local redirects. |
//! | 501 | The body has a transfer coding other than `chunked`. |
//! | 502 | The application's response is invalid. |
//! | 503 | The application cannot be reached or refuses the request, or no thread can be started. |
//! | 504 | A timeout expired. |
//!
//! Any other status is that of the application, the authorizer or a file.
//!
//! If the application fails after it has started its response, the gateway breaks off the response,
//! so that the client cannot mistake it for a complete one. If only the end of the connection marks
//! the end of the response, the gateway resets the connection. If the client disconnects, the
//! gateway cancels its request. If no thread can be started for a connection, the connection is
//! closed.
//!
//! What the application writes to STDERR is written to stderr, up to 64 KiB and 1000 lines for each
//! response. The gateway then logs how much it has dropped.
//!
//! On SIGTERM or SIGINT, the gateway waits up to 5 seconds for the requests that have begun and
//! exits with status 0.
//!
//! # Security
//!
//! The gateway is an example. It has no TLS, no access control except the authorizer, and no
//! defence against clients that are slow on purpose. On the internet, use a web server.

mod access_log;
mod conditions;
mod demo;
mod failure;
mod file;
mod forward;
mod http;
mod log;
mod options;
mod portable;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod upload;

use std::process::ExitCode;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use fcgi::cgi::Environment;
use fcgi::client::Config;
use fcgi::net::Address;
use fcgi::Client;

use self::access_log::AccessLog;
use self::demo::Demo;
use self::forward::Gateway;
use self::http::{Handler, Server};
use self::options::{Options, EXIT_STATUSES, HELP};
use self::site::{Directory, Site};
use self::support::cli::{Arguments, Program};
use self::support::exit::Exit;
use self::support::stdio;
use self::upload::Limits;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// The time that requests have to end after SIGTERM or SIGINT.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    Program { exit_statuses: EXIT_STATUSES, ..Program::new("gateway", HELP) }.main(run)
}

fn run(args: Arguments) -> Result<u8, Exit> {
    let options = Options::parse(args)?;
    let (signal_sender, signals) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = signal_sender.send(());
    })
    .map_err(|error| Exit::unavailable("signals", error))?;
    let server = listen(options.listen.as_deref())?;
    let url = format!("http://{}/", server.local_addr()?);

    let demo = if options.connect.is_none() { Some(Demo::start()?) } else { None };
    let what = match (&demo, &options.root, &options.connect) {
        (_, Some(root), _) => root.display().to_string(),
        (_, None, Some(address)) => format!("the application at {address}"),
        (Some(demo), ..) => format!("the demonstration application at {}", demo.address),
        (None, None, None) => unreachable!("there is a demonstration without --connect"),
    };
    let gateway = gateway(&options, demo.as_ref().map(|demo| &demo.relay))?;
    let accepting = server.clone();
    thread::Builder::new().spawn(move || {
        let handler: Arc<Handler> =
            Arc::new(move |request, body, reply| gateway.handle(request, body, reply));
        accepting.serve(&handler);
    })?;
    // The gateway continues if stdout is closed.
    let _ = stdio::print(&format!("{url} serves {what}\n"));

    // The handler of signals, which owns the sender, is never dropped.
    let _ = signals.recv();
    server.stop(SHUTDOWN_TIMEOUT);
    if let Some(demo) = demo {
        demo.stop();
    }
    Ok(0)
}

/// Binds the HTTP server. Without an address, it takes any free port if the default one is taken.
fn listen(address: Option<&str>) -> Result<Server, Exit> {
    let server = match address {
        Some(address) => Server::bind(address),
        None => Server::bind(DEFAULT_LISTEN).or_else(|_| Server::bind("127.0.0.1:0")),
    };
    server.map_err(|error| Exit::unavailable(address.unwrap_or("127.0.0.1"), error))
}

/// Creates the gateway. `demo` is the address of the demonstration, if that is served.
fn gateway(options: &Options, demo: Option<&Address>) -> Result<Gateway, Exit> {
    // There is a demonstration if no application was named.
    let address = demo.or(options.connect.as_ref()).expect("the address of an application");
    // The demonstration does not authenticate clients, so only an authorizer needs the password.
    let pass_authorization = demo.is_none() || options.authorizer.is_some();
    let mut environment = Environment::new().pass_authorization(pass_authorization);
    let site = match &options.root {
        Some(root) => {
            let root = root.canonicalize().map_err(|error| Exit::file(root, &error))?;
            environment = environment.document_root(&root);
            let (index, fallback) = (options.index.clone(), options.fallback.clone());
            Site::Directory(Directory { root, index, fallback })
        }
        None => Site::Application,
    };
    let client = Client::from(address.clone()).config(config(options));
    Ok(Gateway {
        client: client.keep_alive(options.keep || demo.is_some()),
        authorizer: options
            .authorizer
            .clone()
            .map(|address| Client::from(address).config(config(options))),
        site,
        environment,
        limits: Limits { max: options.max_body, collect: options.collect },
        access_log: AccessLog::open(options.access_log.as_deref())?,
    })
}

fn config(options: &Options) -> Config {
    let timeout = Some(options.timeout);
    Config::new()
        .keep_alive(options.keep)
        .strict_heads(options.strict)
        .connect_timeout(timeout)
        .read_timeout(timeout)
        .write_timeout(timeout)
}
