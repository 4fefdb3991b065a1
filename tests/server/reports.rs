//! Proves that a server reports errors that belong to no request, and that it goes on whatever the
//! report does.
#![cfg(unix)]

use std::io::Write;
use std::process::{Command, Stdio};

use crate::example;
use crate::support::*;
use fcgi::net::{Address, Listener, Stream};
use fcgi::server::Config;
use fcgi::Server;

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
    let server = TestServer::tcp(Config::new(), echo);
    provoke_errors_and_send_request(&server.address);
    for _ in 0..ERRORS {
        assert_eq!(server.next_error().1, "record has unsupported FastCGI version 71");
    }
}

/// Rule A15.
#[test]
fn error_callback_may_panic() {
    let listener =
        Listener::bind(&"127.0.0.1:0".parse().expect("an address")).expect("a listening socket");
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
