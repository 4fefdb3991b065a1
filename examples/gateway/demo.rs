//! The demonstration: a FastCGI application in the gateway's process. The gateway connects to it
//! through sockets, as to any other application, and through a relay that notes the records.

mod page;
mod relay;
mod response;

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fcgi::cgi::ResponseHead;
use fcgi::net::Address;
use fcgi::server::{Handle, HandlerResult, Request};
use fcgi::Server;
use tempfile::TempDir;

use self::relay::Records;
use self::response::write_head;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// The number of lines in a stream.
const STREAM_LINES: u32 = 12;
/// The time between two lines of a stream.
const LINE_INTERVAL: Duration = Duration::from_millis(250);
/// The time that a stream without intervals waits for a request for the next line.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of a form.
const MAX_FORM: u64 = 64 * 1024;

/// The running application.
pub struct Demo {
    pub address: Address,
    /// The address of the relay between the gateway and the application.
    pub relay: Address,
    handle: Handle,
    thread: JoinHandle<fcgi::Result<()>>,
    /// Contains the socket. The directory is removed when this is dropped.
    _directory: TempDir,
}

impl Demo {
    /// Starts the application on a socket in a temporary directory.
    pub fn start() -> fcgi::Result<Self> {
        let directory = tempfile::tempdir()?;
        let server = Server::bind(socket_address(&directory, "demo"))?;
        let (address, handle) = (server.local_address()?, server.handle());
        let records = Arc::<Records>::default();
        let relay = socket_address(&directory, "relay").parse()?;
        let relay = relay::start(&relay, address.clone(), Arc::clone(&records))?;
        let application = Application { records, ..Application::default() };
        let thread = thread::Builder::new()
            .spawn(move || server.serve(move |request| application.handle(request)))?;
        Ok(Self { address, relay, handle, thread, _directory: directory })
    }

    /// Stops the application and removes its socket.
    pub fn stop(self) {
        self.handle.shutdown();
        let _ = self.thread.join();
    }
}

#[cfg(unix)]
fn socket_address(directory: &TempDir, name: &str) -> String {
    format!("unix:{}/{name}.sock", directory.path().display())
}

#[cfg(not(unix))]
fn socket_address(_: &TempDir, _: &str) -> String {
    "127.0.0.1:0".into()
}

#[derive(Default)]
struct Application {
    /// The number of requests so far.
    requests: AtomicU64,
    /// For each open stream, by name, how many times `/next` was requested.
    steps: Mutex<HashMap<String, u32>>,
    /// Signalled when `/next` is requested.
    stepped: Condvar,
    /// The records of recent requests.
    records: Arc<Records>,
}

impl Application {
    fn handle(&self, request: &mut Request) -> HandlerResult {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match request.params.get("PATH_INFO").unwrap_or("") {
            "/" => page::index(request, number),
            "/form" => form(request),
            "/upload" => upload(request),
            "/stream" => self.stream(request),
            "/next" => self.next(request),
            "/records" => self.show_records(request),
            "/status" => status(request),
            "/log" => log(request),
            "/moved" => redirect(request, 302, "/?moved"),
            "/shortcut" => local_redirect(request, "/?shortcut"),
            "/error" => Err("the handler returned this error".into()),
            "/panic" => panic!("the handler panicked"),
            "/cut" => truncate(request),
            _ => not_found(request),
        }
    }

    /// Sends lines one by one. If the query string contains a name, the next line is sent when
    /// `/next` is requested with that name, otherwise after an interval.
    fn stream(&self, request: &mut Request) -> HandlerResult {
        let name = request.params.get("QUERY_STRING").unwrap_or("").to_owned();
        let _open = OpenStream::new(self, name.clone());
        write_head(request, 200, PLAIN_TEXT)?;
        for line in 1..=STREAM_LINES {
            writeln!(request.stdout, "line {line} of {STREAM_LINES}")?;
            request.stdout.flush()?;
            if line == STREAM_LINES || request.is_aborted() {
                break;
            }
            if name.is_empty() {
                thread::sleep(LINE_INTERVAL);
            } else if !self.wait_for_step(&name, line) {
                writeln!(request.stdout, "The next line was not requested in time.")?;
                break;
            }
        }
        Ok(())
    }

    /// Waits until `/next` has been requested `count` times. Returns `false` if it takes too long.
    fn wait_for_step(&self, name: &str, count: u32) -> bool {
        let is_waiting =
            |steps: &mut HashMap<String, u32>| steps.get(name).is_some_and(|steps| *steps < count);
        let outcome = self.stepped.wait_timeout_while(self.lock_steps(), STEP_TIMEOUT, is_waiting);
        !outcome.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Requests the next line of an open stream.
    fn next(&self, request: &mut Request) -> HandlerResult {
        let name = request.params.get("QUERY_STRING").unwrap_or("");
        let is_open = self.lock_steps().get_mut(name).map(|steps| *steps += 1).is_some();
        self.stepped.notify_all();
        write_head(request, if is_open { 204 } else { 404 }, "text/plain")
    }

    /// Sends the records of the requests that belong to the number in the query string.
    fn show_records(&self, request: &mut Request) -> HandlerResult {
        let text = self.records.describe(request.params.get("QUERY_STRING").unwrap_or(""));
        write_head(request, 200, PLAIN_TEXT)?;
        Ok(request.stdout.write_all(text.as_bytes())?)
    }

    fn lock_steps(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open stream. Its name is removed when this is dropped, even if the client has left.
struct OpenStream<'a> {
    application: &'a Application,
    name: String,
}

impl<'a> OpenStream<'a> {
    fn new(application: &'a Application, name: String) -> Self {
        application.lock_steps().insert(name.clone(), 0);
        Self { application, name }
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.application.lock_steps().remove(&self.name);
    }
}

/// Shows the fields of a form.
fn form(request: &mut Request) -> HandlerResult {
    let mut body = Vec::new();
    (&mut request.stdin).take(MAX_FORM).read_to_end(&mut body)?;
    page::form(request, &body)
}

/// Reads a file while it arrives, and answers with its length and checksum.
fn upload(request: &mut Request) -> HandlerResult {
    let (mut length, mut checksum) = (0, crc32fast::Hasher::new());
    loop {
        let received = request.stdin.fill_buf()?;
        if received.is_empty() {
            break;
        }
        checksum.update(received);
        let len = received.len();
        request.stdin.consume(len);
        length += len;
    }
    write_head(request, 200, PLAIN_TEXT)?;
    writeln!(request.stdout, "{length} bytes, CRC-32 {:08x}", checksum.finalize())?;
    Ok(())
}

/// Ends the request with an app status other than 0.
fn status(request: &mut Request) -> HandlerResult {
    request.app_status = 3;
    write_head(request, 200, PLAIN_TEXT)?;
    writeln!(
        request.stdout,
        "The application ended this request with app status 3. The gateway has logged it."
    )?;
    Ok(())
}

/// Writes to STDERR, which the gateway logs.
fn log(request: &mut Request) -> HandlerResult {
    writeln!(request.stderr, "a log message with an escape sequence \x1b[31m")?;
    write_head(request, 200, PLAIN_TEXT)?;
    writeln!(
        request.stdout,
        "The application wrote a line to STDERR. It is in the terminal where the gateway runs."
    )?;
    Ok(())
}

/// Redirects the browser.
fn redirect(request: &mut Request, status: u16, location: &str) -> HandlerResult {
    let head = ResponseHead::new().status(status)?.field("Location", location)?;
    head.field("Content-Type", "text/plain")?.write_to(&mut request.stdout)?;
    Ok(())
}

/// Asks the web server to answer with another page. The browser does not notice the redirect.
fn local_redirect(request: &mut Request, location: &str) -> HandlerResult {
    ResponseHead::new().field("Location", location)?.write_to(&mut request.stdout)?;
    Ok(())
}

/// Sends an incomplete response, which the browser must not mistake for a complete one.
fn truncate(request: &mut Request) -> HandlerResult {
    let head =
        ResponseHead::new().field("Content-Type", "text/plain")?.field("Content-Length", "1000")?;
    head.write_to(&mut request.stdout)?;
    // The gateway waits for the second line before it starts its response.
    for line in ["This response announces 1000 bytes,", "and ends here."] {
        writeln!(request.stdout, "{line}")?;
        request.stdout.flush()?;
    }
    Ok(())
}

fn not_found(request: &mut Request) -> HandlerResult {
    write_head(request, 404, PLAIN_TEXT)?;
    let path = request.params.get("PATH_INFO").unwrap_or("");
    writeln!(request.stdout, "There is no page {path}.")?;
    Ok(())
}
