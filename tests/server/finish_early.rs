//! Proves that a handler can end its request and go on, and that nothing of it then reaches the
//! web server.

use std::io::{ErrorKind, Read, Write};
use std::sync::{mpsc, Mutex};

use crate::support::*;
use fcgi::server::{Config, HandlerResult, Request};
#[cfg(unix)]
use fcgi::Server;
use fcgi::{Error, ResponseHead};

/// Asserts that an operation has failed because the request has ended.
#[track_caller]
fn assert_ended<T: std::fmt::Debug>(outcome: std::io::Result<T>) {
    let error = outcome.expect_err("an error");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    assert!(matches!(inner, Some(Error::RequestEnded)), "{error}");
}

/// The handler continues until the test allows it to return, which is after the client has
/// received the end of the connection. Rule A45.
#[test]
fn client_does_not_wait_for_a_handler_that_has_finished_early() {
    for keep_conn in [0, 1] {
        let (proceed, allowed) = mpsc::channel::<()>();
        let allowed = Mutex::new(allowed);
        for server in TestServer::tcp_and_unix(&Config::new(), {
            let allowed = std::sync::Arc::new(allowed);
            move |request| {
                write!(request.stderr, "a note")?;
                request.respond(ResponseHead::text(), "done")?;
                request.finish_early()?;
                allowed.lock().expect("no panic").recv_timeout(TEST_TIMEOUT)?;
                Ok(())
            }
        }) {
            let mut stream = server.connect();
            stream.write_all(&request(7, RESPONDER, keep_conn, &[], b"body")).unwrap();
            let answer = read_answer(&mut stream, 7);
            assert!(answer.text().ends_with("\r\n\r\ndone"), "{}", answer.text());
            assert_eq!(answer.stderr, b"a note");
            assert_eq!((answer.app_status, answer.stdout_ends, answer.stderr_ends), (0, 1, 1));
            // The end of the input, so nothing follows END_REQUEST.
            assert_closed(&mut stream);
            proceed.send(()).unwrap();
            server.handle.shutdown();
            wait_until("serve returns", || server.has_ended());
            assert_eq!(server.reported_errors(), []);
        }
    }
}

fn use_streams_after_the_end(request: &mut Request) -> HandlerResult {
    request.respond(ResponseHead::text(), "done")?;
    request.finish_early()?;
    for len in [1, 100_000] {
        assert_ended(request.stdout.write_all(&vec![b'x'; len]));
        assert_ended(request.stderr.write_all(&vec![b'x'; len]));
    }
    assert_ended(request.stdin.read(&mut [0]));
    assert_ended(request.stdin.data().map(drop));
    assert_ended(request.stdout.flush());
    assert!(matches!(request.finish_early(), Err(Error::RequestEnded)));
    let error = request.respond(ResponseHead::text(), "more").expect_err("an error");
    assert!(matches!(error.downcast_ref(), Some(Error::ResponseStarted)), "{error}");
    assert!(!request.discard_response());
    assert!(!request.is_aborted() && !request.abort_handle().is_aborted());
    match request.query() {
        "error" => Err("an error".into()),
        "panic" => panic!("a panic"),
        _ => Ok(()),
    }
}

/// What the handler returns later can only be reported to the application. Rule A48.
#[test]
fn nothing_is_sent_after_an_early_end() {
    let server = TestServer::tcp(Config::new(), use_streams_after_the_end);
    for (query, error) in
        [("", None), ("error", Some("an error")), ("panic", Some("handler panicked: a panic"))]
    {
        let mut stream = server.connect();
        let pairs = [("QUERY_STRING", query)];
        stream.write_all(&request(1, RESPONDER, 1, &pairs, b"unread body")).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert!(answer.text().ends_with("\r\n\r\ndone"), "{}", answer.text());
        assert_eq!((answer.app_status, answer.stderr.len()), (0, 0));
        assert_closed(&mut stream);
        if let Some(error) = error {
            assert_eq!(server.next_error(), (ErrorKind::Other, error.into()));
        }
    }
    server.handle.shutdown();
    wait_until("serve returns", || server.has_ended());
    assert_eq!(server.reported_errors(), []);
}

/// A request without a response does not end, so the handler can fail.
#[test]
fn request_without_a_response_is_not_finished_early() {
    let server = TestServer::tcp(Config::new(), |request| Ok(request.finish_early()?));
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
    assert_eq!((&*answer.text(), answer.app_status), (FAILED, 1));
}

/// `finish` and `fail` are for programs without a server.
#[test]
fn request_that_has_ended_is_not_ended_again() {
    let (mut client, served) = connected_pair();
    let mut connection = fcgi::server::Connection::new(served).unwrap();
    let bytes = request(1, RESPONDER, 1, &[], b"");
    client.write_all(&bytes).unwrap();
    let mut ended = connection.next_request().unwrap().expect("a request");
    ended.respond(ResponseHead::text(), "done").unwrap();
    ended.finish_early().unwrap();
    assert!(matches!(ended.fail("a reason"), Err(Error::RequestEnded)));
    read_answer(&mut client, 1);
    assert_closed(&mut client);
    assert!(connection.next_request().unwrap().is_none());
    let reason = connection.close_reason().expect("a reason");
    assert_eq!(reason, fcgi::server::CloseReason::FinishedEarly);
    assert!(!reason.is_error());
}

/// Responds early to a request, whether its client has left or not, and ignores every error.
fn finish_early_without_a_check(request: &mut Request) -> HandlerResult {
    let mut body = Vec::new();
    let read = request.stdin.read_to_end(&mut body);
    ResponseHead::text().write_to(&mut request.stdout)?;
    request.stdout.write_all(&vec![b'x'; 60_000])?;
    let outcome = request.finish_early();
    assert_eq!(outcome.is_err(), read.is_err() && request.query() != "too long");
    assert_ended(request.stdout.write_all(b"x"));
    match request.query() {
        "error" => Ok(outcome?),
        _ => Ok(()),
    }
}

/// The client has left, so the response cannot be sent. The error is reported once, whether the
/// handler ignores it or returns it.
#[cfg(unix)]
#[test]
fn early_end_that_cannot_be_sent_is_an_error() {
    for query in ["", "error"] {
        let (ended, outcomes) = mpsc::channel();
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let path = directory.path().join("app.sock");
        let server = Server::bind(path.to_str().expect("a path in UTF-8")).expect("a server");
        let server = server.on_request_end(move |request| {
            drop(ended.send(request.outcome.to_string()));
        });
        let server = TestServer::start(server, finish_early_without_a_check);
        let mut stream = server.connect();
        let start = [begin(1, RESPONDER, 1), params(1, &[("QUERY_STRING", query)])].concat();
        stream.write_all(&start).unwrap();
        drop(stream);
        let text = "input ended before the end of a request";
        assert_eq!(server.next_error(), (ErrorKind::UnexpectedEof, text.into()));
        let outcome = outcomes.recv_timeout(TEST_TIMEOUT).expect("an outcome");
        assert_eq!(outcome, "aborted by the web server", "the read of the body has noticed it");
        server.handle.shutdown();
        wait_until("serve returns", || server.has_ended());
        assert_eq!(server.reported_errors(), []);
    }
}

/// Nothing notices that the client has left before the response is sent.
#[cfg(unix)]
#[test]
fn response_that_an_early_end_cannot_send_was_not_sent() {
    let (ended, outcomes) = mpsc::channel();
    let (begun, messages) = mpsc::channel();
    let (proceed, allowed) = mpsc::channel::<()>();
    let allowed = Mutex::new(allowed);
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let path = directory.path().join("app.sock");
    let server = Server::bind(path.to_str().expect("a path in UTF-8")).expect("a server");
    let server = server.on_request_end(move |request| {
        drop(ended.send(request.outcome.to_string()));
    });
    let server = TestServer::start(server, move |request| {
        begun.send(())?;
        allowed.lock().expect("no panic").recv_timeout(TEST_TIMEOUT)?;
        request.respond(ResponseHead::text(), "done")?;
        let _ignored = request.finish_early();
        Ok(())
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    messages.recv_timeout(TEST_TIMEOUT).expect("the handler is called");
    drop(stream);
    proceed.send(()).expect("the handler waits");
    let (kind, text) = server.next_error();
    assert_eq!(kind, ErrorKind::BrokenPipe);
    let outcome = outcomes.recv_timeout(TEST_TIMEOUT).expect("an outcome");
    assert_eq!(outcome, format!("response not sent: {text}"));
}

/// The response was sent.
#[test]
fn error_of_the_body_that_a_handler_ignores_before_an_early_end_is_reported() {
    let server = TestServer::tcp(Config::new(), finish_early_without_a_check);
    let pairs = [("CONTENT_LENGTH", "3"), ("QUERY_STRING", "too long")];
    let answer = server.round_trip(1, &request(1, RESPONDER, 1, &pairs, b"body"));
    assert_eq!((answer.app_status, answer.stdout_ends), (0, 1));
    let text = "stream is longer than the 3 bytes announced by CONTENT_LENGTH";
    assert_eq!(server.next_error(), (ErrorKind::InvalidData, text.into()));
}
