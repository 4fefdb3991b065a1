//! Proves that a server stops when it is asked to: every request that has begun is served, no other
//! one begins, and nothing is left over.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::{Address, Stream};
use fcgi::server::{Config, Handle, Overload};
use fcgi::Server;

/// Returns a configuration whose shutdown timeout no test reaches.
fn config() -> Config {
    Config::new().shutdown_timeout(Duration::from_secs(3600))
}

/// Asserts that no server answers at this address any more. On systems other than Linux, a server
/// that stops still answers those that connect before it has no other connection to accept.
#[track_caller]
fn assert_refused(server: &fcgi::net::Address) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while is_answered(server) {
        let is_linux = cfg!(target_os = "linux") && !cfg!(fcgi_portable);
        assert!(!is_linux && Instant::now() < deadline, "a new connection is served");
    }
}

/// Returns whether a server answers a new connection. Panics if it neither answers nor closes it.
#[track_caller]
fn is_answered(server: &fcgi::net::Address) -> bool {
    let Ok(mut stream) = Stream::connect(server, Some(TEST_TIMEOUT)) else { return false };
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).unwrap();
    let _ = stream.write_all(&request(1, RESPONDER, 0, &[], b""));
    let mut received = Vec::new();
    if let Err(error) = stream.read_to_end(&mut received) {
        assert_ne!(error.kind(), io::ErrorKind::TimedOut, "not closed");
    }
    !received.is_empty()
}

/// The connections are new, kept, or have sent half a record. No error is reported. Rule A14.
#[test]
fn shutdown_with_idle_connections_returns_at_once() {
    for server in TestServer::tcp_and_unix(&config(), echo) {
        let mut streams: Vec<Stream> = (0..4).map(|_| server.connect()).collect();
        for stream in &mut streams[..2] {
            stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
            assert_eq!(read_answer(stream, 1).stdout, echoed(&[], b"body"));
        }
        // A response proves that the connection was accepted and that the bytes sent with the query
        // were read.
        for (stream, rest) in
            streams.iter_mut().zip([&[][..], &begin(1, RESPONDER, 1)[..5], &[], &[1]])
        {
            stream.write_all(&[&record(GET_VALUES, 0, b""), rest].concat()).unwrap();
            assert_eq!(read_record(stream).expect("a result").record_type, GET_VALUES_RESULT);
        }
        assert!(server.address.path().is_none_or(|path| path.exists()));
        server.handle.shutdown();
        assert!(
            server.address.path().is_none_or(|path| !path.exists()),
            "the socket file still exists"
        );
        for stream in &mut streams {
            assert_no_response(stream);
        }
        assert_refused(&server.address);
        wait_until("serve returns", || server.has_ended());
        assert_eq!(server.reported_errors(), []);
        server.stop().unwrap();
    }
    for server in TestServer::tcp_and_unix(&config(), echo) {
        server.handle.shutdown();
        server.handle.shutdown();
        server.stop().unwrap();
    }
}

/// Their connections are closed afterwards although KEEP_CONN was set. New connections are refused
/// meanwhile. Rule A14.
#[test]
fn shutdown_waits_for_requests_in_every_phase() {
    let (report, reports) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let server = TestServer::tcp(config(), move |request| {
        if request.params.get("WAIT").is_some() {
            report.send(())?;
            resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT)?;
        }
        echo(request)
    });
    let mut in_params = server.connect();
    in_params.write_all(&[begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"")].concat()).unwrap();
    assert_eq!(read_record(&mut in_params).expect("BEGIN was read").record_type, GET_VALUES_RESULT);
    let mut in_stdin = server.connect();
    let bytes = [
        begin(2, RESPONDER, 1),
        params(2, &[]),
        record(STDIN, 2, b"bo"),
        record(GET_VALUES, 0, b""),
    ]
    .concat();
    in_stdin.write_all(&bytes).unwrap();
    assert_eq!(read_record(&mut in_stdin).expect("STDIN is read").record_type, GET_VALUES_RESULT);
    let mut working = server.connect();
    working.write_all(&request(3, RESPONDER, 1, &[("WAIT", "1")], b"body")).unwrap();
    reports.recv_timeout(TEST_TIMEOUT).unwrap();

    server.handle.shutdown();
    assert_refused(&server.address);
    in_params.write_all(&[params(1, &[("A", "1")]), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut in_params, 1).stdout, echoed(&[("A", "1")], b""));
    in_stdin.write_all(&[record(STDIN, 2, b"dy"), record(STDIN, 2, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut in_stdin, 2).stdout, echoed(&[], b"body"));
    resume.send(()).unwrap();
    assert_eq!(read_answer(&mut working, 3).stdout, echoed(&[("WAIT", "1")], b"body"));
    [in_params, in_stdin, working].iter_mut().for_each(assert_closed);
    server.stop().unwrap();
}

/// A request that has arrived only in part is not served. The connection is blocked by responses
/// that its web server does not read, so that the order of events is certain.
#[test]
fn request_received_completely_before_shutdown_is_served() {
    const COUNT: usize = 20_000;
    let whole = request(1, RESPONDER, 1, &[("A", "1")], b"body");
    let filter = [request(1, FILTER, 1, &[], b"body"), record(DATA, 1, b"")].concat();
    for (bytes, answer) in [
        (whole.clone(), Some(echoed(&[("A", "1")], b"body"))),
        (filter.clone(), Some(echoed(&[], b"body"))),
        ([begin(1, AUTHORIZER, 1), params(1, &[])].concat(), Some(echoed(&[], b""))),
        (whole[..whole.len() - 8].to_vec(), None),
        (whole[..whole.len() - 1].to_vec(), None),
        (filter[..filter.len() - 8].to_vec(), None),
        (begin(1, RESPONDER, 1), None),
        ([begin(1, AUTHORIZER, 1), params(1, &[])[..4].to_vec()].concat(), None),
    ] {
        let has_shut_down = Arc::new(AtomicBool::new(false));
        let roles = [1, 2, 3].map(fcgi::record::Role::from);
        let server = TestServer::unix(config().roles(&roles), {
            let has_shut_down = Arc::clone(&has_shut_down);
            move |request| {
                if request.params.get("FIRST").is_some() {
                    return echo(request);
                }
                assert!(
                    has_shut_down.load(SeqCst),
                    "the request was served before shutdown was called"
                );
                assert!(!request.is_aborted());
                echo(request)
            }
        });
        let mut stream = server.connect();
        // The first request makes the connection a kept one. A new one may begin a request later.
        stream.write_all(&request(1, RESPONDER, 1, &[("FIRST", "")], b"")).unwrap();
        read_answer(&mut stream, 1);
        stream.write_all(&[record(99, 0, b"").repeat(COUNT), bytes].concat()).unwrap();
        assert_eq!(read_record(&mut stream).expect("the first response").record_type, UNKNOWN_TYPE);
        server.handle.shutdown();
        has_shut_down.store(true, SeqCst);
        let mut reader = io::BufReader::new(&mut stream);
        for _ in 1..COUNT {
            assert_eq!(
                read_record(&mut reader).expect("the other responses").record_type,
                UNKNOWN_TYPE
            );
        }
        match answer {
            Some(stdout) => assert_eq!(read_answer(&mut reader, 1).stdout, stdout),
            None => assert!(server.reported_errors().is_empty()),
        }
        assert_closed(&mut reader);
        server.stop().unwrap();
    }
}

/// Every request that a handler has begun is answered completely. None begins after `serve` has
/// returned, and later connections are refused. Rule A14.
#[test]
fn shutdown_under_load_loses_no_request() {
    for kept in [true, false] {
        for unix in [true, false] {
            let begun = Arc::new(AtomicUsize::new(0));
            let handler = {
                let begun = Arc::clone(&begun);
                move |request: &mut fcgi::server::Request| {
                    begun.fetch_add(1, SeqCst);
                    request.stdout.flush()?;
                    thread::yield_now();
                    echo(request)
                }
            };
            let config = config().max_connections(6);
            let server = if unix {
                TestServer::unix(config, handler)
            } else {
                TestServer::tcp(config, handler)
            };
            let (address, answered) = (server.address.clone(), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| while send_requests(&address, kept, &answered).is_ok() {});
                }
                wait_until("there is some load", || answered.load(SeqCst) > 200);
                server.stop().unwrap();
                let at_the_end = begun.load(SeqCst);
                assert_refused(&address);
                assert_eq!(begun.load(SeqCst), at_the_end, "a request began after the end");
            });
            assert_eq!(begun.load(SeqCst), answered.load(SeqCst), "requests begun and answered");
        }
    }
}

/// Sends requests on one connection while it is kept. Returns an error once no server listens.
fn send_requests(
    address: &fcgi::net::Address,
    kept: bool,
    answered: &AtomicUsize,
) -> fcgi::Result<()> {
    let mut stream = Stream::connect(address, Some(TEST_TIMEOUT))?;
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT))?;
    loop {
        let sent = stream.write_all(&request(1, RESPONDER, kept.into(), &[], &[b'b'; 2000]));
        let mut first = [0];
        // A request may be dropped before the first byte of its response. After it the response
        // must be complete.
        match stream.read(&mut first) {
            Ok(1) => {}
            other if other.is_ok() || sent.is_err() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                panic!("neither answered nor closed")
            }
            _ => return Ok(()),
        }
        let answer = read_answer(&mut first.chain(&mut stream), 1);
        assert_eq!(answer.stdout, echoed(&[], &[b'b'; 2000]));
        answered.fetch_add(1, SeqCst);
    }
}

/// The kernel has handed the connection over, so no other process can answer it.
#[test]
fn connection_that_waits_for_a_slot_is_served_after_shutdown() {
    let server = TestServer::tcp(config().max_connections(1), echo);
    let mut busy = server.connect();
    busy.write_all(&[begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"")].concat()).unwrap();
    assert_eq!(read_record(&mut busy).expect("BEGIN was read").record_type, GET_VALUES_RESULT);
    let mut waiting = server.connect();
    waiting.write_all(&request(1, RESPONDER, 1, &[], b"waiting")).unwrap();
    waiting.set_timeouts(Some(Duration::from_millis(50)), None).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "there is no response yet");
    waiting.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
    server.handle.shutdown();
    busy.write_all(&[params(1, &[]), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[], b""));
    assert_eq!(read_answer(&mut waiting, 1).stdout, echoed(&[], b"waiting"));
    assert_closed(&mut waiting);
    server.stop().unwrap();
}

/// A new connection that sends nothing does not hold up the end of the server.
#[test]
fn silent_connections_are_closed_on_shutdown() {
    for overload in [Overload::Wait, Overload::Reject] {
        let server = TestServer::tcp(config().max_connections(1).overload(overload), echo);
        let mut busy = server.connect();
        busy.write_all(&[begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"")].concat()).unwrap();
        assert_eq!(read_record(&mut busy).expect("BEGIN was read").record_type, GET_VALUES_RESULT);
        let mut silent = server.connect();
        silent.set_timeouts(Some(Duration::from_millis(50)), None).unwrap();
        assert!(silent.read(&mut [0]).is_err(), "the connection is open");
        silent.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
        server.handle.shutdown();
        busy.write_all(&[params(1, &[]), record(STDIN, 1, b"")].concat()).unwrap();
        assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[], b""));
        assert_no_response(&mut silent);
        server.stop().unwrap();
    }
}

/// The rest of its request arrives when a silent connection would have been closed.
#[test]
fn rejected_connection_that_has_sent_a_part_of_its_request_is_answered_after_shutdown() {
    let config = config().max_connections(1).overload(Overload::Reject);
    let server = TestServer::tcp(config, echo);
    let mut busy = server.connect();
    busy.write_all(&[begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"")].concat()).unwrap();
    assert_eq!(read_record(&mut busy).expect("BEGIN was read").record_type, GET_VALUES_RESULT);
    let mut rejected = server.connect();
    let bytes = begin(1, RESPONDER, 0);
    rejected.write_all(&bytes[..5]).unwrap();
    // The connection is no longer a new one, but is not rejected yet.
    thread::sleep(Duration::from_millis(100));
    server.handle.shutdown();
    thread::sleep(Duration::from_millis(400));
    rejected.write_all(&bytes[5..]).expect("the connection is open");
    assert_eq!(read_answer(&mut rejected, 1).protocol_status, 2, "OVERLOADED");
    busy.write_all(&[params(1, &[]), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[], b""));
    server.stop().unwrap();
}

/// A handler that does no I/O is left running.
#[test]
fn requests_beyond_the_shutdown_timeout_are_cut_off() {
    let limit = Duration::from_millis(200);
    let (report, reports) = mpsc::channel();
    let (resume, resumed) = mpsc::channel::<()>();
    let resumed = Mutex::new(resumed);
    let config = Config::new().max_connections(9).shutdown_timeout(limit);
    assert_eq!((config.max_connections, config.shutdown_timeout), (9, limit));
    let server = TestServer::tcp(config, move |request| {
        report.send("begun".to_owned())?;
        if request.params.get("NO_IO").is_some() {
            let _ = resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT);
            return Ok(());
        }
        let outcome = io::copy(&mut request.stdin, &mut request.stdout);
        report.send(format!("{:?}", outcome.map_err(|error| error.kind())))?;
        Ok(())
    });
    let mut cut = server.connect();
    cut.write_all(&[begin(1, RESPONDER, 0), params(1, &[]), record(STDIN, 1, b"body")].concat())
        .unwrap();
    let mut without_io = server.connect();
    without_io.write_all(&request(1, RESPONDER, 0, &[("NO_IO", "1")], b"")).unwrap();
    for _handler in 0..2 {
        assert_eq!(reports.recv_timeout(TEST_TIMEOUT).unwrap(), "begun");
    }

    let start = Instant::now();
    server.stop().unwrap();
    assert!(
        start.elapsed() >= limit && start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT).unwrap(), "Err(UnexpectedEof)");
    assert_no_response(&mut cut);
    assert_no_response(&mut without_io);
    drop(resume);
}

/// Its response is still sent.
#[test]
fn handler_may_shut_down_its_own_server() {
    let slot: Arc<OnceLock<Handle>> = Arc::default();
    let server = TestServer::tcp(config(), {
        let slot = Arc::clone(&slot);
        move |request| {
            slot.get().ok_or("no handle")?.shutdown();
            echo(request)
        }
    });
    assert!(slot.set(server.handle.clone()).is_ok());
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"));
    assert_closed(&mut stream);
    server.stop().unwrap();
}

/// The shutdown timeout is an hour.
#[test]
fn handler_can_end_a_stream_when_the_server_is_stopped() {
    let server = Server::bind("127.0.0.1:0").expect("a server").config(config());
    let handle = server.handle();
    let server = TestServer::start(server, move |request| {
        while !handle.is_shut_down() {
            request.stdout.write_all(b"tick\n")?;
            request.stdout.flush()?;
        }
        Ok(())
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[], b"")).expect("the request is sent");
    assert_eq!(read_record(&mut stream).expect("an event").content, b"tick\n");
    server.handle.shutdown();
    let answer = read_answer(&mut stream, 1);
    assert_eq!((answer.app_status, answer.stdout_ends), (0, 1));
    assert_closed(&mut stream);
    server.stop().expect("a clean end");
}

#[test]
fn serve_returns_at_once_after_shutdown() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_address().unwrap();
    server.handle().shutdown();
    server.serve(|_| panic!("no request is served")).unwrap();
    assert_refused(&address);
}

#[test]
fn server_that_is_dropped_closes_its_socket_although_a_handle_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    for address in ["127.0.0.1:0".parse().unwrap(), Address::unix(&path).unwrap()] {
        let server = Server::bind(address).unwrap();
        let handle = server.handle();
        let address = server.local_address().unwrap();
        drop(server);
        let error = Stream::connect(&address, Some(TEST_TIMEOUT)).expect_err("a closed socket");
        assert!(matches!(error, fcgi::Error::Connect { .. }), "{error:?}");
        assert!(!path.exists(), "the socket file is left");
        handle.shutdown();
    }
}
