//! Proves that a connection is closed when it should be and not before, that the close never loses
//! a response, and that a web server may close the connection, or its sending half, at any time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::server::{Config, Connection, HandlerResult, Request};
use fcgi::Error;

const MIB: usize = 1 << 20;

/// Responds with the number of bytes given in `BYTES`, without reading the body.
fn respond_without_reading(request: &mut Request) -> HandlerResult {
    let bytes = request.params.get("BYTES").unwrap_or("0").parse()?;
    respond(request, vec![b'x'; bytes])
}

/// No byte comes between and there is no reset. The same holds after a refusal and after a failed
/// request. Rule A9.
#[test]
fn connection_without_keep_conn_is_closed_after_end_request() {
    for server in
        TestServer::tcp_and_unix(&Config::new(), |request| match request.params.get("FAIL") {
            None => echo(request),
            Some(_) => Err("failed".into()),
        })
    {
        for pairs in [&[][..], &[("FAIL", "1")]] {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 0, pairs, b"body")).unwrap();
            read_answer(&mut stream, 1);
            assert_closed(&mut stream);
        }
        let mut stream = server.connect();
        stream.write_all(&request(1, 9, 0, &[], b"body")).unwrap();
        assert_eq!(read_answer(&mut stream, 1).protocol_status, 3);
        assert_closed(&mut stream);
        // A second request on such a connection is not served.
        let mut stream = server.connect();
        let both =
            [request(1, RESPONDER, 0, &[], b"one"), request(2, RESPONDER, 0, &[], b"two")].concat();
        stream.write_all(&both).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"one"));
        assert_no_response(&mut stream);
    }
}

/// The web server sends the whole body before it reads. A plain close would reset the connection
/// and lose the response. Rule A10.
#[test]
fn close_with_unread_input_does_not_lose_the_response() {
    let config = Config::new().drain(8 << 20, Duration::from_secs(20));
    for (config, body, bytes) in [
        (Config::new(), 40_000, "100000"),
        (Config::new(), MIB - 200, "100000"),
        (config.clone(), 4 * MIB, "100000"),
        (config, 4 * MIB, "0"),
    ] {
        for server in TestServer::tcp_and_unix(&config, respond_without_reading) {
            let mut stream = server.connect();
            stream
                .write_all(&request(1, RESPONDER, 0, &[("BYTES", bytes)], &vec![b'b'; body]))
                .unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(
                (answer.body().len().to_string(), answer.stdout_ends),
                (bytes.to_owned(), 1)
            );
            assert_closed(&mut stream);
        }
    }
}

/// The connection is to be kept, but what follows a part of the body is not a record. Rule A10.
#[test]
fn invalid_input_after_an_early_response_does_not_lose_the_response() {
    for server in TestServer::tcp_and_unix(&Config::new(), respond_without_reading) {
        let mut stream = server.connect();
        let length = [("CONTENT_LENGTH", "1000000"), ("BYTES", "10")];
        let head = [begin(1, RESPONDER, 1), params(1, &length), record(STDIN, 1, b"a part")];
        stream.write_all(&head.concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1).body().len(), 10);
        stream.write_all(&vec![0xff; 300_000]).expect("the input is read and dropped");
        assert_closed(&mut stream);
        assert_eq!(server.next_error().0, io::ErrorKind::InvalidData);
    }
}

/// The body may be cut off at the default bounds. Rule A10.
#[test]
fn large_response_arrives_whole_although_a_large_body_is_unread() {
    for server in TestServer::tcp_and_unix(&Config::new(), respond_without_reading) {
        let mut stream = server.connect();
        let writer = stream.clone();
        let bytes = request(1, RESPONDER, 0, &[("BYTES", "4194304")], &vec![b'b'; 4 * MIB]);
        thread::scope(|scope| {
            // The write may fail.
            scope.spawn(move || drop((&writer).write_all(&bytes)));
            assert_eq!(read_answer(&mut stream, 1).body().len(), 4 * MIB);
        });
    }
}

/// Rule A10.
#[test]
fn peer_that_never_closes_holds_its_slot_only_for_the_drain_time() {
    for server in TestServer::tcp_and_unix(
        &Config::new().max_connections(1).drain(u64::MAX, Duration::from_millis(200)),
        respond_without_reading,
    ) {
        let mut silent = server.connect();
        // The body never ends.
        silent
            .write_all(
                &[begin(1, RESPONDER, 0), params(1, &[]), record(STDIN, 1, b"some")].concat(),
            )
            .unwrap();
        read_answer(&mut silent, 1);
        assert_closed(&mut silent);
        let start = Instant::now();
        assert_eq!(
            server.round_trip(1, &request(1, RESPONDER, 0, &[("BYTES", "9")], b"")).body().len(),
            9
        );
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

/// The time limit is far away. Rule A10.
#[test]
fn peer_that_never_stops_sending_is_closed_after_the_drain_bytes() {
    for server in TestServer::tcp_and_unix(
        &Config::new().drain(64 << 10, Duration::from_secs(3600)),
        respond_without_reading,
    ) {
        let mut stream = server.connect();
        stream.write_all(&[begin(1, RESPONDER, 0), params(1, &[("BYTES", "9")])].concat()).unwrap();
        let more = record(STDIN, 1, &[b'x'].repeat(65528));
        let mut sent = 0;
        let error = loop {
            match stream.write_all(&more) {
                Ok(()) => sent += more.len(),
                Err(error) => break error,
            }
            assert!(sent < 256 * MIB, "the server goes on reading");
        };
        assert!(
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
            "{error}"
        );
    }
}

/// A response that was finished arrives. After a request was dropped, the connection returns an
/// error and the web server receives a truncated response. Rule A10.
#[test]
fn dropped_connection_still_sends_its_response() {
    for pair in [tcp_pair, unix_pair] {
        let (mut client, served) = pair();
        let bytes = request(1, RESPONDER, 1, &[("BYTES", "100000")], &vec![b'b'; MIB]);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut connection = Connection::new(served).unwrap();
                let mut request = connection.next_request().unwrap().expect("a request");
                respond_without_reading(&mut request).unwrap();
                request.finish().unwrap();
            });
            client.write_all(&bytes).unwrap();
            assert_eq!(read_answer(&mut client, 1).body().len(), 100_000);
            assert_closed(&mut client);
        });

        let (mut client, served) = pair();
        client.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
        let mut connection = Connection::new(served).unwrap();
        let mut dropped = connection.next_request().unwrap().expect("a request");
        dropped.stdout.write_all(b"partial").unwrap();
        dropped.stdout.flush().unwrap();
        drop(dropped);
        assert!(matches!(connection.next_request(), Err(Error::RequestNotFinished)));
        assert!(matches!(connection.next_request(), Ok(None)));
        drop(connection);
        assert_eq!(read_record(&mut client).expect("a part").content, b"partial");
        assert_no_response(&mut client);
    }
}

/// Rules A9 and A10.
#[test]
fn input_after_the_request_does_not_spoil_the_close() {
    let config = Arc::new(Config::new().roles(&[Role::Responder, Role::Authorizer]));
    let cases = [
        (request(1, RESPONDER, 0, &[], b"body"), record(ABORT, 1, b"")),
        // An authorizer has no body, but some web servers end its STDIN all the same.
        ([begin(1, AUTHORIZER, 0), params(1, &[])].concat(), record(STDIN, 1, b"")),
    ];
    for pair in [tcp_pair, unix_pair] {
        for (bytes, late) in &cases {
            let (mut client, served) = pair();
            client.write_all(bytes).unwrap();
            let mut connection = Connection::with_config(served, Arc::clone(&config)).unwrap();
            let request = connection.next_request().unwrap().expect("a request");
            client.write_all(late).unwrap();
            request.finish().unwrap();
            let closing = thread::spawn(move || drop(connection));
            read_answer(&mut client, 1);
            assert_closed(&mut client);
            drop(client);
            closing.join().unwrap();
        }
    }
}

fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    (client.into(), listener.accept().unwrap().0.into())
}

fn unix_pair() -> (Stream, Stream) {
    let (client, served) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    (client.into(), served.into())
}

/// The slot is free at once, although the web server keeps its side open and the time limit is an
/// hour. Rule A10.
#[test]
fn close_does_not_wait_if_the_input_was_read_completely() {
    for server in TestServer::tcp_and_unix(
        &Config::new().max_connections(1).drain(u64::MAX, Duration::from_secs(3600)),
        echo,
    ) {
        let open: Vec<Stream> = (0..3)
            .map(|_| {
                let mut stream = server.connect();
                stream.write_all(&request(1, RESPONDER, 0, &[], b"body")).unwrap();
                assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"));
                stream
            })
            .collect();
        assert_eq!(open.len(), 3);
    }
}

/// Rule A11.
#[test]
fn connection_that_ends_without_a_request_is_not_an_error() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for _ in 0..100 {
            drop(server.connect());
        }
        for _ in 0..10 {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
            read_answer(&mut stream, 1);
        }
        let stream = server.connect();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_closed(&mut &stream);
        assert_eq!(
            server.round_trip(1, &request(1, RESPONDER, 0, &[], b"body")).stdout,
            echoed(&[], b"body")
        );
        assert_eq!(server.reported_errors(), [], "an end between requests is not an error");
    }
}

/// Rules A13 and S9.
#[test]
fn response_is_sent_after_a_half_close_at_the_end_of_input() {
    for server in
        TestServer::tcp_and_unix(&Config::new(), |request| match request.params.get("BYTES") {
            Some(_) => respond_without_reading(request),
            None => echo(request),
        })
    {
        for (flags, pairs, size) in [
            (0, &[("BYTES", "5000000")][..], 5_000_000),
            (1, &[("BYTES", "5000000")], 5_000_000),
            (0, &[], 1 + MIB),
            (1, &[], 1 + MIB),
        ] {
            let mut stream = server.connect();
            let writer = stream.clone();
            thread::scope(|scope| {
                scope.spawn(move || {
                    (&writer)
                        .write_all(&request(1, RESPONDER, flags, pairs, &vec![b'b'; MIB]))
                        .unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                assert_eq!(read_answer(&mut stream, 1).body().len(), size);
                assert_closed(&mut stream);
            });
        }
    }
}

/// In PARAMS the connection is closed without a response. In STDIN the handler's read fails.
/// Rule A13.
#[test]
fn half_close_inside_a_request_ends_it() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let whole = [begin(1, RESPONDER, 1), params(1, &[("A", "1")])].concat();
        for cut in 1..whole.len() {
            let mut stream = server.connect();
            stream.write_all(&whole[..cut]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let start = Instant::now();
            assert_closed(&mut stream);
            assert!(start.elapsed() < Duration::from_secs(5));
            assert_eq!(server.next_error().0, io::ErrorKind::UnexpectedEof);
        }
        for body in [&b""[..], &record(STDIN, 1, b"body"), &record(STDIN, 1, b"body")[..10]] {
            let mut stream = server.connect();
            stream.write_all(&[&whole, body].concat()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert!(answer.text().starts_with("Status: 500 "), "{}", answer.text());
            assert!(
                String::from_utf8_lossy(&answer.stderr).contains("input ended before the end of")
            );
            assert_closed(&mut stream);
        }
    }
}

/// Rule A12.
#[test]
fn closed_connection_ends_only_its_own_requests() {
    let finished = Arc::new(AtomicUsize::new(0));
    let server = TestServer::tcp(Config::new(), {
        let finished = Arc::clone(&finished);
        move |request| {
            write!(request.stdout, "{ECHO_HEAD}")?;
            let outcome = io::copy(&mut request.stdin, &mut request.stdout);
            finished.fetch_add(1, SeqCst);
            outcome?;
            Ok(())
        }
    });
    let mut streams: Vec<Stream> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream
            .write_all(&[begin(1, RESPONDER, 0), params(1, &[]), record(STDIN, 1, b"bo")].concat())
            .unwrap();
    }
    streams.truncate(4);
    wait_until("the requests of the closed connections have ended", || finished.load(SeqCst) == 4);
    for stream in &mut streams {
        stream.write_all(&[record(STDIN, 1, b"dy"), record(STDIN, 1, b"")].concat()).unwrap();
        assert_eq!(read_answer(stream, 1).body(), "body");
        assert_closed(stream);
    }
}

/// Rule A12.
#[test]
fn writing_to_a_closed_connection_is_an_error_for_the_handler() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = TestServer::tcp(Config::new(), move |request| {
        let outcome = loop {
            if let Err(error) = request.stdout.write_all(&[b'x'].repeat(70_000)) {
                break error;
            }
        };
        sender.send(outcome.kind())?;
        Err(outcome.into())
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    drop(stream);
    let kind = receiver.recv_timeout(TEST_TIMEOUT).unwrap();
    assert!(matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{kind:?}");
    server.next_error();
}

/// The handler reads the body of a filter request, but not the file, which is still to come.
/// Rule A10.
#[test]
fn file_may_arrive_after_a_filter_has_responded() {
    let config = Config::new().roles(&[Role::Filter]).drain(u64::MAX, Duration::from_secs(3600));
    let (mut client, served) = unix_pair();
    client.write_all(&request(1, FILTER, 0, &[], b"body")).unwrap();
    let mut connection = Connection::with_config(served, Arc::new(config)).unwrap();
    let mut request = connection.next_request().unwrap().expect("a request");
    io::copy(&mut request.stdin, &mut request.stdout).unwrap();
    request.finish().unwrap();
    let closing = thread::spawn(move || drop(connection));
    assert_eq!(read_answer(&mut client, 1).text(), "body");
    assert_closed(&mut client);
    client.write_all(&record(DATA, 1, b"file")).expect("the file is still received");
    drop(client);
    closing.join().unwrap();
}
