//! The command line, and the handler that runs a program for each request.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use fcgi::bridge;
use fcgi::cgi::ResponseHead;
use fcgi::net::Address;
use fcgi::server::{Config, HandlerResult, Request};

use crate::running::RunningRequests;
use crate::script::{Policy, Refusal, Script};
use crate::support::cli::{Arguments, Program};
use crate::support::exit::Exit;
use crate::support::serve;

const PROGRAM: Program = Program::new(
    "cgi-wrap",
    "\
usage: cgi-wrap [OPTION]... [ADDRESS]

An application that runs CGI programs, as fcgiwrap does. Without an address, or with `-`, it serves
the listening socket on descriptor 0.

The program of a request is the file SCRIPT_FILENAME. Without that param, it is the file that
SCRIPT_NAME names inside DOCUMENT_ROOT, and the rest of SCRIPT_NAME becomes PATH_INFO. The file must
be inside DOCUMENT_ROOT. Symbolic links are followed first. It must be a regular file that its owner
may execute, and neither the file nor its directory may be writable by others. Otherwise the
response is 403, or 404 if there is no such file.

A program runs in the directory of SCRIPT_FILENAME, which is its argument 0, too. A script gets its
path without symbolic links from the system instead. Its environment consists of the params, without
HTTP_PROXY. What it writes to stderr is sent to the log of the web server.

Options:
  --root DIR             run the programs inside DIR, instead of those inside DOCUMENT_ROOT; can be
                         repeated
  --program FILE         run this program, too, or only this one without --root; can be repeated
  --children N           run at most N programs at a time (default: 16); more requests wait
  --timeout SECONDS      end a program that runs longer than this (default: 3600)
  --idle-timeout SECONDS
                         end a program that neither reads nor writes for this time (default: 300)
  --env NAME=VALUE       add a variable to the environment of the programs; can be repeated

A program is ended, with the processes that it has started, after a timeout and when the web server
aborts its request or closes the connection. They receive SIGTERM, and SIGKILL after 2 seconds.

SIGTERM and SIGINT end `cgi-wrap` after the requests that have begun. Programs that still run after
8 seconds are ended.

Example:
  cgi-wrap --program /usr/lib/git-core/git-http-backend unix:/run/git.sock
",
);

pub fn main() -> ExitCode {
    PROGRAM.main(|args| Options::parse(args)?.serve().map(|()| 0))
}

/// The command line.
struct Options {
    address: Option<Address>,
    policy: Policy,
    children: usize,
    timeout: Duration,
    idle_timeout: Duration,
    variables: Vec<(OsString, OsString)>,
}

impl Options {
    fn parse(mut args: Arguments) -> Result<Self, Exit> {
        let mut options = Self {
            address: None,
            policy: Policy::default(),
            children: 16,
            timeout: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(300),
            variables: Vec::new(),
        };
        while let Some(option) = args.next_option()? {
            match &*option {
                "--root" => options.policy.add_root(args.value()?.as_ref())?,
                "--program" => options.policy.add_program(args.value()?.as_ref())?,
                "--children" => options.children = parse_children(&mut args)?,
                "--timeout" => options.timeout = args.seconds()?,
                "--idle-timeout" => options.idle_timeout = args.seconds()?,
                "--env" => options.variables.push(parse_variable(&args.text()?)?),
                _ => return Err(args.unknown_option()),
            }
        }
        options.address = serve::optional_address(&mut args)?;
        args.finish()?;
        Ok(options)
    }

    fn serve(self) -> Result<(), Exit> {
        let server = serve::bind(self.address.as_ref())?;
        let handle = server.handle();
        ctrlc::set_handler(move || handle.shutdown())
            .map_err(|error| Exit::unavailable("signals", error))?;
        // Each connection serves one request at a time, and each request runs one program.
        let config = Config::new().max_connections(self.children);
        let running = RunningRequests::default();
        let counter = running.clone();
        server.config(config).serve(move |request| {
            let _guard = counter.add();
            self.handle(request)
        })?;
        // `serve` does not wait for the end of the requests that it has aborted.
        running.wait_for_end(Duration::from_secs(3));
        Ok(())
    }

    fn handle(&self, request: &mut Request) -> HandlerResult {
        match self.policy.find(request.params) {
            Ok(script) => self.run(request, &script),
            Err(refusal) => refuse(request, &refusal),
        }
    }

    fn run(&self, request: &mut Request, script: &Script) -> HandlerResult {
        // The path that was checked is executed, but a program may depend on the name of a link.
        let mut command = Command::new(&script.file);
        command.arg0(&script.name);
        command.current_dir(&script.directory);
        command.envs(script.variables.iter().map(|(name, value)| (name, value)));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let program = bridge::Program::from(command)
            .timeout(Some(self.timeout))
            .idle_timeout(Some(self.idle_timeout));
        match bridge::run_program(request, program) {
            Ok(_exit_status) => Ok(()),
            Err(error) => Err(format!("{}: {error}", script.file.display()).into()),
        }
    }
}

fn parse_children(args: &mut Arguments) -> Result<usize, Exit> {
    let children = args.number("a number of children")?;
    if children == 0 {
        return Err(Exit::usage("--children must be at least 1"));
    }
    Ok(children)
}

fn parse_variable(text: &str) -> Result<(OsString, OsString), Exit> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(Exit::usage(format!("{text:?} is not NAME=VALUE"))),
    }
}

/// Answers a request whose program is not run. Only the log of the web server receives the reason.
fn refuse(request: &mut Request, refusal: &Refusal) -> HandlerResult {
    writeln!(request.stderr, "{}", refusal.reason.replace(char::is_control, " "))?;
    ResponseHead::new()
        .status(refusal.status)?
        .field("Content-Type", "text/plain")?
        .write_to(&mut request.stdout)?;
    Ok(writeln!(request.stdout, "The program was not run.")?)
}
