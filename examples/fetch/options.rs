//! The command line of `fetch`.

use std::ffi::OsStr;
use std::path::PathBuf;

use fcgi::client::Config;
use fcgi::net::Address;
use fcgi::record::Role;
use fcgi::Params;

use super::support::cli::Arguments;
use super::support::exit::Exit;

pub const HELP: &str = "\
usage: fetch ADDRESS [--param NAME=VALUE]... [--body FILE] [--timeout SECONDS] [--keep]
             [--role ROLE] [--data FILE] [--max-time SECONDS] [--no-include] [--verbose]
             [--timing]

Sends one request to the application at ADDRESS and prints the response while it arrives: STDOUT
to stdout, and STDERR to stderr. ADDRESS is HOST:PORT or the path of a Unix socket.

Options:
  --param NAME=VALUE  add a param. REQUEST_METHOD is GET unless it is given, or POST with a body.
                      Only the lengths of files are added as well.
  --body FILE         send FILE as stdin, and its length as CONTENT_LENGTH
  --role ROLE         responder (the default), authorizer, filter or a number
  --data FILE         send FILE as the data of a filter, with its length and modification time
  --timeout SECONDS   limit connecting (default: 10) and each read and write (60)
  --max-time SECONDS  limit the whole request (default: 1 hour)
  --keep              ask the application to keep the connection open
  --include           print the response head, too (the default)
  --no-include        print only the body; the head must be valid
  --verbose           print each record to stderr as it passes: > if sent or < if received, the
                      type, the request id, and the lengths of content and padding
  --timing            print times and the number of bytes to stderr at the end

If FILE is `-`, stdin is read to its end before the request is sent, because its length must be
known. It is sent without delay if CONTENT_LENGTH (or FCGI_DATA_LENGTH) is given with --param.

Examples:
  fetch 127.0.0.1:9000 --param QUERY_STRING=a=1
  fetch unix:/run/php/php8.2-fpm.sock --param SCRIPT_FILENAME=/var/www/html/index.php
  echo name=ferris | fetch 127.0.0.1:9000 --verbose --body - \\
      --param CONTENT_TYPE=application/x-www-form-urlencoded
";

pub struct Options {
    pub params: Params,
    /// The file to send as stdin. `-` is stdin.
    pub body: Option<PathBuf>,
    /// The file to send as the data of a filter. `-` is stdin.
    pub data: Option<PathBuf>,
    pub role: Role,
    pub config: Config,
    /// Whether the response head is printed.
    pub head: bool,
    /// Whether each record is printed.
    pub verbose: bool,
    /// Whether times are printed.
    pub timing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            params: Params::new(),
            body: None,
            data: None,
            role: Role::Responder,
            config: Config::new(),
            head: true,
            verbose: false,
            timing: false,
        }
    }
}

impl Options {
    /// Returns the address of the application and the options.
    pub fn parse(mut args: Arguments) -> Result<(Address, Self), Exit> {
        let mut options = Self::default();
        while let Some(option) = args.next_option()? {
            options.set(&option, &mut args)?;
        }
        let address = args.required_address()?;
        args.finish()?;
        options.check()?;
        Ok((address, options))
    }

    fn set(&mut self, option: &str, args: &mut Arguments) -> Result<(), Exit> {
        match option {
            "--param" => self.add_param(&args.value()?)?,
            "--body" => self.body = Some(args.value()?.into()),
            "--data" => self.data = Some(args.value()?.into()),
            "--role" => self.role = parse_role(&args.text()?)?,
            "--timeout" => self.set_timeout(args)?,
            "--max-time" => self.config.deadline = Some(args.seconds()?),
            "--keep" => self.config.keep_alive = true,
            "--include" => self.head = true,
            "--no-include" => self.head = false,
            "--verbose" => self.verbose = true,
            "--timing" => self.timing = true,
            _ => return Err(args.unknown_option()),
        }
        Ok(())
    }

    fn add_param(&mut self, pair: &OsStr) -> Result<(), Exit> {
        let bytes = pair.as_encoded_bytes();
        let end = bytes.iter().position(|&byte| byte == b'=');
        let end = end.ok_or_else(|| Exit::usage(format!("{pair:?} is not NAME=VALUE")))?;
        Ok(self.params.push(&bytes[..end], &bytes[end + 1..])?)
    }

    fn set_timeout(&mut self, args: &mut Arguments) -> Result<(), Exit> {
        let timeout = Some(args.seconds()?);
        self.config.connect_timeout = timeout;
        self.config.read_timeout = timeout;
        self.config.write_timeout = timeout;
        Ok(())
    }

    fn check(&self) -> Result<(), Exit> {
        let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some("-".as_ref());
        if is_stdin(&self.body) && is_stdin(&self.data) {
            return Err(Exit::usage("--body and --data cannot both be read from stdin"));
        }
        Ok(())
    }

    /// Returns the REQUEST_METHOD of a request for which none was given.
    pub fn default_method(&self) -> &'static str {
        if self.body.is_some() {
            "POST"
        } else {
            "GET"
        }
    }
}

fn parse_role(role: &str) -> Result<Role, Exit> {
    match role {
        "responder" => Ok(Role::Responder),
        "authorizer" => Ok(Role::Authorizer),
        "filter" => Ok(Role::Filter),
        number => {
            let number = number.parse::<u16>().map(Role::from);
            number.map_err(|_| Exit::usage(format!("unknown role {role:?}")))
        }
    }
}
