//! Proves that only web servers on the allow list are served, that others receive no byte, and that
//! an invalid list keeps the server from starting.

use std::io::Write;

use crate::support::*;
use fcgi::net::{AllowList, Listener};
use fcgi::{Error, Server};

/// Starts a server with this allow list, or returns `None` if the address cannot be bound.
#[track_caller]
fn server_with_list(address: &str, list: &str) -> Option<TestServer> {
    let listener = Listener::bind(address).ok()?;
    Some(TestServer::start(Server::new(listener).unwrap().allow(list.parse().unwrap()), echo))
}

/// Rule A5.
#[test]
fn only_peers_on_the_allow_list_are_served() {
    for (address, list, is_allowed) in [
        ("127.0.0.1:0", "127.0.0.1", true),
        ("127.0.0.1:0", "127.0.0.2", false),
        ("127.0.0.1:0", "127.0.0.2, 127.0.0.1", true),
        ("127.0.0.1:0", "10.0.0.1,127.0.0.2 ,::1", false),
        ("127.0.0.1:0", "::ffff:127.0.0.1", true),
        ("127.0.0.1:0", "0.0.0.0, ::", false),
        ("[::1]:0", "::1", true),
        ("[::1]:0", "127.0.0.1", false),
        ("[::1]:0", "::2, ::ffff:127.0.0.1", false),
    ] {
        // Skip IPv6 on a machine that does not support it.
        let Some(server) = server_with_list(address, list) else {
            assert!(address.starts_with('['), "{address}");
            continue;
        };
        let mut stream = server.connect();
        let sent = stream.write_all(&request(1, RESPONDER, 0, &[], b"body"));
        if is_allowed {
            sent.unwrap();
            assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"), "{list}");
        } else {
            assert_no_response(&mut stream);
            assert_no_response(&mut server.connect());
        }
    }
}

/// A peer that connects all the time must not fill a log.
#[test]
fn connection_from_another_address_is_reported_once_a_minute() {
    let server = server_with_list("127.0.0.1:0", "127.0.0.2").expect("a server");
    for _ in 0..3 {
        assert_no_response(&mut server.connect());
    }
    let (kind, text) = server.next_error();
    assert_eq!(kind, std::io::ErrorKind::Other);
    assert_eq!(text, "connection from 127.0.0.1 refused: the address is not allowed");
    server.handle.shutdown();
    wait_until("serve returns", || server.has_ended());
    assert_eq!(server.reported_errors(), []);
}

/// It could serve no connection: peers of a Unix socket have no address. Rule A5.
#[cfg(unix)]
#[test]
fn unix_socket_is_refused_with_an_allow_list() {
    use fcgi::net::Address;
    use std::sync::mpsc;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let unnamed = std::os::unix::net::UnixListener::bind(directory.path().join("other")).unwrap();
    for listener in [Listener::bind(Address::unix(&path).unwrap()).unwrap(), unnamed.into()] {
        let server = Server::new(listener).unwrap().allow("127.0.0.1, ::1".parse().unwrap());
        let (sender, outcome) = mpsc::channel();
        std::thread::spawn(move || sender.send(server.serve(echo)));
        let error = outcome.recv_timeout(TEST_TIMEOUT).expect("the end of serve").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("list of allowed addresses"), "{error}");
    }
    assert!(!path.exists(), "the socket file is removed");
}

/// An invalid list must not allow every peer. Rule A6.
#[test]
fn invalid_allow_list_is_an_error() {
    for list in [
        "",
        " ",
        ",",
        "not-an-address",
        "256.0.0.1",
        "127.0.0.1,",
        "127.0.0.1 ::1",
        "127.0.0.1,nobody",
        "10.0.0.0/8",
    ] {
        assert!(matches!(list.parse::<AllowList>(), Err(Error::InvalidAllowList(_))), "{list:?}");
    }
}

#[cfg(unix)]
#[test]
fn socket_mode_is_that_of_the_file_and_an_error_for_tcp() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().expect("a directory for the socket");
    let path = dir.path().join("app.sock");
    let server = Server::bind(path.to_str().expect("a path in UTF-8")).expect("a server");
    let _server = server.socket_mode(0o640).expect("the owner of the file");
    let mode = std::fs::metadata(&path).expect("the socket file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let tcp = Server::bind("127.0.0.1:0").expect("a server");
    assert_eq!(tcp.socket_mode(0o640).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
