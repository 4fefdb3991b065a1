//! Answers with what it received: the application that web servers are tested against.
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9000
//! cargo run --example fetch -- 127.0.0.1:9000 --param A=1 --param QUERY_STRING=status=404
//! ```
//!
//! The second command, in another shell, prints a response head with `Status: 404 Not Found`, a
//! line `NAME=value` for each param, sorted by name, an empty line, and the bytes of stdin (here
//! none). `echo` reads all of stdin before it answers. As a filter it appends the data to stdin. As
//! an authorizer it allows every request whose query string does not contain the key `deny`.
//!
//! Keys in the query string change the answer. They are not percent-decoded. `echo --help` lists
//! them.
//!
//! A HEAD request is answered with the response head alone.

#[path = "support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::cgi::canonical_reason;
use fcgi::net::Listener;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Server;

use self::support::cli::{Arguments, Program};
use self::support::exit::Exit;
use self::support::serve;

/// The maximum length of a line that a query string can ask for.
const MAX_LINE: usize = 64 * 1024;

const PROGRAM: Program = Program::new(
    "echo",
    "\
usage: echo [--take-over] [ADDRESS]

An application that answers with what it received. Without an address, or with `-`, it serves the
listening socket on descriptor 0.

Options:
  --take-over  take the Unix socket at ADDRESS over from a process that is still running

Keys in the query string, separated by `&`, change the answer:
  bytes=N      answer with N bytes of `x`, without reading stdin
  status=404   add `Status: 404 Not Found` to the response head; 204 and 304 have no body
  location=URL add `Location: URL` to the response head
  cookies=1    add two `Set-Cookie` fields to the response head
  stderr=TEXT  write TEXT to stderr
  sleep=MS     wait for MS milliseconds first
  exit=N       end the request with the app status N
  panic=1      panic
  noread=1     do not read stdin
  stream=1     copy stdin to stdout while it arrives, without the params
  early=MS     begin to answer, wait for MS milliseconds, and then copy stdin to stdout
  lines=MS     answer with a line every MS milliseconds, and print `aborted` if the client leaves;
               count=N limits the number of lines, and width=N is their length (default: 8)
  deny         as an authorizer: deny the request

SIGTERM and SIGINT end the program after the requests that have begun.

Example:
  echo 127.0.0.1:9000
  fetch 127.0.0.1:9000 --param A=1 --param QUERY_STRING=status=404
",
);

fn main() -> ExitCode {
    PROGRAM.main(|args| run(args).map(|()| 0))
}

fn run(args: Arguments) -> Result<(), Exit> {
    let server = bind(args)?;
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())
        .map_err(|error| Exit::unavailable("signals", error))?;
    let roles = [Role::Responder, Role::Authorizer, Role::Filter];
    server.config(Config::new().max_connections(2048).roles(&roles)).serve(echo)?;
    Ok(())
}

fn bind(mut args: Arguments) -> Result<Server, Exit> {
    let mut takes_over = false;
    while let Some(option) = args.next_option()? {
        match &*option {
            "--take-over" => takes_over = true,
            _ => return Err(args.unknown_option()),
        }
    }
    let address = serve::optional_address(&mut args)?;
    args.finish()?;
    match address {
        Some(address) if takes_over => Ok(Server::new(Listener::take_over(&address)?)?),
        None if takes_over => Err(Exit::usage("--take-over requires an ADDRESS")),
        address => serve::bind(address.as_ref()),
    }
}

fn echo(request: &mut Request) -> HandlerResult {
    let query = Query(request.query());
    if let Some(milliseconds) = query.number("sleep") {
        thread::sleep(Duration::from_millis(milliseconds));
    }
    assert!(query.get("panic").is_none(), "the query string contains `panic`");
    if let Some(text) = query.get("stderr") {
        writeln!(request.stderr, "{text}")?;
    }
    request.app_status = query.number("exit").unwrap_or(0).try_into().unwrap_or(u32::MAX);
    match request.role {
        Role::Authorizer => authorize(request, &query),
        _ => respond(request, &query),
    }
}

fn authorize(request: &mut Request, query: &Query) -> HandlerResult {
    if query.get("deny").is_some() {
        write!(
            request.stdout,
            "Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\ndenied\n"
        )?;
    } else {
        write!(request.stdout, "Status: 200 OK\r\nVariable-Echo: yes\r\n\r\n")?;
    }
    Ok(())
}

fn respond(request: &mut Request, query: &Query) -> HandlerResult {
    if request.method() == "HEAD" || matches!(query.number("status"), Some(204 | 304)) {
        // RFC 3875, section 4.3.3. HAProxy treats a body as an error and answers with 502.
        write_head(request, query)?;
        Ok(())
    } else if let Some(bytes) = query.number("bytes") {
        write_head(request, query)?;
        io::copy(&mut io::repeat(b'x').take(bytes), &mut request.stdout)?;
        Ok(())
    } else if query.get("stream").is_some() {
        stream(request, query)
    } else if let Some(milliseconds) = query.number("early") {
        begin_early(request, query, Duration::from_millis(milliseconds))
    } else if let Some(milliseconds) = query.number("lines") {
        send_lines(request, query, Duration::from_millis(milliseconds))
    } else {
        answer_with_request(request, query)
    }
}

/// Copies stdin to stdout while it arrives.
fn stream(request: &mut Request, query: &Query) -> HandlerResult {
    write_head(request, query)?;
    copy(request)
}

fn copy(request: &mut Request) -> HandlerResult {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = request.stdin.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        request.stdout.write_all(&buffer[..n])?;
        request.stdout.flush()?;
    }
}

/// Begins the response before any of stdin is read.
fn begin_early(request: &mut Request, query: &Query, pause: Duration) -> HandlerResult {
    write_head(request, query)?;
    writeln!(request.stdout, "The response has begun.")?;
    request.stdout.flush()?;
    thread::sleep(pause);
    copy(request)
}

/// Sends lines until there are enough of them, or the web server has left.
fn send_lines(request: &mut Request, query: &Query, interval: Duration) -> HandlerResult {
    let count = query.number("count").unwrap_or(u64::MAX);
    let width = query.number("width").and_then(|width| usize::try_from(width).ok()).unwrap_or(8);
    let width = width.min(MAX_LINE);
    write_head(request, query)?;
    for number in 1..=count {
        let written =
            writeln!(request.stdout, "{number:0>width$}").and_then(|()| request.stdout.flush());
        let next = Instant::now() + interval;
        while written.is_ok() && !request.is_aborted() && Instant::now() < next {
            thread::sleep(Duration::from_millis(1));
        }
        if written.is_err() || request.is_aborted() {
            eprintln!("aborted");
            return Ok(written?);
        }
    }
    Ok(())
}

/// Reads the whole request, then writes its params and its body.
fn answer_with_request(request: &mut Request, query: &Query) -> HandlerResult {
    let mut body = Vec::new();
    if query.get("noread").is_none() {
        request.stdin.read_to_end(&mut body)?;
        if request.role == Role::Filter {
            request.stdin.data()?.read_to_end(&mut body)?;
        }
    }
    write_head(request, query)?;
    write_params(request)?;
    request.stdout.write_all(&body)?;
    Ok(())
}

fn write_head(request: &mut Request, query: &Query) -> io::Result<()> {
    // `Location` comes first: HAProxy would otherwise replace the status by 302.
    if let Some(location) = query.get("location") {
        write!(request.stdout, "Location: {location}\r\n")?;
    }
    if let Some(status) = query.number("status") {
        let reason = u16::try_from(status).ok().and_then(canonical_reason).unwrap_or_default();
        write!(request.stdout, "Status: {status} {reason}\r\n")?;
    }
    if query.get("cookies").is_some() {
        write!(request.stdout, "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n")?;
    }
    write!(request.stdout, "Content-Type: text/plain\r\n\r\n")
}

fn write_params(request: &mut Request) -> io::Result<()> {
    let mut pairs: Vec<_> = request.params.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    for (name, value) in pairs {
        request.stdout.write_all(name)?;
        request.stdout.write_all(b"=")?;
        request.stdout.write_all(value)?;
        request.stdout.write_all(b"\n")?;
    }
    request.stdout.write_all(b"\n")
}

/// A query string of `key=value` pairs, separated by `&`.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Returns the value of the first pair with this key. A key without `=` has an empty value.
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.split('&').find_map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name == key).then_some(value),
            None => (pair == key).then_some(""),
        })
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}
