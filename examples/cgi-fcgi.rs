//! A CGI program that passes its request on to a FastCGI application, and can start that
//! application. It replaces the FastCGI Developer's Kit's program of the same name.
//!
//! ```text
//! cgi-fcgi [-env] -connect NAME [-bind]     sends the CGI request to the application at NAME
//! cgi-fcgi [-env] -connect NAME PATH [N]    the same, but starts N copies of PATH first if
//!                                           nothing listens at NAME
//! cgi-fcgi -start -connect NAME PATH [N]    only starts N copies of PATH
//! cgi-fcgi -f FILE                          reads the arguments from FILE
//! ```
//!
//! For example, with the application `echo`:
//!
//! ```sh
//! cargo build --examples
//! target/debug/examples/cgi-fcgi -start -connect /tmp/echo.sock target/debug/examples/echo
//! QUERY_STRING=a=1 target/debug/examples/cgi-fcgi -connect /tmp/echo.sock </dev/null
//! ```
//!
//! The last command prints a response head, an empty line, `QUERY_STRING=a=1`, and an empty line.
//! `echo` keeps running until it is killed.
//!
//! NAME is the path of a Unix socket, HOST:PORT or :PORT. Only the environment variables that CGI
//! defines are sent, or all of them with `-env`. A started application finds the listening socket
//! on descriptor 0. N defaults to 1. `-f` lets a script name `cgi-fcgi` as its interpreter, in a
//! `#!` line; lines of FILE that begin with `#` are ignored.
//!
//! If the application cannot be reached, refuses the request or breaks the response off, the web
//! server receives a CGI response with `Status:` 502, 503 or 504, and stderr a reason.
//!
//! The exit status is the application's status, or 255 if that is above 255. If there is none, it
//! is 64 for invalid arguments, 69 if the application cannot be reached or started, and 76 if it
//! did not complete the response.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use fcgi::bridge;
use fcgi::client::Connection;
use fcgi::net::{Address, Listener};
use fcgi::{Client, Error};

const USAGE: &str = "usage: cgi-fcgi [-env] -connect NAME [-bind]
       cgi-fcgi [-env] -connect NAME PATH [N]
       cgi-fcgi -start -connect NAME PATH [N]
       cgi-fcgi -f FILE";

// Exit statuses, named as in sysexits.h.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_PROTOCOL: u8 = 76;

/// An exit status and the reason for it.
#[derive(Clone)]
struct Failure(u8, String);

impl Failure {
    fn usage(reason: &str) -> Self {
        Self(EX_USAGE, format!("{reason}\n{USAGE}"))
    }

    fn unavailable(what: &dyn Display, error: &dyn Display) -> Self {
        Self(EX_UNAVAILABLE, format!("{what}: {error}"))
    }
}

fn main() -> ExitCode {
    let args = env::args().skip(1).collect();
    let outcome =
        expand_file(args).and_then(|args| Options::parse(&args)).and_then(|options| options.run());
    match outcome {
        Ok(app_status) => ExitCode::from(u8::try_from(app_status).unwrap_or(255)),
        Err(Failure(status, reason)) => {
            eprintln!("cgi-fcgi: {reason}");
            ExitCode::from(status)
        }
    }
}

/// If the arguments contain `-f FILE`, returns the words of that file instead.
fn expand_file(args: Vec<String>) -> Result<Vec<String>, Failure> {
    let Some(at) = args.iter().position(|arg| arg == "-f") else { return Ok(args) };
    let path = args.get(at + 1).ok_or_else(|| Failure::usage("-f requires a FILE"))?;
    let text =
        fs::read_to_string(path).map_err(|error| Failure(EX_USAGE, format!("{path}: {error}")))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.flat_map(|line| line.split_whitespace().map(str::to_owned)).collect())
}

/// The command line.
#[derive(Default)]
struct Options {
    name: String,
    /// The path of the application to start, and the number of copies.
    application: Option<(String, usize)>,
    start_only: bool,
    connect_only: bool,
    send_all_variables: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let (mut options, mut name, mut positional) = (Self::default(), None, Vec::new());
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-connect" => {
                    let value = args.next();
                    let value = value.ok_or_else(|| Failure::usage("-connect requires a NAME"))?;
                    name = Some(value.clone());
                }
                "-start" => options.start_only = true,
                "-bind" => options.connect_only = true,
                "-env" => options.send_all_variables = true,
                option if option.starts_with('-') => {
                    return Err(Failure::usage(&format!("unknown option {option:?}")))
                }
                _ => positional.push(arg.as_str()),
            }
        }
        options.name = name.ok_or_else(|| Failure::usage("-connect NAME is missing"))?;
        options.application = parse_application(&positional)?;
        options.check()
    }

    fn check(self) -> Result<Self, Failure> {
        if self.start_only && self.application.is_none() {
            return Err(Failure::usage("-start requires the PATH of an application"));
        }
        if self.connect_only && self.application.is_some() {
            return Err(Failure::usage("-bind cannot be combined with a PATH"));
        }
        Ok(self)
    }

    /// Does what the command line asks for and returns the application's status.
    fn run(&self) -> Result<u32, Failure> {
        let address = parse_name(&self.name)?;
        match &self.application {
            Some((path, copies)) if self.start_only => start(&address, path, *copies).map(|()| 0),
            Some((path, copies)) => self.forward(connect_or_start(&address, path, *copies)),
            None => self.forward(connect(&Client::from(address))),
        }
    }

    /// Forwards the CGI request. If there is no connection, the web server receives an error
    /// response.
    fn forward(&self, connection: Result<Connection, Failure>) -> Result<u32, Failure> {
        let params = if self.send_all_variables {
            bridge::all_params(env::vars_os())
        } else {
            bridge::cgi_params(env::vars_os())
        };
        let params = params.map_err(|error| Failure(EX_USAGE, error.to_string()))?;
        let connect_failure = connection.as_ref().err().cloned();
        let connection = connection.map_err(|Failure(_, reason)| {
            Error::Io(io::Error::new(io::ErrorKind::NotConnected, reason))
        });
        match bridge::forward(connection, &params, io::stdin(), &mut io::stdout(), io::stderr()) {
            Ok(completion) => Ok(completion.app_status),
            Err(error) => {
                Err(connect_failure.unwrap_or_else(|| Failure(EX_PROTOCOL, error.to_string())))
            }
        }
    }
}

fn connect(client: &Client) -> Result<Connection, Failure> {
    client.connect().map_err(|error| Failure::unavailable(client.address(), &error))
}

/// Connects to an application. If nothing listens, starts it first.
fn connect_or_start(address: &Address, path: &str, copies: usize) -> Result<Connection, Failure> {
    let client = Client::from(address.clone());
    match client.connect() {
        Err(error) if is_absent(&error) => {
            start(address, path, copies).and_then(|()| connect(&client))
        }
        outcome => outcome.map_err(|error| Failure(EX_UNAVAILABLE, error.to_string())),
    }
}

/// Starts copies of an application that listen on an address. If another process already listens
/// there, that one is used.
fn start(address: &Address, path: &str, copies: usize) -> Result<(), Failure> {
    fs::metadata(path).map_err(|error| Failure::unavailable(&path, &error))?;
    let program =
        fs::canonicalize(Path::new(path)).map_or_else(|_| OsString::from(path), Into::into);
    match Listener::bind(address) {
        Ok(listener) => {
            let listener = listener.shared();
            bridge::start(&listener, program, copies)
                .map(drop)
                .map_err(|error| Failure::unavailable(&path, &error))
        }
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        Err(error) => Err(Failure::unavailable(address, &error)),
    }
}

/// Returns whether an error means that nothing listens at an address.
fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Parses NAME. It is a TCP address if it contains a colon, otherwise a path, even without a slash.
fn parse_name(name: &str) -> Result<Address, Failure> {
    let address = if name.contains(':') { name.parse() } else { Address::unix(name) };
    address.map_err(|error| Failure(EX_USAGE, error.to_string()))
}

/// Parses PATH and N.
fn parse_application(args: &[&str]) -> Result<Option<(String, usize)>, Failure> {
    match args {
        [] => Ok(None),
        [path] => Ok(Some(((*path).into(), 1))),
        [path, copies] => Ok(Some(((*path).into(), parse_copies(copies)?))),
        [_, _, extra, ..] => Err(Failure::usage(&format!("unexpected argument {extra:?}"))),
    }
}

fn parse_copies(copies: &str) -> Result<usize, Failure> {
    copies
        .parse()
        .ok()
        .filter(|copies| *copies > 0)
        .ok_or_else(|| Failure::usage(&format!("{copies:?} is not a number of copies")))
}
