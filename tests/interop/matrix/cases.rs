//! The cases of the matrix. Each works with every web server and every application.
//!
//! The application is `echo`, or one in `tests/interop/peers` that understands the same keys of the
//! query string.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::backend::Backend;
use crate::echo::{random_bytes, EchoResponse};
use crate::http::{HttpRequest, HttpResponse};
use crate::process::{is_met_within, Process, TestDir};

/// The length of the body of the large request and its response.
const LARGE: usize = 10_000_000;
/// A response that takes as long as this does not arrive.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time in which an event is noticed, or else never.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is open for as long after a response is kept.
const KEPT_AFTER: Duration = Duration::from_secs(1);
const LOAD_THREADS: usize = 4;
const RESTARTS: usize = 3;

/// A web server, and an application behind it.
pub struct Site {
    pub port: u16,
    /// The path of the application.
    pub path: &'static str,
    pub web_server: Process,
    pub backend: Backend,
    /// Whether the application logs that the client has left.
    pub logs_aborts: bool,
    /// Removed last.
    pub _dir: Arc<TestDir>,
}

/// What is wrong, in the words of the table.
pub type Verdict = Result<(), String>;

/// Checks one case.
type Check = fn(&mut Site) -> Verdict;

pub const CASES: [(&str, Check); 12] = [
    ("GET", get),
    ("POST", post),
    ("10 MB", large_bodies),
    ("HEAD", head),
    ("204, 304", no_content),
    ("redirect", redirect),
    ("cookies", cookies),
    ("stderr", stderr),
    ("kept", kept_connection),
    ("abort", abort),
    ("restart", restart),
    ("kill", kill),
];

fn verdict(is_ok: bool, otherwise: &str) -> Verdict {
    if is_ok {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

impl Site {
    fn target(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// Sends a request. Its response must have this status.
    fn send(&self, request: &HttpRequest, status: u16) -> Result<HttpResponse, String> {
        let response = request.try_send(self.port, RESPONSE_TIMEOUT).map_err(|error| {
            println!("{}: {error}", request.target);
            "no response".to_owned()
        })?;
        if response.status != status {
            println!("{}: {response:?}", request.target);
            return Err(response.status.to_string());
        }
        Ok(response)
    }

    /// Returns how often the application has logged that a client has left.
    fn aborts(&self) -> usize {
        let logs = self.web_server.log() + &self.backend.log();
        logs.lines().filter(|line| line.ends_with("aborted")).count()
    }

    fn get(&self, query: &str, status: u16) -> Result<HttpResponse, String> {
        self.send(&HttpRequest::get(self.target(query)), status)
    }
}

fn get(site: &mut Site) -> Verdict {
    let echo = EchoResponse::parse(&site.get("a=1&b=%26", 200)?.body);
    echo.assert_params(&[("QUERY_STRING", "a=1&b=%26"), ("REQUEST_METHOD", "GET")]);
    Ok(())
}

fn post_bytes(site: &Site, body: &[u8]) -> Verdict {
    let request = HttpRequest::post(site.target("a=1"), "application/octet-stream", body);
    let echo = EchoResponse::parse(&site.send(&request, 200)?.body);
    echo.assert_params(&[("REQUEST_METHOD", "POST")]);
    verdict(echo.body == body, "changed")
}

fn post(site: &mut Site) -> Verdict {
    post_bytes(site, b"a body")
}

fn large_bodies(site: &mut Site) -> Verdict {
    post_bytes(site, &random_bytes(LARGE))
}

fn head(site: &mut Site) -> Verdict {
    let response = site.send(&HttpRequest::head(site.target("a=1")), 200)?;
    verdict(response.body.is_empty(), "body")
}

fn no_content(site: &mut Site) -> Verdict {
    for status in [204, 304] {
        let response = site.get(&format!("status={status}"), status)?;
        verdict(response.body.is_empty(), "body")?;
    }
    Ok(())
}

fn redirect(site: &mut Site) -> Verdict {
    let response = site.get("status=303&location=/elsewhere", 303)?;
    let location = response.header_values("Location");
    let is_same = matches!(location[..], [url] if url.ends_with("/elsewhere"));
    verdict(is_same, "changed")
}

fn cookies(site: &mut Site) -> Verdict {
    let request = HttpRequest::get(site.target("cookies=1")).header("Cookie", "c=3; d=4");
    let response = site.send(&request, 200)?;
    EchoResponse::parse(&response.body).assert_params(&[("HTTP_COOKIE", "c=3; d=4")]);
    verdict(response.header_values("Set-Cookie") == ["a=1; Path=/", "b=2"], "changed")
}

fn stderr(site: &mut Site) -> Verdict {
    site.get("stderr=a-log-message", 200)?;
    let log = &site.web_server;
    verdict(is_met_within(EVENT_TIMEOUT, || log.log().contains("a-log-message")), "dropped")
}

fn kept_connection(site: &mut Site) -> Verdict {
    get(site)?;
    get(site)?;
    let is_closed = is_met_within(KEPT_AFTER, || site.backend.connections() == 0);
    verdict(!is_closed, "closed")
}

/// The client leaves while the application writes. That must end the request in the application,
/// which serves the next one.
fn abort(site: &mut Site) -> Verdict {
    let before = site.aborts();
    // It ends by itself after a time in which it would have been noticed.
    let download = Download::start(site, "lines=5&count=1200&width=1024").map(drop);
    let is_noticed = is_met_within(EVENT_TIMEOUT, || {
        if site.logs_aborts {
            site.aborts() > before
        } else {
            site.backend.connections() == 0
        }
    });
    // The cases that follow need an application that is not busy.
    is_met_within(RESPONSE_TIMEOUT, || is_noticed || site.backend.connections() == 0);
    download?;
    verdict(is_noticed, "unnoticed")?;
    get(site)
}

/// No request is lost while the processes are replaced, not even the one that is being answered.
fn restart(site: &mut Site) -> Verdict {
    let download = Download::start(site, "lines=5&count=100&width=1024")?;
    let failed = under_load(site, RESTARTS, Backend::restart);
    let end = download.read_to_end();
    println!("restart: {failed} of the other requests failed; {end:?}");
    verdict(end == End::Complete, "cut")?;
    verdict(failed == 0, "losses")?;
    verdict(site.backend.old_processes_exit(), "no exit")
}

/// Only requests that the killed process was answering fail. The client of one that has begun can
/// tell that its response is incomplete.
fn kill(site: &mut Site) -> Verdict {
    let download = Download::start(site, "lines=5&width=1024")?;
    let failed = under_load(site, 1, Backend::kill);
    let end = download.read_to_end();
    println!("kill: {failed} of the other requests failed; {end:?}");
    for _ in 0..10 {
        get(site).map_err(|_| "down".to_owned())?;
    }
    verdict(failed <= LOAD_THREADS, "losses")?;
    verdict(end == End::Broken, "complete")
}

/// Sends requests from several threads while `act` replaces the processes, this many times. Returns
/// how many requests failed.
fn under_load(site: &mut Site, times: usize, act: fn(&mut Backend)) -> usize {
    let (is_over, answered, failed) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (port, request) = (site.port, HttpRequest::get(site.target("a=1")));
    let send = || {
        while !is_over.load(SeqCst) {
            let response = request.try_send(port, RESPONSE_TIMEOUT);
            let is_answered = response.as_ref().is_ok_and(|response| response.status == 200);
            if !is_answered {
                println!("failed: {response:?}");
            }
            let counter = if is_answered { &answered } else { &failed };
            counter.fetch_add(1, SeqCst);
        }
    };
    let wait_for = |count: usize| {
        let count = answered.load(SeqCst) + count;
        is_met_within(EVENT_TIMEOUT, || answered.load(SeqCst) >= count)
    };
    thread::scope(|scope| {
        let _stop = StopOnDrop(&is_over);
        for _ in 0..LOAD_THREADS {
            scope.spawn(send);
        }
        wait_for(20);
        for _ in 0..times {
            act(&mut site.backend);
            wait_for(50);
        }
    });
    failed.into_inner()
}

/// Ends the load, even if the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A response that is being received.
struct Download {
    stream: TcpStream,
    received: Vec<u8>,
}

/// The end of a response, as the client sees it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    /// The response is incomplete, and the client can tell.
    Broken,
}

impl Download {
    /// Sends a request, and waits for the first byte of the body. If none arrives in time, the
    /// response is collected somewhere.
    fn start(site: &Site, query: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", site.port)).expect("a connection");
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a timeout");
        let target = site.target(query);
        let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut download = Self { stream, received: Vec::new() };
        while !download.has_body() {
            if !matches!(download.read(), Ok(len) if len > 0) {
                return Err("collected".into());
            }
        }
        Ok(download)
    }

    fn read(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 65536];
        let len = self.stream.read(&mut piece)?;
        self.received.extend_from_slice(&piece[..len]);
        Ok(len)
    }

    fn has_body(&self) -> bool {
        let head = self.received.windows(4).position(|window| window == b"\r\n\r\n");
        head.is_some_and(|end| self.received.len() > end + 4)
    }

    fn read_to_end(mut self) -> End {
        while !self.received.ends_with(b"\r\n0\r\n\r\n") {
            match self.read() {
                Ok(0) if self.is_chunked() => return End::Broken,
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_reset) => return End::Broken,
            }
        }
        End::Complete
    }

    fn is_chunked(&self) -> bool {
        let head = String::from_utf8_lossy(&self.received[..self.received.len().min(2000)]);
        head.to_lowercase().contains("transfer-encoding: chunked")
    }
}
