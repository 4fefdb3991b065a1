//! Proves that connecting to a Unix socket whose backlog is full does not block indefinitely.
#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::Config;
use fcgi::net::Address;
use fcgi::{Client, Error};

use crate::support::application::*;

const TIMEOUT: Duration = Duration::from_millis(100);

#[track_caller]
fn assert_timed_out<T: std::fmt::Debug>(outcome: fcgi::Result<T>) {
    let error = outcome.expect_err("no connection");
    let is_connecting = matches!(error, Error::Connect { .. });
    assert!(is_connecting && error.kind() == ErrorKind::TimedOut, "{error:?}");
}

/// Rule C29.
#[test]
fn full_backlog_of_a_unix_socket_times_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    fill_backlog(&path);
    let limits = [
        Config::new().connect_timeout(Some(TIMEOUT)),
        Config::new().connect_timeout(None).deadline(Some(TIMEOUT)),
    ];
    for config in limits {
        let client = Client::from(Address::unix(&path).unwrap()).config(config.clone());
        let start = Instant::now();
        let outcomes = run_with_timeout(move || {
            assert_timed_out(client.fetch(&get_params(), b""));
            assert_timed_out(client.get_values());
            assert_timed_out(client.negotiate());
            if config.connect_timeout.is_some() {
                assert_timed_out(client.connect());
            }
        });
        outcomes.expect("all time out");
        assert!(start.elapsed() >= 3 * TIMEOUT);
    }

    // After 16 attempts that still wait, the next ones fail at once.
    let client = Client::from(Address::unix(&path).unwrap())
        .config(Config::new().connect_timeout(Some(TIMEOUT)));
    (7..16).for_each(|_| assert_timed_out(client.get_values()));
    let start = Instant::now();
    (0..1000).for_each(|_| assert_timed_out(client.fetch(&get_params(), b"")));
    assert!(start.elapsed() < 100 * TIMEOUT);

    // The attempts end with the application.
    drop(listener);
    let closed = run_with_timeout(move || loop {
        match client.connect() {
            Err(error) if error.kind() == ErrorKind::TimedOut => thread::sleep(TIMEOUT),
            outcome => return outcome.map(drop),
        }
    });
    let error = closed.expect("no panic").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error:?}");
}

/// The request follows another one at once, but other clients have filled the backlog meanwhile.
/// Rule C29.
#[test]
fn full_backlog_times_out_after_a_request_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let config = test_config().connect_timeout(Some(TIMEOUT));
    let client = Client::from(Address::unix(&path).unwrap()).config(config);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = fcgi::net::Stream::from(listener.accept().unwrap().0);
            let request = read_request(&mut stream).expect("a request");
            fill_backlog(&path);
            std::io::Write::write_all(&mut stream, &request.response(b"first")).unwrap();
        });
        let outcomes = run_with_timeout(move || {
            let first = client.fetch(&get_params(), b"");
            let second = client.fetch(&get_params(), b"");
            assert_eq!(first.expect("a response").stdout, b"first");
            assert_timed_out(second);
        });
        outcomes.expect("the second request times out");
    });
}

/// The application accepts the connections after the client has given up. It sees them closed, and
/// later requests are served.
#[test]
fn connection_that_comes_too_late_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    fill_backlog(&path);
    let client = Client::from(Address::unix(&path).unwrap())
        .config(test_config().connect_timeout(Some(TIMEOUT)));
    assert_timed_out(client.fetch(&get_params(), b""));
    let client = client.config(test_config());
    thread::scope(|scope| {
        let served = scope.spawn(|| client.fetch(&get_params(), b""));
        scope.spawn(|| loop {
            let mut stream = fcgi::net::Stream::from(listener.accept().unwrap().0);
            if let Some(request) = read_request(&mut stream) {
                std::io::Write::write_all(&mut stream, &request.response(b"late")).unwrap();
                return;
            }
        });
        assert_eq!(served.join().unwrap().expect("a response").stdout, b"late");
    });
}
