//! Proves that a program can serve a connection itself, with `Connection` instead of `Server`.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use fcgi::server::{CloseReason, Config, Connection};
use fcgi::Server;

/// Returns a connection whose peer has sent these bytes, and the peer.
fn connection_that_receives(bytes: &[u8], config: Config) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let mut peer =
        TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    peer.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    peer.write_all(bytes).expect("the bytes are sent");
    let stream = listener.accept().expect("a connection").0;
    (peer, Connection::with_config(stream, Arc::new(config)).expect("a connection"))
}

/// Returns a request after which the connection is to be kept.
fn kept_request() -> Vec<u8> {
    request(1, RESPONDER, 1, &[], b"")
}

fn connection_with_request() -> (TcpStream, Connection) {
    connection_that_receives(&kept_request(), Config::new())
}

/// Nothing of the response was sent before. Rule A45.
#[test]
fn failed_request_is_answered_with_status_500() {
    let (mut peer, mut connection) = connection_with_request();
    let mut request = connection.next_request().expect("a request").expect("a request");
    request.stdout.write_all(ECHO_HEAD.as_bytes()).expect("the head is buffered");
    request.fail("out of\ncheese").expect("the response is sent");
    let answer = read_answer(&mut peer, 1);
    assert_eq!((&*answer.text(), answer.app_status), (FAILED, 1));
    assert_eq!(answer.stderr, b"out of cheese\n");
}

/// No request follows. Nothing of this is an error.
#[test]
fn close_reason_says_why_no_request_follows() {
    let idle_timeout = || Config::new().idle_timeout(Some(Duration::from_millis(10)));
    for (config, bytes, reason) in [
        (Config::new(), request(1, RESPONDER, 0, &[], b""), CloseReason::KeepConnNotSet),
        (Config::new().max_requests(Some(0)), kept_request(), CloseReason::RequestLimit),
        (Config::new().max_requests(Some(1)), kept_request(), CloseReason::RequestLimit),
        (idle_timeout(), kept_request(), CloseReason::IdleTimeout),
    ] {
        let (_peer, mut connection) = connection_that_receives(&bytes, config);
        let request = connection.next_request().expect("a request").expect("a request");
        request.finish().expect("the response is sent");
        let is_known = reason != CloseReason::IdleTimeout;
        assert_eq!(connection.close_reason(), Some(reason).filter(|_| is_known));
        assert!(connection.next_request().expect("not an error").is_none());
        assert_eq!(connection.close_reason(), Some(reason));
    }
}

#[test]
fn request_that_is_dropped_decides_the_close_reason() {
    let (_peer, mut connection) = connection_with_request();
    drop(connection.next_request().expect("a request").expect("a request"));
    assert_eq!(connection.close_reason(), Some(CloseReason::RequestNotFinished));
}

#[test]
fn error_decides_the_close_reason() {
    let (_peer, mut connection) = connection_that_receives(b"GET / HTTP/1.1", Config::new());
    assert_eq!(connection.close_reason(), None);
    connection.next_request().expect_err("not FastCGI");
    assert_eq!(connection.close_reason(), Some(CloseReason::ProtocolError));
}

#[test]
fn debug_output_shows_the_configuration_and_the_phase() {
    let server = Server::bind("127.0.0.1:0").expect("a server").config(Config::new());
    let text = format!("{server:?}");
    assert!(text.contains("listener: ") && text.contains("config: Config {"), "{text}");
    let (_peer, connection) = connection_with_request();
    let text = format!("{connection:?}");
    assert!(text.contains("stream: ") && text.contains("phase: Waiting"), "{text}");
}
