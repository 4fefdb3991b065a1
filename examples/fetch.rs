//! Sends one request to an application and prints the response.
//!
//! ```text
//! fetch ADDRESS [--param NAME=VALUE]... [--body FILE] [--timeout SECONDS] [--keep]
//!       [--role ROLE] [--data FILE]
//! ```
//!
//! For example, with the application `echo`:
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9000
//! cargo run --example fetch -- 127.0.0.1:9000 --param REQUEST_METHOD=GET    # in another shell
//! ```
//!
//! The response, head and body, is copied to stdout while it arrives. What the application writes
//! to STDERR is copied to stderr.
//!
//! | Option | Meaning |
//! | --- | --- |
//! | `--param NAME=VALUE` | adds a param; no others are sent, except the lengths below |
//! | `--body FILE` | sends FILE as stdin, and its length as `CONTENT_LENGTH` |
//! | `--timeout SECONDS` | limits connecting (default: 10 seconds) and each read and write (60) |
//! | `--keep` | asks the application to keep the connection open |
//! | `--role ROLE` | `responder` (the default), `authorizer`, `filter` or a number |
//! | `--data FILE` | sends FILE as the data of a filter, with its length and modification time |
//!
//! The exit status is the application's status, or 255 if that is above 255. If there is none, the
//! reason is printed to stderr, and the exit status is one of these:
//!
//! | Status | Reason |
//! | --- | --- |
//! | 64 | invalid arguments |
//! | 69 | the application cannot be reached |
//! | 74 | a file cannot be read, or stdout cannot be written |
//! | 75 | the application refused the request |
//! | 76 | the response was incomplete, or was not FastCGI |
//! | 124 | a timeout expired |
//!
//! If the reader of stdout closes it, as in `fetch ADDRESS | head -1`, the program stops reading
//! the response and ends quietly, with exit status 0.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use fcgi::client::{Config, Response};
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

const USAGE: &str = "\
usage: fetch ADDRESS [--param NAME=VALUE]... [--body FILE] [--timeout SECONDS] [--keep]
             [--role ROLE] [--data FILE]";

// Exit statuses, named as in sysexits.h.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_IOERR: u8 = 74;
const EX_TEMPFAIL: u8 = 75;
const EX_PROTOCOL: u8 = 76;
/// The exit status of timeout(1).
const TIMED_OUT: u8 = 124;

/// An exit status and the reason for it.
struct Failure(u8, String);

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args_os().skip(1))
        .map_err(|reason| Failure(EX_USAGE, format!("{reason}\n{USAGE}")))
        .and_then(|options| run(&options));
    match outcome {
        Ok(app_status) => ExitCode::from(u8::try_from(app_status).unwrap_or(255)),
        Err(Failure(status, reason)) => {
            let _ = writeln!(Stderr, "fetch: {reason}");
            ExitCode::from(status)
        }
    }
}

/// Sends the request and returns the application's status. Returns 0 if the reader of stdout has
/// closed it.
fn run(options: &Options) -> Result<u32, Failure> {
    let mut params = options.params.clone();
    let body = open_body(options.body.as_deref(), &mut params)?;
    let data = open_data(options.data.as_deref(), &mut params)?;
    let client = Client::new(&options.address)
        .map_err(|error| Failure(EX_USAGE, error.to_string()))?
        .config(options.config.clone());
    let mut is_closed = false;
    let receive = |response: &mut Response<'_>| print(response, &mut is_closed);
    let outcome = if options.role == Role::Filter {
        client.filter(&params, body, data, receive)
    } else {
        client.send_as(options.role, &params, body, receive)
    };
    match outcome {
        Ok(((), completion)) => Ok(completion.app_status),
        Err(_) if is_closed => Ok(0),
        Err(error) => Err(Failure(exit_status(&error), error.to_string())),
    }
}

/// Prints the response while it arrives. Sets `is_closed` and returns an error if the reader of
/// stdout has closed it.
fn print(response: &mut Response<'_>, is_closed: &mut bool) -> fcgi::Result<()> {
    response.stdout.stderr_to(Stderr);
    let mut out = io::stdout().lock();
    loop {
        let received = response.stdout.fill_buf()?;
        if received.is_empty() {
            return Ok(());
        }
        let printed = out.write_all(received).and_then(|()| out.flush());
        if let Err(error) = printed {
            *is_closed = error.kind() == io::ErrorKind::BrokenPipe;
            return Err(error.into());
        }
        let len = received.len();
        response.stdout.consume(len);
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

fn exit_status(error: &Error) -> u8 {
    match error {
        Error::TimedOut(_) => TIMED_OUT,
        Error::Refused(_) => EX_TEMPFAIL,
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => TIMED_OUT,
        Error::Connect { .. } => EX_UNAVAILABLE,
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => EX_PROTOCOL,
            _ => EX_IOERR,
        },
        Error::ContentTooLong(_) | Error::ParamTooLong(_) => EX_USAGE,
        _ => EX_PROTOCOL,
    }
}

/// A file to send, or an empty stream.
enum Input {
    File(File),
    Empty,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Empty => Ok(0),
        }
    }
}

/// Opens the request's body and adds its length to the params.
fn open_body(path: Option<&Path>, params: &mut Params) -> Result<Input, Failure> {
    let Some(path) = path else { return Ok(Input::Empty) };
    let (file, metadata) = open(path)?;
    if metadata.is_file() {
        set_default(params, "CONTENT_LENGTH", metadata.len())?;
    }
    Ok(Input::File(file))
}

/// Opens the data of a filter and adds its length and its modification time to the params.
fn open_data(path: Option<&Path>, params: &mut Params) -> Result<Input, Failure> {
    let Some(path) = path else { return Ok(Input::Empty) };
    let (file, metadata) = open(path)?;
    if metadata.is_file() {
        set_default(params, "FCGI_DATA_LENGTH", metadata.len())?;
    }
    set_default(params, "FCGI_DATA_LAST_MOD", modified_seconds(&metadata))?;
    Ok(Input::File(file))
}

fn open(path: &Path) -> Result<(File, Metadata), Failure> {
    let file = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    file.map_err(|error| Failure(EX_IOERR, format!("{}: {error}", path.display())))
}

/// Sets a param unless it was given with `--param`.
fn set_default(params: &mut Params, name: &str, value: u64) -> Result<(), Failure> {
    if params.get_bytes(name).is_some() {
        return Ok(());
    }
    params.set(name, value.to_string()).map_err(|error| Failure(EX_USAGE, error.to_string()))
}

/// Returns the modification time in seconds since 1970, or 0 if it is not known.
fn modified_seconds(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

struct Options {
    address: String,
    params: Params,
    body: Option<PathBuf>,
    data: Option<PathBuf>,
    role: Role,
    config: Config,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let address = args.next().map(text).transpose()?;
        let mut options = Self {
            address: address
                .filter(|address| !address.starts_with("--"))
                .ok_or("ADDRESS is missing")?,
            params: Params::new(),
            body: None,
            data: None,
            role: Role::Responder,
            config: Config::new(),
        };
        while let Some(option) = args.next() {
            let option = option.to_string_lossy();
            let mut value = || args.next().ok_or(format!("{option} requires a value"));
            match &*option {
                "--param" => options.add_param(&value()?)?,
                "--body" => options.body = Some(value()?.into()),
                "--data" => options.data = Some(value()?.into()),
                "--role" => options.role = parse_role(&text(value()?)?)?,
                "--timeout" => options.set_timeout(&text(value()?)?)?,
                "--keep" => options.config.keep_alive = true,
                _ => return Err(format!("unknown option {option:?}")),
            }
        }
        Ok(options)
    }

    fn add_param(&mut self, pair: &OsStr) -> Result<(), String> {
        let bytes = pair.as_encoded_bytes();
        let end = bytes.iter().position(|&byte| byte == b'=');
        let end = end.ok_or_else(|| format!("{pair:?} is not NAME=VALUE"))?;
        self.params.push(&bytes[..end], &bytes[end + 1..]).map_err(|error| error.to_string())
    }

    fn set_timeout(&mut self, seconds: &str) -> Result<(), String> {
        let timeout =
            seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let timeout =
            Some(timeout.ok_or(format!("{seconds:?} is not a positive number of seconds"))?);
        self.config.connect_timeout = timeout;
        self.config.read_timeout = timeout;
        self.config.write_timeout = timeout;
        Ok(())
    }
}

/// Converts an argument to a string.
fn text(arg: OsString) -> Result<String, String> {
    arg.into_string().map_err(|arg| format!("{arg:?} is not UTF-8"))
}

fn parse_role(role: &str) -> Result<Role, String> {
    match role {
        "responder" => Ok(Role::Responder),
        "authorizer" => Ok(Role::Authorizer),
        "filter" => Ok(Role::Filter),
        number => {
            number.parse::<u16>().map(Role::from).map_err(|_| format!("unknown role {role:?}"))
        }
    }
}
