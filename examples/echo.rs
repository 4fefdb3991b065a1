//! Answers with what it was asked: the application that web servers are tested against.
//!
//! `echo [ADDRESS]`; with no address it serves the listening socket on descriptor 0. It reads all
//! of stdin, then answers `text/plain`: a line `NAME=value` for each param, sorted by name, an
//! empty line, and the bytes of stdin. As a filter it adds the data; as an authorizer it allows,
//! unless the query string has `deny`.
//!
//! Keys of the query string, joined with `&` and not percent-decoded, ask for something else:
//! `bytes=N` answers N bytes of `x` and does not read stdin; `status=404` adds `Status: 404 Not
//! Found`; `stderr=TEXT` writes TEXT to stderr; `sleep=MS` waits first; `exit=N` ends with that app
//! status; `panic=1` panics; `noread=1` leaves stdin unread; `stream=1` copies stdin to stdout as
//! it comes. A HEAD request gets the head alone.
//!
//! SIGTERM and SIGINT end it with status 0, when the requests that have begun are answered.

use std::io::{self, Read, Write};
use std::time::Duration;

use fcgi::cgi::canonical_reason;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Server;

fn main() {
    if let Err(error) = run() {
        eprintln!("echo: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let server = match std::env::args().nth(1) {
        Some(address) => Server::bind(&address)?,
        None => Server::from_stdin()?,
    };
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())?;
    let roles = [Role::Responder, Role::Authorizer, Role::Filter];
    server.config(Config::new().max_connections(2048).roles(&roles)).serve(echo)?;
    Ok(())
}

fn echo(request: &mut Request) -> HandlerResult {
    let params = request.params;
    let query = Query(params.get("QUERY_STRING").unwrap_or(""));
    if let Some(milliseconds) = query.number("sleep") {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    assert!(query.get("panic").is_none(), "asked to panic");
    if let Some(text) = query.get("stderr") {
        writeln!(request.stderr, "{text}")?;
    }
    request.app_status = query.number("exit").unwrap_or(0).try_into().unwrap_or(u32::MAX);

    if request.role == Role::Authorizer {
        return authorize(request, &query);
    }
    if params.get("REQUEST_METHOD") == Some("HEAD") {
        // RFC 3875, section 4.3.3. HAProxy takes a body for an error and answers 502.
        write_head(request, &query)?;
        return Ok(());
    }
    if let Some(bytes) = query.number("bytes") {
        write_head(request, &query)?;
        io::copy(&mut io::repeat(b'x').take(bytes), &mut request.stdout)?;
        return Ok(());
    }
    if query.get("stream").is_some() {
        return stream(request, &query);
    }
    let mut body = Vec::new();
    if query.get("noread").is_none() {
        request.stdin.read_to_end(&mut body)?;
        if request.role == Role::Filter {
            request.stdin.data()?.read_to_end(&mut body)?;
        }
    }
    write_head(request, &query)?;
    write_params(request)?;
    request.stdout.write_all(&body)?;
    Ok(())
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

/// Copies stdin to stdout as it comes.
fn stream(request: &mut Request, query: &Query) -> HandlerResult {
    write_head(request, query)?;
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

fn write_head(request: &mut Request, query: &Query) -> io::Result<()> {
    if let Some(status) = query.number("status") {
        let reason = u16::try_from(status).ok().and_then(canonical_reason).unwrap_or_default();
        write!(request.stdout, "Status: {status} {reason}\r\n")?;
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

/// A query string of `key=value`, joined with `&`.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
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
