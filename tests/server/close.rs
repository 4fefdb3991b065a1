//! Proves that a connection ends when it should and not before, that its end never costs an answer,
//! and that a web server may end it, or its own half of it, whenever it likes.

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

/// Answers with as many bytes as `BYTES` says, and does not look at the body.
fn unread(request: &mut Request) -> HandlerResult {
    let bytes = request.params.get("BYTES").unwrap_or("0").parse()?;
    Ok(request.stdout.write_all(&vec![b'x'; bytes])?)
}

/// A9: without KEEP_CONN the close follows END_REQUEST, with no byte in between and no reset; after
/// a refusal and after a request that failed too. (A16 is a slip of the text's: it is the web
/// server that connects.)
#[test]
fn a9_closed_after_the_end() {
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
        // What is sent behind a request without KEEP_CONN is not served.
        let mut stream = server.connect();
        let both =
            [request(1, RESPONDER, 0, &[], b"one"), request(2, RESPONDER, 0, &[], b"two")].concat();
        stream.write_all(&both).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"one"));
        assert_no_response(&mut stream);
    }
}

/// A10, "Closing with unread input sent a reset and the response was lost": a body that is never
/// read, on a connection that is not kept, written to its end before a byte of the answer is read.
/// The answer arrives whole, and no reset with it.
#[test]
fn a10_lingering_close() {
    let config = Config::new().drain(8 << 20, Duration::from_secs(20));
    for (config, body, bytes) in [
        (Config::new(), 40_000, "100000"),
        (Config::new(), MIB - 200, "100000"),
        (config.clone(), 4 * MIB, "100000"),
        (config, 4 * MIB, "0"),
    ] {
        for server in TestServer::tcp_and_unix(&config, unread) {
            let mut stream = server.connect();
            stream
                .write_all(&request(1, RESPONDER, 0, &[("BYTES", bytes)], &vec![b'b'; body]))
                .unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(
                (answer.stdout.len().to_string(), answer.stdout_ends),
                (bytes.to_owned(), 1)
            );
            assert_closed(&mut stream);
        }
    }
}

/// A10: a body and an answer of 4 MiB each, with the bounds as they are by default: what is beyond
/// them may be cut off, but the answer arrives whole.
#[test]
fn a10_large_both_ways() {
    for server in TestServer::tcp_and_unix(&Config::new(), unread) {
        let mut stream = server.connect();
        let writer = stream.clone();
        let bytes = request(1, RESPONDER, 0, &[("BYTES", "4194304")], &vec![b'b'; 4 * MIB]);
        thread::scope(|scope| {
            // Whether all of the body is taken is not asked.
            scope.spawn(move || drop((&writer).write_all(&bytes)));
            assert_eq!(read_answer(&mut stream, 1).stdout.len(), 4 * MIB);
        });
    }
}

/// A10, "bounded by bytes *and* by time": a peer that never closes costs its time and no more; the
/// only slot is free again for the next.
#[test]
fn a10_a_peer_that_never_closes() {
    for server in TestServer::tcp_and_unix(
        &Config::new().max_connections(1).drain(u64::MAX, Duration::from_millis(200)),
        unread,
    ) {
        let mut silent = server.connect();
        // The body's end never comes.
        silent
            .write_all(
                &[begin(1, RESPONDER, 0), params(1, &[]), record(STDIN, 1, b"some")].concat(),
            )
            .unwrap();
        read_answer(&mut silent, 1);
        assert_closed(&mut silent);
        let start = Instant::now();
        assert_eq!(
            server.round_trip(1, &request(1, RESPONDER, 0, &[("BYTES", "9")], b"")).stdout.len(),
            9
        );
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

/// A10, the bound in bytes: a peer that never stops sending is cut off long before the time has
/// passed.
#[test]
fn a10_a_peer_that_never_stops() {
    for server in
        TestServer::tcp_and_unix(&Config::new().drain(64 << 10, Duration::from_secs(3600)), unread)
    {
        let mut stream = server.connect();
        stream.write_all(&[begin(1, RESPONDER, 0), params(1, &[("BYTES", "9")])].concat()).unwrap();
        let more = record(STDIN, 1, &[b'x'].repeat(65528));
        let mut sent = 0;
        let error = loop {
            match stream.write_all(&more) {
                Ok(()) => sent += more.len(),
                Err(error) => break error,
            }
            assert!(sent < 256 * MIB, "it goes on taking");
        };
        assert!(
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
            "{error}"
        );
    }
}

/// A10 in a loop of one's own: a connection that is dropped although it was to be kept takes its
/// answer along; one whose request was dropped says so, and the web server sees an answer that
/// breaks off.
#[test]
fn a10_connections_of_ones_own() {
    for pair in [tcp_pair, unix_pair] {
        let (mut client, served) = pair();
        let bytes = request(1, RESPONDER, 1, &[("BYTES", "100000")], &vec![b'b'; MIB]);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut connection = Connection::new(served).unwrap();
                let mut request = connection.next_request().unwrap().expect("a request");
                unread(&mut request).unwrap();
                request.finish().unwrap();
            });
            client.write_all(&bytes).unwrap();
            assert_eq!(read_answer(&mut client, 1).stdout.len(), 100_000);
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

/// A9, A10: what comes behind a request before the connection is closed costs neither the answer
/// nor the clean end.
#[test]
fn a9_a10_late_input() {
    let config = Arc::new(Config::new().roles(&[Role::Responder, Role::Authorizer]));
    let cases = [
        (request(1, RESPONDER, 0, &[], b"body"), record(ABORT, 1, b"")),
        // An authorizer has no body, and some web servers end it all the same.
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

/// A10: where the whole input has come there is nothing to wait for: the slot is free at once,
/// though the web server never closes its side and an hour may pass.
#[test]
fn no_lingering_without_need() {
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

/// A11: the end of a connection without a request is no error, and harms nobody.
#[test]
fn a11_connect_and_leave() {
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
        assert_eq!(server.reported_errors(), [], "an end between requests is no error");
    }
}

/// A13: a web server that ends its side behind the whole input still gets the whole answer.
#[test]
fn a13_half_closed_behind_the_input() {
    for server in
        TestServer::tcp_and_unix(&Config::new(), |request| match request.params.get("BYTES") {
            Some(_) => unread(request),
            None => echo(request),
        })
    {
        for (flags, pairs, size) in [
            (0, &[("BYTES", "5000000")][..], 5_000_000),
            (1, &[("BYTES", "5000000")], 5_000_000),
            (0, &[], ECHO_HEAD.len() + 1 + MIB),
            (1, &[], ECHO_HEAD.len() + 1 + MIB),
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
                assert_eq!(read_answer(&mut stream, 1).stdout.len(), size);
                assert_closed(&mut stream);
            });
        }
    }
}

/// A13: inside a request the same is its end: closed without an answer in PARAMS, an error for a
/// handler that reads.
#[test]
fn a13_half_closed_inside_a_request() {
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

/// A12: the end of one connection ends its own requests and no others.
#[test]
fn a12_others_go_on() {
    let finished = Arc::new(AtomicUsize::new(0));
    let server = TestServer::tcp(Config::new(), {
        let finished = Arc::clone(&finished);
        move |request| {
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
    wait_until("the others' requests have ended", || finished.load(SeqCst) == 4);
    for stream in &mut streams {
        stream.write_all(&[record(STDIN, 1, b"dy"), record(STDIN, 1, b"")].concat()).unwrap();
        assert_eq!(read_answer(stream, 1).text(), "body");
        assert_closed(stream);
    }
}

/// A handler that goes on writing to a web server that is gone is told.
#[test]
fn writing_to_a_peer_that_is_gone() {
    let (say, said) = std::sync::mpsc::channel();
    let server = TestServer::tcp(Config::new(), move |request| {
        let outcome = loop {
            if let Err(error) = request.stdout.write_all(&[b'x'].repeat(70_000)) {
                break error;
            }
        };
        say.send(outcome.kind())?;
        Err(outcome.into())
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    drop(stream);
    let kind = said.recv_timeout(TEST_TIMEOUT).unwrap();
    assert!(matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{kind:?}");
    server.next_error();
}
