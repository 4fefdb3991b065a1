//! What the example `echo` answers, whoever asks it.

use std::collections::BTreeMap;

use crate::http::{Answer, Ask, Held};
use crate::process::Process;

/// The params that `echo` was sent, and the body, as it tells them.
#[derive(Debug)]
pub struct Echoed {
    pub params: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Echoed {
    #[track_caller]
    pub fn parse(answer: &[u8]) -> Self {
        let mut params = BTreeMap::new();
        let mut rest = answer;
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n').expect("a line of echo's answer");
            let (line, behind) =
                (String::from_utf8_lossy(&rest[..end]).into_owned(), &rest[end + 1..]);
            if line.is_empty() {
                return Self { params, body: behind.to_vec() };
            }
            let (name, value) =
                line.split_once('=').unwrap_or_else(|| panic!("{line:?} in echo's answer"));
            assert!(
                params.keys().next_back().map_or(true, |last| **last < *name),
                "{name} is twice, or out of order"
            );
            params.insert(name.to_owned(), value.to_owned());
            rest = behind;
        }
    }

    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.one("Content-Type"), "text/plain");
        Self::parse(&answer.body)
    }

    /// Checks some of the params.
    #[track_caller]
    pub fn has(&self, params: &[(&str, &str)]) {
        for (name, value) in params {
            assert_eq!(
                self.params.get(*name).map(String::as_str),
                Some(*value),
                "{name} of {:#?}",
                self.params
            );
        }
    }

    /// Checks the body, without printing 64 MiB if it is another.
    #[track_caller]
    pub fn has_body(&self, body: &[u8]) {
        assert_same(&self.body, body);
    }
}

/// Compares what may be too large to print.
#[track_caller]
pub fn assert_same(got: &[u8], want: &[u8]) {
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

/// Bytes of every value in no order that could hide a piece left out, doubled or moved.
pub fn noise(len: usize) -> Vec<u8> {
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

/// Sends requests through a web server that are all under way at once, and checks that each gets
/// its own answer. `are_begun` waits, with all of them half sent, for what shows that.
#[track_caller]
pub fn check_at_once(port: u16, target: &str, count: usize, are_begun: impl FnOnce()) {
    let bodies: Vec<Vec<u8>> =
        (0..count).map(|number| format!("{number} ").repeat(500).into_bytes()).collect();
    let mut held: Vec<Held> = bodies.iter().map(|body| Held::begin(port, target, body)).collect();
    are_begun();
    held.iter_mut().for_each(Held::release);
    for (held, body) in held.into_iter().zip(&bodies) {
        Echoed::of(&held.answer()).has_body(body);
    }
}

/// What every web server in front of `echo` is to be able to do; it has `echo` on all paths.
#[track_caller]
pub fn check(port: u16, server: &Process) {
    let get = Ask::get("/a/path?a=1&b=%26")
        .header("X-Asked", &"long ".repeat(400))
        .header("Cookie", "a=1; b=2");
    let echoed = Echoed::of(&get.send(port));
    echoed.has(&[
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("HTTP_X_ASKED", "long ".repeat(400).trim_end()),
        ("QUERY_STRING", "a=1&b=%26"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/a/path?a=1&b=%26"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ]);
    echoed.has_body(b"");

    for len in [0, 1, 100 << 10, 8 << 20] {
        let body = noise(len);
        let echoed = Echoed::of(&Ask::post("/", "application/octet-stream", &body[..]).send(port));
        echoed.has(&[
            ("CONTENT_LENGTH", &len.to_string()),
            ("CONTENT_TYPE", "application/octet-stream"),
            ("REQUEST_METHOD", "POST"),
        ]);
        echoed.has_body(&body);
    }

    let answer = Ask::get("/?bytes=8000000").send(port);
    assert_same(&answer.body, &b"x".repeat(8_000_000));
    let answer = Ask::head("/?bytes=100").send(port);
    assert_eq!(
        (answer.status, answer.body.len(), answer.one("Content-Type")),
        (200, 0, "text/plain")
    );
    let answer = Ask::get("/?status=404").send(port);
    assert_eq!(answer.status, 404);
    Echoed::parse(&answer.body).has(&[("REQUEST_METHOD", "GET")]);
    let answer = Ask::post("/?bytes=5&noread=1", "text/plain", "not read").send(port);
    assert_eq!((answer.status, &*answer.text()), (200, "xxxxx"));

    Ask::get("/?stderr=a-word-for-the-log").send(port);
    server.wait_for_log("a-word-for-the-log");
    check_at_once(port, "/", 50, || {});
}
