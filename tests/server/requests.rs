//! Proves that a request is understood however its records are cut, padded, ordered and mixed with
//! others, that each is answered once and under its own id, and that what is no request is never
//! answered as one.

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

/// Asserts that this is what `echo` answers to these.
#[track_caller]
fn assert_echo(answer: &Answer, pairs: &[(&str, &str)], body: &[u8]) {
    assert_eq!(answer.text(), String::from_utf8_lossy(&echoed(pairs, body)));
    assert_eq!((answer.app_status, answer.protocol_status), (0, 0));
    assert_eq!((answer.stdout_ends, answer.stderr_ends), (1, 0));
}

/// Asserts that a plain request is still served on this connection.
#[track_caller]
fn assert_in_step(stream: &mut Stream, id: u16) {
    stream.write_all(&request(id, RESPONDER, 1, &PAIRS, b"hello")).unwrap();
    let answer = read_answer(stream, id);
    assert_echo(&answer, &PAIRS, b"hello");
    assert_eq!(answer.management, []);
}

/// Asserts that these bytes are answered with nothing but the close of the connection, and that the
/// reason is reported.
#[track_caller]
fn assert_not_served(server: &TestServer, bytes: &[u8], kind: io::ErrorKind, reason: &str) {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    assert_no_response(&mut stream);
    let (reported, text) = server.next_error();
    assert_eq!(reported, kind, "{text}");
    assert!(text.contains(reason), "{text:?} for {reason:?}");
}

/// A4: the parameters are those of PARAMS and no others: not a variable of the process, such as
/// PATH. And A46: what leaves begins as the handler began it. "A response without Content-Type was
/// given `text/html`": none is made up.
#[test]
fn a4_a46_params_and_response_are_what_was_given() {
    assert!(std::env::var_os("PATH").is_some(), "a variable that must not show");
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

/// A19: every id is answered under the same id. "Wire types read as octal when ported": the types
/// are those of the specification, in decimal.
#[test]
fn a19_every_id() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for id in [1, 2, 255, 256, 258, 32767, 32768, 65535] {
            assert_in_step(&mut stream, id);
        }
    }
}

/// A8, A17: a kept connection is kept, and the same id serves 1000 times in a row. "A header and
/// its content in separate writes, with Nagle on: 23 requests a second over TCP": what is flushed
/// leaves at once, so that no request waits 40 ms for an acknowledgement.
#[test]
fn a8_a17_a_thousand_requests_in_a_row() {
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

/// A17: an id belongs to its connection: four requests with the same id are in the handler at once.
#[test]
fn a17_the_same_id_on_several_connections_at_once() {
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

/// The records of a plain request, so that others can be put between them.
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

/// Sends the noise before each record of a request in turn, and behind the last, each time followed
/// by a good request; neither may be harmed. Whether the noise was answered is left to the caller.
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

/// A18: the records of ids that are not active are ignored, wherever they come: PARAMS, STDIN, DATA
/// and ABORT, empty or not. "Records with another id were put into the body".
#[test]
fn a18_records_of_inactive_ids_are_ignored() {
    for record_type in [ABORT, PARAMS, STDIN, DATA] {
        for content in [&b""[..], b"noise", &[7].repeat(65535)] {
            assert_ignored_everywhere(&padded_record(record_type, 9, content, 255), |answers| {
                assert_eq!(answers, []);
            });
        }
    }
}

/// A28: records that only an application sends are survived, of this request and of others. "STDOUT
/// and STDIN with id 0": "Application record with id 0 crashed"; only management types mean
/// anything there (K7).
#[test]
fn a28_types_of_the_other_side_and_the_null_id_are_ignored() {
    for record_type in [END, STDOUT, STDERR, GET_VALUES_RESULT, UNKNOWN_TYPE] {
        for id in [0, 3, 9] {
            assert_ignored_everywhere(&record(record_type, id, b"\0\0\0\0\0\0\0\0"), |answers| {
                assert_eq!(answers, []);
            });
        }
    }
    for record_type in [BEGIN, ABORT, PARAMS, STDIN, DATA] {
        assert_ignored_everywhere(&record(record_type, 0, b"\0\x01\0\0\0\0\0\0"), |answers| {
            assert_eq!(answers, []);
        });
        assert_ignored_everywhere(&record(record_type, 0, b""), |answers| assert_eq!(answers, []));
    }
}

/// A29: a record of unknown type that names a request is passed over: UNKNOWN_TYPE is for
/// management records.
#[test]
fn a29_unknown_types_of_a_request_are_ignored() {
    for (record_type, id) in [(42, 3), (42, 9), (255, 3), (12, 3)] {
        assert_ignored_everywhere(&padded_record(record_type, id, b"what?", 8), |answers| {
            assert_eq!(answers, []);
        });
    }
}

/// A20, "Second BEGIN_REQUEST corrupts both, carries the old id": a request begun while one runs is
/// refused with its own id, what follows under that id is ignored, and the first is not touched.
#[test]
fn a20_a_request_begun_while_one_runs_is_refused() {
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
            let refusal = read_record(&mut stream).expect("an answer to the second request");
            assert_eq!((refusal.record_type, refusal.id), (END, 9));
            assert_eq!(refusal.content, [0, 0, 0, 0, CANT_MPX_CONN, 0, 0, 0]);
            assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
            // The first asked for the connection to be kept; what the second asked for counts for
            // nothing.
            assert_in_step(&mut stream, 2);
        }
    }
}

/// A21, A22: FCGI_MPXS_CONNS is 0 and that is kept to: of 50 requests interleaved on one
/// connection, the first is served and each of the others is refused once, under its own id; no two
/// answers mix.
#[test]
fn a21_a22_fifty_interleaved_requests() {
    let server = TestServer::unix(Config::new(), echo);
    let mut stream = server.connect();
    stream.write_all(&record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b""))).unwrap();
    assert_eq!(read_record(&mut stream).expect("a result").content, pair(b"FCGI_MPXS_CONNS", b"0"));

    for at in 0..7 {
        let bytes: Vec<u8> = (1..=50).flat_map(|id| records(id)[at].clone()).collect();
        stream.write_all(&bytes).unwrap();
    }
    for id in 2..=50 {
        let refusal = read_record(&mut stream).expect("an answer to each request");
        assert_eq!((refusal.record_type, refusal.id, refusal.content[4]), (END, id, CANT_MPX_CONN));
    }
    assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
    assert_in_step(&mut stream, 51);
}

/// A23: BEGIN for the id that is active is a violation: the connection is closed, nothing is served
/// in part.
#[test]
fn a23_begin_of_the_active_id() {
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
            "unexpected BeginRequest record for request 1",
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

/// A24: requests sent without waiting, with other ids or the same, are each answered once and in
/// their order.
#[test]
fn a24_requests_sent_at_once() {
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
            assert_in_step(&mut stream, 100);
        }
    }
}

/// A25, "Unknown role: connection closed with no answer, reset": END_REQUEST with UNKNOWN_ROLE and
/// the new request's id, no STDOUT, before any of its PARAMS; with KEEP_CONN the connection goes
/// on.
#[test]
fn a25_unknown_roles() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for (id, role) in
            [(7, 0), (8, 4), (256, 9), (65535, 257), (9, 65535), (10, AUTHORIZER), (11, FILTER)]
        {
            stream.write_all(&begin(id, role, 1)).unwrap();
            let answer = read_answer(&mut stream, id);
            assert_eq!((answer.app_status, answer.protocol_status), (0, UNKNOWN_ROLE));
            assert_eq!((answer.stdout_ends, answer.stderr_ends), (0, 0));
            // What follows under that id is not for anybody.
            stream
                .write_all(
                    &[params(id, &PAIRS), record(STDIN, id, b"x"), record(STDIN, id, b"")].concat(),
                )
                .unwrap();
            assert_in_step(&mut stream, 7);
        }
        // Roles that were asked for are served.
        drop(stream);
    }
    let roles = [Role::Responder, Role::Authorizer, Role::Unknown(9)];
    let server = TestServer::tcp(Config::new().roles(&roles), |request| {
        Ok(write!(request.stdout, "{:?}", request.role)?)
    });
    for (role, text) in [(1, "Responder"), (2, "Authorizer"), (9, "Unknown(9)")] {
        assert_eq!(server.round_trip(1, &request(1, role, 0, &[], b"")).text(), text);
    }
    assert_eq!(
        server.round_trip(1, &request(1, FILTER, 0, &[], b"")).protocol_status,
        UNKNOWN_ROLE
    );
}

/// A27: an application sends STDOUT, STDERR and END_REQUEST with the request's id, and with the
/// null id GET_VALUES_RESULT and UNKNOWN_TYPE; `read_answer` refuses all else. K6: "Reserved bytes
/// carried old memory": they and the padding are 0. And "PHP resets when content + padding >
/// 65535": no such record is sent.
#[test]
fn a27_only_the_types_of_an_application() {
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
            "K5: sent records are aligned"
        );
    }
    let types: Vec<u8> = records.iter().map(|record| record.record_type).collect();
    assert_eq!(types[..2], [GET_VALUES_RESULT, UNKNOWN_TYPE]);
    assert_eq!(types[types.len() - 2..], [STDOUT, END]);
}

/// K18: a BEGIN_REQUEST shorter than its 8 bytes is no request; what a longer one has behind them
/// is ignored. K6: so are its reserved bytes and those of headers.
#[test]
fn bodies_of_begin_request() {
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
        assert_in_step(&mut stream, 1);
    }
}

/// K21, A8, A9: of the flags, KEEP_CONN alone decides whether the connection is kept.
#[test]
fn a8_a9_flags() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        for (flags, is_kept) in [(0, false), (1, true), (0xfe, false), (0xff, true)] {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, flags, &PAIRS, b"hello")).unwrap();
            assert_echo(&read_answer(&mut stream, 1), &PAIRS, b"hello");
            if is_kept {
                assert_in_step(&mut stream, 1);
            } else {
                assert_closed(&mut stream);
            }
        }
    }
}

/// K10, K15: "A partial header was appended with pointer arithmetic" (a header cut at each of its
/// inner offsets), "A name-value pair split over two PARAMS records was lost" (a pair cut at every
/// byte), "Padding of empty records not skipped" (padding 0, 8, 255 on each type, a byte at a time,
/// then a second request).
#[test]
fn a37_any_division_and_any_padding() {
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
            let bytes = whole_padded(&encoded, padding);
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

/// A request with every byte of its streams in a record of its own and padding on each record.
fn whole_padded(encoded: &[u8], padding: u8) -> Vec<u8> {
    let mut bytes = padded_record(BEGIN, 1, &[0, 1, 1, 0, 0, 0, 0, 0], padding);
    for (record_type, data) in [(PARAMS, encoded), (STDIN, b"hello")] {
        bytes.extend(data.iter().flat_map(|byte| padded_record(record_type, 1, &[*byte], padding)));
        bytes.extend(padded_record(record_type, 1, b"", padding));
    }
    bytes
}

/// "Content + padding wrapped in 16 bits": records of 65535 bytes with 255 of padding.
#[test]
fn the_largest_records() {
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
        assert_in_step(&mut stream, 1);
    }
}

/// "A record whose header straddles the buffer's end taken for the end of input": requests of every
/// length around the sizes of the buffer.
#[test]
fn headers_that_straddle_the_end_of_the_buffer() {
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

/// "Length 127 written in four bytes" and "One pair had to fit the read buffer": values of every
/// kind of length, cookies of 8 KiB, 9000 bytes and 64 KiB, and names as long.
#[test]
fn lengths_of_names_and_values() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for len in [0, 1, 126, 127, 128, 129, 8192, 9000, 65535, 65536] {
            let long = "c".repeat(len);
            let pairs = [("BEFORE", "1"), ("HTTP_COOKIE", &long), (&*long, "name"), ("AFTER", "2")];
            stream.write_all(&request(1, RESPONDER, 1, &pairs, b"")).unwrap();
            assert_echo(&read_answer(&mut stream, 1), &pairs, b"");
        }
        // K13: a length of four bytes for a small value is read too.
        let pieces = [
            begin(1, RESPONDER, 1),
            record(PARAMS, 1, b"\x80\0\0\x01\x80\0\0\x01AB"),
            record(PARAMS, 1, b""),
        ];
        stream.write_all(&[&pieces.concat()[..], &record(STDIN, 1, b"")].concat()).unwrap();
        assert_echo(&read_answer(&mut stream, 1), &[("A", "B")], b"");
    }
}

/// "10,000 empty pairs overflowed the stack of a recursive parser; a value that is not UTF-8 hid
/// all params after it".
#[test]
fn empty_pairs_and_values_that_are_not_utf8() {
    let server = TestServer::tcp(Config::new(), |request| {
        assert_eq!(request.params.get("BYTES"), None);
        assert_eq!(request.params.get_bytes("BYTES"), Some(&b"\xff\xfe\0\x80"[..]));
        assert_eq!(request.params.get("AFTER"), Some("1"));
        Ok(write!(request.stdout, "{}", request.params.len())?)
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
    assert_eq!(server.round_trip(1, &bytes).text(), "10002");
}

/// A38: a name that comes twice harms no other pair, and the look-up gives the last.
#[test]
fn a38_names_that_come_twice() {
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

/// A15, K2: "a bad version accepted": a record of another version ends the connection without a
/// byte, in whatever place it comes before the answer, and the reason is reported out of band.
#[test]
fn a15_other_versions() {
    let server = TestServer::tcp(Config::new(), echo);
    for version in [0, 2, 255] {
        for at in 0..=3 {
            let mut pieces = records(1);
            pieces[at][0] = version;
            let reason = format!("unsupported FastCGI version {version}");
            assert_not_served(&server, &pieces.concat(), io::ErrorKind::InvalidData, &reason);
        }
    }
    // In the body the handler is told, and no request follows.
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

/// A15: what is no FastCGI at all gets no byte.
#[test]
fn a15_garbage() {
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

/// K12, K16: PARAMS that end inside a pair are refused whole. "Name length + value length + 2
/// wrapped around: heap overflow": two lengths of 0x7fffffff with no data behind them, and of
/// 0xffffffff.
#[test]
fn malformed_params() {
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
