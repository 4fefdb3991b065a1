//! The demonstration: a FastCGI application in the gateway's own process, behind a socket like any
//! other.

mod checksum;
mod page;

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fcgi::cgi::ResponseHead;
use fcgi::net::Address;
use fcgi::server::{Handle, HandlerResult, Request};
use fcgi::Server;
use tempfile::TempDir;

use self::checksum::Crc32;

/// The lines of a stream.
const LINES: u32 = 12;
/// The time between two lines.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a stream that is moved on by hand waits for the hand.
const HAND: Duration = Duration::from_secs(30);
/// The longest form.
const MAX_FORM: u64 = 64 * 1024;

/// The running application.
pub struct Demo {
    pub address: Address,
    handle: Handle,
    thread: JoinHandle<fcgi::Result<()>>,
    /// Holds the socket.
    _directory: TempDir,
}

impl Demo {
    /// Starts the application on a socket of its own.
    pub fn start() -> fcgi::Result<Self> {
        let directory = tempfile::tempdir()?;
        let server = Server::bind(&socket(&directory))?;
        let (address, handle) = (server.local_address()?, server.handle());
        let application = Application::default();
        let thread =
            thread::spawn(move || server.serve(move |request| application.answer(request)));
        Ok(Self { address, handle, thread, _directory: directory })
    }

    /// Ends it, and takes its socket away.
    pub fn stop(self) {
        self.handle.shutdown();
        let _ = self.thread.join();
    }
}

#[cfg(unix)]
fn socket(directory: &TempDir) -> String {
    format!("unix:{}", directory.path().join("demo.sock").display())
}

#[cfg(not(unix))]
fn socket(_: &TempDir) -> String {
    "127.0.0.1:0".into()
}

#[derive(Default)]
struct Application {
    /// The requests so far.
    requests: AtomicU64,
    /// How often a line was asked for by hand, by the name of its stream; for streams that are
    /// open.
    hands: Mutex<HashMap<String, u32>>,
    /// Signalled when a line was asked for.
    hand: Condvar,
}

impl Application {
    fn answer(&self, request: &mut Request) -> HandlerResult {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match request.params.get("PATH_INFO").unwrap_or("") {
            "/" => page::index(request, number),
            "/form" => form(request),
            "/upload" => upload(request),
            "/stream" => self.stream(request),
            "/next" => self.next(request),
            "/status" => status(request),
            "/log" => log(request),
            "/moved" => redirect(request, 302, "/?moved"),
            "/shortcut" => local_redirect(request, "/?shortcut"),
            "/error" => Err("the handler returned this error".into()),
            "/panic" => panic!("the handler panicked"),
            "/cut" => cut(request),
            _ => not_found(request),
        }
    }

    /// Sends lines one by one: with a pause between them or, with a name in the query string, when
    /// `/next` is asked for.
    fn stream(&self, request: &mut Request) -> HandlerResult {
        let name = request.params.get("QUERY_STRING").unwrap_or("").to_owned();
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), 0);
        head(request, 200, "text/plain; charset=utf-8")?;
        for line in 1..=LINES {
            writeln!(request.stdout, "line {line} of {LINES}")?;
            request.stdout.flush()?;
            if line == LINES || request.is_aborted() {
                break;
            }
            if name.is_empty() {
                thread::sleep(PAUSE);
            } else if !self.wait_for_hand(&name, line) {
                writeln!(request.stdout, "nobody asked for more")?;
                break;
            }
        }
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        Ok(())
    }

    /// Waits until so many lines were asked for.
    fn wait_for_hand(&self, name: &str, wanted: u32) -> bool {
        let hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short =
            |hands: &mut HashMap<String, u32>| hands.get(name).is_some_and(|count| *count < wanted);
        let outcome = self.hand.wait_timeout_while(hands, HAND, is_short);
        !outcome.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn next(&self, request: &mut Request) -> HandlerResult {
        let name = request.params.get("QUERY_STRING").unwrap_or("");
        if let Some(count) = self.hands.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name)
        {
            *count += 1;
        }
        self.hand.notify_all();
        head(request, 204, "text/plain")
    }
}

/// Shows what a form has sent.
fn form(request: &mut Request) -> HandlerResult {
    let mut body = Vec::new();
    (&mut request.stdin).take(MAX_FORM).read_to_end(&mut body)?;
    page::form(request, &body)
}

/// Reads a file as it comes, and tells its length and its checksum.
fn upload(request: &mut Request) -> HandlerResult {
    let (mut bytes, mut checksum) = (0, Crc32::default());
    loop {
        let piece = request.stdin.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        checksum.update(piece);
        let len = piece.len();
        request.stdin.consume(len);
        bytes += len;
    }
    head(request, 200, "text/plain; charset=utf-8")?;
    writeln!(request.stdout, "{bytes} bytes, CRC-32 {checksum}")?;
    Ok(())
}

/// Ends with a status of the application's own, like the exit status of a program.
fn status(request: &mut Request) -> HandlerResult {
    request.app_status = 3;
    head(request, 200, "text/plain; charset=utf-8")?;
    writeln!(
        request.stdout,
        "The application ended this request with status 3. The gateway has logged it."
    )?;
    Ok(())
}

/// Writes to the log of the web server.
fn log(request: &mut Request) -> HandlerResult {
    writeln!(request.stderr, "a message for the log, with an escape \x1b[31m that does no harm")?;
    head(request, 200, "text/plain; charset=utf-8")?;
    writeln!(
        request.stdout,
        "The application wrote a line to STDERR. It is in the terminal where the gateway runs."
    )?;
    Ok(())
}

/// Sends the browser elsewhere.
fn redirect(request: &mut Request, status: u16, location: &str) -> HandlerResult {
    let head = ResponseHead::new().status(status, "")?.field("Location", location)?;
    head.field("Content-Type", "text/plain")?.write_to(&mut request.stdout)?;
    Ok(())
}

/// Has the web server answer with another page; the browser does not notice.
fn local_redirect(request: &mut Request, location: &str) -> HandlerResult {
    ResponseHead::new().field("Location", location)?.write_to(&mut request.stdout)?;
    Ok(())
}

/// Fails in the middle of a response, which the browser must not take for a whole one.
fn cut(request: &mut Request) -> HandlerResult {
    let head =
        ResponseHead::new().field("Content-Type", "text/plain")?.field("Content-Length", "1000")?;
    head.write_to(&mut request.stdout)?;
    writeln!(request.stdout, "This response promises 1000 bytes and ends here.")?;
    request.stdout.flush()?;
    thread::sleep(PAUSE);
    Ok(())
}

fn not_found(request: &mut Request) -> HandlerResult {
    head(request, 404, "text/plain; charset=utf-8")?;
    let path = request.params.get("PATH_INFO").unwrap_or("");
    writeln!(request.stdout, "There is no page {path}.")?;
    Ok(())
}

fn head(request: &mut Request, status: u16, content_type: &str) -> HandlerResult {
    let head = ResponseHead::new().status(status, "")?.field("Content-Type", content_type)?;
    let written: io::Result<()> = head.write_to(&mut request.stdout).map_err(Into::into);
    Ok(written?)
}
