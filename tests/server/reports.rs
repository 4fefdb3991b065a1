//! What a server does with errors that belong to no request: it tells of them, and whatever becomes
//! of that, it goes on (rule A15).
#![cfg(unix)]

use std::io::Write;
use std::process::{Command, Stdio};

use crate::example;
use crate::support::*;
use fcgi::net::{Address, Listener, Stream};
use fcgi::server::Config;
use fcgi::Server;

/// More than the threads that wait, so that the loss of one for each error would be noticed.
const ERRORS: usize = 20;

/// Sends what is not FastCGI, again and again, and a request after that.
fn provoke_and_ask(address: &Address) -> Answer {
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
            "a15: no bytes but records come back"
        );
    }
    let mut stream = connect();
    stream.write_all(&request(1, RESPONDER, 0, &[], b"")).expect("written");
    read_answer(&mut stream, 1)
}

#[test]
fn each_error_is_told() {
    let server = TestServer::tcp(Config::new(), echo);
    provoke_and_ask(&server.address);
    for _ in 0..ERRORS {
        assert_eq!(server.next_error().1, "record has unsupported FastCGI version 71");
    }
}

#[test]
fn who_is_told_may_panic() {
    let listener =
        Listener::bind(&"127.0.0.1:0".parse().expect("an address")).expect("a listening socket");
    let server = Server::new(listener).expect("a server").on_error(|report| panic!("{report}"));
    let (address, handle) = (server.local_address().expect("its address"), server.handle());
    let serving = std::thread::spawn(move || server.serve(echo));
    let answer = provoke_and_ask(&address);
    handle.shutdown();
    serving.join().expect("the server's thread").expect("a clean end");
    assert_eq!(answer.protocol_status, 0);
}

/// A program that a web server starts may have no stderr, or one that nobody reads any more.
#[test]
fn stderr_may_be_gone() {
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let address = Address::unix(directory.path().join("app.sock")).expect("an address");
    let mut command = Command::new(example::path("echo"));
    let child =
        command.arg(address.to_string()).stderr(Stdio::piped()).spawn().expect("echo starts");
    let mut echo = example::KillOnDrop(child);
    drop(echo.0.stderr.take());
    example::wait_until_listening(&address);
    assert_eq!(provoke_and_ask(&address).protocol_status, 0);
}
