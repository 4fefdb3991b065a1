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
    assert!(matches!(error, Error::RequestTimedOut(TIMEOUT)), "{error:?} in the role of {role:?}");
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
            let expected = "request did not arrive within 200 ms".to_owned();
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
                "request did not arrive within 200 ms\n"
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

/// The largest body that the tests allow.
const MAX_BODY: u64 = 1000;
/// The response to a request whose body is too large.
const TOO_LARGE: &str = "Status: 413 Content Too Large\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 33\r\n\r\n\
    The request's body is too large.\n";

fn small_body_config() -> Config {
    Config::new().max_body(Some(MAX_BODY)).roles(&[Role::Responder, Role::Filter, Role::Authorizer])
}

/// The handler does not run, and the connection is closed although KEEP_CONN was set. Rule A54.
#[test]
fn server_replies_413_when_content_length_exceeds_the_limit() {
    for server in TestServer::tcp_and_unix(&small_body_config(), echo) {
        let mut stream = server.connect();
        for len in ["1000", "1000"] {
            let pairs = &[("CONTENT_LENGTH", len)];
            let body = [b'b'; MAX_BODY as usize];
            stream.write_all(&request(1, RESPONDER, 1, pairs, &body)).unwrap();
            assert_eq!(read_answer(&mut stream, 1).stdout, echoed(pairs, &body));
        }
        for (role, len, body) in [
            (RESPONDER, "1001", vec![b'b'; 1001]),
            (FILTER, "1001", vec![]),
            (RESPONDER, "18446744073709551615", vec![b'b'; 4 << 20]),
        ] {
            let mut stream = server.connect();
            let writer = stream.clone();
            let bytes = request(1, role, 1, &[("CONTENT_LENGTH", len)], &body);
            thread::scope(|scope| {
                // The server may stop reading.
                scope.spawn(move || drop((&writer).write_all(&bytes)));
                let answer = read_answer(&mut stream, 1);
                assert_eq!((&*answer.text(), answer.app_status), (TOO_LARGE, 1));
                assert_eq!((answer.protocol_status, answer.stdout_ends), (0, 1));
                let _reset = stream.read_to_end(&mut Vec::new());
            });
            let expected = "body exceeds the limit of 1000 bytes".to_owned();
            assert_eq!(server.next_error(), (io::ErrorKind::InvalidData, expected));
        }
    }
}

/// A handler's own error that wraps another one.
#[derive(Debug)]
struct Wrapped(Error);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wrapped: {}", self.0)
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Reads the body, and returns its length or an error that contains that of reading.
fn respond_with_length(request: &mut Request) -> HandlerResult {
    let how = request.params.get("HOW").unwrap_or("");
    if how == "flushed" {
        write!(request.stdout, "{ECHO_HEAD}")?;
        request.stdout.flush()?;
    }
    let mut body = Vec::new();
    let Err(error) = request.stdin.read_to_end(&mut body) else {
        return Ok(write!(request.stdout, "{ECHO_HEAD}{}", body.len())?);
    };
    assert_eq!(body.len() as u64, MAX_BODY);
    // Errors repeat.
    let again = Error::from(request.stdin.read(&mut [0]).unwrap_err());
    assert!(matches!(again, Error::BodyTooLarge(MAX_BODY)), "{again:?}");
    match how {
        "bare" => Err(Error::from(error).into()),
        "nested" => Err(Error::Io(io::Error::other(Wrapped(error.into()))).into()),
        "own" => Err(Wrapped(error.into()).into()),
        _ => Err(error.into()),
    }
}

/// Nothing announces the length, so reading finds out. If a part of the response was sent, the
/// status stays. Rule A54.
#[test]
fn body_without_content_length_fails_beyond_the_limit() {
    for server in TestServer::tcp_and_unix(&small_body_config(), respond_with_length) {
        let mut stream = server.connect();
        let body = [b'b'; MAX_BODY as usize + 1];
        stream.write_all(&request(1, RESPONDER, 1, &[], &body[1..])).unwrap();
        assert_eq!(read_answer(&mut stream, 1).text(), format!("{ECHO_HEAD}1000"));
        for (how, text) in [
            ("", TOO_LARGE),
            ("bare", TOO_LARGE),
            ("nested", TOO_LARGE),
            ("own", TOO_LARGE),
            ("flushed", ECHO_HEAD),
        ] {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 1, &[("HOW", how)], &body)).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((&*answer.text(), answer.app_status), (text, 1), "{how}");
            let reason = String::from_utf8_lossy(&answer.stderr);
            assert!(reason.contains("body exceeds the limit of 1000 bytes\n"), "{reason}");
            assert_closed(&mut stream);
        }
    }
}

/// The body is dropped, but it still takes time. Rule A54.
#[test]
fn body_that_a_filter_skips_fails_beyond_the_limit() {
    let body = vec![b'b'; 70_000];
    let with = |length: &[_], body: &[u8]| {
        let data = [record(DATA, 1, b"data"), record(DATA, 1, b"")].concat();
        [request(1, FILTER, 1, length, body), data].concat()
    };
    for server in TestServer::tcp_and_unix(&small_body_config(), |request| {
        let mut data = Vec::new();
        request.stdin.data()?.read_to_end(&mut data)?;
        respond(request, data)
    }) {
        let mut stream = server.connect();
        for (length, len) in [(&[][..], 1000), (&[("CONTENT_LENGTH", "10")], 1001)] {
            stream.write_all(&with(length, &body[..len])).unwrap();
            assert_eq!(read_answer(&mut stream, 1).body(), "data", "{len} bytes");
        }
        for len in [1001, body.len()] {
            let mut stream = server.connect();
            stream.write_all(&with(&[], &body[..len])).unwrap();
            assert_eq!(read_answer(&mut stream, 1).text(), TOO_LARGE);
            assert_closed(&mut stream);
        }
    }
}

/// An authorizer has no body, and a filter's file is not one.
#[test]
fn max_body_applies_to_bodies_only() {
    let server = TestServer::tcp(small_body_config(), |request| {
        write!(request.stdout, "{ECHO_HEAD}")?;
        if request.role == Role::Filter {
            io::copy(request.stdin.data()?, &mut request.stdout)?;
        }
        Ok(())
    });
    let mut stream = server.connect();
    let length = &[("CONTENT_LENGTH", "1001")];
    stream.write_all(&[begin(1, AUTHORIZER, 1), params(1, length)].concat()).unwrap();
    assert_eq!(read_answer(&mut stream, 1).text(), ECHO_HEAD);
    let data = vec![b'd'; 5000];
    for pairs in [&[("FCGI_DATA_LENGTH", "5000")][..], &[]] {
        let mut bytes = request(1, FILTER, 1, pairs, b"");
        bytes.extend([record(DATA, 1, &data), record(DATA, 1, b"")].concat());
        stream.write_all(&bytes).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout.len(), ECHO_HEAD.len() + data.len());
    }
}
