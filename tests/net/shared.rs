//! Proves that closing a listener whose socket other processes have too ends its blocked calls at
//! once, and that no connection is lost.

use std::fs;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use fcgi::net::Listener;

use super::clients::{Clients, StopOnDrop};
use super::support::{dir, pairs, settings};
use super::*;

#[test]
fn shared_socket_stays_open_for_other_handles() {
    let dir = dir();
    for (listener, sibling) in pairs(dir.path()) {
        let listener = listener.shared();
        let address = listener.local_address().unwrap();
        // On Linux a connection inherits the receive timeout of the listening socket. It must
        // be cleared. The listening socket has its timeout when it accepts the second
        // connection.
        exchange(&listener, &address);
        let (_client, server) = exchange(&listener, &address);
        if LINUX {
            assert_eq!(settings(&server).read_timeout().unwrap(), None);
        }
        with_waiters(&listener, || listener.close());
        #[cfg(target_os = "linux")]
        assert!(!super::support::is_nonblocking(&sibling));
        drop(listener);
        assert_eq!(settings(&sibling).read_timeout().unwrap(), None);
        exchange_after_close_of_another(&sibling, &address);
    }
}

#[test]
fn closed_listener_leaves_the_backlog_of_a_shared_socket_to_others() {
    let dir = dir();
    for (listener, sibling) in pairs(dir.path()) {
        let (listener, sibling) = (listener.shared(), sibling.shared());
        let address = listener.local_address().unwrap();
        let _client = connect(&address);
        listener.close();
        assert!(listener.accept().unwrap().is_none());
        assert!(sibling.accept().unwrap().is_some());
    }
}

fn serve<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &'scope Listener,
) -> Vec<ScopedJoinHandle<'scope, usize>> {
    (0..4).map(|_| scope.spawn(|| echo_until_closed(listener))).collect()
}

/// Waits for threads. Returns the sum of what they return.
fn sum(threads: Vec<ScopedJoinHandle<'_, usize>>) -> usize {
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

/// Closes a listener, and returns how long its threads take to return, and the sum of what they
/// return.
fn close(listener: &Listener, threads: Vec<ScopedJoinHandle<'_, usize>>) -> (Duration, usize) {
    let start = Instant::now();
    listener.close();
    let served = sum(threads);
    (start.elapsed(), served)
}

/// Checks that most rounds were much quicker than the receive timeout of 500 ms.
#[track_caller]
fn assert_quick(mut durations: Vec<Duration>) {
    durations.sort();
    let median = durations[durations.len() / 2];
    assert!(median < Duration::from_millis(100), "{durations:?}");
}

#[test]
fn close_loses_no_connection_of_a_shared_socket() {
    let dir = dir();
    let mut durations = Vec::new();
    for round in 0..50 {
        let dir = dir.path().join(round.to_string());
        fs::create_dir(&dir).unwrap();
        for (one, other) in pairs(&dir) {
            let (one, other, clients) = (one.shared(), other.shared(), Clients::default());
            let address = one.local_address().unwrap();
            thread::scope(|scope| {
                let _guards = (CloseOnDrop(&one), CloseOnDrop(&other), StopOnDrop(&clients));
                let (servers, others) = (serve(scope, &one), serve(scope, &other));
                let senders: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| clients.run(&address))).collect();
                clients.wait_for_answers();
                let (duration, served) = close(&one, servers);
                durations.push(duration);
                clients.wait_for_answers();
                clients.stop();
                for sender in senders {
                    sender.join().unwrap();
                }
                let served = served + close(&other, others).1;
                assert_eq!(served, clients.answered());
            });
        }
    }
    assert_quick(durations);
}

/// The threads of the other listener wait too, and some of them are woken in place of those that
/// were to be woken.
#[test]
fn close_wakes_the_waiters_of_an_idle_shared_socket() {
    let dir = dir();
    let mut durations = Vec::new();
    for round in 0..10 {
        let dir = dir.path().join(round.to_string());
        fs::create_dir(&dir).unwrap();
        for (one, other) in pairs(&dir) {
            let (one, other) = (one.shared(), other.shared());
            thread::scope(|scope| {
                let _close = CloseOnDrop(&other);
                let others = serve(scope, &other);
                let mut start = Instant::now();
                with_waiters(&one, || {
                    start = Instant::now();
                    one.close();
                });
                durations.push(start.elapsed());
                assert_eq!(close(&other, others).1, 0);
            });
        }
    }
    assert_quick(durations);
}

/// On other systems the call returns with the next connection.
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
#[test]
fn close_ends_waiting_on_a_shared_socket_that_cannot_be_reached() {
    use std::os::unix::net::UnixListener;

    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = Listener::from(UnixListener::bind(&path).unwrap()).shared();
    fs::remove_file(&path).unwrap();
    with_waiters(&listener, || listener.close());

    let listener = Listener::from(UnixListener::bind(&path).unwrap()).shared();
    fs::remove_file(&path).unwrap();
    let _replacement = UnixListener::bind(&path).unwrap();
    with_waiters(&listener, || listener.close());
}
