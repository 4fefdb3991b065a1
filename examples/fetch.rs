//! Sends one request to an application.
//!
//! `fetch ADDRESS [--param NAME=VALUE]… [--body FILE] [--timeout SECONDS] [--keep] [--role ROLE]
//! [--data FILE]`
//!
//! The params are those that are given, and the lengths of the body and the data. The response goes
//! to stdout as it comes, head and body; what the application writes to STDERR goes to stderr. ROLE
//! is `responder`, `authorizer`, `filter` or a number; `--data` is for a filter; `--keep` asks the
//! application to keep the connection; `--timeout` is how long each of connecting (else 10
//! seconds), reading and writing (else 60) may wait.
//!
//! The exit status is the application's where that fits 0 to 255, else 255. Without one, the reason
//! goes to stderr, and the status is 64 for wrong usage, 69 where nobody listens, 74 for a file
//! that cannot be read, 75 for a refusal, 76 for an answer that breaks off or is no FastCGI, and
//! 124 for a time-out.

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use fcgi::client::{Completion, Config, Response};
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

const USAGE: &str =
    "usage: fetch ADDRESS [--param NAME=VALUE]... [--body FILE] [--timeout SECONDS] [--keep] [--role ROLE] \
                     [--data FILE]";

fn main() -> ExitCode {
    let outcome = Options::parse(std::env::args().skip(1))
        .map_err(|reason| (64, format!("{reason}\n{USAGE}")))
        .and_then(|options| run(&options));
    match outcome {
        Ok(completion) => ExitCode::from(u8::try_from(completion.app_status).unwrap_or(255)),
        Err((status, reason)) => {
            eprintln!("fetch: {reason}");
            ExitCode::from(status)
        }
    }
}

/// Sends the request; on failure, the exit status and the reason.
fn run(options: &Options) -> Result<Completion, (u8, String)> {
    let mut params = options.params.clone();
    let body = Upload::open(options.body.as_deref(), "CONTENT_LENGTH", &mut params)?;
    let data = Upload::open(options.data.as_deref(), "FCGI_DATA_LENGTH", &mut params)?;
    let client = Client::new(&options.address)
        .map_err(|error| (64, error.to_string()))?
        .config(options.config.clone());
    let outcome = if options.role == Role::Filter {
        client.filter(&params, body, data, print)
    } else {
        client.send_as(options.role, &params, body, print)
    };
    outcome
        .map(|((), completion)| completion)
        .map_err(|error| (exit_status(&error), error.to_string()))
}

/// Prints the response as it comes.
fn print(response: &mut Response) -> io::Result<()> {
    response.stdout.stderr_to(io::stderr());
    let mut out = io::stdout().lock();
    loop {
        let piece = response.stdout.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        out.write_all(piece)?;
        out.flush()?;
        let len = piece.len();
        response.stdout.consume(len);
    }
}

fn exit_status(error: &Error) -> u8 {
    match error {
        Error::TimedOut(_) => 124,
        Error::Refused(_) => 75,
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied => 69,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => 76,
            _ => 74,
        },
        Error::ContentTooLong(_) | Error::ParamTooLong(_) => 64,
        _ => 76,
    }
}

/// A file that is sent, or nothing.
enum Upload {
    File(File),
    Nothing,
}

impl Upload {
    /// Opens the file, and adds what is known of it to the params unless they were given.
    fn open(path: Option<&str>, length: &str, params: &mut Params) -> Result<Self, (u8, String)> {
        let Some(path) = path else { return Ok(Self::Nothing) };
        let describe = |error: io::Error| (74, format!("{path}: {error}"));
        let file = File::open(path).map_err(describe)?;
        let metadata = file.metadata().map_err(describe)?;
        if metadata.is_file() && params.get_bytes(length).is_none() {
            set(params, length, metadata.len())?;
        }
        if length == "FCGI_DATA_LENGTH" && params.get_bytes("FCGI_DATA_LAST_MOD").is_none() {
            set(params, "FCGI_DATA_LAST_MOD", last_modified(&metadata))?;
        }
        Ok(Self::File(file))
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Nothing => Ok(0),
        }
    }
}

fn set(params: &mut Params, name: &str, value: u64) -> Result<(), (u8, String)> {
    params.set(name, value.to_string()).map_err(|error| (64, error.to_string()))
}

/// Seconds since 1970.
fn last_modified(metadata: &fs::Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

struct Options {
    address: String,
    params: Params,
    body: Option<String>,
    data: Option<String>,
    role: Role,
    config: Config,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            address: args
                .next()
                .filter(|address| !address.starts_with("--"))
                .ok_or("ADDRESS is missing")?,
            params: Params::new(),
            body: None,
            data: None,
            role: Role::Responder,
            config: Config::new(),
        };
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or(format!("{option} lacks its value"));
            match option.as_str() {
                "--param" => options.add_param(&value()?)?,
                "--body" => options.body = Some(value()?),
                "--data" => options.data = Some(value()?),
                "--role" => options.role = parse_role(&value()?)?,
                "--timeout" => options.set_timeout(&value()?)?,
                "--keep" => options.config.keep_alive = true,
                _ => return Err(format!("unknown option {option:?}")),
            }
        }
        Ok(options)
    }

    fn add_param(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').ok_or(format!("{pair:?} is not NAME=VALUE"))?;
        self.params.push(name, value).map_err(|error| error.to_string())
    }

    fn set_timeout(&mut self, seconds: &str) -> Result<(), String> {
        let timeout =
            seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let timeout = Some(timeout.ok_or(format!("{seconds:?} is not a number of seconds"))?);
        self.config.connect_timeout = timeout;
        self.config.read_timeout = timeout;
        self.config.write_timeout = timeout;
        Ok(())
    }
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
