//! Proves that an allow list is parsed or refused, and that it allows only the peers on it.

use std::io::{self, Write};
use std::net::{IpAddr, TcpListener, TcpStream};

use super::{address, exchange};
use fcgi::net::{AllowList, Listener};
use fcgi::Error;

/// IPv4-mapped IPv6 addresses are equal to the IPv4 address. Rules A5 and S10.
#[test]
fn allow_list_is_parsed() {
    let (v4, other, v6): (IpAddr, IpAddr, IpAddr) = (
        "127.0.0.1".parse().unwrap(),
        "127.0.0.2".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    );
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    let almost: IpAddr = "::127.0.0.1".parse().unwrap();
    for (list, allowed) in [
        ("127.0.0.1", vec![v4, mapped]),
        (" 127.0.0.1\t", vec![v4, mapped]),
        ("::ffff:127.0.0.1", vec![v4, mapped]),
        ("127.0.0.2,127.0.0.1", vec![v4, mapped, other]),
        ("2001:db8::1 , 127.0.0.2", vec![v6, other]),
        ("2001:0DB8:0:0:0:0:0:1", vec![v6]),
        ("2001:db8::2", vec![]),
    ] {
        let parsed: AllowList = list.parse().unwrap();
        for ip in [v4, mapped, other, v6, almost] {
            assert_eq!(parsed.allows_ip(ip), allowed.contains(&ip), "{ip} in {list:?}");
        }
    }
}

/// An empty list is invalid, too. Rules A6 and S10.
#[test]
fn allow_list_with_an_invalid_item_is_refused() {
    for (list, item) in [
        ("", ""),
        (" ", ""),
        (",", ""),
        ("127.0.0.1,", ""),
        (",127.0.0.1", ""),
        ("127.0.0.1,,127.0.0.2", ""),
        ("not-an-address", "not-an-address"),
        ("127.0.0.1,256.0.0.1", "256.0.0.1"),
        ("127.0.0.1 127.0.0.2", "127.0.0.1 127.0.0.2"),
        ("127.0.0.1;127.0.0.2", "127.0.0.1;127.0.0.2"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("127.0.0.0/8", "127.0.0.0/8"),
        ("[::1]", "[::1]"),
        ("localhost", "localhost"),
        ("*", "*"),
    ] {
        let error = list.parse::<AllowList>().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidAllowList(found) if found == item),
            "{list:?}: {error:?}"
        );
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

/// Rule A5.
#[test]
fn allow_list_compares_the_address_of_a_tcp_peer() {
    let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
    let (_client, server) = exchange(&listener, &listener.local_address().unwrap());
    for (list, allowed) in
        [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("127.0.0.2", false), ("::1", false)]
    {
        assert_eq!(list.parse::<AllowList>().unwrap().allows(&server), allowed, "{list}");
    }
}

/// A socket that accepts both families reports an IPv4 peer by its mapped address. Rule A5.
#[test]
fn allow_list_matches_an_ipv4_peer_of_an_ipv6_socket() {
    let socket = match TcpListener::bind("[::]:0") {
        Ok(socket) => socket,
        Err(error) => {
            return writeln!(
                io::stderr(),
                "\nNOT TESTED: IPv6, because this machine does not support it ({error})\n"
            )
            .unwrap()
        }
    };
    let port = socket.local_addr().unwrap().port();
    let listener = Listener::from(socket);
    let Ok(_client) = TcpStream::connect(("127.0.0.1", port)) else {
        return writeln!(
            io::stderr(),
            "\nNOT TESTED: mapped addresses, because [::] does not accept IPv4 here\n"
        )
        .unwrap();
    };
    let server = listener.accept().unwrap().unwrap();
    assert!("127.0.0.1".parse::<AllowList>().unwrap().allows(&server));
    assert!(!"127.0.0.2,::1".parse::<AllowList>().unwrap().allows(&server));
}

#[cfg(unix)]
/// Rule A5.
#[test]
fn allow_list_never_allows_a_unix_peer() {
    let dir = tempfile::tempdir().unwrap();
    let address = fcgi::net::Address::unix(dir.path().join("app.sock")).unwrap();
    let listener = Listener::bind(&address).unwrap();
    let (_client, server) = exchange(&listener, &address);
    assert!(!"127.0.0.1, ::1, 0.0.0.0, ::".parse::<AllowList>().unwrap().allows(&server));
}
