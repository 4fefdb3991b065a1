//! Proves that closing a listener whose socket no other process has ends every blocked call, and
//! that the backlog is accepted before connections are refused.

use std::io::{self, Read, Write};
use std::thread;

use fcgi::net::{Address, Listener, Stream};

use super::*;

#[test]
fn close_wakes_all_waiters_and_refuses_tcp_connections() {
    for text in ["127.0.0.1:0", ":0"] {
        let listener = Listener::bind(address(text)).unwrap();
        let bound = listener.local_address().unwrap();
        let (mut client, mut server) = exchange(&listener, &bound);
        assert!(!listener.is_closed());
        with_waiters(&listener, || listener.close());
        assert!(listener.is_closed());
        if LINUX {
            assert_eq!(io_kind(Stream::connect(&bound, None)), io::ErrorKind::ConnectionRefused);
        }
        server.write_all(b"c").unwrap();
        client.read_exact(&mut [0]).expect("accepted connections stay open");
        listener.close();
    }
}

/// Connects `count` clients, closes the listener, and checks that four threads then accept and
/// answer all of them.
#[track_caller]
fn assert_backlog_is_accepted(listener: &Listener, address: &Address, count: u8) {
    let mut clients: Vec<_> = (0..count).map(|_| connect(address)).collect();
    for (number, client) in (0..).zip(&mut clients) {
        client.write_all(&[number]).unwrap();
    }
    listener.close();
    let accepted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| echo_until_closed(listener))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, usize::from(count));
    for (number, client) in (0..).zip(&mut clients) {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("an answer");
        assert_eq!(byte, [number]);
    }
    assert!(listener.accept().unwrap().is_none(), "the listener stays closed");
}

/// `std` asks for a backlog of 128 connections.
#[test]
fn close_keeps_the_backlog_of_a_tcp_socket() {
    let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
    let bound = listener.local_address().unwrap();
    assert_backlog_is_accepted(&listener, &bound, 120);
    if LINUX {
        assert_eq!(io_kind(Stream::connect(&bound, None)), io::ErrorKind::ConnectionRefused);
    }
}

/// The threads and `close` accept from the same backlog.
#[test]
fn close_loses_no_connection_while_threads_accept() {
    for _ in 0..200 {
        let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
        let bound = listener.local_address().unwrap();
        let mut clients: Vec<_> = (0..40).map(|_| connect(&bound)).collect();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| echo_until_closed(&listener))).collect();
            listener.close();
            let accepted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(accepted, clients.len());
        });
        for client in &mut clients {
            client.read_exact(&mut [0]).expect("an answer");
        }
    }
}

#[test]
fn accept_after_close_returns_connections_in_order_of_arrival() {
    let listener = Listener::bind(address("127.0.0.1:0")).unwrap();
    let bound = listener.local_address().unwrap();
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let mut client = connect(&bound);
            client.write_all(&[number]).unwrap();
            client
        })
        .collect();
    listener.close();
    for number in 0..3 {
        let mut byte = [9];
        listener.accept().unwrap().expect("a connection").read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number]);
    }
    assert!(listener.accept().unwrap().is_none());
    drop(clients);
}

#[cfg(unix)]
pub(super) mod unix {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::support::{bind, dir, unix_address};

    /// On systems other than Linux, `std` asks for a backlog of 128 connections.
    #[test]
    fn close_keeps_the_backlog_of_a_unix_socket() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        assert_backlog_is_accepted(
            &bind(&path),
            &unix_address(&path),
            if LINUX { 200 } else { 100 },
        );
        let listener = Listener::from(UnixListener::bind(&path).unwrap());
        assert_backlog_is_accepted(&listener, &unix_address(&path), 100);
        if LINUX {
            let outcome = Stream::connect(&unix_address(&path), None);
            assert_eq!(io_kind(outcome), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn close_wakes_all_waiters_and_removes_the_socket_file() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let address = unix_address(&path);
        let listener = Listener::bind(&address).unwrap();
        with_waiters(&listener, || {
            listener.close();
            assert!(!path.exists());
            assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::NotFound);
        });
        // A second listener binds the path while the first still exists. Its file must stay.
        let second = bind(&path);
        listener.close();
        drop(listener);
        exchange(&second, &address);
    }

    #[test]
    fn close_of_an_existing_socket_refuses_connections() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let listener = Listener::from(UnixListener::bind(&path).unwrap());
        with_waiters(&listener, || listener.close());
        if LINUX {
            let outcome = Stream::connect(&unix_address(&path), None);
            assert_eq!(io_kind(outcome), io::ErrorKind::ConnectionRefused);
        }
    }

    /// Sends a byte over new connections until the listener refuses them. Every connection that is
    /// established must be answered.
    #[cfg(all(target_os = "linux", not(fcgi_portable)))]
    fn request_until_refused(address: &Address) -> usize {
        let mut answered = 0;
        loop {
            let mut client = match Stream::connect(address, None) {
                Ok(client) => client,
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
                        "{error}"
                    );
                    return answered;
                }
            };
            client.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).unwrap();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).expect("an answer");
            answered += 1;
        }
    }

    /// Over TCP on Linux a connection can be reset if it is established during `close`.
    #[cfg(all(target_os = "linux", not(fcgi_portable)))]
    #[test]
    fn close_loses_no_connection_while_clients_connect() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        for _ in 0..50 {
            let listener = bind(&path);
            let address = unix_address(&path);
            thread::scope(|scope| {
                let servers: Vec<_> =
                    (0..2).map(|_| scope.spawn(|| echo_until_closed(&listener))).collect();
                let clients: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| request_until_refused(&address))).collect();
                let _close = CloseOnDrop(&listener);
                thread::sleep(Duration::from_millis(2));
                listener.close();
                let answered: usize =
                    clients.into_iter().map(|client| client.join().unwrap()).sum();
                let accepted: usize =
                    servers.into_iter().map(|server| server.join().unwrap()).sum();
                assert_eq!(accepted, answered);
            });
        }
    }

    /// On other systems a process without descriptors cannot connect to its own socket.
    #[cfg(all(target_os = "linux", not(fcgi_portable)))]
    mod without_descriptors {
        use std::fs::File;

        use super::*;
        use crate::process::{answer, command_with_descriptors};

        /// The part of a test that runs in a process with few descriptors.
        pub(crate) fn close_without_descriptors() {
            let dir = dir();
            for address in [address("127.0.0.1:0"), unix_address(&dir.path().join("app.sock"))] {
                end_blocked_calls_without_descriptors(&Listener::bind(&address).unwrap());
                keep_backlog_without_descriptors(&Listener::bind(&address).unwrap());
            }
            println!("<closed>");
        }

        /// Opens files until the process has no descriptor left.
        fn exhaust_descriptors() -> Vec<File> {
            std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
        }

        /// Closes a listener while threads are blocked in `accept`.
        fn end_blocked_calls_without_descriptors(listener: &Listener) {
            let mut files = Vec::new();
            with_waiters(listener, || {
                files = exhaust_descriptors();
                listener.close();
            });
        }

        /// Closes a listener while connections are in its backlog.
        fn keep_backlog_without_descriptors(listener: &Listener) {
            let address = listener.local_address().unwrap();
            let mut clients: Vec<_> = (0..10).map(|_| connect(&address)).collect();
            let files = exhaust_descriptors();
            listener.close();
            assert!(
                listener.accept().is_err(),
                "a connection has been accepted without a descriptor"
            );
            drop(files);
            for client in &mut clients {
                client.write_all(b"x").unwrap();
            }
            assert_eq!(echo_until_closed(listener), 10);
            let kind = io_kind(Stream::connect(&address, None));
            assert!(
                matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
                "{kind}"
            );
        }

        #[test]
        fn close_needs_no_descriptor() {
            assert_eq!(answer(&mut command_with_descriptors("close", 64)), "closed");
        }
    }

    #[cfg(all(target_os = "linux", not(fcgi_portable)))]
    pub(crate) use without_descriptors::close_without_descriptors;
}
