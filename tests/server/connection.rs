//! Proves that a program can serve a connection itself, with `Connection` instead of `Server`.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use crate::support::*;
use fcgi::server::{Config, Connection};
use fcgi::Server;

/// Returns a connection that has received a request, and its peer.
fn connection_with_request() -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let mut peer =
        TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    peer.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    peer.write_all(&request(1, RESPONDER, 1, &[], b"")).expect("a request is sent");
    let served = listener.accept().expect("a connection").0;
    (peer, Connection::new(served).expect("a connection"))
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

/// A program may build records of its own.
#[test]
fn output_sends_whole_records() {
    let (mut peer, mut connection) = connection_with_request();
    let request = connection.next_request().expect("a request").expect("a request");
    let mut output = *request.stdout.get_ref();
    let built = record(STDERR, 1, b"warning");
    assert_eq!(output.write(&built).expect("the record is sent"), built.len());
    request.finish().expect("the response is sent");
    assert_eq!(read_answer(&mut peer, 1).stderr, b"warning");
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
