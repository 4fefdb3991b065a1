//! `bridge::forward`: the request body and the response of a CGI call, when either of them is
//! large, slow, truncated or ends early.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use fcgi::bridge::{forward_on, gateway_status};
use fcgi::client::{Completion, Config, Connection};
use fcgi::error::Timeout;
use fcgi::record::{read_record, write_record, ProtocolStatus, RecordType, Role};
use fcgi::{Error, Params, Result};

use crate::support::TEST_TIMEOUT;

const HEAD: &[u8] = b"Content-Type: text/plain\r\n\r\n";

/// The application end of a connection.
struct Application(UnixStream);

impl Application {
    /// Reads one record.
    fn read(&mut self) -> Option<(RecordType, Vec<u8>)> {
        let mut content = Vec::new();
        let header = read_record(&mut self.0, &mut content).expect("a record or the end")?;
        Some((header.record_type, content))
    }

    /// Reads records up to the end of the params.
    fn read_params(&mut self) {
        while self.read().expect("the params").0 != RecordType::Params {}
        while !self.read().expect("the end of the params").1.is_empty() {}
    }

    /// Reads the body. Returns it, and whether its end was received.
    fn read_body(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        while let Some((record_type, content)) = self.read() {
            assert_eq!(record_type, RecordType::Stdin);
            if content.is_empty() {
                return (body, true);
            }
            body.extend(content);
        }
        (body, false)
    }

    /// Sends a response and END_REQUEST.
    fn respond(&mut self, body: &[u8]) {
        for content in [HEAD, body, b""] {
            write_record(&mut self.0, RecordType::Stdout, 1, content).expect("STDOUT");
        }
        write_record(&mut self.0, RecordType::EndRequest, 1, &[0; 8]).expect("END_REQUEST");
    }
}

fn pair() -> (Connection, Application) {
    let (client, application) = UnixStream::pair().expect("two sockets");
    application.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let connection = Connection::new(client, Arc::new(Config::new())).expect("a connection");
    (connection, Application(application))
}

/// Forwards a call with this body, and returns what was written to stdout.
fn call(
    connection: Connection,
    length: usize,
    body: impl Read + Send + 'static,
) -> (Result<Completion>, Vec<u8>) {
    let params = Params::from_pairs([("CONTENT_LENGTH", length.to_string())]).expect("params");
    let mut stdout = Vec::new();
    let outcome = forward_on(connection, &params, body, &mut stdout, io::sink());
    (outcome, stdout)
}

/// A reader that returns an error.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// A reader that panics.
struct Panicking;

impl Read for Panicking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("a reader that panics, in a test");
    }
}

/// A writer that returns an error.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader without data, whose sender shows when it is dropped.
struct Silent {
    _dropped: mpsc::Sender<()>,
}

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

/// A reader that blocks until the sender is dropped.
struct Blocking(mpsc::Receiver<()>);

impl Read for Blocking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

#[test]
fn body_ends_after_content_length() {
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for length in [0, 1, 16_384, 131_056, 131_057, 299_999] {
        let (connection, mut application) = pair();
        let serving = thread::spawn(move || {
            application.read_params();
            let received = application.read_body();
            application.respond(b"hello");
            received
        });
        let (outcome, stdout) = call(connection, length, io::Cursor::new(body.clone()));
        assert_eq!(outcome.expect("a response").app_status, 0);
        assert_eq!(stdout, [HEAD, b"hello"].concat());
        assert_eq!(serving.join().expect("the application"), (body[..length].to_vec(), true));
    }
}

/// The thread that sends the body ends. Its last act is to drop the reader.
#[test]
fn body_is_dropped_after_it_was_sent() {
    for (length, body) in [(3, &b"abc"[..]), (5, b"abc")] {
        let (connection, mut application) = pair();
        let serving = thread::spawn(move || {
            application.read_params();
            application.read_body();
            application.respond(b"done");
        });
        let (sender, dropped) = mpsc::channel();
        call(connection, length, body.chain(Silent { _dropped: sender })).0.expect("a response");
        serving.join().expect("the application");
        let outcome = dropped.recv_timeout(TEST_TIMEOUT);
        assert_eq!(outcome, Err(mpsc::RecvTimeoutError::Disconnected), "{length}");
    }
}

#[test]
fn gateway_status_depends_on_the_cause_of_the_error() {
    for (error, status) in [
        (Error::InvalidRequest { part: "path".into(), value: "/..".into() }, 400),
        (Error::Refused(ProtocolStatus::Overloaded), 503),
        (Error::Refused(ProtocolStatus::CantMpxConn), 503),
        (Error::Refused(ProtocolStatus::UnknownRole), 502),
        (Error::TimedOut(Timeout::new("read", TEST_TIMEOUT)), 504),
        (Error::UnexpectedEof("a record"), 502),
    ] {
        assert_eq!(gateway_status(&error), status, "{error}");
    }
}

#[test]
fn body_that_ends_early_ends_the_stream() {
    let (connection, mut application) = pair();
    let serving = thread::spawn(move || {
        application.read_params();
        let received = application.read_body();
        application.respond(b"done");
        received
    });
    call(connection, 5, &b"abc"[..]).0.expect("a response");
    assert_eq!(serving.join().expect("the application"), (b"abc".to_vec(), true));
}

#[track_caller]
fn assert_body_is_never_ended(failing: impl Read + Send + 'static) {
    let (connection, mut application) = pair();
    let serving = thread::spawn(move || {
        application.read_params();
        application.read_body()
    });
    let (outcome, stdout) =
        call(connection, 200_000, io::repeat(b'x').take(100_000).chain(failing));
    outcome.expect_err("a request without its body");
    assert!(stdout.starts_with(b"Status: 502 Bad Gateway\r\n"));
    let (received, has_ended) = serving.join().expect("the application");
    assert!(received.len() <= 100_000 && !has_ended);
}

#[test]
fn body_that_cannot_be_read_is_never_ended() {
    assert_body_is_never_ended(Failing);
    assert_body_is_never_ended(Panicking);
}

/// The application receives the end of the connection although a thread waits for the body.
#[test]
fn failed_request_is_cancelled() {
    let cases: [(&[u8], &mut dyn Write, io::ErrorKind); 2] = [
        (HEAD, &mut Closed, io::ErrorKind::BrokenPipe),
        (b"no head\n\n", &mut io::sink(), io::ErrorKind::InvalidData),
    ];
    for (head, mut stdout, kind) in cases {
        let (connection, mut application) = pair();
        let (blocked, receiver) = mpsc::channel();
        let serving = thread::spawn(move || {
            application.read_params();
            write_record(&mut application.0, RecordType::Stdout, 1, head).expect("the head");
            application.read_body()
        });
        let params = Params::from_pairs([("CONTENT_LENGTH", "5")]).expect("params");
        let outcome = forward_on(connection, &params, Blocking(receiver), &mut stdout, io::sink());
        assert_eq!(outcome.expect_err("a failed request").kind(), kind);
        assert_eq!(serving.join().expect("the application"), (Vec::new(), false));
        drop(blocked);
    }
}

#[test]
fn early_response_does_not_wait_for_a_slow_body() {
    let (connection, mut application) = pair();
    let (blocked, receiver) = mpsc::channel();
    let serving = thread::spawn(move || {
        application.read_params();
        application.respond(b"early");
        application.read_body()
    });
    let (outcome, stdout) = call(connection, 5, Blocking(receiver));
    outcome.expect("a response");
    assert_eq!(stdout, [HEAD, b"early"].concat());
    // The connection is closed although a thread waits for the body.
    assert_eq!(serving.join().expect("the application"), (Vec::new(), false));
    drop(blocked);
}

/// The application waits until the write half is shut down, and closes the connection then.
#[test]
fn body_that_is_not_read_in_time_is_a_gateway_timeout() {
    let (client, application) = UnixStream::pair().expect("two sockets");
    application.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let config = Config::new().write_timeout(Some(Duration::from_millis(50)));
    let connection = Connection::new(client, Arc::new(config)).expect("a connection");
    let (report, timed_out) = mpsc::channel();
    let serving = thread::spawn(move || {
        let mut application = Application(application);
        application.read_params();
        timed_out.recv_timeout(TEST_TIMEOUT).expect_err("the body is dropped");
    });
    let body = io::repeat(b'x').chain(Silent { _dropped: report });
    let (outcome, stdout) = call(connection, 64 << 20, body);
    assert_eq!(outcome.expect_err("a timeout").to_string(), "write timed out after 50 ms");
    assert!(stdout.starts_with(b"Status: 504 "), "{}", stdout.escape_ascii());
    serving.join().expect("the application");
}

#[test]
fn early_response_survives_a_body_that_cannot_be_sent() {
    let (connection, mut application) = pair();
    let serving = thread::spawn(move || {
        application.read_params();
        application.respond(&[b'y'; 60_000]);
    });
    let (outcome, stdout) = call(connection, 64 << 20, io::repeat(b'x'));
    outcome.expect("a response");
    assert_eq!(stdout, [HEAD, &[b'y'; 60_000]].concat());
    serving.join().expect("the application");
}

/// The body is copied while the response is: neither fits the buffers of the sockets.
#[test]
fn body_and_response_flow_at_the_same_time() {
    let (connection, mut application) = pair();
    let serving = thread::spawn(move || {
        application.read_params();
        write_record(&mut application.0, RecordType::Stdout, 1, HEAD).expect("the head");
        while let Some((_, content)) = application.read() {
            if content.is_empty() {
                break;
            }
            write_record(&mut application.0, RecordType::Stdout, 1, &content).expect("STDOUT");
        }
        application
            .0
            .write_all(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0])
            .expect("the end");
    });
    let (outcome, stdout) = call(connection, 16 << 20, io::repeat(b'z'));
    assert_eq!(outcome.expect("a response").app_status, 7);
    assert_eq!(stdout.len(), HEAD.len() + (16 << 20));
    serving.join().expect("the application");
}

#[test]
fn slow_body_is_sent_piece_by_piece() {
    let (connection, mut application) = pair();
    let (mut sender, receiver) = UnixStream::pair().expect("two sockets");
    let serving = thread::spawn(move || {
        application.read_params();
        for piece in [b"a", b"b"] {
            sender.write_all(piece).expect("a piece");
            assert_eq!(application.read(), Some((RecordType::Stdin, piece.to_vec())));
        }
        assert_eq!(application.read(), Some((RecordType::Stdin, Vec::new())));
        application.respond(b"done");
    });
    call(connection, 2, receiver).0.expect("a response");
    serving.join().expect("the application");
}

#[test]
fn connection_that_cannot_carry_a_request_is_reported() {
    let (mut connection, application) = pair();
    drop(connection.begin(Role::Responder, &Params::new()).expect("a request"));
    let (outcome, stdout) = call(connection, 0, io::empty());
    outcome.expect_err("a connection that cannot be reused");
    assert!(stdout.starts_with(b"Status: 502 Bad Gateway\r\n"));
    drop(application);
}
