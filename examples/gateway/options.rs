//! The command line of the gateway.

use std::path::PathBuf;
use std::time::Duration;

use fcgi::net::Address;

use crate::support::cli::Arguments;
use crate::support::exit::Exit;

pub const HELP: &str = "\
usage: gateway [OPTION]...
       gateway --connect ADDRESS [OPTION]...
       gateway --connect ADDRESS --root DIR [OPTION]...

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
  --strict               answer with 502 if a response head breaks any rule of RFC 3875
  --access-log FILE      append a line for each request to FILE instead of stdout

Example, which serves WordPress:
  gateway --connect unix:/run/php/php8.2-fpm.sock --root /usr/share/wordpress \\
      --fallback /index.php
";

/// The exit statuses, which differ from those of programs that send one request.
pub const EXIT_STATUSES: &str = "\
Exit status:
  0    after SIGTERM or SIGINT
  64   invalid arguments
  69   the address cannot be listened on
  74   DIR or the access log cannot be opened
";

/// The options of the command line.
pub struct Options {
    /// The address for HTTP, or `None` for port 8080, or another port if that is taken.
    pub listen: Option<String>,
    /// The address of the application, or `None` for the demonstration.
    pub connect: Option<Address>,
    /// The address of the authorizer that is asked before each request.
    pub authorizer: Option<Address>,
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
    /// Whether response heads must follow RFC 3875 to the letter.
    pub strict: bool,
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
            strict: false,
            access_log: None,
        }
    }
}

impl Options {
    pub fn parse(mut args: Arguments) -> Result<Self, Exit> {
        let mut options = Self::default();
        while let Some(option) = args.next_option()? {
            options.set(&option, &mut args)?;
        }
        args.finish()?;
        options.check()
    }

    fn set(&mut self, option: &str, args: &mut Arguments) -> Result<(), Exit> {
        match option {
            "--listen" => self.listen = Some(args.text()?),
            "--connect" => self.connect = Some(args.address()?),
            "--authorizer" => self.authorizer = Some(args.address()?),
            "--root" => self.root = Some(args.value()?.into()),
            "--index" => self.index.push(args.text()?),
            "--fallback" => self.fallback = Some(args.text()?),
            "--keep" => self.keep = true,
            "--strict" => self.strict = true,
            "--timeout" => self.timeout = args.seconds()?,
            "--max-body" => self.max_body = args.number("a number of bytes")?,
            "--collect" => self.collect = args.number("a number of bytes")?,
            "--access-log" => self.access_log = Some(args.value()?.into()),
            _ => return Err(args.unknown_option()),
        }
        Ok(())
    }

    fn check(mut self) -> Result<Self, Exit> {
        if self.root.is_some() && self.connect.is_none() {
            return Err(Exit::usage("--root requires --connect"));
        }
        if self.root.is_none() && (self.fallback.is_some() || !self.index.is_empty()) {
            return Err(Exit::usage("--index and --fallback require --root"));
        }
        if self.fallback.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(Exit::usage("the value of --fallback must begin with a slash"));
        }
        if self.index.is_empty() {
            self.index = vec!["index.php".into(), "index.html".into()];
        }
        Ok(self)
    }
}
