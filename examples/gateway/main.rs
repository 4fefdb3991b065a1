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
//! # Options
//!
//! * `--connect ADDRESS`: the FastCGI application.
//! * `--root DIR`: the directory to serve.
//! * `--listen ADDRESS`: the address for HTTP. Default: `127.0.0.1:8080`, or any port if that is
//!   taken.
//! * `--index FILE`: the file to serve for a directory, if it exists. Can be repeated. Default:
//!   `index.php`, then `index.html`.
//! * `--keep`: keeps up to 8 connections to the application open. php-fpm then needs more than 8
//!   processes, because each of them serves one connection.
//! * `--timeout SECONDS`: limits connecting to the application, and each read and write. Default:
//!   60.
//! * `--max-body BYTES`: the maximum length of a request's body. Default: 1 GiB.
//! * `--authorizer ADDRESS`: the FastCGI authorizer that is asked about every request first.
//!
//! # What is served
//!
//! * The name of a script may be followed by a path, which the script receives as `PATH_INFO`.
//! * Files of common types are sent unchanged. All other files are reported as not found, because
//!   they may be source code, and so are all paths with a segment that begins with a dot.
//! * A path cannot leave DIR, but symbolic links inside DIR are followed.
//! * An authorizer can allow a request and add variables to it, such as `REMOTE_USER`. If it denies
//!   the request, its response is sent to the client.
//!
//! # Errors
//!
//! The client receives one of these statuses, and the reason is written to stderr:
//!
//! | Status | Reason |
//! | --- | --- |
//! | 400 | The request is invalid. For example, it has no `Host` field. |
//! | 501 | The body has a transfer coding other than `chunked`. |
//! | 502 | The application's response is invalid. |
//! | 503 | The application cannot be reached or is overloaded, or no thread can be started. |
//! | 504 | A timeout expired. |
//!
//! If the application fails after it has started its response, the gateway breaks off the response,
//! so that the client cannot mistake it for a complete one. If the client disconnects, the gateway
//! cancels its request. If no thread can be started for a connection, the connection is closed.
//!
//! What the application writes to STDERR is written to stderr, up to 64 KiB and 1000 lines for each
//! response. The gateway then says how much it has dropped.
//!
//! On SIGTERM or SIGINT, the gateway waits up to 5 seconds for the requests that have begun and
//! exits with status 0.
//!
//! # Security
//!
//! The gateway is an example. It has no TLS, no access control except the authorizer, and no
//! defence against clients that are slow on purpose. On the internet, use a web server.

mod demo;
mod failure;
mod file;
mod forward;
mod http;
mod log;
mod options;
mod reply;
mod request_head;
mod site;
mod upload;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fcgi::cgi::Environment;
use fcgi::client::Config;
use fcgi::net::Address;
use fcgi::Client;

use self::demo::Demo;
use self::forward::Gateway;
use self::http::Server;
use self::options::{Options, USAGE};
use self::site::{Directory, Site};

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// The time that requests have to end after SIGTERM or SIGINT.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("gateway: {reason}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::message(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let (signal_sender, signals) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = signal_sender.send(());
    })?;
    let server = listen(options.listen.as_deref())?;
    let url = format!("http://{}/", server.local_addr()?);

    let demo = if options.connect.is_none() { Some(Demo::start()?) } else { None };
    let gateway = match &demo {
        Some(demo) => demo_gateway(&options, &demo.address),
        None => directory_gateway(&options),
    }?;
    let accepting = server.clone();
    thread::Builder::new().spawn(move || {
        accepting.serve(move |request, responder| gateway.handle(request, responder));
    })?;
    let what = match &demo {
        Some(demo) => format!("the demonstration application at {}", demo.address),
        None => options.root.unwrap_or_default().display().to_string(),
    };
    // The gateway continues if the reader of stdout has closed it.
    let _ = writeln!(io::stdout(), "{url} serves {what}");

    signals.recv()?;
    server.stop(SHUTDOWN_TIMEOUT);
    if let Some(demo) = demo {
        demo.stop();
    }
    Ok(())
}

/// Binds the HTTP server. Without an address, it takes any free port if the default one is taken.
fn listen(address: Option<&str>) -> io::Result<Server> {
    match address {
        Some(address) => Server::bind(address),
        None => Server::bind(DEFAULT_LISTEN).or_else(|_| Server::bind("127.0.0.1:0")),
    }
}

/// Creates a gateway that sends every request to the demonstration application.
fn demo_gateway(options: &Options, address: &Address) -> fcgi::Result<Gateway> {
    let config = config(options).keep_alive(true);
    // Only an authorizer needs the client's password.
    let environment = Environment::new().pass_authorization(options.authorizer.is_some());
    gateway(options, Client::from(address.clone()).config(config), Site::Application, environment)
}

/// Creates a gateway that serves a directory, and sends requests for scripts to the application.
fn directory_gateway(options: &Options) -> fcgi::Result<Gateway> {
    let address = options.connect.as_deref().unwrap_or_default();
    let root = options.root.as_deref().unwrap_or(".".as_ref());
    let describe =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", root.display()));
    let root: PathBuf = root.canonicalize().map_err(describe)?;
    // The gateway itself does not authenticate clients, so the scripts may do it.
    let environment = Environment::new().document_root(&root).pass_authorization(true);
    let site = Site::Directory(Directory { root, index: options.index.clone() });
    gateway(options, Client::new(address)?.config(config(options)), site, environment)
}

fn gateway(
    options: &Options,
    client: Client,
    site: Site,
    environment: Environment,
) -> fcgi::Result<Gateway> {
    let authorizer = options.authorizer.as_deref().map(Client::new).transpose()?;
    let authorizer = authorizer.map(|authorizer| authorizer.config(config(options)));
    Ok(Gateway { client, authorizer, site, environment, max_body: options.max_body })
}

fn config(options: &Options) -> Config {
    let timeout = Some(options.timeout);
    Config::new()
        .keep_alive(options.keep)
        .connect_timeout(timeout)
        .read_timeout(timeout)
        .write_timeout(timeout)
}
