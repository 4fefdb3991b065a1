//! Proves that the hook for the end of a request is called once for each request, however it ends.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver};

use crate::support::*;
use fcgi::server::{Config, HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};

/// What the hook was called with: the value of `N`, status, bytes, app status, outcome.
type Ended = (String, Option<u16>, u64, u32, String);

fn start(config: Config) -> (TestServer, Receiver<Ended>) {
    let (sender, ended) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a server").config(config);
    let server = server.on_request_end(move |ended| {
        assert!(ended.duration <= ended.started.elapsed().unwrap_or_default() + TEST_TIMEOUT);
        let number = ended.params.get("N").unwrap_or("none").to_owned();
        let outcome = ended.outcome.to_string();
        let (status, bytes) = (ended.status, ended.body_bytes);
        sender.send((number, status, bytes, ended.app_status, outcome)).expect("the test waits");
        assert!(ended.params.get("PANIC").is_none(), "the hook panics");
    });
    (TestServer::start(server, act), ended)
}

#[derive(Debug)]
struct PanicsWhenDisplayed;

impl fmt::Display for PanicsWhenDisplayed {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no text")
    }
}

impl std::error::Error for PanicsWhenDisplayed {}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("not dropped")
    }
}

fn act(request: &mut Request) -> HandlerResult {
    match request.query() {
        "error" => Err("an\nerror".into()),
        "panic" => panic!("a panic"),
        "bad error" => Err(Box::new(PanicsWhenDisplayed)),
        "bad payload" => std::panic::panic_any(PanicsWhenDropped),
        "nothing" => Ok(()),
        "limit" => request.stdin.read_limited(1).map(drop).map_err(Into::into),
        "parts" => {
            write!(request.stdout, "Status: 201\r\n")?;
            request.stdout.flush()?;
            write!(request.stdout, "X: y\r\n\r\n")?;
            request.stdout.write_all(&vec![b'x'; 70_000])?;
            request.stdout.write_all(&vec![b'x'; 70_000])?;
            write!(request.stderr, "a note")?;
            Ok(write!(request.stdout, "end")?)
        }
        "sent" => {
            write!(request.stdout, "Location: http://example.org/\r\n\r\n12345")?;
            request.stdout.flush()?;
            Err("an error".into())
        }
        "early" => {
            request.respond(ResponseHead::text().status(202)?, "early")?;
            request.finish_early()?;
            Err("an error".into())
        }
        "abort" => {
            while !request.is_aborted() {
                std::thread::yield_now();
            }
            Ok(())
        }
        "rejected" => Err(StatusError::new(404, "gone").into()),
        "rejected too late" => {
            ResponseHead::text().write_to(&mut request.stdout)?;
            request.stdout.flush()?;
            Err(StatusError::new(404, "gone").into())
        }
        "app status" => {
            request.app_status = 7;
            request.respond(ResponseHead::text(), "text")
        }
        _ => request.respond(ResponseHead::text(), "text"),
    }
}

#[track_caller]
fn next(ended: &Receiver<Ended>) -> Ended {
    ended.recv_timeout(TEST_TIMEOUT).expect("the hook is called")
}

#[test]
fn hook_is_called_once_for_each_request_of_a_handler() {
    let (server, ended) = start(Config::new());
    let text = "The application failed.\n".len() as u64;
    let too_large = "The request's body is too large.\n".len() as u64;
    let cases = [
        ("", Some(200), 4, 0, "finished"),
        ("app status", Some(200), 4, 7, "finished"),
        ("rejected", Some(404), 5, 0, "finished"),
        ("rejected too late", Some(200), 0, 1, "failed: gone"),
        ("parts", Some(201), 140_003, 0, "finished"),
        ("error", Some(500), text, 1, "failed: an\nerror"),
        ("panic", Some(500), text, 1, "failed: handler panicked: a panic"),
        ("nothing", Some(500), text, 1, "failed: handler returned without a response"),
        ("bad error", Some(500), text, 1, "failed: handler panicked: no text"),
        ("bad payload", Some(500), text, 1, "failed: handler panicked: no message"),
        ("limit", Some(413), too_large, 1, "failed: body exceeds the limit of 1 bytes"),
        ("sent", Some(302), 5, 1, "failed: an error"),
        ("early", Some(202), 5, 0, "failed: an error"),
    ];
    for (number, (query, status, bytes, app_status, outcome)) in cases.into_iter().enumerate() {
        let number = number.to_string();
        let pairs = [("QUERY_STRING", query), ("N", &number)];
        server.round_trip(1, &request(1, RESPONDER, 0, &pairs, b"body"));
        assert_eq!(next(&ended), (number, status, bytes, app_status, outcome.into()), "{query}");
    }
    let pairs = [("REQUEST_METHOD", "HEAD")];
    server.round_trip(1, &request(1, RESPONDER, 0, &pairs, b""));
    assert_eq!(next(&ended), ("none".into(), Some(200), 0, 0, "finished".into()));
    server.stop().expect("a clean end");
    assert_eq!(ended.try_iter().count(), 0);
}

/// Each request on a kept connection is counted from zero.
#[test]
fn hook_counts_each_request_of_a_connection_alone() {
    let (server, ended) = start(Config::new());
    let mut stream = server.connect();
    for number in ["1", "2", "3"] {
        stream.write_all(&request(1, RESPONDER, 1, &[("N", number)], b"")).unwrap();
        read_answer(&mut stream, 1);
        assert_eq!(next(&ended), (number.into(), Some(200), 4, 0, "finished".into()));
    }
}

#[test]
fn hook_is_called_for_an_aborted_request() {
    let (server, ended) = start(Config::new());
    let mut stream = server.connect();
    let pairs = [("QUERY_STRING", "abort")];
    stream.write_all(&request(1, RESPONDER, 1, &pairs, b"")).unwrap();
    stream.write_all(&record(ABORT, 1, b"")).unwrap();
    read_answer(&mut stream, 1);
    assert_eq!(next(&ended), ("none".into(), None, 0, 0, "aborted".into()));
}

/// The handler notices it as an error of reading the body, and returns the error. A connection that
/// is closed with unread input, such as a part of the response, is reset.
#[test]
fn hook_is_called_for_an_upload_whose_client_has_left() {
    for unix in [false, true] {
        for is_reset in [false, true] {
            let (sender, ended) = mpsc::channel();
            let directory = tempfile::tempdir().expect("a directory for the socket");
            let path = directory.path().join("app.sock");
            let path = path.to_str().expect("a path in UTF-8");
            let address = if unix && cfg!(unix) { path } else { "127.0.0.1:0" };
            let server = Server::bind(address).expect("a server").on_request_end(move |ended| {
                sender.send(ended.outcome.to_string()).expect("the test waits");
            });
            let server = TestServer::start(server, move |request| {
                if is_reset {
                    ResponseHead::text().write_to(&mut request.stdout)?;
                    request.stdout.flush()?;
                }
                io::copy(&mut request.stdin, &mut io::sink())?;
                Ok(())
            });
            let mut stream = server.connect();
            let head = [begin(1, RESPONDER, 1), params(1, &[("CONTENT_LENGTH", "9")])].concat();
            stream.write_all(&[head, record(STDIN, 1, b"body")].concat()).unwrap();
            if is_reset {
                stream.read_exact(&mut [0]).unwrap();
            }
            drop(stream);
            let outcome = ended.recv_timeout(TEST_TIMEOUT).expect("the hook is called");
            assert_eq!(outcome, "aborted", "{unix}, {is_reset}");
            let kind = server.next_error().0;
            assert!(
                matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn hook_is_called_for_requests_that_exceed_a_bound() {
    let (server, ended) = start(Config::new().max_params(100).max_body(Some(3)));
    let long = "x".repeat(100);
    for (pairs, status, outcome) in [
        ([("N", "1"), ("LONG", &*long)], 431, "rejected: params exceed the limit of 100 bytes"),
        ([("N", "2"), ("CONTENT_LENGTH", "4")], 413, "rejected: body exceeds the limit of 3 bytes"),
    ] {
        // The pairs are in records of their own, so that the first one arrives before the limit.
        let first = record(PARAMS, 1, &pair(pairs[0].0.as_bytes(), pairs[0].1.as_bytes()));
        let rest = params(1, &pairs[1..]);
        let answer = server.round_trip(1, &[begin(1, RESPONDER, 1), first, rest].concat());
        assert!(answer.text().starts_with(&format!("Status: {status} ")), "{}", answer.text());
        let body = answer.text().split_once("\r\n\r\n").map_or(0, |(_, body)| body.len() as u64);
        assert_eq!(
            next(&ended),
            (pairs[0].1.into(), Some(status), body, 1, outcome.into()),
            "{status}"
        );
    }
}

#[cfg(unix)]
#[test]
fn hook_is_called_if_the_response_cannot_be_sent() {
    let timeout = std::time::Duration::from_millis(150);
    let (server, ended) = start(Config::new().write_timeout(Some(timeout)));
    let mut stream = server.connect();
    // The client does not read, so the responses to these requests fill the socket.
    let pairs = [("QUERY_STRING", "parts")];
    let bytes = request(1, RESPONDER, 1, &pairs, b"");
    for _ in 0..1000 {
        stream.write_all(&bytes).unwrap();
    }
    let outcome = ended.iter().map(|ended| ended.4).find(|outcome| outcome != "finished");
    let outcome = outcome.expect("an outcome");
    assert!(outcome.starts_with("response not sent: write timed out after "), "{outcome}");
}

#[test]
fn hook_may_panic() {
    let (server, ended) = start(Config::new());
    let mut stream = server.connect();
    for _ in 0..20 {
        stream.write_all(&request(1, RESPONDER, 1, &[("PANIC", "1")], b"")).unwrap();
        assert!(read_answer(&mut stream, 1).text().ends_with("text"));
        next(&ended);
    }
}

/// The web server no longer reads.
#[cfg(unix)]
#[test]
fn hook_is_called_for_a_request_above_a_limit_that_cannot_be_answered() {
    for (config, pairs) in [
        (Config::new().max_params(1), ("N", "1")),
        (Config::new().max_body(Some(1)), ("CONTENT_LENGTH", "2")),
    ] {
        let (sender, ended) = mpsc::channel();
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("app.sock");
        let server = Server::bind(path.to_str().expect("a path in UTF-8")).expect("a server");
        let server = server.config(config).on_request_end(move |ended| {
            let (bytes, outcome) = (ended.body_bytes, ended.outcome.to_string());
            sender.send((bytes, outcome)).expect("the test waits");
        });
        let server = TestServer::start(server, |_| panic!("no handler is called"));
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("a connection");
        stream.shutdown(std::net::Shutdown::Read).expect("an open socket");
        stream.write_all(&request(1, RESPONDER, 1, &[pairs], b"")).expect("a request is sent");
        let (bytes, outcome) = ended.recv_timeout(TEST_TIMEOUT).expect("the hook is called");
        assert!(outcome.starts_with("response not sent: ") && bytes > 0, "{outcome}");
        assert_eq!(server.next_error().0, io::ErrorKind::BrokenPipe);
    }
}
