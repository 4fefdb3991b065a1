//! Proves that a failure which a handler does not return is reported once, by its first cause: a
//! response that is missing, input that could not be read, output that could not be sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use fcgi::net::Stream;
use fcgi::server::{CloseReason, Config, Connection, HandlerResult, Request, StatusError};
use fcgi::{Error, Server};

const SHORT: Duration = Duration::from_millis(150);

/// Asserts that nothing else was reported, after the server has ended.
#[track_caller]
fn assert_nothing_else_reported(server: &TestServer) {
    server.handle.shutdown();
    wait_until("serve returns", || server.has_ended());
    assert_eq!(server.reported_errors(), []);
}

/// Asserts that a connection can be used for another request.
#[track_caller]
fn assert_reusable(stream: &mut Stream) {
    stream.write_all(&request(1, RESPONDER, 1, &[("ECHO", "1")], b"body")).unwrap();
    assert_eq!(read_answer(stream, 1).stdout, echoed(&[("ECHO", "1")], b"body"));
}

/// The web server gets `Status: 500` and a line for its log. An app status of the handler stays.
#[test]
fn handler_that_writes_no_response_has_failed() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        match request.params.get("DO") {
            None => return echo(request),
            Some("flush") => request.stdout.flush()?,
            Some("read") => drop(request.stdin.read_to_end(&mut Vec::new())?),
            Some("log") => request.stderr.write_all(b"a note\n")?,
            Some("status") => request.app_status = 7,
            _ => {}
        }
        Ok(())
    }) {
        let mut stream = server.connect();
        let reason = "handler returned without a response";
        for (action, before, app_status) in [
            ("", "", 1),
            ("flush", "", 1),
            ("read", "", 1),
            ("log", "a note\n", 1),
            ("status", "", 7),
        ] {
            stream.write_all(&request(1, RESPONDER, 1, &[("DO", action)], b"body")).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((&*answer.text(), answer.app_status), (FAILED, app_status), "{action}");
            assert_eq!(String::from_utf8_lossy(&answer.stderr), format!("{before}{reason}\n"));
            assert_eq!(server.next_error(), (ErrorKind::Other, reason.into()));
            assert_reusable(&mut stream);
        }
        assert_nothing_else_reported(&server);
    }
}

/// A response whose head ends in a later part is complete, and a part that was sent cannot be
/// replaced. In release builds, nothing is checked.
#[cfg(debug_assertions)]
#[test]
fn response_without_a_head_is_a_failure_in_debug_builds() {
    let server = TestServer::tcp(Config::new(), |request| {
        for part in request.params.get("PARTS").unwrap_or("").split('|') {
            match part {
                "flush" => request.stdout.flush()?,
                part => request.stdout.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    });
    let mut stream = server.connect();
    for parts in ["Hello.", "Status: 200\n", "Status: 200\r\nA: 1\r\n", "<p>\n</p>\n", "\r"] {
        stream.write_all(&request(1, RESPONDER, 1, &[("PARTS", parts)], b"")).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((&*answer.text(), answer.app_status), (FAILED, 1), "{parts:?}");
        let reason = "response ended before the end of its head";
        assert_eq!(String::from_utf8_lossy(&answer.stderr), format!("{reason}\n"));
        assert_eq!(server.next_error(), (ErrorKind::UnexpectedEof, reason.into()));
    }
    for parts in
        ["Status: 200\n\n", "Status: 200\r\n\r\nbody", "A: 1\n|\nbody", "A: 1|flush|\n", "x|flush"]
    {
        stream.write_all(&request(1, RESPONDER, 1, &[("PARTS", parts)], b"")).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!(answer.text(), parts.replace("flush", "").replace('|', ""));
        assert_eq!(answer.app_status, 0);
    }
    assert_nothing_else_reported(&server);
}

/// Nobody waits for a response. The handler has noticed the abort, so it is not reported either.
/// STDOUT has its end all the same. Rule A42.
#[test]
fn aborted_request_needs_no_response() {
    let (begun, messages) = mpsc::channel();
    for server in TestServer::tcp_and_unix(&Config::new(), move |request| {
        begun.send(())?;
        while !request.is_aborted() {
            std::thread::yield_now();
        }
        Ok(())
    }) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
        stream.write_all(&record(ABORT, 1, b"")).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((answer.text().len(), answer.stdout_ends), (0, 1));
        assert_eq!((answer.app_status, answer.stderr.len()), (0, 0));
        messages.recv_timeout(TEST_TIMEOUT).unwrap();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
        messages.recv_timeout(TEST_TIMEOUT).unwrap();
        drop(stream);
        server.handle.shutdown();
        wait_until("serve returns", || server.has_ended());
        assert!(server.reported_errors().iter().all(|(_, text)| !text.contains("response")));
    }
}

/// Waits for an abort, and ends the request in one of several ways.
fn end_after_abort(request: &mut Request) -> HandlerResult {
    if request.params.get("FLUSH").is_some() {
        write!(request.stdout, "{ECHO_HEAD}")?;
        request.stdout.flush()?;
    }
    let handle = request.abort_handle();
    let by = request.params.get("BY");
    wait_until("the abort is noticed", || match by {
        Some("handle") => handle.is_aborted(),
        _ => request.is_aborted(),
    });
    match request.params.get("END") {
        Some("error") => Err("aborted".into()),
        Some("response") => respond(request, "too late"),
        _ => Ok(()),
    }
}

/// END_REQUEST cannot be sent. The cause is the abort, whether the request or its handle has
/// noticed it, and not the broken pipe. A part of the response that is unread resets a TCP
/// connection.
#[test]
fn abort_that_was_noticed_is_the_cause_of_a_response_that_cannot_be_sent() {
    let [tcp, unix] = TestServer::tcp_and_unix(&Config::new(), end_after_abort);
    for (server, flush) in [(&tcp, "FLUSH"), (&unix, "FLUSH"), (&unix, "NO_FLUSH")] {
        for (by, end) in [
            ("request", "nothing"),
            ("request", "response"),
            ("request", "error"),
            ("handle", "nothing"),
            ("handle", "response"),
            ("handle", "error"),
        ] {
            let mut stream = server.connect();
            let pairs = [("BY", by), ("END", end), (flush, "1")];
            stream.write_all(&request(1, RESPONDER, 1, &pairs, b"body")).unwrap();
            if flush == "FLUSH" {
                stream.read_exact(&mut [0]).unwrap();
            }
            drop(stream);
            let expected = (ErrorKind::ConnectionAborted, "request aborted by the web server");
            let (kind, text) = server.next_error();
            assert_eq!((kind, &*text), expected, "{pairs:?}");
        }
    }
    assert_nothing_else_reported(&tcp);
    assert_nothing_else_reported(&unix);
}

/// Responds, whether reading the body fails or not.
fn ignore_input_errors(request: &mut Request) -> HandlerResult {
    if request.params.get("ECHO").is_some() {
        return echo(request);
    }
    for _ in 0..2 {
        let _ignored = request.stdin.read_to_end(&mut Vec::new());
    }
    match request.params.get("SILENT") {
        None => respond(request, "done"),
        Some(_) => Ok(()),
    }
}

/// The connection stays open. If there is no response either, the input is the cause. Rule A15.
#[test]
fn input_error_that_a_handler_ignores_is_reported_once() {
    let (five, three) = (("CONTENT_LENGTH", "5"), ("CONTENT_LENGTH", "3"));
    let body = |pairs: &[_], body: &[u8]| request(1, RESPONDER, 1, pairs, body);
    let short = "stream ended after 4 of the 5 bytes announced by CONTENT_LENGTH";
    let long = "stream is longer than the 3 bytes announced by CONTENT_LENGTH";
    let aborted = [begin(1, RESPONDER, 1), params(1, &[]), record(ABORT, 1, b"")].concat();
    for server in TestServer::tcp_and_unix(&Config::new(), ignore_input_errors) {
        let mut stream = server.connect();
        for (bytes, has_response, kind, text) in [
            (body(&[five], b"body"), true, ErrorKind::UnexpectedEof, short),
            (body(&[three], b"body"), true, ErrorKind::InvalidData, long),
            (body(&[five, ("SILENT", "1")], b"body"), false, ErrorKind::UnexpectedEof, short),
            (
                aborted.clone(),
                true,
                ErrorKind::ConnectionAborted,
                "request aborted by the web server",
            ),
        ] {
            stream.write_all(&bytes).unwrap();
            let answer = read_answer(&mut stream, 1);
            if has_response {
                assert_eq!((answer.body(), answer.app_status), ("done".into(), 0));
                assert_eq!(answer.stderr, b"");
            } else {
                assert!(answer.text().starts_with("Status: 400 Bad Request\r\n"));
                assert_eq!(answer.app_status, 1);
                assert_eq!(String::from_utf8_lossy(&answer.stderr), format!("{text}\n"));
            }
            assert_eq!(server.next_error(), (kind, text.into()));
            assert_reusable(&mut stream);
        }
        assert_nothing_else_reported(&server);
    }
}

/// The connection closes, whether the handler ignores the error or returns it.
#[test]
fn input_error_that_ends_the_connection_is_reported_once() {
    let config = Config::new().read_timeout(Some(SHORT)).max_body(Some(3));
    let start = [begin(1, RESPONDER, 1), params(1, &[])].concat();
    for server in TestServer::tcp_and_unix(&config, |request| match request.params.get("ECHO") {
        None => ignore_input_errors(request),
        Some(_) => echo(request),
    }) {
        for (after, is_closed, kind, text) in [
            (vec![], true, ErrorKind::UnexpectedEof, "input ended before the end of a request"),
            (
                vec![1, 5],
                true,
                ErrorKind::UnexpectedEof,
                "input ended before the end of a record header",
            ),
            (vec![], false, ErrorKind::TimedOut, "read timed out after 150 ms"),
            (vec![9; 8], false, ErrorKind::InvalidData, "record has unsupported FastCGI version 9"),
            (
                record(PARAMS, 1, b""),
                false,
                ErrorKind::InvalidData,
                "unexpected PARAMS record for request 1",
            ),
            (
                record(STDIN, 1, b"body"),
                false,
                ErrorKind::InvalidData,
                "body exceeds the limit of 3 bytes",
            ),
        ] {
            let echo = [begin(1, RESPONDER, 1), params(1, &[("ECHO", "1")])].concat();
            for (start, has_response) in [(&start, true), (&echo, false)] {
                let mut stream = server.connect();
                stream.write_all(&[&start[..], &after].concat()).unwrap();
                if is_closed {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
                let answer = read_answer(&mut stream, 1);
                assert_eq!(answer.app_status, u32::from(!has_response), "{text}");
                assert_eq!(answer.stderr.is_empty(), has_response, "{text}");
                assert_no_response(&mut stream);
                assert_eq!(server.next_error(), (kind, text.into()));
            }
        }
        assert_nothing_else_reported(&server);
    }
}

/// Writes until the client is gone, then goes on and ends with or without an error.
fn write_until_failure(request: &mut Request) -> HandlerResult {
    write!(request.stdout, "{ECHO_HEAD}")?;
    let error = loop {
        let written = match request.params.get("STREAM") {
            Some("stderr") => request.stderr.write_all(&[b'x'; 70_000]),
            _ => request.stdout.write_all(&[b'x'; 70_000]),
        };
        if let Err(error) = written {
            break error;
        }
    };
    let again = request.stdout.write_all(&[b'x'; 70_000]).unwrap_err();
    if request.params.get("STREAM").is_none() {
        assert_eq!((again.kind(), again.to_string()), (error.kind(), error.to_string()));
    }
    match request.params.get("RETURN") {
        None => Ok(()),
        Some(_) => Err(error.into()),
    }
}

/// The cause is that of the first write, not that of the last one.
#[test]
fn output_error_is_reported_once_by_its_cause() {
    let config = Config::new().write_timeout(Some(SHORT));
    for server in TestServer::tcp_and_unix(&config, write_until_failure) {
        for pairs in [
            &[][..],
            &[("RETURN", "1")],
            &[("STREAM", "stderr")],
            &[("STREAM", "stderr"), ("RETURN", "1")],
        ] {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 1, pairs, b"")).unwrap();
            // The client neither reads nor leaves.
            let (kind, text) = server.next_error();
            assert_eq!(kind, ErrorKind::TimedOut);
            // The system rounds the timeout up.
            assert!(text.starts_with("write timed out after 15"), "{text}");
            drop(stream);

            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 1, pairs, b"")).unwrap();
            stream.read_exact(&mut [0; 100]).unwrap();
            drop(stream);
            let (kind, text) = server.next_error();
            assert!(
                matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "{kind:?}: {text}"
            );
            assert!(text.contains("os error"), "the error of the system, not {text:?}");
        }
        assert_nothing_else_reported(&server);
    }
}

/// Fails, or ignores that the body is too long, when the client has left.
fn fail_after_the_client_has_left(request: &mut Request) -> HandlerResult {
    match request.query() {
        "error" => Err("a reason".into()),
        "panic" => panic!("a panic"),
        "rejection" => Err(StatusError::new(404, "not found").into()),
        _ => ignore_input_errors(request),
    }
}

/// The log of the web server cannot be reached, so nothing else reports why the handler has failed.
/// The failed write comes last.
#[test]
fn failure_that_cannot_be_logged_is_reported() {
    let (begun, messages) = mpsc::channel();
    let (proceed, allowed) = mpsc::channel::<()>();
    let allowed = Mutex::new(allowed);
    let server = TestServer::unix(Config::new(), move |request| {
        begun.send(())?;
        allowed.lock().expect("no panic").recv_timeout(TEST_TIMEOUT).expect("a message");
        fail_after_the_client_has_left(request)
    });
    let too_long = "stream is longer than the 3 bytes announced by CONTENT_LENGTH";
    for (query, text) in [
        ("error", Some("a reason")),
        ("panic", Some("handler panicked: a panic")),
        ("rejection", None),
        ("too long", Some(too_long)),
    ] {
        let mut stream = server.connect();
        let pairs = [("QUERY_STRING", query), ("CONTENT_LENGTH", "3")];
        stream.write_all(&request(1, RESPONDER, 1, &pairs, b"body")).unwrap();
        messages.recv_timeout(TEST_TIMEOUT).expect("the handler is called");
        drop(stream);
        proceed.send(()).expect("the handler waits");
        if let Some(text) = text {
            assert_eq!(server.next_error().1, text);
        }
        assert_eq!(server.next_error().0, ErrorKind::BrokenPipe, "{query}");
    }
    assert_nothing_else_reported(&server);
}

/// The report says why the connection was closed, if it was.
#[test]
fn report_contains_the_reason_for_the_close() {
    let (sender, reports) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").unwrap().on_error(move |report| {
        drop(sender.send((report.close_reason, report.to_string())));
    });
    let (address, handle) = (server.local_address().unwrap(), server.handle());
    let serving = std::thread::spawn(move || server.serve(ignore_input_errors));
    let mut stream = Stream::connect(&address, Some(TEST_TIMEOUT)).unwrap();
    stream.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
    stream.write_all(&request(1, RESPONDER, 1, &[("SILENT", "1")], b"")).unwrap();
    read_answer(&mut stream, 1);
    let report = reports.recv_timeout(TEST_TIMEOUT).unwrap();
    assert_eq!(report, (None, "handler returned without a response".into()));
    stream.write_all(&[begin(1, RESPONDER, 1), params(1, &[])].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_answer(&mut stream, 1);
    let (reason, text) = reports.recv_timeout(TEST_TIMEOUT).unwrap();
    assert_eq!(reason, Some(CloseReason::ConnectionFailed));
    assert_eq!(text, "the web server closed the connection before the end of a request");
    handle.shutdown();
    serving.join().unwrap().unwrap();
}

/// Without a server, `finish` returns the error. The response is sent before.
#[test]
fn finish_returns_the_error_that_ends_the_connection() {
    let (mut client, served) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let config = Arc::new(Config::new().read_timeout(Some(SHORT)));
    let mut connection = Connection::with_config(served, config).unwrap();
    client.write_all(&request(1, RESPONDER, 1, &[("CONTENT_LENGTH", "9")], b"body")).unwrap();
    let mut first = connection.next_request().unwrap().expect("a request");
    let error = first.stdin.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    first.finish().expect("the connection can be used");
    assert_eq!(read_answer(&mut client, 1).text(), "");

    client.write_all(&[begin(2, RESPONDER, 1), params(2, &[])].concat()).unwrap();
    let mut second = connection.next_request().unwrap().expect("a request");
    io::copy(&mut second.stdin, &mut io::sink()).unwrap_err();
    respond(&mut second, "done").unwrap();
    assert!(matches!(second.finish(), Err(Error::TimedOut(_))));
    assert_eq!(read_answer(&mut client, 2).body(), "done");
    assert!(connection.next_request().unwrap().is_none());
    assert_eq!(connection.close_reason(), Some(CloseReason::TimedOut));
}
