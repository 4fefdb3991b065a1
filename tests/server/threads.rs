//! Proves that a server accepts many connections at once, that idle connections give way to new
//! ones, that new connections wait or are rejected when all others are busy, and that a panic in a
//! handler ends only its request.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::server::{Config, Overload};

const OVERLOADED: u8 = 2;

/// Starts a server whose handler, for a request with the param `WAIT`, reports that it runs and
/// waits for the test.
fn blocking_server(config: Config) -> (TestServer, Receiver<()>, Sender<()>) {
    let (report, started) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let server = TestServer::tcp(config, move |request| {
        if request.params.get("WAIT").is_some() {
            report.send(())?;
            resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT)?;
        }
        echo(request)
    });
    (server, started, resume)
}

/// Sends a request that blocks, and returns once its handler runs.
#[track_caller]
fn keep_busy(server: &TestServer, started: &Receiver<()>) -> Stream {
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[("WAIT", "1")], b"body")).unwrap();
    started.recv_timeout(TEST_TIMEOUT).expect("the handler runs");
    stream
}

#[track_caller]
fn assert_served(stream: &mut Stream, flags: u8) {
    stream.write_all(&request(1, RESPONDER, flags, &[], b"body")).unwrap();
    assert_eq!(read_answer(stream, 1).stdout, echoed(&[], b"body"));
}

/// A new connection is served beside 200 idle ones, and none of them is closed. Rule A7.
#[test]
fn idle_connections_within_the_limit_stay_open() {
    for server in TestServer::tcp_and_unix(&Config::new().max_connections(201), echo) {
        let mut streams = Vec::new();
        for _ in 0..200 {
            let mut stream = server.connect();
            assert_served(&mut stream, 1);
            streams.push(stream);
        }
        assert_served(&mut server.connect(), 0);
        for stream in &mut streams {
            assert_served(stream, 1);
        }
    }
}

/// Rules A7 and A32.
#[test]
fn as_many_requests_as_announced_run_at_once() {
    const MAX: usize = 32;
    let barrier = Arc::new(Barrier::new(MAX));
    let server = TestServer::tcp(Config::new().max_connections(MAX), move |request| {
        barrier.wait();
        echo(request)
    });
    let mut streams: Vec<Stream> = (0..MAX).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&request(1, RESPONDER, 0, &[], b"body")).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_answer(stream, 1).stdout, echoed(&[], b"body"));
    }
}

/// There are more kept connections than slots. A request that has begun is never cut off. Rule A7.
#[test]
fn idle_connections_give_way_to_new_ones_within_a_second() {
    let (server, started, resume) = blocking_server(Config::new().max_connections(4));
    let mut busy = keep_busy(&server, &started);
    let mut in_params = server.connect();
    in_params.write_all(&begin(1, RESPONDER, 1)).unwrap();
    in_params.write_all(&record(GET_VALUES, 0, b"")).unwrap();
    assert_eq!(read_record(&mut in_params).expect("BEGIN was read").record_type, GET_VALUES_RESULT);

    let mut kept: Vec<Stream> = Vec::new();
    for n in 0..300 {
        let start = Instant::now();
        let mut new = server.connect();
        assert_served(&mut new, 1);
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "connection {n} after {:?}",
            start.elapsed()
        );
        kept.push(new);
        if n >= 200 {
            thread::sleep(Duration::from_millis(10));
        }
    }
    resume.send(()).unwrap();
    assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[("WAIT", "1")], b"body"));
    in_params.write_all(&[params(1, &[("A", "1")]), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut in_params, 1).stdout, echoed(&[("A", "1")], b""));
    // All but the four most recent connections were closed cleanly.
    kept.truncate(kept.len() - 4);
    for stream in &mut kept {
        assert_closed(stream);
    }
    assert_eq!(server.reported_errors(), [], "giving way is not an error");
}

/// It gives way at once. A connection that was just accepted does not, because its request is about
/// to arrive.
#[test]
fn connection_that_becomes_idle_as_another_arrives_gives_way() {
    let start = Instant::now();
    for server in TestServer::tcp_and_unix(&Config::new().max_connections(1), echo) {
        for _ in 0..1000 {
            let (mut kept, mut new) = (server.connect(), server.connect());
            kept.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
            new.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
            assert_eq!(read_answer(&mut kept, 1).stdout, echoed(&[], b""));
            assert_eq!(read_answer(&mut new, 1).stdout, echoed(&[], b""));
            assert!(start.elapsed() < Duration::from_secs(40), "both connections wait");
        }
    }
}

/// It gives way after a short time. A connection in PARAMS or STDIN does not.
#[test]
fn connection_without_a_request_gives_way() {
    let server = TestServer::tcp(Config::new().max_connections(2), echo);
    let mut open = server.connect();
    open.write_all(&begin(1, RESPONDER, 1)).unwrap();
    let silent: Vec<Stream> = (0..3).map(|_| server.connect()).collect();
    assert_served(&mut server.connect(), 0);
    open.write_all(&[params(1, &[]), record(STDIN, 1, b"bo")].concat()).unwrap();
    assert_served(&mut server.connect(), 0);
    open.write_all(&[record(STDIN, 1, b"dy"), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut open, 1).stdout, echoed(&[], b"body"));
    drop(silent);
}

/// Its web server is still sending a body that the handler did not read. Rule A10.
#[test]
fn connection_that_gives_way_does_not_lose_its_response() {
    const SIZE: usize = 600_000;
    let config = Config::new().max_connections(1).drain(u64::MAX, Duration::from_secs(2));
    let server =
        TestServer::tcp(config, |request| Ok(request.stdout.write_all(&[b'x'].repeat(SIZE))?));
    let mut kept = server.connect();
    let more = record(STDIN, 1, &[b'b'].repeat(65528));
    let writer = kept.clone();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            (&writer).write_all(&[begin(1, RESPONDER, 1), params(1, &[])].concat()).unwrap();
            // So much data can only be written if the server reads on after the end of the request.
            (0..512).for_each(|_| (&writer).write_all(&more).unwrap());
            sender.send(()).unwrap();
            while (&writer).write_all(&more).is_ok() {}
        });
        receiver.recv_timeout(TEST_TIMEOUT).unwrap();
        let mut new = server.connect();
        new.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        // This would be enough time for a plain close.
        new.set_timeouts(Some(Duration::from_millis(300)), None).unwrap();
        assert!(new.read(&mut [0]).is_err(), "the slot is still occupied");
        let answer = read_answer(&mut kept, 1);
        assert_eq!((answer.stdout.len(), answer.stdout_ends), (SIZE, 1));
        kept.shutdown(std::net::Shutdown::Both).unwrap();
        new.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
        assert_eq!(read_answer(&mut new, 1).stdout.len(), SIZE);
    });
}

/// The first connection that ends its request is then closed, although KEEP_CONN was set.
#[test]
fn connection_beyond_the_limit_waits_for_a_slot() {
    let (server, started, resume) = blocking_server(Config::new().max_connections(2));
    let mut busy = [keep_busy(&server, &started), keep_busy(&server, &started)];
    let mut new = server.connect();
    new.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    new.set_timeouts(Some(Duration::from_millis(100)), None).unwrap();
    assert!(new.read(&mut [0]).is_err(), "there is no free slot");

    resume.send(()).unwrap();
    new.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
    assert_eq!(read_answer(&mut new, 1).stdout, echoed(&[], b"body"));
    resume.send(()).unwrap();
    let ends: Vec<bool> = busy
        .iter_mut()
        .map(|stream| {
            assert_eq!(read_answer(stream, 1).stdout, echoed(&[("WAIT", "1")], b"body"));
            stream.set_timeouts(Some(Duration::from_millis(100)), None).unwrap();
            matches!(stream.read(&mut [0]), Ok(0))
        })
        .collect();
    assert_eq!(
        ends.iter().filter(|is_closed| **is_closed).count(),
        1,
        "one connection was closed: {ends:?}"
    );
}

/// END_REQUEST has the id of the request, and the connection is closed. New connections are served
/// again as soon as a slot is free or its connection is idle. Rule A26.
#[test]
fn connection_beyond_the_limit_is_refused_as_overloaded() {
    let (server, started, resume) =
        blocking_server(Config::new().max_connections(1).overload(Overload::Reject));
    let mut busy = keep_busy(&server, &started);
    for id in [1, 7, 65535] {
        let mut new = server.connect();
        let noise = [record(GET_VALUES, 0, b""), record(STDIN, 9, b"noise")].concat();
        new.write_all(
            &[noise, request(id, RESPONDER, 1, &[("A", "1")], &[b'b'].repeat(100_000))].concat(),
        )
        .unwrap();
        let answer = read_answer(&mut new, id);
        assert_eq!(
            (answer.protocol_status, answer.app_status, answer.stdout_ends),
            (OVERLOADED, 0, 0)
        );
        assert_eq!(answer.management.len(), 1);
        assert_closed(&mut new);
    }
    resume.send(()).unwrap();
    assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[("WAIT", "1")], b"body"));
    // The connection becomes idle after the response was sent, and then gives way.
    wait_until("a slot is free", || {
        server.round_trip(1, &request(1, RESPONDER, 1, &[], b"")).protocol_status == 0
    });
    assert_closed(&mut busy);
}

/// Rule A26.
#[test]
fn silent_connection_does_not_delay_the_refusal_of_others() {
    let (server, started, resume) =
        blocking_server(Config::new().max_connections(1).overload(Overload::Reject));
    let busy = keep_busy(&server, &started);
    let silent: Vec<Stream> = (0..8).map(|_| server.connect()).collect();
    let start = Instant::now();
    assert_eq!(
        server.round_trip(1, &request(1, RESPONDER, 0, &[], b"")).protocol_status,
        OVERLOADED
    );
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    resume.send(()).unwrap();
    drop((busy, silent));
}

/// Before the first byte of output the response is a `Status: 500`, after it the output is ended.
/// The message goes to STDERR. Rule A45.
#[test]
fn panic_in_a_handler_ends_only_its_request() {
    let server = TestServer::tcp(Config::new().max_connections(2), |request| {
        match request.params.get("PANIC") {
            Some("before") => panic!("before the first byte"),
            Some("buffered") => {
                write!(request.stdout, "Status: 200 OK\r\n\r\n")?;
                panic!("{}", String::from("with a byte\nbuffered"));
            }
            Some("after") => {
                write!(request.stdout, "first")?;
                request.stdout.flush()?;
                write!(request.stdout, ", last")?;
                panic!("after the first byte");
            }
            Some("other") => std::panic::panic_any(7),
            _ => {}
        }
        echo(request)
    });
    let mut stream = server.connect();
    for _ in 0..3 {
        for (panic, text, message) in [
            ("before", FAILED, "handler panicked: before the first byte\n"),
            ("buffered", FAILED, "handler panicked: with a byte buffered\n"),
            ("after", "first, last", "handler panicked: after the first byte\n"),
            ("other", FAILED, "handler panicked: no message\n"),
        ] {
            stream.write_all(&request(1, RESPONDER, 1, &[("PANIC", panic)], b"unread")).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((&*answer.text(), answer.app_status, answer.protocol_status), (text, 1, 0));
            assert_eq!(String::from_utf8_lossy(&answer.stderr), message);
        }
        assert_served(&mut stream, 1);
    }
}

/// A value that panics when it is displayed, or when it is dropped.
#[derive(Debug)]
enum Fragile {
    WhenDisplayed,
    WhenDropped,
}

impl std::fmt::Display for Fragile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        assert!(matches!(self, Self::WhenDropped), "displayed");
        f.write_str("fragile")
    }
}

impl std::error::Error for Fragile {}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(matches!(self, Self::WhenDisplayed), "dropped");
    }
}

/// The panic is reported like one of the handler itself, if it happens before the end of the
/// request. The connection is kept. Rule A45.
#[test]
fn panic_in_the_error_of_a_handler_ends_only_its_request() {
    let server = TestServer::tcp(Config::new(), |request| {
        write!(request.stdout, "{ECHO_HEAD}")?;
        match request.params.get("PANIC") {
            Some("display") => Err(Fragile::WhenDisplayed.into()),
            Some("drop") => Err(Fragile::WhenDropped.into()),
            Some("payload") => std::panic::panic_any(Fragile::WhenDropped),
            _ => echo(request),
        }
    });
    let mut stream = server.connect();
    for (panic, expected) in [
        ("display", "handler panicked: displayed\n"),
        ("drop", "fragile\n"),
        ("payload", "handler panicked: no message\n"),
    ] {
        stream.write_all(&request(1, RESPONDER, 1, &[("PANIC", panic)], b"")).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((&*answer.text(), answer.app_status), (FAILED, 1), "{panic}");
        assert_eq!(String::from_utf8_lossy(&answer.stderr), expected, "{panic}");
    }
    stream.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
    assert_eq!(read_answer(&mut stream, 1).app_status, 0);
}

/// Threads start and end with the connections, and no slot is lost.
#[test]
fn all_slots_are_used_again_and_again() {
    let most = Arc::new(AtomicUsize::new(0));
    let (now, seen) = (AtomicUsize::new(0), Arc::clone(&most));
    let server = TestServer::unix(Config::new().max_connections(8), move |request| {
        seen.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        thread::sleep(Duration::from_millis(2));
        let outcome = echo(request);
        now.fetch_sub(1, SeqCst);
        outcome
    });
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| (0..20).for_each(|n| assert_served(&mut server.connect(), n % 2)));
        }
    });
    assert!((2..=8).contains(&most.load(SeqCst)), "{most:?} at once");
}

/// Uses about `kib` KiB of the stack. Each call has an array of 1 KiB that is used after the next
/// call has returned.
fn use_stack(kib: u32) -> u32 {
    let array = std::hint::black_box([kib; 256]);
    let deeper = if kib == 0 { 0 } else { use_stack(kib - 1) };
    deeper + std::hint::black_box(array)[0] % 2
}

/// The default of the standard library is 2 MiB, and the process would be aborted.
#[test]
fn handler_may_use_the_configured_stack() {
    let config = Config::new().stack_size(Some(32 << 20));
    let server = TestServer::tcp(config, |request| {
        let sum = use_stack(4 * 1024);
        respond(request, sum.to_string())
    });
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
    assert_eq!(answer.body(), (2 * 1024).to_string());
}

/// The documentation of the field says how much the library needs.
#[test]
fn small_stacks_are_enough_for_small_handlers() {
    let config = Config::new().stack_size(Some(64 << 10)).max_params(1000);
    let server = TestServer::tcp(config, echo);
    let long = "x".repeat(1000);
    for (pairs, body, expected) in [
        (&[][..], &b"body"[..], echoed(&[], b"body")),
        (&[], &[b'x'; 100_000], echoed(&[], &[b'x'; 100_000])),
    ] {
        let answer = server.round_trip(1, &request(1, RESPONDER, 0, pairs, body));
        assert_eq!(answer.stdout, expected);
    }
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[("NAME", &long)], b""));
    assert!(answer.text().starts_with("Status: 431"), "{answer:?}");
}
