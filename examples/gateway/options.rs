//! The command line of the gateway.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str = "\
usage: gateway [--listen ADDRESS] [--authorizer ADDRESS]
       gateway --connect ADDRESS --root DIR [--listen ADDRESS] [--index FILE]... [--keep]
               [--timeout SECONDS] [--max-body BYTES] [--authorizer ADDRESS]";

/// The parsed command line.
pub struct Options {
    /// The address for HTTP, or `None` for port 8080, or another port if that is taken.
    pub listen: Option<String>,
    /// The address of the application, or `None` for the demonstration.
    pub connect: Option<String>,
    /// The address of the authorizer that is asked before each request.
    pub authorizer: Option<String>,
    /// The directory to serve.
    pub root: Option<PathBuf>,
    /// The names of the files that are served for a directory, in order of preference.
    pub index: Vec<String>,
    /// Whether connections to the application are kept open.
    pub keep: bool,
    /// The timeout for connecting to the application, and for each read and write.
    pub timeout: Duration,
    /// The maximum length of a request's body, in bytes.
    pub max_body: u64,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self {
            listen: None,
            connect: None,
            authorizer: None,
            root: None,
            index: Vec::new(),
            keep: false,
            timeout: Duration::from_secs(60),
            max_body: 1024 * 1024 * 1024,
        };
        while let Some(option) = args.next() {
            let option = option.to_string_lossy();
            let mut value = || args.next().ok_or(format!("{option} requires a value"));
            match &*option {
                "--listen" => options.listen = Some(text(value()?)?),
                "--connect" => options.connect = Some(text(value()?)?),
                "--authorizer" => options.authorizer = Some(text(value()?)?),
                "--root" => options.root = Some(value()?.into()),
                "--index" => options.index.push(text(value()?)?),
                "--keep" => options.keep = true,
                "--timeout" => options.timeout = parse_seconds(&text(value()?)?)?,
                "--max-body" => options.max_body = parse_bytes(&text(value()?)?)?,
                _ => return Err(format!("unknown option {option:?}")),
            }
        }
        options.check()
    }

    fn check(mut self) -> Result<Self, String> {
        if self.connect.is_some() != self.root.is_some() {
            return Err("--connect and --root must be given together".into());
        }
        if self.index.is_empty() {
            self.index = vec!["index.php".into(), "index.html".into()];
        }
        Ok(self)
    }
}

/// Converts a value to a string.
fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|value| format!("{value:?} is not UTF-8"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| !seconds.is_zero())
        .ok_or(format!("{text:?} is not a positive number of seconds"))
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of bytes"))
}
