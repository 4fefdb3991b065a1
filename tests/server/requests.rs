//! Proves that a request is read correctly however its records are split, padded, ordered and mixed
//! with others, that each request is answered once and under its own id, and that nothing else is
//! answered as a request.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::server::Config;

const PAIRS: [(&str, &str); 3] =
    [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5"), ("EMPTY", "")];
const CANT_MPX_CONN: u8 = 1;
const UNKNOWN_ROLE: u8 = 3;

/// Asserts that this is the response of `echo` to these params and this body.
#[track_caller]
fn assert_echo(answer: &Answer, pairs: &[(&str, &str)], body: &[u8]) {
    assert_eq!(answer.text(), String::from_utf8_lossy(&echoed(pairs, body)));
    assert_eq!((answer.app_status, answer.protocol_status), (0, 0));
    assert_eq!((answer.stdout_ends, answer.stderr_ends), (1, 0));
}

/// Asserts that a plain request is still served on this connection.
#[track_caller]
fn assert_reusable(stream: &mut Stream, id: u16) {
    stream.write_all(&request(id, RESPONDER, 1, &PAIRS, b"hello")).unwrap();
    let answer = read_answer(stream, id);
    assert_echo(&answer, &PAIRS, b"hello");
    assert_eq!(answer.management, []);
}

/// Asserts that the server closes the connection without a response to these bytes, and reports the
/// reason.
#[track_caller]
fn assert_not_served(server: &TestServer, bytes: &[u8], kind: io::ErrorKind, reason: &str) {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    assert_no_response(&mut stream);
    let (reported, text) = server.next_error();
    assert_eq!(reported, kind, "{text}");
    assert!(text.contains(reason), "{text:?} for {reason:?}");
}

/// No variable of the process is added to the params, and no Content-Type to the response.
/// Rules A4 and A46.
#[test]
fn request_carries_only_its_params_and_response_only_its_output() {
    assert!(std::env::var_os("PATH").is_some(), "a variable that must not appear");
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        assert_echo(
            &server.round_trip(1, &request(1, RESPONDER, 0, &PAIRS, b"hello")),
            &PAIRS,
            b"hello",
        );
        assert_echo(&server.round_trip(1, &request(1, RESPONDER, 0, &[], b"")), &[], b"");
    }
    let server = TestServer::tcp(Config::new(), |request| {
        Ok(request.stdout.write_all(b"X-Only: this\r\n\r\nbody")?)
    });
    assert_eq!(
        server.round_trip(1, &request(1, RESPONDER, 0, &[], b"")).text(),
        "X-Only: this\r\n\r\nbody"
    );
}

/// Rule A19.
#[test]
fn response_has_the_id_of_its_request() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for id in [1, 2, 255, 256, 258, 32767, 32768, 65535] {
            assert_reusable(&mut stream, id);
        }
    }
}

/// The requests have the same id. The response is flushed in pieces: with Nagle's algorithm each
/// request would wait 40 ms for an acknowledgement. Rules A8 and A17.
#[test]
fn kept_connection_serves_1000_requests_quickly() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        for _ in 0..3 {
            request.stdout.write_all(b"piece")?;
            request.stdout.flush()?;
        }
        Ok(())
    }) {
        let mut stream = server.connect();
        let start = Instant::now();
        let bytes = request(1, RESPONDER, 1, &PAIRS, b"hello");
        for _ in 0..1000 {
            stream.write_all(&bytes).unwrap();
            assert_eq!(read_answer(&mut stream, 1).text(), "piecepiecepiece");
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

/// Four requests with the same id run at the same time. Rule A17.
#[test]
fn connections_may_use_the_same_id_at_once() {
    let barrier = Arc::new(Barrier::new(4));
    let server = TestServer::tcp(Config::new(), move |request| {
        barrier.wait();
        echo(request)
    });
    thread::scope(|scope| {
        for name in ["A", "B", "C", "D"] {
            let server = &server.address;
            scope.spawn(move || {
                let mut stream = Stream::connect(server, Some(TEST_TIMEOUT)).unwrap();
                stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).unwrap();
                stream
                    .write_all(&request(1, RESPONDER, 0, &[(name, "1")], name.as_bytes()))
                    .unwrap();
                assert_echo(&read_answer(&mut stream, 1), &[(name, "1")], name.as_bytes());
            });
        }
    });
}

/// Returns the records of a plain request, so that others can be inserted.
fn records(id: u16) -> [Vec<u8>; 7] {
    let encoded: Vec<u8> =
        PAIRS.iter().flat_map(|(name, value)| pair(name.as_bytes(), value.as_bytes())).collect();
    [
        begin(id, RESPONDER, 1),
        record(PARAMS, id, &encoded[..9]),
        record(PARAMS, id, &encoded[9..]),
        record(PARAMS, id, b""),
        record(STDIN, id, b"he"),
        record(STDIN, id, b"llo"),
        record(STDIN, id, b""),
    ]
}

/// Sends these records at each place of a request, and another request after it. Asserts that both
/// are served, and passes the management records that were received to `check`.
#[track_caller]
fn assert_ignored_everywhere(noise: &[u8], check: impl Fn(&[Record])) {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for at in 0..=7 {
            let mut pieces = records(3).to_vec();
            pieces.insert(at, noise.to_vec());
            stream.write_all(&pieces.concat()).unwrap();
            let mut answer = read_answer(&mut stream, 3);
            assert_echo(&answer, &PAIRS, b"hello");
            stream.write_all(&request(4, RESPONDER, 1, &PAIRS, b"hello")).unwrap();
            let next = read_answer(&mut stream, 4);
            assert_echo(&next, &PAIRS, b"hello");
            answer.management.extend(next.management);
            check(&answer.management);
        }
    }
}

/// Rule A18.
#[test]
fn records_of_inactive_ids_are_ignored() {
    for record_type in [ABORT, PARAMS, STDIN, DATA] {
        for content in [&b""[..], b"noise", &[7].repeat(65535)] {
            assert_ignored_everywhere(&padded_record(record_type, 9, content, 255), |answers| {
                assert_eq!(answers, []);
            });
        }
    }
}

/// Only management types have a meaning under id 0. Rules A28 and S4.
#[test]
fn application_types_and_request_id_0_are_ignored() {
    for record_type in [END, STDOUT, STDERR, GET_VALUES_RESULT, UNKNOWN_TYPE] {
        for id in [0, 3, 9] {
            assert_ignored_everywhere(&record(record_type, id, b"\0\0\0\0\0\0\0\0"), |answers| {
                assert_eq!(answers, []);
            });
        }
    }
    for record_type in [ABORT, PARAMS, STDIN, DATA] {
        assert_ignored_everywhere(&record(record_type, 0, b"\0\x01\0\0\0\0\0\0"), |answers| {
            assert_eq!(answers, []);
        });
        assert_ignored_everywhere(&record(record_type, 0, b""), |answers| assert_eq!(answers, []));
    }
}

/// A request without an id cannot be answered. The error is reported. Rules A15 and K7.
#[test]
fn begin_request_with_id_0_closes_the_connection() {
    let expected = "BEGIN_REQUEST record cannot have request id 0".to_owned();
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for (before, is_answered) in [
            (Vec::new(), false),
            (request(1, RESPONDER, 1, &[], b""), true),
            (begin(1, RESPONDER, 1), false),
            ([begin(1, RESPONDER, 1), record(PARAMS, 1, b"\x01")].concat(), false),
        ] {
            let mut stream = server.connect();
            stream.write_all(&[before, request(0, RESPONDER, 1, &[], b"body")].concat()).unwrap();
            if is_answered {
                assert_echo(&read_answer(&mut stream, 1), &[], b"");
            }
            assert_no_response(&mut stream);
            assert_eq!(server.next_error(), (io::ErrorKind::InvalidInput, expected.clone()));
        }
        // Inside the body the handler's read fails.
        let mut stream = server.connect();
        let bytes = [begin(1, RESPONDER, 1), params(1, &[]), begin(0, RESPONDER, 1)].concat();
        stream.write_all(&bytes).unwrap();
        assert_eq!(read_answer(&mut stream, 1).text(), FAILED);
        assert_eq!(server.next_error(), (io::ErrorKind::InvalidInput, expected.clone()));
    }
}

/// UNKNOWN_TYPE answers management records only. Rules A29 and S3.
#[test]
fn unknown_types_with_a_request_id_are_ignored() {
    for (record_type, id) in [(42, 3), (42, 9), (255, 3), (12, 3)] {
        assert_ignored_everywhere(&padded_record(record_type, id, b"what?", 8), |answers| {
            assert_eq!(answers, []);
        });
    }
}

/// The refusal has the id of the second request, and the first is not affected. Rules A20 and S7.
#[test]
fn second_request_on_a_busy_connection_is_refused() {
    let second = [
        begin(9, RESPONDER, 0),
        params(9, &[("FOREIGN", "1")]),
        record(STDIN, 9, b"foreign"),
        record(STDIN, 9, b""),
    ];
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for at in 1..=6 {
            let mut stream = server.connect();
            let mut pieces = records(1).to_vec();
            pieces.insert(at, second.concat());
            stream.write_all(&pieces.concat()).unwrap();
            let refusal = read_record(&mut stream).expect("a response to the second request");
            assert_eq!((refusal.record_type, refusal.id), (END, 9));
            assert_eq!(refusal.content, [0, 0, 0, 0, CANT_MPX_CONN, 0, 0, 0]);
            assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
            // The first request set KEEP_CONN. The flag of the refused one has no effect.
            assert_reusable(&mut stream, 2);
        }
    }
}

/// FCGI_MPXS_CONNS is 0: of 50 interleaved requests the first is served, and each other one is
/// refused once under its own id. Rules A21 and A22.
#[test]
fn interleaved_requests_are_refused_as_get_values_announced() {
    let server = TestServer::unix(Config::new(), echo);
    let mut stream = server.connect();
    stream.write_all(&record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b""))).unwrap();
    assert_eq!(read_record(&mut stream).expect("a result").content, pair(b"FCGI_MPXS_CONNS", b"0"));

    for at in 0..7 {
        let bytes: Vec<u8> = (1..=50).flat_map(|id| records(id)[at].clone()).collect();
        stream.write_all(&bytes).unwrap();
    }
    for id in 2..=50 {
        let refusal = read_record(&mut stream).expect("a response to each request");
        assert_eq!((refusal.record_type, refusal.id, refusal.content[4]), (END, id, CANT_MPX_CONN));
    }
    assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
    assert_reusable(&mut stream, 51);
}

/// No part of the request is served. Rules A23 and S2.
#[test]
fn begin_request_with_the_active_id_closes_the_connection() {
    let calls = Arc::new(AtomicUsize::new(0));
    let server = TestServer::tcp(Config::new(), {
        let calls = Arc::clone(&calls);
        move |request| {
            calls.fetch_add(1, SeqCst);
            echo(request)
        }
    });
    for at in 1..=3 {
        let mut pieces = records(1).to_vec();
        pieces.insert(at, begin(1, RESPONDER, 1));
        assert_not_served(
            &server,
            &pieces.concat(),
            io::ErrorKind::InvalidData,
            "unexpected BEGIN_REQUEST record for request 1",
        );
    }
    assert_eq!(calls.load(SeqCst), 0);
    for at in 4..=6 {
        let mut stream = server.connect();
        let mut pieces = records(1).to_vec();
        pieces.insert(at, begin(1, RESPONDER, 1));
        stream.write_all(&pieces.concat()).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!(answer.app_status, 1);
        assert!(answer.text().starts_with("Status: 500 "), "{}", answer.text());
        assert_closed(&mut stream);
    }
}

/// The ids are equal or different. Rules A24 and S8.
#[test]
fn pipelined_requests_are_answered_in_order() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for (count, same_id) in [(2, false), (20, false), (20, true)] {
            let mut stream = server.connect();
            let id = |n: u16| if same_id { 1 } else { n };
            let body = |n: u16| vec![b'a' + n as u8; usize::from(n) * 100];
            let bytes: Vec<u8> =
                (1..=count).flat_map(|n| request(id(n), RESPONDER, 1, &[], &body(n))).collect();
            stream.write_all(&bytes).unwrap();
            for n in 1..=count {
                assert_echo(&read_answer(&mut stream, id(n)), &[], &body(n));
            }
            assert_reusable(&mut stream, 100);
        }
    }
}

/// There is no STDOUT, and with KEEP_CONN the connection stays open. Rules A25 and S6.
#[test]
fn unknown_role_is_refused_before_its_params_arrive() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for (id, role) in
            [(7, 0), (8, 4), (256, 9), (65535, 257), (9, 65535), (10, AUTHORIZER), (11, FILTER)]
        {
            stream.write_all(&begin(id, role, 1)).unwrap();
            let answer = read_answer(&mut stream, id);
            assert_eq!((answer.app_status, answer.protocol_status), (0, UNKNOWN_ROLE));
            assert_eq!((answer.stdout_ends, answer.stderr_ends), (0, 0));
            // Records of the refused id are ignored.
            stream
                .write_all(
                    &[params(id, &PAIRS), record(STDIN, id, b"x"), record(STDIN, id, b"")].concat(),
                )
                .unwrap();
            assert_reusable(&mut stream, 7);
        }
        drop(stream);
    }
    let roles = [Role::Responder, Role::Authorizer, Role::Unknown(9)];
    let server = TestServer::tcp(Config::new().roles(&roles), |request| {
        respond(request, format!("{:?}", request.role))
    });
    for (role, text) in [(1, "Responder"), (2, "Authorizer"), (9, "Unknown(9)")] {
        assert_eq!(server.round_trip(1, &request(1, role, 0, &[], b"")).body(), text);
    }
    assert_eq!(
        server.round_trip(1, &request(1, FILTER, 0, &[], b"")).protocol_status,
        UNKNOWN_ROLE
    );
}

/// Padding and reserved bytes are 0. Content and padding never exceed 65535 bytes, because PHP
/// closes the connection otherwise. Rules A27, K5 and K6.
#[test]
fn application_sends_only_its_record_types() {
    let server = TestServer::unix(Config::new(), |request| {
        request.stderr.write_all(b"a message")?;
        for len in [1, 5, 65527, 65528, 65535, 65536, 200_000] {
            request.stdout.write_all(&vec![b'x'; len])?;
            request.stdout.flush()?;
        }
        Ok(())
    });
    let mut stream = server.connect();
    let bytes =
        [record(GET_VALUES, 0, b""), record(77, 0, b""), request(1, RESPONDER, 0, &[], b"")]
            .concat();
    stream.write_all(&bytes).unwrap();
    let records: Vec<Record> = std::iter::from_fn(|| read_record(&mut stream)).collect();
    for record in &records {
        let id = u16::from(![GET_VALUES_RESULT, UNKNOWN_TYPE].contains(&record.record_type));
        assert!(
            [END, STDOUT, STDERR, GET_VALUES_RESULT, UNKNOWN_TYPE].contains(&record.record_type),
            "{record:?}"
        );
        assert_eq!((record.id, record.reserved), (id, 0));
        assert!(record.padding.iter().all(|byte| *byte == 0));
        assert!(record.content.len() + record.padding.len() <= 65535);
        assert_eq!(
            (record.content.len() + record.padding.len()) % 8,
            0,
            "records are aligned to eight bytes"
        );
    }
    let types: Vec<u8> = records.iter().map(|record| record.record_type).collect();
    assert_eq!(types[..2], [GET_VALUES_RESULT, UNKNOWN_TYPE]);
    assert_eq!(types[types.len() - 2..], [STDOUT, END]);
}

/// Reserved bytes are ignored too. Rules K6 and K18.
#[test]
fn short_begin_request_is_an_error_and_extra_bytes_are_ignored() {
    let server = TestServer::tcp(Config::new(), echo);
    for len in [0, 1, 7] {
        let bytes =
            [record(BEGIN, 1, &[0, 1, 1, 0, 0, 0, 0, 0][..len]), params(1, &PAIRS)].concat();
        let reason = format!("body of {len} bytes instead of 8");
        assert_not_served(&server, &bytes, io::ErrorKind::InvalidData, &reason);
    }
    for body in [
        &[0, 1, 1, 255, 255, 255, 255, 255][..],
        &[0, 1, 1, 0, 0, 0, 0, 0, 9, 9],
        &[&[0, 1, 1][..], &[7].repeat(65532)].concat(),
    ] {
        let mut pieces = records(1);
        pieces[0] = padded_record(BEGIN, 1, body, 3);
        for piece in &mut pieces {
            piece[7] = 255;
        }
        let mut stream = server.connect();
        stream.write_all(&pieces.concat()).unwrap();
        assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
        assert_reusable(&mut stream, 1);
    }
}

/// Rules A8, A9 and K21.
#[test]
fn keep_conn_flag_alone_decides_whether_the_connection_is_kept() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for (flags, is_kept) in [(0, false), (1, true), (0xfe, false), (0xff, true)] {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, flags, &PAIRS, b"hello")).unwrap();
            assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
            if is_kept {
                assert_reusable(&mut stream, 1);
            } else {
                assert_closed(&mut stream);
            }
        }
    }
}

/// PARAMS are split at every byte, every record is padded, and the bytes arrive one at a time and
/// in two pieces. Rules A37, K4, K10 and K15.
#[test]
fn request_may_be_split_anywhere_and_padded() {
    let encoded: Vec<u8> =
        PAIRS.iter().flat_map(|(name, value)| pair(name.as_bytes(), value.as_bytes())).collect();
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for cut in 1..encoded.len() {
            let (one, two) = encoded.split_at(cut);
            let pieces = [
                begin(1, RESPONDER, 1),
                record(PARAMS, 1, one),
                record(PARAMS, 1, two),
                record(PARAMS, 1, b""),
            ];
            stream.write_all(&pieces.concat()).unwrap();
            stream
                .write_all(&[record(STDIN, 1, b"hello"), record(STDIN, 1, b"")].concat())
                .unwrap();
            assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
        }
        for padding in [0, 8, 255] {
            let bytes = padded_request(&encoded, padding);
            for _ in 0..2 {
                for byte in &bytes {
                    stream.write_all(&[*byte]).unwrap();
                }
                assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
            }
            for cut in 1..bytes.len().min(64) {
                stream.write_all(&bytes[..cut]).unwrap();
                thread::yield_now();
                stream.write_all(&bytes[cut..]).unwrap();
                assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
            }
        }
    }
}

/// Returns a request with one byte of its streams in each record, and padding on each record.
fn padded_request(encoded: &[u8], padding: u8) -> Vec<u8> {
    let mut bytes = padded_record(BEGIN, 1, &[0, 1, 1, 0, 0, 0, 0, 0], padding);
    for (record_type, data) in [(PARAMS, encoded), (STDIN, b"hello")] {
        bytes.extend(data.iter().flat_map(|byte| padded_record(record_type, 1, &[*byte], padding)));
        bytes.extend(padded_record(record_type, 1, b"", padding));
    }
    bytes
}

/// Content and padding together exceed 16 bits. Rule K4.
#[test]
fn largest_records_are_read() {
    let (value, body) = ("v".repeat(100_000), vec![b'x'; 2 * 65535]);
    let encoded = pair(b"LONG", value.as_bytes());
    let mut bytes = begin(1, RESPONDER, 1);
    for (record_type, data) in [(PARAMS, &encoded), (STDIN, &body)] {
        bytes.extend(
            data.chunks(65535).flat_map(|content| padded_record(record_type, 1, content, 255)),
        );
        bytes.extend(padded_record(record_type, 1, b"", 255));
    }
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        stream.write_all(&bytes).unwrap();
        assert_echo(&read_answer(&mut stream, 1), &[("LONG", &value)], &body);
        assert_reusable(&mut stream, 1);
    }
}

/// The requests have each length near the size of the buffer. Rule K10.
#[test]
fn header_may_span_the_end_of_the_buffer() {
    let server = TestServer::unix(Config::new(), echo);
    for len in (8080..8200).chain(65400..65560) {
        let value = "v".repeat(len);
        let mut stream = server.connect();
        for _ in 0..2 {
            stream.write_all(&request(1, RESPONDER, 1, &[("V", &value)], b"body")).unwrap();
            assert_echo(&read_answer(&mut stream, 1), &[("V", &value)], b"body");
        }
    }
}

/// Rules K11 and K13.
#[test]
fn names_and_values_may_have_any_length() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for len in [0, 1, 126, 127, 128, 129, 8192, 9000, 65535, 65536] {
            let long = "c".repeat(len);
            let pairs = [("BEFORE", "1"), ("HTTP_COOKIE", &long), (&*long, "name"), ("AFTER", "2")];
            stream.write_all(&request(1, RESPONDER, 1, &pairs, b"")).unwrap();
            assert_echo(&read_answer(&mut stream, 1), &pairs, b"");
        }
        // The long form of a short length.
        let pieces = [
            begin(1, RESPONDER, 1),
            record(PARAMS, 1, b"\x80\0\0\x01\x80\0\0\x01AB"),
            record(PARAMS, 1, b""),
        ];
        stream.write_all(&[&pieces.concat()[..], &record(STDIN, 1, b"")].concat()).unwrap();
        assert_echo(&read_answer(&mut stream, 1), &[("A", "B")], b"");
    }
}

/// Rule K14.
#[test]
fn many_empty_pairs_and_values_that_are_not_utf8_are_read() {
    let server = TestServer::tcp(Config::new(), |request| {
        assert_eq!(request.params.get("BYTES"), None);
        assert_eq!(request.params.get_bytes("BYTES"), Some(&b"\xff\xfe\0\x80"[..]));
        assert_eq!(request.params.get("AFTER"), Some("1"));
        respond(request, request.params.len().to_string())
    });
    let mut encoded = vec![0; 20_000];
    encoded.extend(pair(b"BYTES", b"\xff\xfe\0\x80"));
    encoded.extend(pair(b"AFTER", b"1"));
    let bytes = [
        begin(1, RESPONDER, 0),
        stream(PARAMS, 1, &encoded),
        record(PARAMS, 1, b""),
        record(STDIN, 1, b""),
    ]
    .concat();
    assert_eq!(server.round_trip(1, &bytes).body(), "10002");
}

/// A lookup returns the last value. Rules A38 and S11.
#[test]
fn repeated_name_does_not_affect_other_params() {
    let server = TestServer::tcp(Config::new(), |request| {
        write!(request.stdout, "{:?} ", request.params.get("DUP"))?;
        echo(request)
    });
    let pairs = [("A", "1"), ("DUP", "one"), ("B", "2"), ("DUP", "two"), ("C", "3")];
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, &pairs, b""));
    assert_eq!(
        answer.text(),
        format!("Some(\"two\") {}", String::from_utf8_lossy(&echoed(&pairs, b"")))
    );
}

/// The reason is reported to `on_error`. Rules A15, K2 and S1.
#[test]
fn unsupported_version_closes_the_connection_without_a_response() {
    let server = TestServer::tcp(Config::new(), echo);
    for version in [0, 2, 255] {
        for at in 0..=3 {
            let mut pieces = records(1);
            pieces[at][0] = version;
            let reason = format!("unsupported FastCGI version {version}");
            assert_not_served(&server, &pieces.concat(), io::ErrorKind::InvalidData, &reason);
        }
    }
    // In the body the handler's read fails, and the next request is not served.
    let mut stream = server.connect();
    let mut pieces = records(1);
    pieces[5][0] = 2;
    stream
        .write_all(&[&pieces.concat()[..], &request(2, RESPONDER, 1, &[], b"")].concat())
        .unwrap();
    let answer = read_answer(&mut stream, 1);
    assert!(answer.text().starts_with("Status: 500 "), "{}", answer.text());
    assert_closed(&mut stream);
}

/// Rule A15.
#[test]
fn input_that_is_not_fastcgi_gets_no_response() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for garbage in
            ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}"]
        {
            assert_not_served(
                &server,
                garbage.as_bytes(),
                io::ErrorKind::InvalidData,
                "unsupported FastCGI version",
            );
        }
    }
}

/// Two lengths of 2 GiB must not wrap around. Rules K12, K16 and S2.
#[test]
fn malformed_params_are_not_served() {
    let server =
        TestServer::tcp(Config::new(), |_| panic!("a handler must not see such a request"));
    for encoded in [
        &b"\x05\x01NA"[..],
        b"\x05",
        b"\x80\0\0",
        b"\x01\x01AB\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xffNAME",
    ] {
        let bytes = [
            begin(1, RESPONDER, 1),
            record(PARAMS, 1, encoded),
            record(PARAMS, 1, b""),
            record(STDIN, 1, b""),
        ];
        assert_not_served(&server, &bytes.concat(), io::ErrorKind::InvalidData, "is incomplete");
    }
}
