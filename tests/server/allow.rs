//! Proves that only web servers on the allow list are served, that the others get no byte, and that
//! a list which is not understood keeps the server from starting.

use std::io::Write;

use crate::support::*;
use fcgi::net::{AllowList, Listener};
use fcgi::{Error, Server};

#[track_caller]
fn limited(address: &str, list: &str) -> Option<TestServer> {
    let listener = Listener::bind(&address.parse().unwrap()).ok()?;
    Some(TestServer::start(Server::new(listener).unwrap().allow(list.parse().unwrap()), echo))
}

/// A5: allowed, denied, `::ffff:127.0.0.1`, spaces after commas.
#[test]
fn a5_the_address_of_the_peer_decides() {
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
        // A machine without IPv6 has nothing to prove about it.
        let Some(server) = limited(address, list) else {
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

/// A5: a connection that is not over TCP is closed too, whatever the list.
#[test]
fn a5_a_unix_socket_is_never_on_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let server = limited(path.to_str().unwrap(), "127.0.0.1, ::1").unwrap();
    for _ in 0..3 {
        let mut stream = server.connect();
        let _ = stream.write_all(&request(1, RESPONDER, 0, &[], b"body"));
        assert_no_response(&mut stream);
    }
}

/// A6: "a bad list allows everyone": a list that does not parse is no list.
#[test]
fn a6_rubbish_is_refused_whole() {
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
