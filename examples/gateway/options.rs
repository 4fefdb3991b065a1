//! The command line of the gateway.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

pub const USAGE: &str = "\
usage: gateway [OPTION]...
       gateway --connect ADDRESS [OPTION]...
       gateway --connect ADDRESS --root DIR [OPTION]...";

pub const HELP: &str = "\
Serves HTTP and forwards requests to the FastCGI application at ADDRESS, which is HOST:PORT or
unix:PATH. With --root, only requests for .php files are forwarded, and the other files of DIR are
sent unchanged. Without --connect, serves a demonstration.

Options:
  --listen HOST:PORT     listen for HTTP here (default: 127.0.0.1:8080, or any port if it is taken)
  --connect ADDRESS      forward requests to this application
  --root DIR             serve the files and scripts of this directory
  --index FILE           serve FILE for a directory; can be repeated (index.php, then index.html)
  --fallback PATH        serve PATH for a path that does not exist, such as /index.php
  --authorizer ADDRESS   ask this FastCGI authorizer about every request first
  --keep                 keep up to 8 connections to the application open
  --timeout SECONDS      limit connecting to the application, each read and each write (60)
  --max-body BYTES       refuse longer bodies with status 413 (1 GiB)
  --collect BYTES        collect bodies up to this length before the application is asked (1 MiB)
  --access-log FILE      append a line for each request to FILE instead of stdout
  --help                 print this text
  --version              print the version

Exit status:
  0    after SIGTERM or SIGINT, and after --help
  1    the address cannot be listened on, or a file cannot be opened
  64   invalid arguments
";

/// What the command line asks for.
pub enum Command {
    Run(Box<Options>),
    Help,
    Version,
}

/// The options of the command line.
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
    /// The path that is served for one that does not exist.
    pub fallback: Option<String>,
    /// Whether connections to the application are kept open.
    pub keep: bool,
    /// The timeout for connecting to the application, and for each read and write.
    pub timeout: Duration,
    /// The maximum length of a request's body, in bytes.
    pub max_body: u64,
    /// The maximum length of a body that is collected before the application is asked.
    pub collect: u64,
    /// The file of the access log, or `None` for stdout.
    pub access_log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: None,
            connect: None,
            authorizer: None,
            root: None,
            index: Vec::new(),
            fallback: None,
            keep: false,
            timeout: Duration::from_secs(60),
            max_body: 1024 * 1024 * 1024,
            collect: 1024 * 1024,
            access_log: None,
        }
    }
}

impl Command {
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Options::default();
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            match arg {
                Arg::Long("help") | Arg::Short('h') => return Ok(Self::Help),
                Arg::Long("version") | Arg::Short('V') => return Ok(Self::Version),
                Arg::Long(name) => {
                    let name = name.to_owned();
                    options.set(&name, &mut parser).map_err(|error| error.to_string())?;
                }
                arg => return Err(arg.unexpected().to_string()),
            }
        }
        options.check().map(|options| Self::Run(Box::new(options)))
    }
}

impl Options {
    fn set(&mut self, name: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        match name {
            "listen" => self.listen = Some(parser.value()?.string()?),
            "connect" => self.connect = Some(parser.value()?.string()?),
            "authorizer" => self.authorizer = Some(parser.value()?.string()?),
            "root" => self.root = Some(parser.value()?.into()),
            "index" => self.index.push(parser.value()?.string()?),
            "fallback" => self.fallback = Some(parser.value()?.string()?),
            "keep" => self.keep = true,
            "timeout" => self.timeout = parser.value()?.parse_with(parse_seconds)?,
            "max-body" => self.max_body = parser.value()?.parse()?,
            "collect" => self.collect = parser.value()?.parse()?,
            "access-log" => self.access_log = Some(parser.value()?.into()),
            _ => return Err(Arg::Long(name).unexpected()),
        }
        Ok(())
    }

    fn check(mut self) -> Result<Self, String> {
        if self.root.is_some() && self.connect.is_none() {
            return Err("--root requires --connect".into());
        }
        if self.root.is_none() && (self.fallback.is_some() || !self.index.is_empty()) {
            return Err("--index and --fallback require --root".into());
        }
        if self.fallback.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err("the value of --fallback must begin with a slash".into());
        }
        if self.index.is_empty() {
            self.index = vec!["index.php".into(), "index.html".into()];
        }
        Ok(self)
    }
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let seconds = seconds.filter(|seconds| !seconds.is_zero());
    seconds.ok_or("it is not a positive number of seconds")
}
