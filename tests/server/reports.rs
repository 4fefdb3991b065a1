//! Proves that a server reports errors that belong to no request, and that it goes on whatever the
//! report does.
#![cfg(unix)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::example;
use crate::support::*;
use fcgi::error::Timeout;
use fcgi::net::{Address, Listener, Stream};
use fcgi::server::{CloseReason, Config};
use fcgi::{Error, Server};

/// More errors than there are waiting threads, so that the loss of a thread per error would be
/// noticed.
const ERRORS: usize = 20;

/// Sends input that is not FastCGI on several connections, and then a request.
fn provoke_errors_and_send_request(address: &Address) -> Answer {
    let connect = || {
        let stream = Stream::connect(address, Some(TEST_TIMEOUT)).expect("a connection");
        stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
        stream
    };
    for _ in 0..ERRORS {
        let mut stream = connect();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("written");
        assert_eq!(
            read_all(&mut stream).unwrap_or_default(),
            b"",
            "the server sends nothing but records"
        );
    }
    let mut stream = connect();
    stream.write_all(&request(1, RESPONDER, 0, &[], b"")).expect("written");
    read_answer(&mut stream, 1)
}

/// Rule A15.
#[test]
fn each_error_is_reported() {
    const MESSAGE: &str = "record has unsupported FastCGI version 71: the peer may be using HTTP";
    let server = TestServer::tcp(Config::new(), echo);
    provoke_errors_and_send_request(&server.address);
    for _ in 0..ERRORS {
        assert_eq!(server.next_error().1, MESSAGE);
    }
}

/// Rule A15.
#[test]
fn error_callback_may_panic() {
    let listener = Listener::bind("127.0.0.1:0").expect("a listening socket");
    let server = Server::new(listener).expect("a server").on_error(|report| panic!("{report}"));
    let (address, handle) = (server.local_address().expect("its address"), server.handle());
    let serving = std::thread::spawn(move || server.serve(echo));
    let answer = provoke_errors_and_send_request(&address);
    handle.shutdown();
    serving.join().expect("the server's thread").expect("a clean end");
    assert_eq!(answer.protocol_status, 0);
}

/// A program that a web server starts may have a stderr that is no longer read. Rule A15.
#[test]
fn server_goes_on_when_stderr_is_closed() {
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let address = Address::unix(directory.path().join("app.sock")).expect("an address");
    let mut command = Command::new(example::path("echo"));
    let child =
        command.arg(address.to_string()).stderr(Stdio::piped()).spawn().expect("echo starts");
    let mut echo = example::KillOnDrop(child);
    drop(echo.0.stderr.take());
    example::wait_until_listening(&address);
    assert_eq!(provoke_errors_and_send_request(&address).protocol_status, 0);
}

#[test]
fn error_is_reported_with_the_reason_of_the_close() {
    let io_error = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let limit = Duration::from_secs(1);
    for (error, reason) in [
        (Error::RequestNotFinished, CloseReason::RequestNotFinished),
        (Error::ParamsTooLarge(9), CloseReason::ParamsTooLarge),
        (Error::BodyTooLarge(9), CloseReason::BodyTooLarge),
        (Error::TimedOut(Timeout::new("read", limit)), CloseReason::TimedOut),
        (Error::RequestTimedOut(limit), CloseReason::TimedOut),
        (Error::Io(io_error()), CloseReason::ConnectionFailed),
        (Error::UnexpectedEof("a record"), CloseReason::ConnectionFailed),
        (Error::Aborted, CloseReason::ConnectionFailed),
        (Error::UnsupportedVersion(9), CloseReason::ProtocolError),
        (Error::InvalidParams(9), CloseReason::ProtocolError),
    ] {
        assert_eq!(CloseReason::from(&error), reason, "{error}");
    }
    assert_eq!(CloseReason::TimedOut.to_string(), "a timeout expired");
}

/// The descriptor is a connected socket. Every `accept` call fails in the same way.
#[test]
fn serve_returns_if_the_socket_does_not_listen() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listening socket");
    let connected =
        TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let server = Server::new(TcpListener::from(OwnedFd::from(connected))).expect("a server");
    let (sender, outcome) = mpsc::channel();
    let _serving = thread::spawn(move || sender.send(server.on_error(|_| ()).serve(echo)));
    let outcome = outcome.recv_timeout(TEST_TIMEOUT).expect("serve returns");
    assert_eq!(outcome.expect_err("a fatal error").kind(), std::io::ErrorKind::InvalidInput);
}
