//! A CGI program that passes its request on to a FastCGI application, and can start that
//! application. It replaces the FastCGI Developer's Kit's program of the same name.
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
//! `cgi-fcgi --help` lists the options and the exit statuses.
//!
//! A web server starts this program for each request. It starts in less time if it is linked
//! statically:
//!
//! ```sh
//! cargo rustc --release --example cgi-fcgi -- -C target-feature=+crt-static
//! ```
//!
//! If the application cannot be reached, refuses the request, or sends no complete response head,
//! the web server receives a CGI response with status 502, 503 or 504. The reason is written to
//! stderr.
//!
//! # Security
//!
//! A web server may pass words of the query string as arguments (RFC 3875, section 4.4). They
//! follow `-f FILE`, and what follows `-f FILE` is ignored.

#[path = "support/mod.rs"]
mod support;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::bridge;
use fcgi::client::Connection;
use fcgi::net::{Address, Listener};
use fcgi::Error;
#[cfg(unix)]
use socket2::{Domain, SockAddr, Socket, Type};

use self::support::cli::{parse_number, Arguments, Program};
use self::support::exit::Exit;
use self::support::stdio::{Stderr, Stdout};

const PROGRAM: Program = Program::new(
    "cgi-fcgi",
    "\
usage: cgi-fcgi [-env] -connect NAME [-bind]
       cgi-fcgi [-env] -connect NAME PATH [N]
       cgi-fcgi -start -connect NAME PATH [N]
       cgi-fcgi -f FILE

A CGI program that sends its request to the FastCGI application at NAME. NAME is the path of a Unix
socket, HOST:PORT or :PORT.

With PATH, it starts N copies (default: 1) of that application first if nothing listens at NAME. The
application finds the listening socket on descriptor 0. If another process is starting the
application, cgi-fcgi waits up to 5 seconds until it listens.

Options, with one dash or two:
  -connect NAME  the address of the application
  -bind          do not start the application
  -start         only start the application
  -env           send all environment variables, not only those that CGI defines
  -f FILE        read the arguments from FILE, without lines that begin with `#`; with `#!` a script
                 can name cgi-fcgi as its interpreter

Examples:
  cgi-fcgi -start -connect /tmp/echo.sock target/debug/examples/echo
  QUERY_STRING=a=1 cgi-fcgi -connect /tmp/echo.sock </dev/null
",
);

/// How long to wait for an application that another process is starting.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the application may take to accept a connection. It is the default of a `Client`.
#[cfg(unix)]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two attempts to connect to an application that is being started.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    PROGRAM.main(|args| {
        let app_status = Options::parse(expand_file(args)?)?.run()?;
        Ok(u8::try_from(app_status).unwrap_or(255))
    })
}

/// If the arguments contain `-f FILE`, returns the words of that file instead.
fn expand_file(args: Arguments) -> Result<Arguments, Exit> {
    let words = args.words();
    let Some(at) = words.iter().position(|word| word == "-f" || word == "--f") else {
        return Ok(args);
    };
    let path = words.get(at + 1).ok_or_else(|| Exit::usage("-f requires a value"))?;
    let file = fs::read(path)
        .map_err(|error| Exit::usage(format!("{}: {error}", Path::new(path).display())))?;
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
    let words = lines.flat_map(|line| line.split(u8::is_ascii_whitespace));
    Ok(Arguments::new(words.filter(|word| !word.is_empty()).map(to_os_string)))
}

#[cfg(unix)]
fn to_os_string(word: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;

    OsStr::from_bytes(word).to_owned()
}

#[cfg(not(unix))]
fn to_os_string(word: &[u8]) -> OsString {
    String::from_utf8_lossy(word).into_owned().into()
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
    fn parse(mut args: Arguments) -> Result<Self, Exit> {
        let (mut options, mut name) = (Self::default(), None);
        while let Some(option) = args.next_option()? {
            match option.trim_start_matches('-') {
                "connect" => name = Some(args.value()?),
                "start" => options.start_only = true,
                "bind" => options.connect_only = true,
                "env" => options.send_all_variables = true,
                _ => return Err(args.unknown_option()),
            }
        }
        options.name = name.ok_or_else(|| Exit::usage("-connect NAME is missing"))?;
        options.application = parse_application(&mut args)?;
        args.finish()?;
        options.check()
    }

    fn check(self) -> Result<Self, Exit> {
        if self.start_only && self.application.is_none() {
            return Err(Exit::usage("-start requires the PATH of an application"));
        }
        if self.connect_only && self.application.is_some() {
            return Err(Exit::usage("-bind cannot be combined with a PATH"));
        }
        Ok(self)
    }

    /// Runs the command line and returns the application's status.
    fn run(&self) -> Result<u32, Exit> {
        let address = parse_name(&self.name)?;
        match &self.application {
            Some((path, copies)) if self.start_only => start(&address, path, *copies).map(|_| 0),
            Some((path, copies)) => self.forward(connect_or_start(&address, path, *copies)),
            None => self.forward(connect(&address).map_err(Exit::from)),
        }
    }

    /// Forwards the CGI request. If there is no connection, the web server receives an error
    /// response.
    fn forward(&self, connection: Result<Connection, Exit>) -> Result<u32, Exit> {
        let params = if self.send_all_variables {
            bridge::all_params(env::vars_os())
        } else {
            bridge::cgi_params(env::vars_os())
        };
        let params = params?;
        let mut stdout = Stdout::default();
        let outcome = match connection {
            Ok(connection) => {
                bridge::forward_on(connection, &params, io::stdin(), &mut stdout, Stderr)
                    .map_err(Exit::from)
            }
            Err(exit) => {
                // An error of stdout is ignored: `exit` is reported.
                let _ = bridge::write_failure(&mut stdout, 503);
                Err(exit)
            }
        };
        match outcome {
            Ok(completion) => Ok(completion.app_status),
            Err(_) if stdout.is_closed => Ok(0),
            Err(exit) => Err(exit),
        }
    }
}

/// Connects to an application.
#[cfg(not(unix))]
fn connect(address: &Address) -> Result<Connection, Error> {
    Connection::connect(address, Arc::default())
}

/// Connects to an application.
///
/// `std` cannot limit the time of connecting to a Unix socket, so [`Connection::connect`] starts a
/// thread for it. In a new process, that takes longer than the request itself, so this sets the
/// limit with another library.
#[cfg(unix)]
fn connect(address: &Address) -> Result<Connection, Error> {
    let Some(path) = address.path() else {
        return Connection::connect(address, Arc::default());
    };
    let stream = connect_to_path(path)
        .map_err(|source| Error::Connect { address: address.to_string().into(), source })?;
    Connection::new(stream, Arc::default())
}

/// Connects to a Unix socket. On Linux, the timeout for writes also limits the time of connecting.
/// Other systems refuse a connection that they cannot add to the backlog.
#[cfg(unix)]
fn connect_to_path(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let message = format!("connect timed out after {} s", CONNECT_TIMEOUT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        }
        connected => connected.map(|()| OwnedFd::from(socket).into()),
    }
}

/// Connects to an application. If nothing listens, starts it first, or waits until another process
/// has started it.
fn connect_or_start(address: &Address, path: &Path, copies: usize) -> Result<Connection, Exit> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match connect(address) {
            Err(error) if is_absent(&error) && Instant::now() < deadline => {}
            outcome => return Ok(outcome?),
        }
        if start(address, path, copies)? {
            return Ok(connect(address)?);
        }
        thread::sleep(RETRY_INTERVAL);
    }
}

/// Starts copies of an application that listen on an address. Returns `false` if another process
/// listens there, or is about to.
fn start(address: &Address, path: &Path, copies: usize) -> Result<bool, Exit> {
    fs::metadata(path).map_err(|error| Exit::unavailable(path.display(), error))?;
    let program = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let listener = match Listener::bind(address) {
        Ok(listener) => listener.shared(),
        Err(error) if is_taken(address, &error) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let started = bridge::start(&listener, program, copies);
    started.map(|_| true).map_err(|error| Exit::unavailable(path.display(), error))
}

/// Returns whether an error of [`Listener::bind`] means that another process has bound the address,
/// or is about to: it may have just removed the file of a stale socket.
fn is_taken(address: &Address, error: &Error) -> bool {
    let path = address.path();
    match error.kind() {
        io::ErrorKind::AddrInUse => path.is_none_or(|path| !path.is_file()),
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
fn parse_name(name: &OsStr) -> Result<Address, Exit> {
    let address = match name.to_str() {
        Some(text) if text.contains(':') => text.parse(),
        None if name.as_encoded_bytes().contains(&b':') => {
            return Err(Exit::usage(format!("{name:?} is not UTF-8")))
        }
        _ => Address::unix(name),
    };
    Ok(address?)
}

/// Parses PATH and N.
fn parse_application(args: &mut Arguments) -> Result<Option<(PathBuf, usize)>, Exit> {
    let Some(path) = args.next_positional() else { return Ok(None) };
    let copies = args.next_positional();
    let copies = copies.map_or(Ok(1), |copies| parse_copies(&copies))?;
    Ok(Some((path.into(), copies)))
}

fn parse_copies(copies: &OsStr) -> Result<usize, Exit> {
    let number: NonZeroUsize = parse_number(copies, "a number of copies")?;
    Ok(number.get())
}
