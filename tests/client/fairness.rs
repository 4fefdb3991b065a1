//! Proves that requests that wait for a connection get one in the order of their arrival.
#![cfg(unix)]

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::application::*;

const THREADS: usize = 100;
const CONNECTIONS: usize = 4;
const REQUESTS: usize = 5000;

/// A timeout that the test reaches.
const SHORT: Duration = Duration::from_millis(50);

/// No request times out, and the slowest thread is within a factor of two of the quickest.
#[test]
fn threads_that_share_few_connections_get_equal_shares() {
    let application = Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            // The threads take turns, rather than compete for the processors.
            thread::sleep(Duration::from_millis(1));
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client =
        application.keep_alive_client().config(test_config().max_connections(Some(CONNECTIONS)));
    let total = AtomicUsize::new(0);
    let counts: Vec<usize> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while total.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                        client.fetch(&get_params(), b"").expect("a response");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("its count")).collect()
    });
    let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(max <= &(2 * min), "from {min} to {max} requests: {counts:?}");
    drop(client);
}

/// A request that begins while others wait is served after them, even if a connection becomes free
/// at that moment.
#[test]
fn requests_are_served_in_the_order_of_their_arrival() {
    let (resume, resumed) = mpsc::channel::<()>();
    let resumed = Mutex::new(resumed);
    let (report, reports) = mpsc::channel();
    let application = Application::unix(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            report.send(request.stdin.clone()).expect("the test waits");
            let _ended = resumed.lock().unwrap().recv();
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client = application.keep_alive_client().config(test_config().max_connections(Some(1)));
    let send = |name: &str| client.fetch(&get_params(), name.as_bytes()).map(drop);
    thread::scope(|scope| {
        // This thread sends its second request as soon as its first one has ended.
        scope.spawn(|| send("first").and_then(|()| send("last")).expect("two responses"));
        assert_eq!(reports.recv().unwrap(), b"first");
        let names = ["a", "b", "c", "d", "e"];
        for name in names {
            scope.spawn(move || send(name).expect("a response"));
            // Give the request time to join the queue.
            thread::sleep(Duration::from_millis(30));
        }
        for name in names {
            resume.send(()).unwrap();
            assert_eq!(String::from_utf8(reports.recv().unwrap()).unwrap(), name);
        }
        resume.send(()).unwrap();
        assert_eq!(reports.recv().unwrap(), b"last");
        drop(resume);
    });
    drop(client);
}

/// A request that stops waiting leaves the queue to the others.
#[test]
fn request_that_times_out_does_not_block_the_queue() {
    let (report, reports) = mpsc::channel();
    let (gate, open) = gate();
    let application = Application::unix(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            report.send(()).expect("the test waits");
            gate.wait();
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let config = test_config().max_connections(Some(1)).keep_alive(true);
    let client = application.client().config(config.connect_timeout(Some(SHORT)));
    thread::scope(|scope| {
        let first = scope.spawn(|| client.fetch(&get_params(), b""));
        reports.recv().expect("the first request has begun");
        let waiting: Vec<_> =
            (0..3).map(|_| scope.spawn(|| client.fetch(&get_params(), b""))).collect();
        for request in waiting {
            let outcome = request.join().expect("no panic");
            let message = outcome.expect_err("no free connection").to_string();
            let reason = ": waiting for a free connection timed out after 50 ms";
            assert!(message.ends_with(reason), "{message}");
        }
        drop(open);
        first.join().expect("no panic").expect("a response");
        client.fetch(&get_params(), b"").expect("a response");
    });
    drop(client);
}
