//! Proves each bound that a server keeps on a connection, at the bound and one past it.

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

/// Returns a PARAMS stream of exactly this encoded length, in records of 65535 bytes.
fn params_of(len: usize) -> Vec<u8> {
    let encoded = pair(b"V", &vec![b'v'; len - 6]);
    assert_eq!(encoded.len(), len);
    [stream(PARAMS, 1, &encoded), record(PARAMS, 1, b"")].concat()
}

/// The connection is closed although KEEP_CONN was set. The default limit is 256 KiB. Rule A54.
#[test]
fn server_replies_431_when_params_exceed_limit() {
    for (config, limit) in [(Config::new(), 256 << 10), (Config::new().max_params(1000), 1000)] {
        for server in TestServer::tcp_and_unix(&config, |request| {
            respond(request, request.params.as_bytes().len().to_string())
        }) {
            let mut stream = server.connect();
            let request =
                |params: &[u8]| [&begin(1, RESPONDER, 1), params, &record(STDIN, 1, b"")].concat();
            for _ in 0..2 {
                stream.write_all(&request(&params_of(limit))).unwrap();
                assert_eq!(read_answer(&mut stream, 1).body(), limit.to_string());
            }
            stream.write_all(&request(&params_of(limit + 1))).unwrap();
            let answer = read_answer(&mut stream, 1);
            // The response of the library is a CGI response, too.
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

/// Rule A54.
#[test]
fn server_replies_431_while_the_web_server_goes_on_sending() {
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

/// Memory does not grow with the number of BEGIN_REQUEST records. Rules A20 and A54.
#[test]
fn server_refuses_65534_requests_during_one() {
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
            let refusal = read_record(&mut reader).expect("a response to each");
            assert_eq!((refusal.record_type, refusal.id, refusal.content[4]), (END, id, 1));
        }
        assert_eq!(read_answer(&mut reader, 1).stdout, echoed(&[], b""));
    });
}

/// There is no response. The close is not early.
#[test]
fn read_timeout_in_params_closes_the_connection() {
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
            assert_eq!((kind, &*text), (io::ErrorKind::TimedOut, "read timed out after 150 ms"));
        }
    }
}

/// Reading fails with `TimedOut`.
#[test]
fn read_timeout_in_stdin_ends_request_and_connection() {
    let config = Config::new().read_timeout(Some(SHORT)).roles(&[Role::Responder, Role::Filter]);
    for server in TestServer::tcp_and_unix(&config, |request| {
        let error = match request.role {
            Role::Filter => io::copy(request.stdin.data()?, &mut request.stdout).unwrap_err(),
            _ => io::copy(&mut request.stdin, &mut request.stdout).unwrap_err(),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = Error::from(error);
        assert!(matches!(error, Error::TimedOut(timeout) if timeout.operation == "read"));
        Err(error.into())
    }) {
        let cut = [request(1, FILTER, 1, &[], b"body"), record(DATA, 1, b"da")].concat();
        for bytes in
            [[begin(1, RESPONDER, 1), params(1, &[]), record(STDIN, 1, b"bo")].concat(), cut]
        {
            let mut stream = server.connect();
            stream.write_all(&bytes).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(
                (answer.app_status, &*answer.stderr),
                (1, &b"read timed out after 150 ms\n"[..])
            );
            assert_closed(&mut stream);
        }
    }
}

/// The web server does not read. Writing fails with `TimedOut`.
#[test]
fn write_timeout_ends_request_and_connection() {
    let (sender, receiver) = mpsc::channel();
    for server in
        TestServer::tcp_and_unix(&Config::new().write_timeout(Some(SHORT)), move |request| {
            let error = loop {
                if let Err(error) = request.stdout.write_all(&[b'x'].repeat(100_000)) {
                    break Error::from(error);
                }
            };
            sender
                .send(matches!(error, Error::TimedOut(timeout) if timeout.operation == "write"))?;
            Err(error.into())
        })
    {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
        assert!(receiver.recv_timeout(TEST_TIMEOUT).unwrap());
        assert_eq!(server.next_error().0, io::ErrorKind::TimedOut);
        // The web server receives the part of the response that was already sent, and no
        // END_REQUEST.
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
        assert!(!rest.is_empty() && rest[1] == STDOUT && !rest.ends_with(&end(1, 1, 0)));
    }
}

#[test]
fn write_timeout_applies_to_one_large_first_write() {
    for server in TestServer::tcp_and_unix(&Config::new().write_timeout(Some(SHORT)), |request| {
        request.stdout.write_all(&vec![b'x'; 64 << 20])?;
        Ok(())
    }) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        assert_eq!(server.next_error().0, io::ErrorKind::TimedOut);
    }
}

/// The operating system cannot express a timeout of zero. A value is checked however it was set.
#[test]
fn zero_is_refused_before_serving() {
    let mut assigned = Config::new();
    assigned.max_connections = 0;
    let zero = Some(Duration::ZERO);
    for config in [
        assigned,
        Config::new().max_connections(0),
        Config::new().read_timeout(zero),
        Config::new().request_timeout(zero),
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

/// Only the first small response is certain to fit into the buffer of the socket.
#[test]
fn write_timeout_applies_to_small_responses() {
    for server in TestServer::tcp_and_unix(&Config::new().write_timeout(Some(SHORT)), |request| {
        respond(request, [b'x'; 1000])
    }) {
        let mut stream = server.connect();
        // Send requests until the connection is closed, and read no response.
        let sending =
            thread::spawn(
                move || while stream.write_all(&request(1, RESPONDER, 1, &[], b"")).is_ok() {},
            );
        assert_eq!(server.next_error().0, io::ErrorKind::TimedOut);
        sending.join().unwrap();
    }
}

/// What happened on a kept connection before it becomes idle.
const BEFORE_IDLENESS: [fn() -> Vec<u8>; 5] = [
    || Vec::new(),
    || request(1, RESPONDER, 1, &[], b""),
    // The remaining cases leave input unread: the end of a body, a body with a late record after
    // it, and records that belong to no request.
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
        Some(_) => respond(request, ""),
        None => echo(request),
    }
}

/// Sends these bytes and reads the responses to them.
#[track_caller]
fn become_idle(stream: &mut Stream, before: &[u8]) {
    stream.write_all(before).unwrap();
    if !before.is_empty() {
        read_answer(stream, 1);
    }
    // The response to the management record comes after that to the request.
    if before.windows(2).any(|bytes| bytes == [1, GET_VALUES]) {
        read_record(stream).expect("a result");
    }
}

/// The close is not early, although the read timeout is much longer. Unread input of the last
/// request does not count as a new one. No error is reported.
#[test]
fn idle_timeout_closes_a_kept_connection() {
    let config = Config::new().idle_timeout(Some(SHORT)).read_timeout(Some(LONG));
    for server in TestServer::tcp_and_unix(&config, echo_unless_unread) {
        for before in BEFORE_IDLENESS {
            let mut stream = server.connect();
            become_idle(&mut stream, &before());
            let start = Instant::now();
            assert_closed(&mut stream);
            assert!(start.elapsed() >= SHORT / 2, "{:?}", start.elapsed());
        }
        // Inside a request the read timeout applies.
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

/// Without an idle timeout a kept connection stays open. Rule A8.
#[test]
fn read_timeout_does_not_apply_between_requests() {
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

/// The last request is still served.
#[test]
fn connection_is_closed_after_the_last_allowed_request() {
    for max in [1, 3] {
        for server in TestServer::tcp_and_unix(&Config::new().max_requests(Some(max)), echo) {
            let mut stream = server.connect();
            for n in 1..=max {
                // A request that is refused does not count.
                stream.write_all(&begin(9, 9, 1)).unwrap();
                assert_eq!(read_answer(&mut stream, 9).protocol_status, 3);
                stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
                assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"), "request {n}");
            }
            assert_closed(&mut stream);
        }
    }
}
