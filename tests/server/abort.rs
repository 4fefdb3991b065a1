//! Proves that a request can be aborted at any time: it ends with exactly one END_REQUEST, the
//! handler learns of the abort, and the connection can be used for the next request.

use std::io::{self, BufRead, Read, Write};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
#[cfg(unix)]
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::record::Role;
#[cfg(unix)]
use fcgi::server::Connection;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Error;

fn abort(id: u16) -> Vec<u8> {
    record(ABORT, id, b"")
}

/// Asserts that a plain request with the same id is served next on this connection.
#[track_caller]
fn assert_reusable(stream: &mut Stream) {
    stream.write_all(&request(1, RESPONDER, 1, &[("A", "1")], b"body")).unwrap();
    let answer = read_answer(stream, 1);
    assert_eq!(answer.stdout, echoed(&[("A", "1")], b"body"));
    assert_eq!((answer.app_status, answer.management.len()), (0, 0));
}

/// The test's side of a conversation with a running handler.
struct HandlerControl {
    /// Receives what the handler reports.
    reports: Receiver<String>,
    /// Lets the handler continue.
    resume: Sender<()>,
}

/// Starts a server whose handler reports to its test and waits for it. A request with the param `A`
/// is echoed.
fn controlled_server<F>(handler: F) -> (TestServer, HandlerControl)
where
    F: Fn(&mut Request, &dyn Fn(String), &dyn Fn()) -> HandlerResult + Send + Sync + 'static,
{
    let (report, reports) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let server = TestServer::tcp(Config::new(), move |request| {
        if request.params.get("A").is_some() {
            return echo(request);
        }
        let wait = || resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("a resume");
        handler(request, &|text| report.send(text).expect("the test waits"), &wait)
    });
    (server, HandlerControl { reports, resume })
}

impl HandlerControl {
    #[track_caller]
    fn expect(&self, text: &str) {
        assert_eq!(self.reports.recv_timeout(TEST_TIMEOUT).expect("a report of the handler"), text);
    }
}

/// No handler runs yet, so END_REQUEST with REQUEST_COMPLETE follows at once and without STDOUT.
/// Rules A9, A47, A48, S5 and S6.
#[test]
fn abort_before_end_of_params_ends_the_request_at_once() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        let part = record(PARAMS, 1, &pair(b"A", b"2")[..2]);
        for before in [&b""[..], &part, &part.repeat(3)] {
            stream.write_all(&[&begin(1, RESPONDER, 1), before, &abort(1)].concat()).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(answer, Answer::default(), "END_REQUEST alone, with REQUEST_COMPLETE");
            assert_reusable(&mut stream);
        }
        // Records of that id that arrive later belong to no request.
        let late =
            [params(1, &[("B", "2")]), record(STDIN, 1, b"late"), record(STDIN, 1, b""), abort(1)]
                .concat();
        stream.write_all(&[begin(1, RESPONDER, 1), abort(1), late].concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1), Answer::default());
        assert_reusable(&mut stream);
        // Without KEEP_CONN the connection is closed.
        stream.write_all(&[begin(1, RESPONDER, 0), abort(1)].concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1), Answer::default());
        assert_closed(&mut stream);
    }
}

/// Every read fails with `ConnectionAborted`. Rules A47, A48 and A49.
#[test]
fn reading_stdin_fails_after_an_abort() {
    for how in ["read", "fill_buf", "data"] {
        let (server, handler) = controlled_server(move |request, report, _| {
            let mut byte = [0];
            request.stdin.read_exact(&mut byte)?;
            report("reading".into());
            for _ in 0..2 {
                let error = match how {
                    "read" => request.stdin.read(&mut [0; 9]).unwrap_err(),
                    "fill_buf" => request.stdin.fill_buf().unwrap_err(),
                    _ => request.stdin.data().unwrap_err(),
                };
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                assert!(matches!(Error::from(error), Error::Aborted));
            }
            assert!(request.is_aborted());
            Err(Error::Aborted.into())
        });
        let mut stream = server.connect();
        stream
            .write_all(&[begin(1, RESPONDER, 1), params(1, &[]), record(STDIN, 1, b"x")].concat())
            .unwrap();
        handler.expect("reading");
        // The rest of the body after the abort belongs to no request.
        stream
            .write_all(&[abort(1), record(STDIN, 1, b"late"), record(STDIN, 1, b"")].concat())
            .unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((answer.app_status, answer.protocol_status), (1, 0));
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "request aborted by the web server\n");
        assert_reusable(&mut stream);
    }
}

/// The body, the abort and records after it arrive together. Rules A47 and A48.
#[test]
fn abort_before_or_in_stdin_ends_the_request_once() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for body in [&b""[..], &record(STDIN, 1, b"some"), &record(STDIN, 1, &[b'x'].repeat(65535))]
        {
            let late = [record(STDIN, 1, b"late"), record(STDIN, 1, b""), abort(1)].concat();
            stream
                .write_all(
                    &[&begin(1, RESPONDER, 1), &params(1, &[]), body, &abort(1), &late].concat(),
                )
                .unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((answer.app_status, answer.protocol_status), (1, 0));
            assert!(!answer.text().contains("late"));
            assert_reusable(&mut stream);
        }
    }
}

/// `is_aborted` never blocks, and END_REQUEST comes when the handler ends. Rules A47, A49 and S5.
#[test]
fn is_aborted_reports_an_abort_during_output() {
    for body in [&b""[..], b"body"] {
        let (server, handler) = controlled_server(|request, report, _| {
            let start = Instant::now();
            assert!(!request.is_aborted());
            assert!(start.elapsed() < Duration::from_secs(5), "is_aborted blocked");
            report("not aborted".into());
            while !request.is_aborted() && start.elapsed() < TEST_TIMEOUT {
                request.stdout.write_all(b"more ")?;
                request.stdout.flush()?;
                thread::sleep(Duration::from_millis(1));
            }
            request.app_status = if request.is_aborted() { 9 } else { 1 };
            Ok(())
        });
        let before = [begin(1, RESPONDER, 1), params(1, &[]), stream(STDIN, 1, body)].concat();
        let mut stream = server.connect();
        stream.write_all(&before).unwrap();
        handler.expect("not aborted");
        assert_eq!(read_record(&mut stream).expect("output").record_type, STDOUT);
        stream.write_all(&abort(1)).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((answer.app_status, answer.protocol_status, answer.stdout_ends), (9, 0, 1));
        assert_reusable(&mut stream);
    }
}

/// The request ends normally with one END_REQUEST. Rule A48.
#[test]
fn abort_that_the_handler_does_not_notice_is_ignored() {
    let (server, handler) = controlled_server(|request, report, wait| {
        report("working".into());
        wait();
        respond(request, "done")
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    handler.expect("working");
    stream.write_all(&abort(1)).unwrap();
    handler.resume.send(()).unwrap();
    let answer = read_answer(&mut stream, 1);
    assert_eq!((answer.body(), answer.app_status, answer.stdout_ends), ("done".into(), 0, 1));
    assert_reusable(&mut stream);
}

/// There is no second END_REQUEST. Rules A47 and A48.
#[test]
fn abort_after_the_end_of_the_request_is_ignored() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for _ in 0..3 {
            assert_reusable(&mut stream);
            stream.write_all(&[abort(1), abort(2), abort(0)].concat()).unwrap();
        }
        assert_reusable(&mut stream);
    }
}

/// Rule A18.
#[test]
fn abort_of_another_request_is_ignored() {
    let (server, _handler) = controlled_server(|request, _, _| {
        assert!(!request.is_aborted());
        let mut body = String::new();
        request.stdin.read_to_string(&mut body)?;
        assert!(!request.is_aborted());
        respond(request, body)
    });
    let bytes = request(1, RESPONDER, 0, &[], b"body");
    let (head, body) = bytes.split_at(bytes.len() - 20);
    let answer = server.round_trip(1, &[head, &abort(2), &abort(0), body].concat());
    assert_eq!((answer.body(), answer.app_status), ("body".into(), 0));
}

/// The handler has read none or a part of the input before the abort. Reading the rest then fails.
/// Rule A49.
#[test]
fn abort_after_unread_stdin_is_noticed() {
    for part in [0, 3] {
        let (server, handler) = controlled_server(move |request, report, wait| {
            request.stdin.read_exact(&mut vec![0; part])?;
            assert!(!request.is_aborted());
            report("looking".into());
            wait();
            while !request.is_aborted() {
                thread::yield_now();
            }
            Err(Box::new(Error::from(request.stdin.read(&mut [0; 9]).unwrap_err())))
        });
        let mut stream = server.connect();
        stream
            .write_all(
                &[
                    begin(1, RESPONDER, 1),
                    params(1, &[]),
                    record(STDIN, 1, b"some"),
                    record(STDIN, 1, b"more"),
                ]
                .concat(),
            )
            .unwrap();
        handler.expect("looking");
        stream.write_all(&abort(1)).unwrap();
        handler.resume.send(()).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "request aborted by the web server\n");
        assert_reusable(&mut stream);
    }
}

/// The abort arrives in the DATA stream of a filter. An authorizer has no input stream in which it
/// could arrive. Rules A47, A50 and A51.
#[test]
fn filter_and_authorizer_can_be_aborted() {
    let server =
        TestServer::tcp(Config::new().roles(&[Role::Filter, Role::Authorizer]), |request| {
            write!(request.stdout, "{ECHO_HEAD}")?;
            match request.role {
                Role::Filter => io::copy(request.stdin.data()?, &mut request.stdout).map(drop)?,
                _ => {
                    while !request.is_aborted() {
                        thread::yield_now();
                    }
                }
            }
            Ok(())
        });
    let mut stream = server.connect();
    let filter = [
        request(1, FILTER, 1, &[], b"body"),
        record(DATA, 1, b"da"),
        abort(1),
        record(DATA, 1, b"ta"),
    ]
    .concat();
    stream.write_all(&filter).unwrap();
    let answer = read_answer(&mut stream, 1);
    assert_eq!((answer.app_status, answer.protocol_status), (1, 0));
    stream
        .write_all(
            &[record(DATA, 1, b""), begin(2, AUTHORIZER, 1), params(2, &[]), abort(2)].concat(),
        )
        .unwrap();
    assert_eq!(read_answer(&mut stream, 2).protocol_status, 0);
    stream
        .write_all(
            &[request(3, FILTER, 0, &[], b""), record(DATA, 3, b"data"), record(DATA, 3, b"")]
                .concat(),
        )
        .unwrap();
    assert_eq!(read_answer(&mut stream, 3).body(), "data");
    assert_closed(&mut stream);
}

/// Rules A12 and A13.
#[test]
fn connection_that_closes_inside_a_request_is_an_abort() {
    let (server, handler) = controlled_server(|request, report, wait| {
        report("working".into());
        wait();
        while !request.is_aborted() {
            thread::yield_now();
        }
        let error = io::copy(&mut request.stdin, &mut io::sink()).unwrap_err();
        report(format!("{:?}", error.kind()));
        Err(error.into())
    });
    let stream = server.connect();
    let bytes = [begin(1, RESPONDER, 1), params(1, &[]), record(STDIN, 1, b"some")].concat();
    (&stream).write_all(&bytes).unwrap();
    handler.expect("working");
    drop(stream);
    handler.resume.send(()).unwrap();
    let kind = handler.reports.recv_timeout(TEST_TIMEOUT).unwrap();
    assert!(["UnexpectedEof", "ConnectionReset"].contains(&&*kind), "{kind}");
}

/// The first look already finds an abort that has arrived.
#[cfg(unix)]
#[test]
fn abort_that_has_arrived_is_noticed_at_once() {
    let (mut peer, served) = UnixStream::pair().unwrap();
    let mut connection = Connection::new(served).unwrap();
    peer.write_all(&[begin(1, RESPONDER, 1), params(1, &[])].concat()).unwrap();
    let mut request = connection.next_request().unwrap().expect("a request");
    assert!(!request.is_aborted());
    peer.write_all(&[record(STDIN, 1, b"body"), abort(1)].concat()).unwrap();
    assert!(request.is_aborted());
}

/// The check does not see beyond 128 KiB of unread body.
#[cfg(unix)]
#[test]
fn unread_body_that_fills_the_buffer_is_no_abort() {
    let (mut peer, mut connection) = connection_with_body(b"", Config::new());
    let mut request = connection.next_request().unwrap().expect("a request");
    peer.set_nonblocking(true).unwrap();
    let body = stream(STDIN, 1, &vec![b'x'; 8 << 20]);
    let mut unsent = &body[..];
    // Each look buffers what was sent, until neither the buffer nor the socket has room.
    loop {
        let before = unsent.len();
        while let Ok(n) = peer.write(unsent) {
            unsent = &unsent[n..];
        }
        assert!(!request.is_aborted());
        if unsent.len() == before {
            break;
        }
    }
    assert!(!unsent.is_empty());
}

/// Returns a connection whose peer has sent a request with this body, and the peer.
#[cfg(unix)]
fn connection_with_body(body: &[u8], config: Config) -> (UnixStream, Connection) {
    let (mut peer, served) = UnixStream::pair().unwrap();
    peer.write_all(&[&begin(1, RESPONDER, 1), &params(1, &[]), body].concat()).unwrap();
    (peer, Connection::with_config(served, Arc::new(config)).unwrap())
}

/// Nothing that follows could complete the request. Rule A13.
#[cfg(unix)]
#[test]
fn end_of_input_inside_the_body_is_an_abort() {
    for body in [&b""[..], &record(STDIN, 1, b"body")] {
        let (peer, mut connection) = connection_with_body(body, Config::new());
        let mut request = connection.next_request().unwrap().expect("a request");
        assert!(!request.is_aborted());
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(request.is_aborted());
    }
}

/// The web server still waits for the response to a body that is too large.
#[cfg(unix)]
#[test]
fn invalid_body_is_an_abort_and_a_large_one_is_not() {
    let invalid = record(PARAMS, 1, b"");
    for (body, is_aborted) in [(record(STDIN, 1, b"body"), false), (invalid, true)] {
        let (_peer, mut connection) = connection_with_body(&body, Config::new().max_body(Some(3)));
        let mut request = connection.next_request().unwrap().expect("a request");
        request.stdin.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(request.is_aborted(), is_aborted);
    }
}

#[cfg(unix)]
#[test]
fn abort_handle_ends_with_its_request() {
    let end = record(STDIN, 1, b"");
    let (peer, mut connection) = connection_with_body(&end, Config::new());
    let mut request = connection.next_request().unwrap().expect("a request");
    let handle = request.abort_handle();
    request.finish().unwrap();
    drop(peer);
    assert!(!handle.is_aborted());
}
