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
//! on descriptor 0. N defaults to 1. If another process is starting the application, `cgi-fcgi`
//! waits up to 5 seconds until it listens. `-f` lets a script name `cgi-fcgi` as its interpreter,
//! in a `#!` line; lines of FILE that begin with `#` are ignored.
//!
//! If the application cannot be reached, refuses the request or breaks the response off, the web
//! server receives a CGI response with `Status:` 502, 503 or 504, and stderr a reason.
//!
//! The exit status is the application's status, or 255 if that is above 255. If there is none, it
//! is 64 for invalid arguments, 69 if the application cannot be reached or started, and 76 if it
//! did not complete the response. If the web server closes stdout, the rest of the response is not
//! read, and the exit status is 0.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

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

/// How long to wait until an application listens that another process is starting.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts to connect to that application.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// An exit status and the reason for it.
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
    let args = env::args_os().skip(1).collect();
    let outcome = expand_file(args).and_then(Options::parse).and_then(|options| options.run());
    match outcome {
        Ok(app_status) => ExitCode::from(u8::try_from(app_status).unwrap_or(255)),
        Err(Failure(status, reason)) => {
            let _ = writeln!(Stderr, "cgi-fcgi: {reason}");
            ExitCode::from(status)
        }
    }
}

/// If the arguments contain `-f FILE`, returns the words of that file instead.
fn expand_file(args: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let Some(at) = args.iter().position(|arg| arg == "-f") else { return Ok(args) };
    let path = args.get(at + 1).ok_or_else(|| Failure::usage("-f requires a FILE"))?;
    let text = fs::read_to_string(path)
        .map_err(|error| Failure(EX_USAGE, format!("{}: {error}", Path::new(path).display())))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.flat_map(str::split_whitespace).map(OsString::from).collect())
}

/// The command line.
#[derive(Default)]
struct Options {
    name: OsString,
    /// The path of the application to start, and the number of copies.
    application: Option<(PathBuf, usize)>,
    start_only: bool,
    connect_only: bool,
    send_all_variables: bool,
}

impl Options {
    fn parse(args: Vec<OsString>) -> Result<Self, Failure> {
        let (mut options, mut name, mut positional) = (Self::default(), None, Vec::new());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("-connect") => {
                    let value = args.next();
                    name = Some(value.ok_or_else(|| Failure::usage("-connect requires a NAME"))?);
                }
                Some("-start") => options.start_only = true,
                Some("-bind") => options.connect_only = true,
                Some("-env") => options.send_all_variables = true,
                _ if arg.as_encoded_bytes().starts_with(b"-") => {
                    return Err(Failure::usage(&format!("unknown option {arg:?}")))
                }
                _ => positional.push(arg),
            }
        }
        options.name = name.ok_or_else(|| Failure::usage("-connect NAME is missing"))?;
        options.application = parse_application(positional)?;
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
            Some((path, copies)) if self.start_only => start(&address, path, *copies).map(|_| 0),
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
        let mut stdout = Stdout::default();
        let outcome = match connection {
            Ok(connection) => {
                bridge::forward_on(connection, &params, io::stdin(), &mut stdout, Stderr)
                    .map_err(|error| Failure(EX_PROTOCOL, error.to_string()))
            }
            Err(failure) => {
                // An error of stdout is ignored: `failure` is reported.
                let _ = bridge::write_failure(&mut stdout, 503);
                Err(failure)
            }
        };
        match outcome {
            Ok(completion) => Ok(completion.app_status),
            Err(_) if stdout.is_closed => Ok(0),
            Err(failure) => Err(failure),
        }
    }
}

/// Stdout.
#[derive(Default)]
struct Stdout {
    /// Whether a write has failed because the web server has closed the other end.
    is_closed: bool,
}

impl Stdout {
    fn check<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        let is_broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.is_closed |= outcome.as_ref().is_err_and(is_broken_pipe);
        outcome
    }
}

impl Write for Stdout {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check(io::stdout().write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check(io::stdout().flush())
    }
}

/// Stderr. What is written to it is dropped if its reader has closed it.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match io::stderr().write(data) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(data.len()),
            outcome => outcome,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(client: &Client) -> Result<Connection, Failure> {
    client.connect().map_err(|error| Failure(EX_UNAVAILABLE, error.to_string()))
}

/// Connects to an application. If nothing listens, starts it first, or waits until another process
/// has started it.
fn connect_or_start(address: &Address, path: &Path, copies: usize) -> Result<Connection, Failure> {
    let client = Client::from(address.clone());
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match client.connect() {
            Err(error) if is_absent(&error) && Instant::now() < deadline => {}
            outcome => {
                return outcome.map_err(|error| Failure(EX_UNAVAILABLE, error.to_string()));
            }
        }
        if start(address, path, copies)? {
            return connect(&client);
        }
        thread::sleep(RETRY_INTERVAL);
    }
}

/// Starts copies of an application that listen on an address. Returns `false` if another process
/// listens there, or is about to.
fn start(address: &Address, path: &Path, copies: usize) -> Result<bool, Failure> {
    fs::metadata(path).map_err(|error| Failure::unavailable(&path.display(), &error))?;
    let program = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let listener = match Listener::bind(address) {
        Ok(listener) => listener.shared(),
        Err(error) if is_taken(address, &error) => return Ok(false),
        Err(error) => return Err(Failure(EX_UNAVAILABLE, error.to_string())),
    };
    let started = bridge::start(&listener, program, copies);
    started.map(|_| true).map_err(|error| Failure::unavailable(&path.display(), &error))
}

/// Returns whether an error of [`Listener::bind`] means that another process has bound the address,
/// or is about to: it may have just removed the file of a stale socket.
fn is_taken(address: &Address, error: &Error) -> bool {
    let path = address.path();
    match error.kind() {
        io::ErrorKind::AddrInUse => path.map_or(true, |path| !path.is_file()),
        io::ErrorKind::NotFound => path.is_some_and(is_directory_present),
        _ => false,
    }
}

/// Returns whether the directory of a path exists.
fn is_directory_present(path: &Path) -> bool {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => true,
        parent => parent.is_some_and(Path::is_dir),
    }
}

/// Returns whether an error means that nothing listens at an address.
fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Parses NAME. It is a TCP address if it contains a colon, otherwise a path, even without a slash.
fn parse_name(name: &OsStr) -> Result<Address, Failure> {
    let address = match name.to_str() {
        Some(text) if text.contains(':') => text.parse(),
        None if name.as_encoded_bytes().contains(&b':') => {
            return Err(Failure::usage(&format!("{name:?} is not UTF-8")))
        }
        _ => Address::unix(name),
    };
    address.map_err(|error| Failure(EX_USAGE, error.to_string()))
}

/// Parses PATH and N.
fn parse_application(args: Vec<OsString>) -> Result<Option<(PathBuf, usize)>, Failure> {
    let mut args = args.into_iter();
    let Some(path) = args.next() else { return Ok(None) };
    let copies = args.next().map_or(Ok(1), |copies| parse_copies(&copies))?;
    match args.next() {
        None => Ok(Some((path.into(), copies))),
        Some(extra) => Err(Failure::usage(&format!("unexpected argument {extra:?}"))),
    }
}

fn parse_copies(copies: &OsStr) -> Result<usize, Failure> {
    let number = copies.to_str().and_then(|copies| copies.parse().ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| Failure::usage(&format!("{copies:?} is not a number of copies")))
}
