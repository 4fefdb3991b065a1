//! Proves that the library answers management records, at once and at any place, and that they do
//! not affect the request around them.

use std::io::Write;
use std::sync::mpsc;
use std::sync::Mutex;

use crate::support::*;
use fcgi::server::Config;

const PAIRS: [(&str, &str); 2] = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "5")];

fn get_values(names: &[&str]) -> Vec<u8> {
    let content: Vec<u8> = names.iter().flat_map(|name| pair(name.as_bytes(), b"")).collect();
    record(GET_VALUES, 0, &content)
}

/// Returns the content of a GET_VALUES_RESULT record from a server for seven connections.
fn values(names: &[&str]) -> Vec<u8> {
    let value = |name: &str| if name == "FCGI_MPXS_CONNS" { "0" } else { "7" };
    names.iter().flat_map(|name| pair(name.as_bytes(), value(name).as_bytes())).collect()
}

#[track_caller]
fn assert_result(record: &Record, names: &[&str]) {
    assert_eq!((record.record_type, record.id, record.reserved), (GET_VALUES_RESULT, 0, 0));
    assert_eq!(String::from_utf8_lossy(&record.content), String::from_utf8_lossy(&values(names)));
}

#[track_caller]
fn assert_unknown_type(record: &Record, record_type: u8) {
    assert_eq!((record.record_type, record.id, record.reserved), (UNKNOWN_TYPE, 0, 0));
    assert_eq!(record.content, [record_type, 0, 0, 0, 0, 0, 0, 0]);
}

fn servers() -> [TestServer; 2] {
    TestServer::tcp_and_unix(&Config::new().max_connections(7), echo)
}

const CONNS: &str = "FCGI_MAX_CONNS";
const REQS: &str = "FCGI_MAX_REQS";
const MPXS: &str = "FCGI_MPXS_CONNS";

/// No request is open. Each query is sent alone and is expected before another byte arrives.
/// Rules A30, A31, A32 and A34.
#[test]
fn get_values_returns_the_known_variables() {
    for server in servers() {
        let mut stream = server.connect();
        for (query, expected) in [
            (&[CONNS, REQS, MPXS][..], &[CONNS, REQS, MPXS][..]),
            (&[MPXS, CONNS], &[CONNS, MPXS]),
            (&[REQS], &[REQS]),
            (&[], &[]),
            (&["NOPE"], &[]),
            (&["NOPE", MPXS, "fcgi_max_conns", "FCGI_MAX_CONN", "FCGI_MAX_CONNSS", ""], &[MPXS]),
        ] {
            stream.write_all(&get_values(query)).unwrap();
            assert_result(&read_record(&mut stream).expect("a result"), expected);
        }
        // Here the query is the first record of the connection.
        let mut stream = server.connect();
        stream.write_all(&get_values(&["NOPE"])).unwrap();
        let result = read_record(&mut stream).expect("an empty result");
        assert_eq!((result.record_type, result.content.len()), (GET_VALUES_RESULT, 0));
    }
}

/// Each value is a decimal number of at least 1. Rule A32.
#[test]
fn values_follow_the_configuration() {
    for (max, value) in [(1, "1"), (256, "256"), (70_000, "70000")] {
        let server = TestServer::tcp(Config::new().max_connections(max), echo);
        let mut stream = server.connect();
        stream.write_all(&get_values(&[CONNS, REQS, MPXS])).unwrap();
        let expected = [(CONNS, value), (REQS, value), (MPXS, "0")];
        let expected =
            expected.iter().flat_map(|(name, value)| pair(name.as_bytes(), value.as_bytes()));
        assert_eq!(
            read_record(&mut stream).expect("a result").content,
            expected.collect::<Vec<u8>>()
        );
    }
}

/// Each known name is returned once. A truncated query is answered for its whole pairs. Rule A35.
#[test]
fn repeated_or_malformed_queries_are_answered() {
    let cut = [pair(MPXS.as_bytes(), b""), pair(CONNS.as_bytes(), b"")].concat();
    let cut = &cut[..cut.len() - 1];
    for server in servers() {
        let mut stream = server.connect();
        for (query, expected) in [
            (get_values(&[REQS; 40]), &[REQS][..]),
            (get_values(&[REQS].repeat(4095)), &[REQS]),
            (record(GET_VALUES, 0, &[0].repeat(65534)), &[]),
            (record(GET_VALUES, 0, cut), &[MPXS]),
            (record(GET_VALUES, 0, b"\xff\xff\xff\xff\xff\xff\xff\xff"), &[]),
            (record(GET_VALUES, 0, &pair(CONNS.as_bytes(), b"value")), &[CONNS]),
            (padded_record(GET_VALUES, 0, &pair(CONNS.as_bytes(), b""), 255), &[CONNS]),
        ] {
            stream.write_all(&query).unwrap();
            assert_result(&read_record(&mut stream).expect("a result"), expected);
        }
        stream.write_all(&request(1, RESPONDER, 0, &PAIRS, b"hello")).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&PAIRS, b"hello"));
    }
}

/// The request that follows is served. Rule A36.
#[test]
fn unknown_type_record_echoes_every_unknown_type() {
    for server in servers() {
        let mut stream = server.connect();
        for record_type in (12..=255).chain([0]) {
            stream.write_all(&record(record_type, 0, b"")).unwrap();
            assert_unknown_type(&read_record(&mut stream).expect("a response"), record_type);
        }
        for content in [&b"x"[..], &[1].repeat(65535)] {
            stream.write_all(&padded_record(99, 0, content, 255)).unwrap();
            assert_unknown_type(&read_record(&mut stream).expect("a response"), 99);
        }
        stream.write_all(&request(1, RESPONDER, 0, &PAIRS, b"hello")).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&PAIRS, b"hello"));
    }
}

/// The request around them is served as usual. Rules A33 and A36.
#[test]
fn management_records_are_answered_between_any_two_records() {
    let [pair1, pair2] = PAIRS.map(|(name, value)| pair(name.as_bytes(), value.as_bytes()));
    let pieces = [
        begin(1, RESPONDER, 1),
        record(PARAMS, 1, &pair1),
        record(PARAMS, 1, &pair2),
        record(PARAMS, 1, b""),
        record(STDIN, 1, b"he"),
        record(STDIN, 1, b"llo"),
        record(STDIN, 1, b""),
    ];
    for server in servers() {
        let mut stream = server.connect();
        for at in 0..=pieces.len() {
            for times in [1, 3] {
                let mut all = pieces.to_vec();
                all.insert(
                    at,
                    [get_values(&[CONNS]), padded_record(99, 0, b"?", 7)].concat().repeat(times),
                );
                stream.write_all(&all.concat()).unwrap();
                let answer = read_answer(&mut stream, 1);
                assert_eq!(answer.stdout, echoed(&PAIRS, b"hello"));
                let mut management = answer.management;
                while management.len() < 2 * times {
                    management.push(read_record(&mut stream).expect("a response to each"));
                }
                for answers in management.chunks(2) {
                    assert_result(&answers[0], &[CONNS]);
                    assert_unknown_type(&answers[1], 99);
                }
            }
        }
    }
}

/// No further byte of the request is sent before the answer arrives. Rule A33.
#[test]
fn management_record_in_a_request_is_answered_at_once() {
    for server in servers() {
        let mut stream = server.connect();
        let query = |mut stream: &fcgi::net::Stream| {
            stream.write_all(&get_values(&[CONNS])).unwrap();
            assert_result(&read_record(&mut stream).expect("a result"), &[CONNS]);
        };
        for piece in [
            begin(1, RESPONDER, 1),
            params(1, &PAIRS),
            record(STDIN, 1, b"hel"),
            record(STDIN, 1, b"lo"),
        ] {
            stream.write_all(&piece).unwrap();
            query(&stream);
        }
        stream.write_all(&record(STDIN, 1, b"")).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&PAIRS, b"hello"));
        query(&stream);
    }
}

/// The handler reads nothing meanwhile. Rule A33.
#[test]
fn management_record_during_output_is_answered() {
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let server = TestServer::tcp(Config::new().max_connections(7), move |request| {
        request.stdout.write_all(b"first, ")?;
        request.stdout.flush()?;
        receiver.lock().unwrap().recv()?;
        Ok(request.stdout.write_all(b"second")?)
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &PAIRS, b"hello")).unwrap();
    assert_eq!(read_record(&mut stream).expect("the first piece").content, b"first, ");
    stream.write_all(&get_values(&[CONNS])).unwrap();
    sender.send(()).unwrap();
    let answer = read_answer(&mut stream, 1);
    assert_eq!(answer.text(), "second");
    let late = || read_record(&mut &stream).expect("a result");
    assert_result(&answer.management.first().cloned().unwrap_or_else(late), &[CONNS]);
}
