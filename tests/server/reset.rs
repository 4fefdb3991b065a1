//! A connection that is reset between requests has ended, and nothing was lost; inside a request it
//! is an error.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::*;
use fcgi::net::Listener;
use fcgi::server::Connection;
use fcgi::Error;

/// A connection with a request that was answered, and its other end, where the answer lies unread:
/// closing that resets it.
fn answered() -> (Connection, TcpStream) {
    let listener =
        Listener::bind(&"127.0.0.1:0".parse().expect("an address")).expect("a listening socket");
    let address = listener.local_address().expect("its address").to_string();
    let mut peer = TcpStream::connect(address).expect("a connection");
    peer.write_all(&request(1, RESPONDER, 1, &[], b"")).expect("the request is taken");
    let mut connection =
        Connection::new(listener.accept().expect("it").expect("it")).expect("a connection");
    let mut request = connection.next_request().expect("a request").expect("a request");
    assert_eq!(request.stdin.read(&mut [0]).expect("the end of stdin"), 0);
    request.finish().expect("the answer is taken");
    peer.peek(&mut [0]).expect("an answer");
    (connection, peer)
}

#[test]
fn between_requests_it_is_an_end() {
    let (mut connection, peer) = answered();
    drop(peer);
    assert!(connection.next_request().expect("a clean end").is_none());
}

#[test]
fn inside_a_request_it_is_an_error() {
    let (mut connection, mut peer) = answered();
    peer.write_all(&begin(2, RESPONDER, 1)).expect("the beginning is taken");
    drop(peer);
    match connection.next_request() {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}
