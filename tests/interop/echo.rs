//! Requests to the example `echo` through a web server, and checks of its responses.

use std::collections::BTreeMap;

use crate::http::{HttpRequest, HttpResponse, PausedRequest};
use crate::process::Process;

/// The params and the body that `echo` received.
#[derive(Debug)]
pub struct EchoResponse {
    pub params: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl EchoResponse {
    /// Parses the body of the HTTP response.
    #[track_caller]
    pub fn parse(body: &[u8]) -> Self {
        let mut params = BTreeMap::new();
        let mut rest = body;
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n').expect("the end of a line");
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            if line.is_empty() {
                return Self { params, body: rest.to_vec() };
            }
            let (name, value) =
                line.split_once('=').unwrap_or_else(|| panic!("{line:?} is not NAME=VALUE"));
            assert!(
                params.keys().next_back().is_none_or(|last| **last < *name),
                "{name} is repeated or out of order"
            );
            params.insert(name.to_owned(), value.to_owned());
        }
    }

    #[track_caller]
    pub fn new(response: &HttpResponse) -> Self {
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header("Content-Type"), "text/plain");
        Self::parse(&response.body)
    }

    /// Asserts that these params were received.
    #[track_caller]
    pub fn assert_params(&self, params: &[(&str, &str)]) {
        for (name, value) in params {
            assert_eq!(
                self.params.get(*name).map(String::as_str),
                Some(*value),
                "{name} of {:#?}",
                self.params
            );
        }
    }

    /// Asserts that this body was received.
    #[track_caller]
    pub fn assert_body(&self, body: &[u8]) {
        assert_bytes_eq(&self.body, body);
    }
}

/// Asserts that two byte strings are equal. Prints only the beginning of the difference.
#[track_caller]
pub fn assert_bytes_eq(got: &[u8], want: &[u8]) {
    if got != want {
        let common = got.iter().zip(want).take_while(|(got, want)| got == want).count();
        let piece = String::from_utf8_lossy(&got[common..got.len().min(common + 200)]);
        panic!(
            "{} bytes, expected {}; they differ from byte {common}: {piece:?}",
            got.len(),
            want.len()
        );
    }
}

/// Returns pseudorandom bytes, so that omitted, repeated or moved bytes are noticed.
pub fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut step).take(len.div_ceil(4)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// Sends requests through a web server that are all in flight at once, and checks that each
/// receives its own response. `wait_for_all` runs when half of each request has been sent.
#[track_caller]
pub fn check_concurrent(port: u16, target: &str, count: usize, wait_for_all: impl FnOnce()) {
    let bodies: Vec<Vec<u8>> =
        (0..count).map(|number| format!("{number} ").repeat(500).into_bytes()).collect();
    let mut requests: Vec<PausedRequest> =
        bodies.iter().map(|body| PausedRequest::start(port, target, body)).collect();
    wait_for_all();
    requests.iter_mut().for_each(PausedRequest::finish);
    for (request, body) in requests.into_iter().zip(&bodies) {
        EchoResponse::new(&request.read_response()).assert_body(body);
    }
}

/// Checks what every web server must do with `echo`, which answers all paths.
#[track_caller]
pub fn check(port: u16, server: &Process) {
    check_params(port);
    check_bodies(port);
    check_responses(port);
    HttpRequest::get("/?stderr=a-log-message").send(port);
    server.wait_for_log("a-log-message");
    check_concurrent(port, "/", 50, || {});
}

fn check_params(port: u16) {
    let request = HttpRequest::get("/a/path?a=1&b=%26")
        .header("X-Asked", &"long ".repeat(400))
        .header("Cookie", "a=1; b=2");
    let echo = EchoResponse::new(&request.send(port));
    echo.assert_params(&[
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("HTTP_X_ASKED", "long ".repeat(400).trim_end()),
        ("QUERY_STRING", "a=1&b=%26"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a/path?a=1&b=%26"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ]);
    echo.assert_body(b"");
}

fn check_bodies(port: u16) {
    for len in [0, 1, 100 << 10, 8 << 20] {
        let body = random_bytes(len);
        let request = HttpRequest::post("/", "application/octet-stream", &body[..]);
        let echo = EchoResponse::new(&request.send(port));
        echo.assert_params(&[
            ("CONTENT_LENGTH", &len.to_string()),
            ("CONTENT_TYPE", "application/octet-stream"),
            ("REQUEST_METHOD", "POST"),
        ]);
        echo.assert_body(&body);
    }
}

fn check_responses(port: u16) {
    let response = HttpRequest::get("/?bytes=8000000").send(port);
    assert_bytes_eq(&response.body, &b"x".repeat(8_000_000));
    let response = HttpRequest::head("/?bytes=100").send(port);
    assert_eq!(
        (response.status, response.body.len(), response.header("Content-Type")),
        (200, 0, "text/plain")
    );
    let response = HttpRequest::get("/?status=404").send(port);
    assert_eq!(response.status, 404);
    EchoResponse::parse(&response.body).assert_params(&[("REQUEST_METHOD", "GET")]);
    let response = HttpRequest::post("/?bytes=5&noread=1", "text/plain", "not read").send(port);
    assert_eq!((response.status, &*response.text()), (200, "xxxxx"));
}
