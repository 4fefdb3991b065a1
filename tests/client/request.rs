//! Proves what a client sends: the bytes of a small request, the order of the records, the id, the
//! flags, the params, and no more of a body than was announced.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::{Config, Connection};
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::*;

/// Runs a client against an application that reads each request and sends an empty response.
/// Returns the requests.
#[track_caller]
pub fn received(send: impl FnOnce(&Client)) -> Vec<ReceivedRequest> {
    let (report, reports) = mpsc::channel();
    let application = Application::tcp(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let keeps = request.flags & 1 != 0;
            let answer = request.response(b"");
            report.send(request).expect("the test waits");
            stream.write_all(&answer).expect("the response is sent");
            if !keeps {
                return assert_closed(&mut stream);
            }
        }
    });
    let client = application.client();
    send(&client);
    drop((client, application));
    reports.iter().collect()
}

/// Returns everything that a client sends until it closes the connection.
#[track_caller]
fn sent_bytes(config: Config, send: impl FnOnce(&mut Connection)) -> Vec<u8> {
    let (near, mut far) = socket_pair();
    let answer = response(b"");
    far.write_all(&answer).expect("the response fits into the socket");
    let reader = thread::spawn(move || read_all(&mut far).expect("the bytes sent"));
    let mut connection = Connection::new(near, Arc::new(config)).expect("a connection");
    send(&mut connection);
    drop(connection);
    reader.join().expect("the reader")
}

/// BEGIN_REQUEST and empty records have no padding, because libfcgi cannot skip it. Rules C1, C2,
/// C3, C4 and K6.
#[test]
fn small_request_is_encoded_as_specified() {
    let params = Params::from_pairs([("A", "B"), ("QUERY", "")]).unwrap();
    let expected: &[&[u8]] = &[
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
        b"\x01\x04\0\x01\0\x0b\x05\0\x01\x01AB\x05\0QUERY\0\0\0\0\0",
        b"\x01\x04\0\x01\0\0\0\0",
        b"\x01\x05\0\x01\0\x03\x05\0abc\0\0\0\0\0",
        b"\x01\x05\0\x01\0\0\0\0",
    ];
    let sent = sent_bytes(test_config(), |connection| {
        let mut exchange = connection.begin(Role::Responder, &params).unwrap();
        exchange.stdin.write_all(b"abc").unwrap();
        exchange.stdin.finish().unwrap();
        exchange.stdin.finish().unwrap();
        exchange.finish().unwrap();
    });
    assert_eq!(sent, expected.concat());
}

/// This holds without params and without a body, too. Rule C1.
#[test]
fn every_stream_ends_with_exactly_one_empty_record() {
    let requests = received(|client| {
        client.fetch(&Params::new(), b"").unwrap();
        client.send(&get_params(), io::empty(), |_| fcgi::Result::Ok(())).unwrap();
        client.send(&upload_params(0), &b"none of it"[..], |_| fcgi::Result::Ok(())).unwrap();
        client
            .send_as(Role::Authorizer, &get_params(), io::empty(), |_| fcgi::Result::Ok(()))
            .unwrap();
        let mut connection = client.connect().unwrap();
        connection.begin(Role::Responder, &Params::new()).unwrap().finish().unwrap();
    });
    let types: Vec<_> = requests.iter().map(ReceivedRequest::record_types).collect();
    let with_params = vec![BEGIN, PARAMS, PARAMS, STDIN];
    let without = vec![BEGIN, PARAMS, STDIN];
    assert_eq!(
        types,
        [without.clone(), with_params.clone(), with_params.clone(), with_params, without]
    );
}

/// No more of either is sent than was announced. Rules C1, C5 and C26.
#[test]
fn filter_receives_data_after_stdin() {
    let mut params = upload_params(5);
    params.set("FCGI_DATA_LENGTH", "100000").unwrap();
    params.set("FCGI_DATA_LAST_MOD", "843867000").unwrap();
    let requests = received(|client| {
        client
            .filter(&params, &b"hello, and more"[..], Pattern::new(100_001), |_| {
                fcgi::Result::Ok(())
            })
            .unwrap();
    });
    let [request] = &requests[..] else { panic!("{} requests", requests.len()) };
    assert_eq!((request.role, &request.stdin[..]), (FILTER, &b"hello"[..]));
    assert_eq!(request.data, Pattern::bytes(100_000));
    assert_eq!(request.param("FCGI_DATA_LENGTH"), Some(&b"100000"[..]));
    assert_eq!(request.param("FCGI_DATA_LAST_MOD"), Some(&b"843867000"[..]));
    let types = request.record_types();
    assert_eq!(types[..5], [BEGIN, PARAMS, PARAMS, STDIN, STDIN]);
    assert!(types[5..].iter().all(|record_type| *record_type == DATA), "{types:?}");
    assert_eq!(request.content_lengths(DATA).iter().filter(|len| **len == 0).count(), 1);
}

/// Rules C1 and C26.
#[test]
fn filter_without_data_receives_both_ends() {
    let requests = received(|client| {
        client.filter(&get_params(), io::empty(), io::empty(), |_| fcgi::Result::Ok(())).unwrap();
        let mut connection = client.connect().unwrap();
        let mut exchange = connection.begin(Role::Filter, &get_params()).unwrap();
        exchange.stdin.write_all(b"body").unwrap();
        exchange.stdin.start_data().unwrap();
        exchange.stdin.write_all(b"file").unwrap();
        exchange.finish().unwrap();
    });
    assert_eq!(requests[0].record_types(), [BEGIN, PARAMS, PARAMS, STDIN, DATA]);
    assert_eq!(requests[1].record_types(), [BEGIN, PARAMS, PARAMS, STDIN, STDIN, DATA, DATA]);
    assert_eq!((&requests[1].stdin[..], &requests[1].data[..]), (&b"body"[..], &b"file"[..]));
}

/// Rule C5.
#[test]
fn role_is_sent_as_given_and_only_a_filter_gets_data() {
    let requests = received(|client| {
        for role in [Role::Responder, Role::Authorizer, Role::Unknown(0x1234)] {
            client.send_as(role, &get_params(), io::empty(), |_| fcgi::Result::Ok(())).unwrap();
        }
    });
    assert_eq!(requests.iter().map(|request| request.role).collect::<Vec<_>>(), [1, 2, 0x1234]);
    assert!(requests.iter().all(|request| !request.record_types().contains(&DATA)));
}

/// A connection that is not kept carries one request. Rule C2.
#[test]
fn request_ids_of_a_connection_are_1_and_2_in_turn() {
    let requests = received(|client| {
        for _ in 0..3 {
            client.fetch(&get_params(), b"").unwrap();
        }
        let keeping = Client::from(client.address().clone()).config(test_config().keep_alive(true));
        for _ in 0..3 {
            keeping.fetch(&get_params(), b"body").unwrap();
        }
    });
    assert_eq!(requests.iter().map(|request| request.id).collect::<Vec<_>>(), [1, 1, 1, 1, 2, 1]);
}

/// The other flags are 0. Rule C3.
#[test]
fn keep_conn_is_set_only_with_keep_alive() {
    let requests = received(|client| {
        client.fetch(&get_params(), b"").unwrap();
        Client::from(client.address().clone())
            .config(test_config().keep_alive(true))
            .fetch(&get_params(), b"")
            .unwrap();
    });
    assert_eq!(requests.iter().map(|request| request.flags).collect::<Vec<_>>(), [0, 1]);
}

/// Writing more is an error. Rule C4.
#[test]
fn nothing_is_sent_after_the_end_of_the_body() {
    let sent = sent_bytes(test_config(), |connection| {
        let mut exchange = connection.begin(Role::Filter, &Params::new()).unwrap();
        exchange.stdin.write_all(b"x").unwrap();
        exchange.stdin.finish().unwrap();
        let stdin = &mut exchange.stdin;
        assert_eq!(stdin.write(b"more").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(stdin.start_data().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let error = exchange.send_body(&b"more"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        exchange.stdin.flush().unwrap();
        exchange.finish().unwrap();
    });
    let mut sent = &sent[..];
    let types: Vec<_> =
        std::iter::from_fn(|| read_record(&mut sent)).map(|record| record.record_type).collect();
    assert_eq!(types, [BEGIN, PARAMS, STDIN, STDIN]);
}

/// Rules C4 and K9.
#[test]
fn empty_write_or_flush_does_not_end_the_body() {
    let sent = sent_bytes(test_config(), |connection| {
        let mut exchange = connection.begin(Role::Responder, &Params::new()).unwrap();
        for piece in [&b""[..], b"one", b"", b"two"] {
            assert_eq!(exchange.stdin.write(piece).unwrap(), piece.len());
            exchange.stdin.flush().unwrap();
            exchange.stdin.flush().unwrap();
        }
        exchange.finish().unwrap();
    });
    let request = read_request(&mut &sent[..]).unwrap();
    assert_eq!(request.content_lengths(STDIN), [3, 3, 0]);
    assert_eq!(request.stdin, b"onetwo");
}

/// Rules C6 and K3.
#[test]
fn body_of_any_length_is_sent_completely() {
    let lengths = [
        0,
        1,
        7,
        8,
        127,
        8191,
        8192,
        8193,
        32767,
        32768,
        32769,
        65527,
        65528,
        65529,
        65535,
        65536,
        65537,
        99_000,
        131_056,
        131_072,
        1 << 20,
    ];
    let (by_fetch, by_send) = (lengths, lengths);
    let requests = received(|client| {
        for len in by_fetch {
            client.fetch(&upload_params(len), Pattern::bytes(len)).unwrap();
        }
        for len in by_send {
            client.send(&upload_params(len), Pattern::new(len), |_| fcgi::Result::Ok(())).unwrap();
        }
    });
    assert_eq!(requests.len(), 2 * lengths.len());
    for (request, len) in requests.iter().zip(lengths.iter().chain(&lengths)) {
        assert!(
            request.stdin == Pattern::bytes(*len),
            "a body of {len} bytes came as {}",
            request.stdin.len()
        );
        assert_eq!(request.param("CONTENT_LENGTH"), Some(len.to_string().as_bytes()));
    }
}

/// Rule C6.
#[test]
fn no_more_than_content_length_is_read_and_sent() {
    let mut lefts = Vec::new();
    let requests = received(|client| {
        for len in [0, 1, 5, 32768, 40_000, 100_000] {
            let mut body = Pattern::new(len + 70_000);
            client.send(&upload_params(len), &mut body, |_| fcgi::Result::Ok(())).unwrap();
            lefts.push(body.remaining());
        }
        client
            .send(&upload_params(4), &mut ChunkedReader::new(&[b"a", b"bc", b"d", b"e"]), |_| {
                fcgi::Result::Ok(())
            })
            .unwrap();
    });
    for (request, len) in requests.iter().zip([0, 1, 5, 32768, 40_000, 100_000]) {
        assert!(request.stdin == Pattern::bytes(len), "{} of {len} bytes", request.stdin.len());
    }
    assert_eq!(requests[6].stdin, b"abcd");
    assert_eq!(lefts, [70_000; 6], "the rest of each body is not read");
}

/// The application can see from CONTENT_LENGTH that it is short. Rule C6.
#[test]
fn short_body_is_sent_and_ended() {
    let requests = received(|client| {
        client.send(&upload_params(100), &b"short"[..], |_| fcgi::Result::Ok(())).unwrap();
        client
            .send(&upload_params(100_000), Pattern::new(70_000), |_| fcgi::Result::Ok(()))
            .unwrap();
    });
    assert_eq!(
        (&requests[0].stdin[..], requests[0].param("CONTENT_LENGTH")),
        (&b"short"[..], Some(&b"100"[..]))
    );
    assert!(requests[1].stdin == Pattern::bytes(70_000));
}

/// Nothing is sent of a request with a wrong length. Rule C6.
#[test]
fn fetch_sets_content_length_or_refuses_a_wrong_one() {
    let requests = received(|client| {
        client.fetch(&post_params(), b"twelve bytes").unwrap();
        client.fetch(&get_params(), b"").unwrap();
        let longer = client.fetch(&upload_params(3), b"four");
        assert!(
            matches!(
                longer,
                Err(Error::StreamTooLong { variable: "CONTENT_LENGTH", announced: 3 })
            ),
            "{longer:?}"
        );
        let shorter = client.fetch(&upload_params(5), b"four");
        assert!(
            matches!(
                shorter,
                Err(Error::StreamTooShort {
                    variable: "CONTENT_LENGTH",
                    announced: 5,
                    received: 4
                })
            ),
            "{shorter:?}"
        );
    });
    assert_eq!(requests.len(), 2, "nothing is sent of a wrong request");
    assert_eq!(requests[0].param("CONTENT_LENGTH"), Some(&b"12"[..]));
    assert_eq!(requests[1].param("CONTENT_LENGTH"), None);
}

/// Names and values of any bytes and any length are sent, empty ones too. Rules C32, K11 and K13.
#[test]
fn params_are_sent_as_given_with_the_shortest_lengths() {
    let mut given = Vec::new();
    for len in [0, 1, 127, 128, 8192, 9000, 65535, 65536] {
        given.push((vec![b'N'; 3], Pattern::bytes(len)));
        given.push((Pattern::bytes(len), b"value".to_vec()));
    }
    given.push((b"".to_vec(), b"".to_vec()));
    given.push((b"TWICE".to_vec(), b"1".to_vec()));
    given.push((b"TWICE".to_vec(), b"2".to_vec()));
    given.push(((1..=255).collect(), (1..=255).rev().collect()));
    let params =
        Params::from_pairs(given.iter().map(|(name, value)| (&name[..], &value[..]))).unwrap();

    let sent = sent_bytes(test_config(), |connection| {
        connection.begin(Role::Responder, &params).unwrap().finish().unwrap();
    });
    let request = read_request(&mut &sent[..]).unwrap();
    assert!(request.params == given);
    let encoded: Vec<u8> = given.iter().flat_map(|(name, value)| pair(name, value)).collect();
    let of_records = request.records.iter().filter(|record| record.record_type == PARAMS);
    assert!(
        of_records.flat_map(|record| record.content.clone()).collect::<Vec<_>>() == encoded,
        "the lengths have their shortest form"
    );
}

/// php-cgi needs each pair whole in one PARAMS record. Rule K15.
#[test]
fn pair_that_fits_a_record_is_not_split() {
    let value = [b'v'; 9000];
    let params =
        Params::from_pairs((0..40).map(|number| (format!("COOKIE_{number}"), &value[..]))).unwrap();
    let sent = sent_bytes(test_config(), |connection| {
        connection.begin(Role::Responder, &params).unwrap().finish().unwrap();
    });
    let request = read_request(&mut &sent[..]).unwrap();
    let of_records = request.records.iter().filter(|record| record.record_type == PARAMS);
    let counts: Vec<_> = of_records.map(|record| decode_pairs(&record.content).len()).collect();
    assert_eq!(counts, [7, 7, 7, 7, 7, 5, 0]);
}

/// PHP closes the connection otherwise. The pairs fill a record or nearly so. Rule K5.
#[test]
fn content_plus_padding_never_exceeds_65535() {
    for whole in 65520..=65540 {
        let params = Params::from_pairs([("N", vec![b'v'; whole - 6])]).unwrap();
        let sent = sent_bytes(test_config(), |connection| {
            let mut exchange = connection.begin(Role::Responder, &params).unwrap();
            exchange.stdin.write_all(&Pattern::bytes(whole as u64)).unwrap();
            exchange.finish().unwrap();
        });
        let request = read_request(&mut &sent[..]).unwrap();
        assert!(request.stdin == Pattern::bytes(whole as u64));
        assert_eq!(request.params[0].1.len(), whole - 6);
        let sizes =
            request.records.iter().map(|record| record.content.len() + record.padding.len());
        assert!(sizes.max() <= Some(65535), "a pair of {whole} bytes");
        assert_eq!(
            request.content_lengths(PARAMS).len(),
            if whole <= 65535 { 2 } else { 3 },
            "a pair of {whole} bytes"
        );
    }
}

/// The application can respond to a part of the body.
#[test]
fn flush_sends_the_buffered_start_of_a_request() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config())).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdin.write_all(b"question").unwrap();
    exchange.stdin.flush().unwrap();
    read_begin_and_params(&mut far).unwrap();
    assert_eq!(read_record(&mut far).unwrap().content, b"question");

    far.write_all(&record(STDOUT, 1, b"answer")).unwrap();
    let mut answer = [0; 6];
    exchange.stdout.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    far.write_all(&response(b"")).unwrap();
    exchange.finish().unwrap();
}

/// Each of 1000 requests is flushed in pieces. With Nagle's algorithm each would wait 40 ms for a
/// delayed acknowledgement.
#[test]
fn small_requests_do_not_wait_for_tcp_acknowledgements() {
    let application = Application::tcp(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            stream.write_all(&request.response(b"ok")).expect("the response is sent");
        }
    });
    let start = Instant::now();
    let mut connection =
        Connection::connect(&application.address, Arc::new(test_config().keep_alive(true)))
            .unwrap();
    for _ in 0..1000 {
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        exchange.stdin.flush().unwrap();
        exchange.stdin.write_all(b"body").unwrap();
        exchange.stdin.flush().unwrap();
        let mut stdout = Vec::new();
        exchange.stdin.finish().unwrap();
        exchange.stdout.read_to_end(&mut stdout).unwrap();
        assert_eq!(stdout, b"ok");
        exchange.finish().unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    drop(connection);
}

/// Rules C23 and C32.
#[test]
fn second_request_contains_nothing_of_the_first() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    let application = thread::spawn(move || {
        ["first", "second"].map(|stdout| {
            let request = read_request(&mut far).unwrap();
            far.write_all(&request.response(stdout.as_bytes())).unwrap();
            request
        })
    });
    for expected in ["first", "second"] {
        let params = Params::from_pairs([("WHICH", expected)]).unwrap();
        let mut exchange = connection.begin(Role::Responder, &params).unwrap();
        exchange.stdin.write_all(expected.as_bytes()).unwrap();
        exchange.stdin.finish().unwrap();
        let mut stdout = String::new();
        exchange.stdout.read_to_string(&mut stdout).unwrap();
        assert_eq!(stdout, expected);
        exchange.finish().unwrap();
    }
    // The params and the body of the first request do not appear in the second.
    let [first, second] = application.join().unwrap();
    assert_eq!((&first.stdin[..], first.param("WHICH")), (&b"first"[..], Some(&b"first"[..])));
    assert_eq!((&second.stdin[..], second.param("WHICH")), (&b"second"[..], Some(&b"second"[..])));
    assert_eq!((first.params.len(), second.params.len()), (1, 1));
}
