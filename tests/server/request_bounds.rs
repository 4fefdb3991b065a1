//! Proves the bounds on a whole request: how long its params and its body may take, and how large
//! its body may be.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Error;

/// The request timeout of most tests. The read timeout is much longer.
const TIMEOUT: Duration = Duration::from_millis(200);
/// The pause between two bytes of a slow peer.
const PAUSE: Duration = Duration::from_millis(20);

fn slow_config() -> Config {
    Config::new().request_timeout(Some(TIMEOUT)).roles(&[Role::Responder, Role::Filter])
}

/// Sends bytes one at a time until the server closes the connection or all are sent. Returns the
/// time that this has taken.
fn send_slowly(stream: &Stream, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = stream;
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        thread::sleep(PAUSE);
    }
    start.elapsed()
}

/// Reads all of stdin and, as a filter, the file. Asserts that reading fails because the body took
/// too long.
fn expect_slow_body(request: &mut Request) -> HandlerResult {
    let role = request.role;
    let outcome = match role {
        Role::Filter => request.stdin.data().and_then(|file| io::copy(file, &mut io::sink())),
        _ => io::copy(&mut request.stdin, &mut io::sink()),
    };
    let error = outcome.expect_err("the body is too slow");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let error = Error::from(error);
    assert!(
        matches!(error, Error::RequestTimedOut { part: "body", limit: TIMEOUT }),
        "{error:?} in the role of {role:?}"
    );
    Err(error.into())
}

/// Each read receives a byte long before the read timeout, which alone would never end this.
#[test]
fn slow_params_end_the_connection_after_the_request_timeout() {
    for server in TestServer::tcp_and_unix(&slow_config(), echo) {
        for bytes in [
            [begin(1, RESPONDER, 1), record(PARAMS, 1, &[0; 1000])].concat(),
            // Other records do not stop the clock.
            [begin(1, RESPONDER, 1), record(PARAMS, 2, b"").repeat(100)].concat(),
            [begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"").repeat(100)].concat(),
        ] {
            let mut stream = server.connect();
            let start = Instant::now();
            send_slowly(&stream, &bytes);
            // A query may have been answered before.
            let _reset = stream.read_to_end(&mut Vec::new());
            assert!(start.elapsed() >= TIMEOUT, "{:?}", start.elapsed());
            let expected =
                "params of the request did not arrive within the request timeout of 200ms"
                    .to_owned();
            assert_eq!(server.next_error(), (io::ErrorKind::TimedOut, expected));
        }
    }
}

/// The peer sends nothing more, so the read itself must end in time. Its timeout is 60 seconds.
#[test]
fn last_read_of_a_request_ends_at_the_request_timeout() {
    let config = slow_config();
    for server in TestServer::tcp_and_unix(&config, expect_slow_body) {
        let (begin, params) = (begin(1, RESPONDER, 1), params(1, &[]));
        let mut stream = server.connect();
        let start = Instant::now();
        stream.write_all(&begin).unwrap();
        assert_no_response(&mut stream);
        let mut stream = server.connect();
        stream.write_all(&[begin, params, record(STDIN, 1, b"body")].concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1).app_status, 1);
        assert_closed(&mut stream);
        let took = start.elapsed();
        assert!(took >= 2 * TIMEOUT && took < Duration::from_secs(10), "{took:?}");
    }
}

/// The message reaches the log of the web server.
#[test]
fn slow_body_fails_after_the_request_timeout() {
    for server in TestServer::tcp_and_unix(&slow_config(), expect_slow_body) {
        for (role, parts) in [
            (RESPONDER, vec![record(STDIN, 1, &[b'x'; 1000])]),
            (FILTER, vec![record(STDIN, 1, &[b'x'; 1000])]),
            (FILTER, vec![record(STDIN, 1, b""), record(DATA, 1, &[b'x'; 1000])]),
        ] {
            let mut stream = server.connect();
            stream.write_all(&[begin(1, role, 1), params(1, &[])].concat()).unwrap();
            let (sent, answer) = thread::scope(|scope| {
                let sending = scope.spawn(|| send_slowly(&stream, &parts.concat()));
                let answer = read_answer(&mut &stream, 1);
                (sending.join().unwrap(), answer)
            });
            assert!(sent >= TIMEOUT && sent < Duration::from_secs(10), "{sent:?}");
            assert_eq!(answer.app_status, 1);
            assert_eq!(
                String::from_utf8_lossy(&answer.stderr),
                "body of the request did not arrive within the request timeout of 200ms\n"
            );
        }
    }
}

/// Params and body together take longer than the timeout, and so do several requests.
#[test]
fn request_timeout_applies_to_params_and_body_and_to_each_request() {
    let timeout = Duration::from_secs(1);
    let pause = timeout / 2;
    let config = Config::new().request_timeout(Some(timeout)).read_timeout(Some(2 * timeout));
    for server in TestServer::tcp_and_unix(&config, echo) {
        let mut stream = server.connect();
        let head = [begin(1, RESPONDER, 1), params(1, &[("A", "1")])].concat();
        let body = [record(STDIN, 1, b"body"), record(STDIN, 1, b"")].concat();
        for _ in 0..2 {
            for part in [&head, &body] {
                let (first, rest) = part.split_at(part.len() / 2);
                stream.write_all(first).unwrap();
                thread::sleep(pause);
                stream.write_all(rest).unwrap();
            }
            assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[("A", "1")], b"body"));
            // The time between requests does not count.
            thread::sleep(2 * pause);
        }
        // Pipelined requests have the whole time each.
        let whole = request(1, RESPONDER, 1, &[("A", "1")], b"body");
        let mut rest = whole.repeat(4);
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(whole.len() / 2 + 20));
            stream.write_all(&rest).unwrap();
            thread::sleep(pause / 4);
            rest = later;
        }
        for _ in 0..4 {
            assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[("A", "1")], b"body"));
        }
        assert_eq!(server.reported_errors(), []);
    }
}

#[test]
fn no_request_timeout_allows_any_time() {
    let config = Config::new().request_timeout(None);
    let server = TestServer::tcp(config, echo);
    let stream = server.connect();
    let bytes = request(1, RESPONDER, 0, &[("A", "1")], b"body");
    thread::scope(|scope| {
        scope.spawn(|| send_slowly(&stream, &bytes));
        assert_eq!(read_answer(&mut &stream, 1).stdout, echoed(&[("A", "1")], b"body"));
    });
}
