//! Proves that TCP listeners accept, and that their errors are reported.

use std::io::{self, IoSliceMut, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
#[cfg(unix)]
use std::net::{TcpListener, TcpStream};

use super::{address, exchange, io_kind};
use fcgi::net::{Listener, Stream};
use fcgi::Error;

#[test]
fn tcp_listener_accepts_connections() {
    for text in ["127.0.0.1:0", "tcp:127.0.0.1:0", "localhost:0", ":0", "[::1]:0"] {
        let listener = match Listener::bind(address(text)) {
            // Write to stderr directly, because the test harness hides the output of a test that
            // passes.
            Err(Error::Socket { source: error, .. })
                if text == "[::1]:0" && error.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                writeln!(
                    io::stderr(),
                    "\nNOT TESTED: IPv6, because this machine has no ::1 ({error})\n"
                )
                .unwrap();
                continue;
            }
            bound => bound.unwrap(),
        };
        let bound = listener.local_address().unwrap();
        assert!(!bound.to_string().ends_with(":0"), "{bound}");
        exchange(&listener, &bound);
    }
}

#[test]
fn address_without_host_binds_all_ipv4_interfaces_and_connects_to_localhost() {
    let listener = Listener::bind(address(":0")).unwrap();
    let bound: SocketAddr = listener.local_address().unwrap().to_string().parse().unwrap();
    assert_eq!(bound.ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    exchange(&listener, &address(&format!(":{}", bound.port())));
}

#[test]
fn port_in_use_is_an_error() {
    let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
    assert_eq!(
        io_kind(Listener::bind(listener.local_address().unwrap())),
        io::ErrorKind::AddrInUse
    );
}

#[test]
fn unknown_host_is_an_error() {
    assert!(matches!(
        Listener::bind(address("no-such-host.invalid:9000")),
        Err(Error::Socket { .. })
    ));
}

/// Rule C31.
#[test]
fn connecting_to_a_closed_tcp_port_is_refused() {
    let closed = Listener::bind(address("127.0.0.1:0")).unwrap().local_address().unwrap();
    assert_eq!(io_kind(Stream::connect(&closed, None)), io::ErrorKind::ConnectionRefused);
}

#[cfg(unix)]
#[test]
fn both_ends_of_a_tcp_connection_have_nodelay() {
    use std::os::fd::AsFd;

    let existing = TcpListener::bind("127.0.0.1:0").unwrap();
    for listener in [Listener::bind(address("127.0.0.1:0")).unwrap(), existing.into()] {
        let (client, server) = exchange(&listener, &listener.local_address().unwrap());
        for stream in [client, server] {
            let stream = TcpStream::from(stream.as_fd().try_clone_to_owned().unwrap());
            assert!(stream.nodelay().unwrap());
        }
    }
}

#[test]
fn vectored_read_fills_one_slice_after_the_other() {
    let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
    let (mut client, mut server) = exchange(&listener, &listener.local_address().unwrap());
    for through_reference in [false, true] {
        client.write_all(b"abcd").unwrap();
        let (mut one, mut other) = ([0; 2], [0; 9]);
        let slices = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        let n = if through_reference {
            (&server).read_vectored(slices)
        } else {
            server.read_vectored(slices)
        };
        // One small write arrives as a whole.
        assert_eq!((n.unwrap(), &one, &other[..2]), (4, b"ab", &b"cd"[..]));
    }
}
