//! Proves that a reset between requests ends the connection, and that a reset inside a request is
//! an error.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::*;
use fcgi::net::Listener;
use fcgi::server::Connection;
use fcgi::Error;

/// Returns a connection after one request, and its peer. The peer has not read the response, so
/// that closing it resets the connection.
fn connection_after_request() -> (Connection, TcpStream) {
    let listener = Listener::bind("127.0.0.1:0").expect("a listening socket");
    let address = listener.local_address().expect("its address").to_string();
    let mut peer = TcpStream::connect(address).expect("a connection");
    peer.write_all(&request(1, RESPONDER, 1, &[], b"")).expect("the request is sent");
    let mut connection =
        Connection::new(listener.accept().expect("a stream").expect("an open listener"))
            .expect("a connection");
    let mut request = connection.next_request().expect("a request").expect("a request");
    assert_eq!(request.stdin.read(&mut [0]).expect("the end of stdin"), 0);
    request.finish().expect("the response is sent");
    peer.peek(&mut [0]).expect("a response");
    (connection, peer)
}

/// Rule A11.
#[test]
fn reset_between_requests_is_the_end_of_the_connection() {
    let (mut connection, peer) = connection_after_request();
    drop(peer);
    assert!(connection.next_request().expect("a clean end").is_none());
}

/// Rule A12.
#[test]
fn reset_inside_a_request_is_an_error() {
    let (mut connection, mut peer) = connection_after_request();
    peer.write_all(&begin(2, RESPONDER, 1)).expect("the record is sent");
    drop(peer);
    match connection.next_request() {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}
