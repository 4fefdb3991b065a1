//! Proves each bound that a server keeps on a connection, at its limit and one past it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::server::{Config, Connection};
use fcgi::{Error, Server};

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(3600);

/// PARAMS of exactly this encoded length, in records of 65535 bytes.
fn params_of(len: usize) -> Vec<u8> {
    let encoded = pair(b"V", &vec![b'v'; len - 6]);
    assert_eq!(encoded.len(), len);
    [stream(PARAMS, 1, &encoded), record(PARAMS, 1, b"")].concat()
}

/// "Memory grew with params sent": params up to the limit are served, one byte more is refused with
/// a `Status: 431` and the close of the connection, whatever KEEP_CONN says; by default at 256 KiB.
#[test]
fn max_params() {
    for (config, limit) in [(Config::new(), 256 << 10), (Config::new().max_params(1000), 1000)] {
        for server in TestServer::tcp_and_unix(&config, |request| {
            Ok(write!(request.stdout, "{}", request.params.as_bytes().len())?)
        }) {
            let mut stream = server.connect();
            let serve =
                |params: &[u8]| [&begin(1, RESPONDER, 1), params, &record(STDIN, 1, b"")].concat();
            for _ in 0..2 {
                stream.write_all(&serve(&params_of(limit))).unwrap();
                assert_eq!(read_answer(&mut stream, 1).text(), limit.to_string());
            }
            stream.write_all(&serve(&params_of(limit + 1))).unwrap();
            let answer = read_answer(&mut stream, 1);
            // A46 holds for what the library says, too.
            assert!(
                answer.text().starts_with("Status: 431 Request Header Fields Too Large\r\n"),
                "{}",
                answer.text()
            );
            assert_eq!((answer.app_status, answer.protocol_status, answer.stdout_ends), (1, 0, 1));
            assert_closed(&mut stream);
            assert!(server.next_error().1.contains(&format!("limit of {limit} bytes")));
        }
    }
}

/// "10 MiB of params": the refusal arrives though the web server goes on sending.
#[test]
fn ten_mib_of_params() {
    let server = TestServer::tcp(Config::new(), echo);
    let mut stream = server.connect();
    let writer = stream.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            drop((&writer).write_all(&[begin(1, RESPONDER, 1), params_of(10 << 20)].concat()));
        });
        assert!(read_answer(&mut stream, 1).text().starts_with("Status: 431 "));
    });
}

/// "Memory grew with requests begun": 65535 BEGINs on one connection, each refused but the first.
#[test]
fn begins_of_every_id() {
    let server = TestServer::unix(Config::new(), echo);
    let mut stream = server.connect();
    let writer = stream.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            let begins: Vec<u8> = (1..=65535).flat_map(|id| begin(id, RESPONDER, 1)).collect();
            (&writer).write_all(&begins).unwrap();
            (&writer).write_all(&[params(1, &[]), record(STDIN, 1, b"")].concat()).unwrap();
        });
        let mut reader = io::BufReader::new(&mut stream);
        for id in 2..=65535 {
            let refusal = read_record(&mut reader).expect("an answer to each");
            assert_eq!((refusal.record_type, refusal.id, refusal.content[4]), (END, id, 1));
        }
        assert_eq!(read_answer(&mut reader, 1).stdout, echoed(&[], b""));
    });
}

/// The read timeout in PARAMS: the connection is closed without an answer, no sooner and not much
/// later.
#[test]
fn read_timeout_in_params() {
    for server in TestServer::tcp_and_unix(&Config::new().read_timeout(Some(SHORT)), echo) {
        for bytes in
            [begin(1, RESPONDER, 1), [begin(1, RESPONDER, 1), record(PARAMS, 1, b"\x01")].concat()]
        {
            let start = Instant::now();
            let mut stream = server.connect();
            stream.write_all(&bytes).unwrap();
            assert_no_response(&mut stream);
            assert!(start.elapsed() >= SHORT);
            let (kind, text) = server.next_error();
            assert_eq!((kind, &*text), (io::ErrorKind::TimedOut, "read timed out"));
        }
    }
}

/// The read timeout in a body: reading fails with `TimedOut`, the request ends, and the connection
/// with it.
#[test]
fn read_timeout_in_stdin() {
    let config = Config::new().read_timeout(Some(SHORT)).roles(&[Role::Responder, Role::Filter]);
    for server in TestServer::tcp_and_unix(&config, |request| {
        let error = match request.role {
            Role::Filter => io::copy(request.stdin.data()?, &mut request.stdout).unwrap_err(),
            _ => io::copy(&mut request.stdin, &mut request.stdout).unwrap_err(),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = Error::from(error);
        assert!(matches!(error, Error::TimedOut("read")));
        Err(error.into())
    }) {
        let cut = [request(1, FILTER, 1, &[], b"body"), record(DATA, 1, b"da")].concat();
        for bytes in
            [[begin(1, RESPONDER, 1), params(1, &[]), record(STDIN, 1, b"bo")].concat(), cut]
        {
            let mut stream = server.connect();
            stream.write_all(&bytes).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((answer.app_status, &*answer.stderr), (1, &b"read timed out\n"[..]));
            assert_closed(&mut stream);
        }
    }
}

/// The write timeout: a web server that takes nothing makes writing fail with `TimedOut`, and
/// loses the connection.
#[test]
fn write_timeout() {
    let (say, said) = mpsc::channel();
    for server in
        TestServer::tcp_and_unix(&Config::new().write_timeout(Some(SHORT)), move |request| {
            let error = loop {
                if let Err(error) = request.stdout.write_all(&[b'x'].repeat(100_000)) {
                    break Error::from(error);
                }
            };
            say.send(matches!(error, Error::TimedOut("write")))?;
            Err(error.into())
        })
    {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
        assert!(said.recv_timeout(TEST_TIMEOUT).unwrap());
        assert_eq!(server.next_error().0, io::ErrorKind::TimedOut);
        // What comes then is the part of the answer that was on its way, and no END_REQUEST.
        let mut rest = Vec::new();
        let _cut = stream.read_to_end(&mut rest);
        assert!(!rest.is_empty() && rest[1] == STDOUT && !rest.ends_with(&end(1, 1, 0)));
    }
}

/// The write timeout holds for an answer that is the first write of its connection, and large.
#[test]
fn write_timeout_of_one_large_answer() {
    for server in TestServer::tcp_and_unix(&Config::new().write_timeout(Some(SHORT)), |request| {
        request.stdout.write_all(&vec![b'x'; 64 << 20])?;
        Ok(())
    }) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        assert_eq!(server.next_error().0, io::ErrorKind::TimedOut);
    }
}

/// A timeout of zero, which the system has no idea of, is refused before anything is served.
#[test]
fn no_time_is_no_time_out() {
    let zero = Some(Duration::ZERO);
    for config in [
        Config::new().read_timeout(zero),
        Config::new().write_timeout(zero),
        Config::new().idle_timeout(zero),
    ] {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Connection::with_config(ours, Arc::new(config.clone())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let server = Server::bind("127.0.0.1:0").unwrap().config(config);
        assert_eq!(server.serve(|_| Ok(())).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

/// The write timeout holds for small answers as well, of which only the first is sure to be taken
/// at once.
#[test]
fn write_timeout_of_small_answers() {
    for server in TestServer::tcp_and_unix(&Config::new().write_timeout(Some(SHORT)), |request| {
        request.stdout.write_all(&[b'x'; 1000])?;
        Ok(())
    }) {
        let mut stream = server.connect();
        // Until the server is cut off, and not a byte of the answers is read.
        let asking =
            thread::spawn(
                move || while stream.write_all(&request(1, RESPONDER, 1, &[], b"")).is_ok() {},
            );
        assert_eq!(server.next_error().0, io::ErrorKind::TimedOut);
        asking.join().unwrap();
    }
}

/// A kept connection that is idle, after whatever was last on it.
const BEFORE_IDLENESS: [fn() -> Vec<u8>; 5] = [
    || Vec::new(),
    || request(1, RESPONDER, 1, &[], b""),
    // A body whose end is left unread, one with more behind it, and records that are no request's.
    || request(1, RESPONDER, 1, &[("UNREAD", "1")], b"body"),
    || {
        [
            request(1, RESPONDER, 1, &[("UNREAD", "1")], &[b'x'].repeat(100_000)),
            padded_record(STDIN, 1, b"late", 255),
        ]
        .concat()
    },
    || {
        [request(1, RESPONDER, 1, &[], b""), record(GET_VALUES, 0, b""), record(STDIN, 9, b"noise")]
            .concat()
    },
];

fn echo_unless_unread(request: &mut fcgi::server::Request) -> fcgi::server::HandlerResult {
    match request.params.get("UNREAD") {
        Some(_) => Ok(()),
        None => echo(request),
    }
}

/// Sends what comes before idleness, and reads what is said to it.
#[track_caller]
fn become_idle(stream: &mut Stream, before: &[u8]) {
    stream.write_all(before).unwrap();
    if !before.is_empty() {
        read_answer(stream, 1);
    }
    // The answer to a management record is behind that to the request.
    if before.windows(2).any(|bytes| bytes == [1, GET_VALUES]) {
        read_record(stream).expect("a result");
    }
}

/// The idle timeout: a kept connection is closed when it has passed, no sooner, though reads
/// inside a request may wait much longer; and what is left unread of the last request does not
/// count as one. It is an error of nobody's request.
#[test]
fn idle_timeout() {
    let config = Config::new().idle_timeout(Some(SHORT)).read_timeout(Some(LONG));
    for server in TestServer::tcp_and_unix(&config, echo_unless_unread) {
        for before in BEFORE_IDLENESS {
            let mut stream = server.connect();
            become_idle(&mut stream, &before());
            let start = Instant::now();
            assert_closed(&mut stream);
            assert!(start.elapsed() >= SHORT / 2, "{:?}", start.elapsed());
        }
        // Inside a request the wait may be longer.
        let mut stream = server.connect();
        let bytes = request(1, RESPONDER, 0, &[("A", "1")], b"body");
        for piece in bytes.chunks(bytes.len() / 2) {
            stream.write_all(piece).unwrap();
            thread::sleep(2 * SHORT);
        }
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[("A", "1")], b"body"));
        server.handle.shutdown();
        wait_until("serve returns", || server.has_ended());
        assert_eq!(server.reported_errors(), []);
    }
}

/// A8: without an idle timeout a kept connection stays, however short the read timeout.
#[test]
fn no_idle_timeout() {
    for server in
        TestServer::tcp_and_unix(&Config::new().read_timeout(Some(SHORT)), echo_unless_unread)
    {
        let mut streams: Vec<Stream> = BEFORE_IDLENESS
            .iter()
            .map(|before| {
                let mut stream = server.connect();
                become_idle(&mut stream, &before());
                stream
            })
            .collect();
        thread::sleep(4 * SHORT);
        for stream in &mut streams {
            stream.write_all(&request(2, RESPONDER, 1, &[], b"body")).unwrap();
            assert_eq!(read_answer(stream, 2).stdout, echoed(&[], b"body"));
        }
        assert_eq!(server.reported_errors(), []);
    }
}

/// The requests of a kept connection: the last that it may carry is answered, and then it is
/// closed.
#[test]
fn max_requests() {
    for max in [1, 3] {
        for server in TestServer::tcp_and_unix(&Config::new().max_requests(Some(max)), echo) {
            let mut stream = server.connect();
            for n in 1..=max {
                // A request that no handler sees does not count.
                stream.write_all(&begin(9, 9, 1)).unwrap();
                assert_eq!(read_answer(&mut stream, 9).protocol_status, 3);
                stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
                assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"), "request {n}");
            }
            assert_closed(&mut stream);
        }
    }
}
