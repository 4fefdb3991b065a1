//! Proves that listeners on Unix sockets accept.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::support::{dir, leave_stale};
use super::{address, exchange, io_kind};
use fcgi::net::{Address, Listener, Stream};

#[test]
fn unix_listener_accepts_connections() {
    let dir = dir();
    let not_utf8 = OsStr::from_bytes(b"\xff\xfe.sock");
    for name in [OsStr::new("app.sock"), OsStr::new("a b:9000"), not_utf8] {
        let address = Address::unix(dir.path().join(name)).unwrap();
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.local_address().unwrap(), address);
        exchange(&listener, &address);
    }
}

#[test]
fn too_long_socket_path_is_an_error_that_says_so() {
    let address = address(&format!("/tmp/{}", "x".repeat(200)));
    for error in
        [Listener::bind(&address).unwrap_err(), Stream::connect(&address, None).unwrap_err()]
    {
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("path must be shorter"), "{error}");
    }
}

/// Rule C31.
#[test]
fn connecting_to_a_missing_or_stale_socket_fails_at_once() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let address = Address::unix(&path).unwrap();
    assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::NotFound);
    leave_stale(&path);
    assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::ConnectionRefused);
}

/// Non-blocking mode belongs to the socket, so another process that has the socket can set it
/// at any time.
#[cfg(target_os = "linux")]
#[test]
fn accept_resets_non_blocking_mode() {
    use std::thread;

    use super::support::{is_nonblocking, pairs, settings};

    let dir = dir();
    for (listener, sibling) in pairs(dir.path()) {
        let address = listener.local_address().unwrap();
        settings(&sibling).set_nonblocking(true).unwrap();
        assert!(is_nonblocking(&listener));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| listener.accept());
            while is_nonblocking(&listener) {
                thread::yield_now();
            }
            let _client = Stream::connect(&address, None).unwrap();
            assert!(waiter.join().unwrap().unwrap().is_some());
        });
    }
}
