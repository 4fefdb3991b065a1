//! CGI to FastCGI, and a starter of applications: a drop-in for the FastCGI kit's program of this
//! name.
//!
//! ```text
//! cgi-fcgi [-env] -connect NAME [-bind]       sends this CGI call to the application at NAME
//! cgi-fcgi [-env] -connect NAME PATH [N]      the same; if nobody is there, starts PATH first, in N copies
//! cgi-fcgi -start -connect NAME PATH [N]      only starts it
//! cgi-fcgi -f FILE                            takes these words from FILE, so that it can follow `#!`
//! ```
//!
//! NAME is the path of a Unix socket, HOST:PORT or :PORT. Of the environment, what CGI defines is
//! sent, or all of it with `-env`. A started application has the listening socket on descriptor 0;
//! N is 1 if left out.
//!
//! Where the application cannot be reached, refuses or breaks off, the web server gets a CGI answer
//! that says so (`Status:` 502, 503 or 504), and stderr a reason. The exit status is the
//! application's where that fits 0 to 255, else 255; without one it is 64 for wrong usage, 69 where
//! the application cannot be reached or started, and 76 where it gave no answer.

use std::env;
use std::ffi::OsString;
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

/// An exit status and its reason.
type Failure = (u8, String);

fn main() -> ExitCode {
    let words = env::args().skip(1).collect();
    let outcome = expand(words).and_then(|words| Call::parse(&words)).and_then(|call| call.run());
    match outcome {
        Ok(app_status) => ExitCode::from(u8::try_from(app_status).unwrap_or(255)),
        Err((status, reason)) => {
            eprintln!("cgi-fcgi: {reason}");
            ExitCode::from(status)
        }
    }
}

/// Puts the words of a file in the place of `-f FILE`. Lines that begin with `#` are not among
/// them.
fn expand(words: Vec<String>) -> Result<Vec<String>, Failure> {
    let Some(at) = words.iter().position(|word| word == "-f") else { return Ok(words) };
    let path = words.get(at + 1).ok_or_else(|| usage("-f lacks its FILE"))?;
    let text = fs::read_to_string(path).map_err(|error| (64, format!("{path}: {error}")))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.flat_map(|line| line.split_whitespace().map(str::to_owned)).collect())
}

/// What the command line asks for.
struct Call {
    name: String,
    /// The application to start, and in how many copies.
    application: Option<(String, usize)>,
    only_start: bool,
    send_all: bool,
}

impl Call {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let (mut name, mut plain) = (None, Vec::new());
        let (mut only_start, mut only_connect, mut send_all) = (false, false, false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-connect" => {
                    name = Some(words.next().ok_or_else(|| usage("-connect lacks its NAME"))?)
                }
                "-start" => only_start = true,
                "-bind" => only_connect = true,
                "-env" => send_all = true,
                option if option.starts_with('-') => {
                    return Err(usage(&format!("unknown option {option:?}")))
                }
                _ => plain.push(word),
            }
        }
        let name = name.ok_or_else(|| usage("-connect NAME is missing"))?.clone();
        let application = match plain[..] {
            [] => None,
            [path] => Some((path.clone(), 1)),
            [path, copies] => Some((path.clone(), parse_copies(copies)?)),
            [.., extra] => return Err(usage(&format!("{extra:?} is one word too many"))),
        };
        match (&application, only_start, only_connect) {
            (None, true, _) => Err(usage("-start needs the PATH of an application")),
            (Some(_), _, true) => Err(usage("-bind starts no application")),
            _ => Ok(Self { name, application, only_start, send_all }),
        }
    }

    /// Does it; returns the application's status.
    fn run(&self) -> Result<u32, Failure> {
        let address = parse_name(&self.name)?;
        match &self.application {
            Some((path, copies)) if self.only_start => start(&address, path, *copies).map(|()| 0),
            Some((path, copies)) => {
                let client = Client::from(address.clone());
                let connection = match client.connect() {
                    Err(error) if is_absent(&error) => {
                        start(&address, path, *copies).and_then(|()| connect(&client))
                    }
                    outcome => outcome.map_err(|error| (69, error.to_string())),
                };
                self.forward(connection)
            }
            None => self.forward(connect(&Client::from(address))),
        }
    }

    fn forward(&self, connection: Result<Connection, Failure>) -> Result<u32, Failure> {
        let params = if self.send_all {
            bridge::all_params(env::vars_os())
        } else {
            bridge::cgi_params(env::vars_os())
        };
        let params = params.map_err(|error| (64, error.to_string()))?;
        let unreached = connection.as_ref().err().cloned();
        let connection = connection
            .map_err(|(_, reason)| Error::Io(io::Error::new(io::ErrorKind::NotConnected, reason)));
        match bridge::forward(connection, &params, io::stdin(), &mut io::stdout(), io::stderr()) {
            Ok(completion) => Ok(completion.app_status),
            Err(error) => Err(unreached.unwrap_or_else(|| (76, error.to_string()))),
        }
    }
}

fn connect(client: &Client) -> Result<Connection, Failure> {
    client.connect().map_err(|error| (69, format!("{}: {error}", client.address())))
}

/// Starts an application that listens on an address. Where another was quicker, that one is it.
fn start(address: &Address, path: &str, copies: usize) -> Result<(), Failure> {
    let failed = |what: &dyn std::fmt::Display, error: &dyn std::fmt::Display| {
        (69, format!("{what}: {error}"))
    };
    fs::metadata(path).map_err(|error| failed(&path, &error))?;
    let program =
        fs::canonicalize(Path::new(path)).map_or_else(|_| OsString::from(path), Into::into);
    match Listener::bind(address) {
        Ok(listener) => {
            let listener = listener.shared();
            bridge::start(&listener, program, copies)
                .map(drop)
                .map_err(|error| failed(&path, &error))
        }
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        Err(error) => Err(failed(address, &error)),
    }
}

/// Whether nobody listens.
fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// NAME has a colon before the port of TCP; without one it is a path, slash or not.
fn parse_name(name: &str) -> Result<Address, Failure> {
    let address = if name.contains(':') { name.parse() } else { Address::unix(name) };
    address.map_err(|error| (64, error.to_string()))
}

fn parse_copies(copies: &str) -> Result<usize, Failure> {
    copies
        .parse()
        .ok()
        .filter(|copies| *copies > 0)
        .ok_or_else(|| usage(&format!("{copies:?} is no number of copies")))
}

fn usage(reason: &str) -> Failure {
    (64, format!("{reason}\n{USAGE}"))
}
