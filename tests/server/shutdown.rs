//! Proves that a server stops when it is told to: no request that has begun is lost, no other is
//! begun, and nothing is left behind.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::server::{Config, Handle, Overload};
use fcgi::Server;

/// A timeout of shutdown that no test waits for.
fn patient() -> Config {
    Config::new().shutdown_timeout(Duration::from_secs(3600))
}

/// Asserts that nobody answers on this address any more.
#[track_caller]
fn assert_refused(server: &fcgi::net::Address) {
    let Ok(mut stream) = Stream::connect(server, Some(TEST_TIMEOUT)) else { return };
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).unwrap();
    let _ = stream.write_all(&request(1, RESPONDER, 0, &[], b""));
    assert_no_response(&mut stream);
}

/// Without connections, and with idle ones (fresh, kept, and with half a record), it stops at once,
/// and that is no error.
#[test]
fn with_idle_connections() {
    for server in TestServer::tcp_and_unix(&patient(), echo) {
        let mut streams: Vec<Stream> = (0..4).map(|_| server.connect()).collect();
        for stream in &mut streams[..2] {
            stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
            assert_eq!(read_answer(stream, 1).stdout, echoed(&[], b"body"));
        }
        // What answers has been accepted, and what came in one piece with the question was read.
        for (stream, rest) in
            streams.iter_mut().zip([&[][..], &begin(1, RESPONDER, 1)[..5], &[], &[1]])
        {
            stream.write_all(&[&record(GET_VALUES, 0, b""), rest].concat()).unwrap();
            assert_eq!(read_record(stream).expect("a result").record_type, GET_VALUES_RESULT);
        }
        assert!(server.address.path().map_or(true, |path| path.exists()));
        server.handle.shutdown();
        assert!(
            server.address.path().map_or(true, |path| !path.exists()),
            "the socket file is still there"
        );
        for stream in &mut streams {
            assert_no_response(stream);
        }
        assert_refused(&server.address);
        wait_until("serve returns", || server.has_ended());
        assert_eq!(server.reported_errors(), []);
        server.stop().unwrap();
    }
    for server in TestServer::tcp_and_unix(&patient(), echo) {
        server.handle.shutdown();
        server.handle.shutdown();
        server.stop().unwrap();
    }
}

/// A14: requests in every phase end as ever, and their connections with them though they were to be
/// kept; newcomers are refused meanwhile.
#[test]
fn a14_with_requests() {
    let (say, said) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let told = Mutex::new(told);
    let server = TestServer::tcp(patient(), move |request| {
        if request.params.get("WAIT").is_some() {
            say.send(())?;
            told.lock().unwrap().recv_timeout(TEST_TIMEOUT)?;
        }
        echo(request)
    });
    let mut in_params = server.connect();
    in_params.write_all(&[begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"")].concat()).unwrap();
    assert_eq!(read_record(&mut in_params).expect("BEGIN was read").record_type, GET_VALUES_RESULT);
    let mut in_stdin = server.connect();
    let begun = [
        begin(2, RESPONDER, 1),
        params(2, &[]),
        record(STDIN, 2, b"bo"),
        record(GET_VALUES, 0, b""),
    ]
    .concat();
    in_stdin.write_all(&begun).unwrap();
    assert_eq!(read_record(&mut in_stdin).expect("STDIN is read").record_type, GET_VALUES_RESULT);
    let mut working = server.connect();
    working.write_all(&request(3, RESPONDER, 1, &[("WAIT", "1")], b"body")).unwrap();
    said.recv_timeout(TEST_TIMEOUT).unwrap();

    server.handle.shutdown();
    assert_refused(&server.address);
    in_params.write_all(&[params(1, &[("A", "1")]), record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut in_params, 1).stdout, echoed(&[("A", "1")], b""));
    in_stdin.write_all(&[record(STDIN, 2, b"dy"), record(STDIN, 2, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut in_stdin, 2).stdout, echoed(&[], b"body"));
    go_on.send(()).unwrap();
    assert_eq!(read_answer(&mut working, 3).stdout, echoed(&[("WAIT", "1")], b"body"));
    [in_params, in_stdin, working].iter_mut().for_each(assert_closed);
    server.stop().unwrap();
}

/// A request that has come whole before the server was told to stop is served, though its
/// connection was idle when it was asked to close; one that has come in part is not begun. (The
/// connection is held up by answers that its web server does not take, so that what happens when is
/// not left to chance.)
#[test]
fn requests_that_have_come_already() {
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
        let is_told = Arc::new(AtomicBool::new(false));
        let roles = [1, 2, 3].map(fcgi::record::Role::from);
        let server = TestServer::unix(patient().roles(&roles), {
            let is_told = Arc::clone(&is_told);
            move |request| {
                assert!(
                    is_told.load(SeqCst),
                    "the request was served before the server was told to stop"
                );
                assert!(!request.is_aborted());
                echo(request)
            }
        });
        let mut stream = server.connect();
        stream.write_all(&[record(99, 0, b"").repeat(COUNT), bytes].concat()).unwrap();
        assert_eq!(read_record(&mut stream).expect("the first answer").record_type, UNKNOWN_TYPE);
        server.handle.shutdown();
        is_told.store(true, SeqCst);
        let mut reader = io::BufReader::new(&mut stream);
        for _ in 1..COUNT {
            assert_eq!(
                read_record(&mut reader).expect("the other answers").record_type,
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

/// Under load: every request that a handler has begun is answered whole, none is begun once `serve`
/// has returned, and those who come later are refused.
#[test]
fn a14_under_load() {
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
            let config = patient().max_connections(6);
            let server = if unix {
                TestServer::unix(config, handler)
            } else {
                TestServer::tcp(config, handler)
            };
            let (address, answered) = (server.address.clone(), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| while ask(&address, kept, &answered).is_ok() {});
                }
                wait_until("there is some load", || answered.load(SeqCst) > 200);
                server.stop().unwrap();
                let at_the_end = begun.load(SeqCst);
                assert_refused(&address);
                assert_eq!(begun.load(SeqCst), at_the_end, "begun after the end");
            });
            assert_eq!(
                begun.load(SeqCst),
                answered.load(SeqCst),
                "requests that were begun, and answered"
            );
        }
    }
}

/// Asks on one connection for as long as it is kept. An error is that nobody listens any more.
fn ask(address: &fcgi::net::Address, kept: bool, answered: &AtomicUsize) -> fcgi::Result<()> {
    let mut stream = Stream::connect(address, Some(TEST_TIMEOUT))?;
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT))?;
    loop {
        let sent = stream.write_all(&request(1, RESPONDER, kept.into(), &[], &[b'b'; 2000]));
        let mut first = [0];
        // Before its first byte a request may be dropped; behind it the answer must be whole.
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

/// A newcomer that waits for a place when the server is told to stop is closed without an answer.
#[test]
fn with_a_newcomer_that_waits() {
    for overload in [Overload::Wait, Overload::Reject] {
        let server = TestServer::tcp(patient().max_connections(1).overload(overload), echo);
        let mut busy = server.connect();
        busy.write_all(&[begin(1, RESPONDER, 1), record(GET_VALUES, 0, b"")].concat()).unwrap();
        assert_eq!(read_record(&mut busy).expect("BEGIN was read").record_type, GET_VALUES_RESULT);
        let mut newcomer = server.connect();
        if overload == Overload::Wait {
            newcomer.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        }
        newcomer.set_timeouts(Some(Duration::from_millis(50)), None).unwrap();
        assert!(newcomer.read(&mut [0]).is_err(), "it waits");
        newcomer.set_timeouts(Some(TEST_TIMEOUT), None).unwrap();
        server.handle.shutdown();
        assert_no_response(&mut newcomer);
        busy.write_all(&[params(1, &[]), record(STDIN, 1, b"")].concat()).unwrap();
        assert_eq!(read_answer(&mut busy, 1).stdout, echoed(&[], b""));
        server.stop().unwrap();
    }
}

/// The bound on shutdown: a request that ends before it has passed is answered, one that does not
/// is cut off; a handler that looks at nothing is left behind.
#[test]
fn shutdown_timeout() {
    let limit = Duration::from_millis(200);
    let (say, said) = mpsc::channel();
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let server = TestServer::tcp(Config::new().shutdown_timeout(limit), move |request| {
        if request.params.get("DEAF").is_some() {
            say.send("deaf".to_owned())?;
            let _ = told.lock().unwrap().recv_timeout(TEST_TIMEOUT);
            return Ok(());
        }
        let outcome = io::copy(&mut request.stdin, &mut request.stdout);
        say.send(format!("{:?}", outcome.map_err(|error| error.kind())))?;
        Ok(())
    });
    let mut cut = server.connect();
    cut.write_all(&[begin(1, RESPONDER, 0), params(1, &[]), record(STDIN, 1, b"body")].concat())
        .unwrap();
    let mut deaf = server.connect();
    deaf.write_all(&request(1, RESPONDER, 0, &[("DEAF", "1")], b"")).unwrap();
    assert_eq!(said.recv_timeout(TEST_TIMEOUT).unwrap(), "deaf");

    let start = Instant::now();
    server.stop().unwrap();
    assert!(
        start.elapsed() >= limit && start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(said.recv_timeout(TEST_TIMEOUT).unwrap(), "Err(UnexpectedEof)");
    assert_no_response(&mut cut);
    assert_no_response(&mut deaf);
    drop(go_on);
}

/// A handler may stop its own server, and is answered.
#[test]
fn from_a_handler() {
    let slot: Arc<OnceLock<Handle>> = Arc::default();
    let server = TestServer::tcp(patient(), {
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

/// A server that is told to stop before it serves does not begin.
#[test]
fn before_the_start() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_address().unwrap();
    server.handle().shutdown();
    server.serve(|_| panic!("nobody is served")).unwrap();
    assert_refused(&address);
}
