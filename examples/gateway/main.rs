//! HTTP in front of FastCGI.
//!
//! `gateway` starts a demonstration application in its own process, behind a FastCGI socket, and
//! prints the URL of its page.
//!
//! `gateway --connect ADDRESS --root DIR [--listen ADDRESS] [--index FILE]… [--keep] [--timeout
//! SECONDS] [--max-body BYTES]` serves a directory whose `.php` files are run by the application at
//! ADDRESS, such as php-fpm. Behind the name of a script there may be a path, which it gets as
//! `PATH_INFO`. A directory is answered with the first `--index` file that it has (`index.php`,
//! `index.html`). Files of the usual kinds are sent as they are; all else is not found: nothing
//! that might be a script's source, and nothing whose name begins with a dot. No path leads out of
//! DIR by its text, but a symbolic link inside of DIR is followed.
//!
//! With `--authorizer ADDRESS` the application there is asked about each request before anything
//! else: it allows it, and may tell the application who the user is, or its refusal is the answer.
//!
//! The application's time-out is 60 seconds, a request's body may have 1 GiB. `--keep` keeps up to
//! 8 connections to the application open; php-fpm has a process for each, so it needs more
//! processes than that.
//!
//! What the application writes to STDERR goes to stderr, and so does the reason wherever the answer
//! is 502 (the application's is of no use), 503 (it can't be reached, or is overloaded) or 504 (it
//! is too slow). A response that breaks off behind its head breaks off for the client too, who
//! never has a part that looks whole. When a client leaves, its request is cut.
//!
//! SIGTERM and SIGINT end it with status 0, when the requests that have begun are answered or 5
//! seconds have passed.
//!
//! It is an example. It has no TLS, no access control and no defence against clients that are slow
//! on purpose: on the open Internet, put a web server there.

mod demo;
mod failure;
mod file;
mod forward;
mod http;
mod log;
mod options;
mod reply;
mod site;
mod upload;

use std::error::Error;
use std::io;
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

/// Where HTTP is spoken unless the command line says otherwise.
const LISTEN: &str = "127.0.0.1:8080";
/// How long requests may go on when the program is told to end.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("gateway: {reason}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let (tell_end, end) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = tell_end.send(());
    })?;
    let server = listen(options.listen.as_deref())?;
    let url = format!("http://{}/", server.local_addr()?);

    let demo = if options.connect.is_none() { Some(Demo::start()?) } else { None };
    let gateway = match &demo {
        Some(demo) => demonstration(&options, &demo.address),
        None => directory(&options),
    }?;
    let accepting = server.clone();
    thread::spawn(move || {
        accepting.serve(move |request, responder| gateway.handle(request, responder))
    });
    match &demo {
        Some(demo) => println!("{url} shows the demonstration, which listens on {}", demo.address),
        None => println!("{url} serves {}", options.root.unwrap_or_default().display()),
    }

    end.recv()?;
    server.stop(PATIENCE);
    if let Some(demo) = demo {
        demo.stop();
    }
    Ok(())
}

/// Where nothing was asked for, any port will do.
fn listen(address: Option<&str>) -> io::Result<Server> {
    match address {
        Some(address) => Server::bind(address),
        None => Server::bind(LISTEN).or_else(|_| Server::bind("127.0.0.1:0")),
    }
}

/// Everything goes to the application.
fn demonstration(options: &Options, address: &Address) -> fcgi::Result<Gateway> {
    let config = config(options).keep_alive(true);
    // An authorizer wants to see the password.
    let environment = Environment::new().pass_authorization(options.authorizer.is_some());
    gateway(options, Client::from(address.clone()).config(config), Site::Application, environment)
}

/// Files, and scripts that go to the application.
fn directory(options: &Options) -> fcgi::Result<Gateway> {
    let address = options.connect.as_deref().unwrap_or_default();
    let root = options.root.as_deref().unwrap_or(".".as_ref());
    let describe =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", root.display()));
    let root: PathBuf = root.canonicalize().map_err(describe)?;
    // Nobody is asked for a password here, so an Authorization is for the scripts.
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
