//! Proves that a server has room for whoever comes: many connections at once, more kept ones than
//! there are places, newcomers when all are busy; and that a handler's panic is the end of nothing
//! but its request.

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

/// A server whose handler, for a request with the param `WAIT`, says that it works and waits until
/// it may go on.
fn waiting(config: Config) -> (TestServer, Receiver<()>, Sender<()>) {
    let (say, said) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let told = Mutex::new(told);
    let server = TestServer::tcp(config, move |request| {
        if request.params.get("WAIT").is_some() {
            say.send(())?;
            told.lock().unwrap().recv_timeout(TEST_TIMEOUT)?;
        }
        echo(request)
    });
    (server, said, go_on)
}

/// Begins a request that waits, and returns when it is with its handler.
#[track_caller]
fn keep_busy(server: &TestServer, said: &Receiver<()>) -> Stream {
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[("WAIT", "1")], b"body")).unwrap();
    said.recv_timeout(TEST_TIMEOUT).expect("the handler works");
    stream
}

#[track_caller]
fn assert_served(stream: &mut Stream, flags: u8) {
    stream.write_all(&request(1, RESPONDER, flags, &[], b"body")).unwrap();
    assert_eq!(read_answer(stream, 1).stdout, echoed(&[], b"body"));
}

/// A7: 200 idle kept connections, a newcomer served beside them, and each of them served again
/// after it: within FCGI_MAX_CONNS none is closed.
#[test]
fn a7_two_hundred_idle_connections() {
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

/// A7, A32: as many requests as FCGI_MAX_REQS says are in their handlers at once.
#[test]
fn a7_requests_at_once() {
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

/// "One idle keep-alive connection holds the only worker": more kept connections than there are
/// places, and newcomers all the time: every one is answered within a second, and a request that
/// has begun is never cut.
#[test]
fn more_kept_connections_than_places() {
    let (server, said, go_on) = waiting(Config::new().max_connections(4));
    let mut busy = keep_busy(&server, &said);
    let mut begun = server.connect();
    begun.write_all(&begin(1, RESPONDER, 1)).unwrap();
    begun.write_all(&record(GET_VALUES, 0, b"")).unwrap();
    assert_eq!(read_record(&mut begun).expect("BEGIN was read").record_type, GET_VALUES_RESULT);

    let mut kept: Vec<Stream> = Vec::new();
    for n in 0..300 {
        let start = Instant::now();
        let mut newcomer = server.connect();
        assert_served(&mut newcomer, 1);
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "newcomer {n} after {:?}",
            start.elapsed()
        );
        kept.push(newcomer);
        if n >= 200 {
            thread::sleep(Duration::from_millis(10));
        }
    }
    go_on.send(()).unwrap();
    assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[("WAIT", "1")], b"body"));
    begun.write_all(&[params(1, &[("A", "1")]), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut begun, 1).stdout, echoed(&[("A", "1")], b""));
    // All but those in the four places were closed, cleanly.
    kept.truncate(kept.len() - 4);
    for stream in &mut kept {
        assert_closed(stream);
    }
    assert_eq!(server.reported_errors(), [], "to give way is no error");
}

/// A connection that becomes idle at the very moment when another comes gives way to it all the
/// same, and at once. One that has just been accepted does not: its request is on its way.
#[test]
fn a_newcomer_at_the_end_of_a_request() {
    let start = Instant::now();
    for server in TestServer::tcp_and_unix(&Config::new().max_connections(1), echo) {
        for _ in 0..1000 {
            let (mut kept, mut newcomer) = (server.connect(), server.connect());
            kept.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
            newcomer.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
            assert_eq!(read_answer(&mut kept, 1).stdout, echoed(&[], b""));
            assert_eq!(read_answer(&mut newcomer, 1).stdout, echoed(&[], b""));
            assert!(start.elapsed() < Duration::from_secs(40), "they wait for each other");
        }
    }
}

/// A connection on which nothing comes gives way too, a little later; in PARAMS or in its body it
/// does not.
#[test]
fn silent_connections_give_way() {
    let server = TestServer::tcp(Config::new().max_connections(2), echo);
    let mut begun = server.connect();
    begun.write_all(&begin(1, RESPONDER, 1)).unwrap();
    let silent: Vec<Stream> = (0..3).map(|_| server.connect()).collect();
    assert_served(&mut server.connect(), 0);
    begun.write_all(&[params(1, &[]), record(STDIN, 1, b"bo")].concat()).unwrap();
    assert_served(&mut server.connect(), 0);
    begun.write_all(&[record(STDIN, 1, b"dy"), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut begun, 1).stdout, echoed(&[], b"body"));
    drop(silent);
}

/// A connection gives way while its web server is still sending a body that nobody reads: it takes
/// its answer along, as on any other close (A10).
#[test]
fn giving_way_costs_no_answer() {
    const SIZE: usize = 600_000;
    let config = Config::new().max_connections(1).drain(u64::MAX, Duration::from_secs(2));
    let server =
        TestServer::tcp(config, |request| Ok(request.stdout.write_all(&[b'x'].repeat(SIZE))?));
    let mut kept = server.connect();
    let more = record(STDIN, 1, &[b'b'].repeat(65528));
    let writer = kept.clone();
    let (say, said) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            (&writer).write_all(&[begin(1, RESPONDER, 1), params(1, &[])].concat()).unwrap();
            // As much as this is only taken if the server reads on behind the end of the request.
            (0..512).for_each(|_| (&writer).write_all(&more).unwrap());
            say.send(()).unwrap();
            while (&writer).write_all(&more).is_ok() {}
        });
        said.recv_timeout(TEST_TIMEOUT).unwrap();
        let mut newcomer = server.connect();
        newcomer.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        // Time enough to close, if there were no lingering.
        newcomer.set_timeouts(Some(Duration::from_millis(300)), None).unwrap();
        assert!(newcomer.read(&mut [0]).is_err(), "the place is still taken");
        let answer = read_answer(&mut kept, 1);
        assert_eq!((answer.stdout.len(), answer.stdout_ends), (SIZE, 1));
        kept.shutdown(std::net::Shutdown::Both).unwrap();
        newcomer.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
        assert_eq!(read_answer(&mut newcomer, 1).stdout.len(), SIZE);
    });
}

/// The bound on connections, to wait: one more than there are places waits for the first that ends
/// its request, which is then closed though it was to be kept.
#[test]
fn overload_wait() {
    let (server, said, go_on) = waiting(Config::new().max_connections(2));
    let mut busy = [keep_busy(&server, &said), keep_busy(&server, &said)];
    let mut newcomer = server.connect();
    newcomer.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    newcomer.set_timeouts(Some(Duration::from_millis(100)), None).unwrap();
    assert!(newcomer.read(&mut [0]).is_err(), "there is no place for it");

    go_on.send(()).unwrap();
    newcomer.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
    assert_eq!(read_answer(&mut newcomer, 1).stdout, echoed(&[], b"body"));
    go_on.send(()).unwrap();
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
        "one has given way: {ends:?}"
    );
}

/// A26: the same bound, to reject: END_REQUEST with OVERLOADED and the request's own id, then the
/// close; as soon as there is a place, or an idle one to take, newcomers are served again.
#[test]
fn a26_overload_reject() {
    let (server, said, go_on) =
        waiting(Config::new().max_connections(1).overload(Overload::Reject));
    let mut busy = keep_busy(&server, &said);
    for id in [1, 7, 65535] {
        let mut newcomer = server.connect();
        let noise = [record(GET_VALUES, 0, b""), record(STDIN, 9, b"noise")].concat();
        newcomer
            .write_all(
                &[noise, request(id, RESPONDER, 1, &[("A", "1")], &[b'b'].repeat(100_000))]
                    .concat(),
            )
            .unwrap();
        let answer = read_answer(&mut newcomer, id);
        assert_eq!(
            (answer.protocol_status, answer.app_status, answer.stdout_ends),
            (OVERLOADED, 0, 0)
        );
        assert_eq!(answer.management.len(), 1);
        assert_closed(&mut newcomer);
    }
    go_on.send(()).unwrap();
    assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[("WAIT", "1")], b"body"));
    // It is idle as soon as the server has come to it, and gives way.
    wait_until("there is a place", || {
        server.round_trip(1, &request(1, RESPONDER, 1, &[], b"")).protocol_status == 0
    });
    assert_closed(&mut busy);
}

/// Whoever is rejected cannot hold up the others by saying nothing.
#[test]
fn a26_silent_newcomers() {
    let (server, said, go_on) =
        waiting(Config::new().max_connections(1).overload(Overload::Reject));
    let busy = keep_busy(&server, &said);
    let silent: Vec<Stream> = (0..8).map(|_| server.connect()).collect();
    let start = Instant::now();
    assert_eq!(
        server.round_trip(1, &request(1, RESPONDER, 0, &[], b"")).protocol_status,
        OVERLOADED
    );
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    go_on.send(()).unwrap();
    drop((busy, silent));
}

/// "A panic in the application took the process along": before its first byte the answer is a
/// `Status: 500`, after it the end of what was begun; the message goes to STDERR, and the
/// connection and the server go on.
#[test]
fn panics() {
    let server = TestServer::tcp(Config::new().max_connections(2), |request| {
        match request.params.get("PANIC") {
            Some("before") => panic!("before the first byte"),
            Some("gathered") => {
                write!(request.stdout, "Status: 200 OK\r\n\r\n")?;
                panic!("{}", String::from("with a byte\ngathered"));
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
    let failed = "Status: 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\nThe application failed.\n";
    let mut stream = server.connect();
    for _ in 0..3 {
        for (panic, text, message) in [
            ("before", failed, "handler panicked: before the first byte\n"),
            ("gathered", failed, "handler panicked: with a byte gathered\n"),
            ("after", "first, last", "handler panicked: after the first byte\n"),
            ("other", failed, "handler panicked: no message\n"),
        ] {
            stream.write_all(&request(1, RESPONDER, 1, &[("PANIC", panic)], b"unread")).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((&*answer.text(), answer.app_status, answer.protocol_status), (text, 1, 0));
            assert_eq!(String::from_utf8_lossy(&answer.stderr), message);
        }
        assert_served(&mut stream, 1);
    }
}

/// Threads come and go with the connections, and none is lost: as many as there is room for, again
/// and again.
#[test]
fn all_places_again_and_again() {
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
