//! Proves that connections which send nothing, or do not read, cannot keep a slot from others, and
//! that connections that wait are served in the order of their arrival.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::server::{Config, Overload};

/// The longest time that a kept connection may wait for a response while others send nothing. On a
/// quiet machine it is a few milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Sends requests on a kept connection until `is_done`, and returns the longest response time.
fn longest_response_time(mut stream: Stream, is_done: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !is_done.load(SeqCst) {
        let start = Instant::now();
        serve(&mut stream);
        longest = longest.max(start.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    longest
}

#[track_caller]
fn serve(stream: &mut Stream) {
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).expect("the connection is kept");
    assert_eq!(read_answer(stream, 1).stdout, echoed(&[], b"body"));
}

/// Opens connections that send nothing, and returns when the server has closed all of them.
fn open_silent_connections(server: &TestServer, count: usize) {
    let streams: Vec<_> = (0..count).map(|_| server.connect()).collect();
    // The newest ones are not closed as long as their slots are not needed.
    for mut stream in streams.into_iter().take(count / 2) {
        assert_no_response(&mut stream);
    }
}

/// 1,000 silent connections are opened beside eight that are used, with 256 slots.
#[test]
fn silent_connections_do_not_displace_connections_that_are_used() {
    let server = &TestServer::unix(Config::new(), echo);
    let is_done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut stream = server.connect();
            serve(&mut stream);
            clients.push(scope.spawn(|| longest_response_time(stream, is_done)));
        }
        let start = Instant::now();
        open_silent_connections(server, 1000);
        let duration = start.elapsed();
        is_done.store(true, SeqCst);
        let longest = clients.into_iter().map(|client| client.join().expect("a client")).max();
        println!("{duration:?} until 500 were closed; the longest response took {longest:?}");
        assert!(longest < Some(LONGEST_WAIT), "a response took {longest:?}");
        // 500 were closed. At ten in a second that would take 50 seconds.
        assert!(duration < Duration::from_secs(10), "silent connections stayed for {duration:?}");
    });
}

/// Waits until the server has recorded that the last request of a connection has ended. It answers
/// queries after that.
fn wait_until_idle(stream: &mut Stream) {
    stream.write_all(&record(GET_VALUES, 0, b"")).expect("written");
    assert_eq!(read_record(stream).expect("an answer").record_type, GET_VALUES_RESULT);
}

/// Connections that were closed to free a slot are those that were not used for longest.
#[test]
fn connection_that_was_used_last_stays_open() {
    let server = TestServer::tcp(Config::new().max_connections(3), echo);
    let mut streams: Vec<_> = (0..3).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(serve);
    streams.iter_mut().for_each(wait_until_idle);
    // The first connection that waits closes one of three that are alike.
    serve(&mut server.connect());
    let mut kept: Vec<_> = streams.drain(1..).collect();
    serve(&mut kept[0]);
    serve(&mut server.connect());
    serve(&mut kept[0]);
}

/// The rest of its first request arrives when a silent connection would have been closed.
#[test]
fn connection_that_has_sent_the_first_bytes_of_a_request_keeps_its_slot() {
    for server in TestServer::tcp_and_unix(&Config::new().max_connections(1), echo) {
        let bytes = request(1, RESPONDER, 0, &[], b"body");
        let (first, rest) = bytes.split_at(5);
        let mut stream = server.connect();
        stream.write_all(first).expect("written");
        thread::scope(|scope| {
            scope.spawn(|| serve(&mut server.connect()));
            thread::sleep(Duration::from_millis(500));
            stream.write_all(rest).expect("the connection is open");
            assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"));
        });
    }
}

/// A connection that holds its slot until the test ends it.
fn blocking_server(config: Config) -> (TestServer, mpsc::Receiver<String>, mpsc::Sender<()>) {
    let (report, started) = mpsc::channel();
    let (resume, resumed) = mpsc::channel::<()>();
    let resumed = Mutex::new(resumed);
    let server = TestServer::tcp(config, move |request| {
        report.send(request.params.get("NAME").unwrap_or_default().to_owned())?;
        resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT)?;
        echo(request)
    });
    (server, started, resume)
}

/// The system may suspend a thread between `accept` and its place in the queue. The next
/// connections are then served before it.
#[test]
fn waiting_connections_get_slots_in_the_order_of_their_arrival() {
    const COUNT: usize = 20;
    let (server, started, resume) = blocking_server(Config::new().max_connections(1));
    let mut streams = Vec::new();
    for number in 0..COUNT {
        let mut stream = server.connect();
        let name = number.to_string();
        stream.write_all(&request(1, RESPONDER, 0, &[("NAME", &name)], b"")).unwrap();
        streams.push(stream);
    }
    for number in 0..COUNT {
        let name = started.recv_timeout(TEST_TIMEOUT).expect("the next request begins");
        let position: usize = name.parse().expect("a number");
        assert!(position.abs_diff(number) <= 3, "{position} is served in the place of {number}");
        resume.send(()).unwrap();
        read_answer(&mut streams[position], 1);
    }
}

/// Sends queries until the server has stopped reading, and reads nothing.
fn flood(server: &TestServer, queries: &[u8]) -> Stream {
    let mut stream = server.connect();
    stream.set_timeouts(None, Some(Duration::from_millis(100))).unwrap();
    let queries = queries.repeat(1000);
    let error = loop {
        match stream.write_all(&queries) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    stream
}

fn queries() -> [Vec<u8>; 2] {
    let get_values = record(GET_VALUES, 0, &pair(b"FCGI_MAX_CONNS", b""));
    // A role that is refused.
    [get_values, begin(1, 9, 1)]
}

/// The write timeout is a minute, and the answers to queries may block for a second.
#[test]
fn connection_that_does_not_read_answers_is_closed_if_its_slot_is_needed() {
    for queries in queries() {
        let server = TestServer::unix(Config::new().max_connections(2), echo);
        let _flooding = [flood(&server, &queries), flood(&server, &queries)];
        let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b"body"));
        assert_eq!(answer.stdout, echoed(&[], b"body"));
    }
}

#[test]
fn connection_that_does_not_read_answers_does_not_hold_up_a_shutdown() {
    for queries in queries() {
        let server = TestServer::unix(Config::new(), echo);
        let _flooding = flood(&server, &queries);
        let start = Instant::now();
        server.stop().unwrap();
        let duration = start.elapsed();
        assert!(duration < Duration::from_secs(5), "the shutdown took {duration:?}");
    }
}

/// More connections than threads that reject do not read the answers to their queries.
#[test]
fn connection_that_does_not_read_does_not_keep_others_from_being_rejected() {
    let config = Config::new().max_connections(1).overload(Overload::Reject);
    let (server, started, resume) = blocking_server(config);
    let mut busy = server.connect();
    busy.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
    started.recv_timeout(TEST_TIMEOUT).expect("the request begins");
    let [get_values, _] = queries();
    let rejected = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                // The server may close the connection meanwhile.
                let mut stream = server.connect();
                while stream.write_all(&get_values.repeat(1000)).is_ok() {}
                rejected.fetch_add(1, SeqCst);
            });
        }
        let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
        assert_eq!(answer.protocol_status, 2, "OVERLOADED");
    });
    assert_eq!(rejected.into_inner(), 20);
    resume.send(()).unwrap();
    let mut response = Vec::new();
    busy.read_to_end(&mut response).unwrap();
}
