//! The demonstration: a FastCGI application in the gateway's process. The gateway connects to it
//! through sockets, as to any other application, and through a relay that notes the records.

mod page;
mod relay;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fcgi::net::Address;
use fcgi::server::{Handle, HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};
use tempfile::TempDir;

use self::relay::Records;

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
        match &*request.path()? {
            "/" => page::index(request, number),
            "/form" => form(request),
            "/upload" => upload(request),
            "/stream" => self.stream(request),
            "/next" => self.next(request),
            "/records" => {
                let records = self.records.describe(request.query());
                request.respond(ResponseHead::text(), records)
            }
            "/status" => status(request),
            "/log" => log(request),
            "/moved" => request.respond(ResponseHead::redirect(302, "/?moved")?, ""),
            "/shortcut" => local_redirect(request, "/?shortcut"),
            "/error" => Err("the handler returned this error".into()),
            "/panic" => panic!("the handler panicked"),
            "/cut" => truncate(request),
            path => Err(StatusError::new(404, format!("There is no page {path}.")).into()),
        }
    }

    /// Sends lines one by one. If there is a query, the next line is sent when `/next` is requested
    /// with the same query, otherwise after an interval.
    fn stream(&self, request: &mut Request) -> HandlerResult {
        let name = request.query();
        let _open = OpenStream::new(self, name.to_owned());
        ResponseHead::text().write_to(&mut request.stdout)?;
        for line in 1..=STREAM_LINES {
            writeln!(request.stdout, "line {line} of {STREAM_LINES}")?;
            request.stdout.flush()?;
            if line == STREAM_LINES || request.is_aborted() {
                break;
            }
            if name.is_empty() {
                thread::sleep(LINE_INTERVAL);
            } else if !self.wait_for_step(name, line) {
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
        let is_open = self.lock_steps().get_mut(request.query()).map(|steps| *steps += 1);
        is_open.ok_or(StatusError::new(404, "There is no such stream."))?;
        self.stepped.notify_all();
        request.respond(ResponseHead::new().status(204)?, "")
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
    let body = request.stdin.read_limited(MAX_FORM)?;
    page::form(request, &body)
}

/// Reads a file while it arrives, and answers with its length and checksum.
fn upload(request: &mut Request) -> HandlerResult {
    let (mut length, mut checksum) = (0, crc32fast::Hasher::new());
    loop {
        let received = request.stdin.fill_buf()?;
        let len = received.len();
        if len == 0 {
            break;
        }
        checksum.update(received);
        request.stdin.consume(len);
        length += len;
    }
    let text = format!("{length} bytes, CRC-32 {:08x}\n", checksum.finalize());
    request.respond(ResponseHead::text(), text)
}

/// Ends the request with an app status other than 0.
fn status(request: &mut Request) -> HandlerResult {
    request.app_status = 3;
    request.respond(
        ResponseHead::text(),
        "The application ended this request with app status 3. The gateway has logged it.\n",
    )
}

/// Writes to STDERR, which the gateway logs.
fn log(request: &mut Request) -> HandlerResult {
    writeln!(request.stderr, "a log message with an escape sequence \x1b[31m")?;
    request.respond(
        ResponseHead::text(),
        "The application wrote a line to STDERR. It is in the terminal where the gateway runs.\n",
    )
}

/// Asks the web server to answer with another page. The browser does not notice the redirect. A
/// head with another field, such as the `Content-Length` that `respond` adds, would be a redirect
/// that the browser follows.
fn local_redirect(request: &mut Request, location: &str) -> HandlerResult {
    ResponseHead::new().field("Location", location)?.write_to(&mut request.stdout)?;
    Ok(())
}

/// Sends an incomplete response, which the browser must not mistake for a complete one.
fn truncate(request: &mut Request) -> HandlerResult {
    ResponseHead::text().field("Content-Length", "1000")?.write_to(&mut request.stdout)?;
    // The gateway waits for the second line before it starts its response.
    for line in ["This response announces 1000 bytes,", "and ends here."] {
        writeln!(request.stdout, "{line}")?;
        request.stdout.flush()?;
    }
    Ok(())
}
