//! What a client sends: every byte of a small request, the order of the records, the id, the flag,
//! the params, and no more of a body than was announced.
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

/// Runs a client against an application that takes each request whole and answers with nothing, and
/// returns what it got.
#[track_caller]
fn received(ask: impl FnOnce(&Client)) -> Vec<ReceivedRequest> {
    let (tell, told) = mpsc::channel();
    let application = Application::tcp(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let keeps = request.flags & 1 != 0;
            tell.send(request).expect("the test");
            stream.write_all(&response(b"")).expect("the answer is taken");
            if !keeps {
                return assert_closed(&mut stream);
            }
        }
    });
    let client = application.client();
    ask(&client);
    drop((client, application));
    told.iter().collect()
}

/// All that a client sends of a request, up to its closing of the connection.
#[track_caller]
fn sent_bytes(config: Config, ask: impl FnOnce(&mut Connection)) -> Vec<u8> {
    let (near, mut far) = socket_pair();
    let answer = response(b"");
    far.write_all(&answer).expect("the answer fits the socket");
    let reader = thread::spawn(move || read_all(&mut far).expect("what was sent"));
    let mut connection = Connection::new(near, Arc::new(config)).expect("a connection");
    ask(&mut connection);
    drop(connection);
    reader.join().expect("the reader")
}

/// C1, C2, C3, C4, K6; "Reserved bytes carried old memory", "Wire types read as octal", "Empty
/// STDIN missing, or sent twice", "libfcgi loses step on padded BEGIN and empty records".
#[test]
fn a_small_request_byte_by_byte() {
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

/// C1: a request without params and without a body still has the empty record of each stream;
/// "Empty STDIN missing, or sent twice": exactly one, with no body too.
#[test]
fn each_stream_has_its_empty_record() {
    let requests = received(|client| {
        client.fetch(&Params::new(), b"").unwrap();
        client.send(&get_params(), io::empty(), |_| Ok(())).unwrap();
        client.send(&upload_params(0), &b"none of it"[..], |_| Ok(())).unwrap();
        client.send_as(Role::Authorizer, &get_params(), io::empty(), |_| Ok(())).unwrap();
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

/// C1, C5, C26: a filter gets DATA behind STDIN, each with its end, and no more of either than was
/// announced.
#[test]
fn a_filter_gets_its_file_behind_the_body() {
    let mut params = upload_params(5);
    params.set("FCGI_DATA_LENGTH", "100000").unwrap();
    params.set("FCGI_DATA_LAST_MOD", "843867000").unwrap();
    let requests = received(|client| {
        client.filter(&params, &b"hello, and more"[..], Pattern::new(100_001), |_| Ok(())).unwrap();
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

/// C1, C26: a filter whose body and file are empty gets the ends of both; so it does from an
/// `Exchange`.
#[test]
fn a_filter_without_data_gets_the_end_of_it() {
    let requests = received(|client| {
        client.filter(&get_params(), io::empty(), io::empty(), |_| Ok(())).unwrap();
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

/// C5: DATA goes to a filter alone, an unknown role and an authorizer get the order of a responder,
/// under their number.
#[test]
fn the_role_is_sent_as_given() {
    let requests = received(|client| {
        for role in [Role::Responder, Role::Authorizer, Role::Unknown(0x1234)] {
            client.send_as(role, &get_params(), io::empty(), |_| Ok(())).unwrap();
        }
    });
    assert_eq!(requests.iter().map(|request| request.role).collect::<Vec<_>>(), [1, 2, 0x1234]);
    assert!(requests.iter().all(|request| !request.record_types().contains(&DATA)));
}

/// C2: requests that follow one another use id 1, on one connection and on several.
#[test]
fn the_id_is_one() {
    let requests = received(|client| {
        for _ in 0..3 {
            client.fetch(&get_params(), b"").unwrap();
        }
        let keeping = Client::from(client.address().clone()).config(test_config().keep_alive(true));
        for _ in 0..3 {
            keeping.fetch(&get_params(), b"body").unwrap();
        }
    });
    assert_eq!(requests.iter().map(|request| request.id).collect::<Vec<_>>(), [1; 6]);
}

/// C3: KEEP_CONN is set only by a client that keeps connections; without it the other flags are 0
/// too.
#[test]
fn keep_conn_is_set_only_to_keep() {
    let requests = received(|client| {
        client.fetch(&get_params(), b"").unwrap();
        Client::from(client.address().clone())
            .config(test_config().keep_alive(true))
            .fetch(&get_params(), b"")
            .unwrap();
    });
    assert_eq!(requests.iter().map(|request| request.flags).collect::<Vec<_>>(), [0, 1]);
}

/// C4: nothing follows the end of the body: writing more is an error and sends nothing.
#[test]
fn nothing_follows_the_end_of_the_body() {
    let sent = sent_bytes(test_config(), |connection| {
        let mut exchange = connection.begin(Role::Filter, &Params::new()).unwrap();
        exchange.stdin.write_all(b"x").unwrap();
        exchange.stdin.finish().unwrap();
        assert_eq!(exchange.stdin.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(exchange.stdin.start_data().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        exchange.stdin.flush().unwrap();
        exchange.finish().unwrap();
    });
    let mut sent = &sent[..];
    let types: Vec<_> =
        std::iter::from_fn(|| read_record(&mut sent)).map(|record| record.record_type).collect();
    assert_eq!(types, [BEGIN, PARAMS, STDIN, STDIN]);
}

/// C4, K9; "An empty write ended the stream early": neither an empty write nor a flush makes an
/// empty record.
#[test]
fn an_empty_write_does_not_end_the_body() {
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

/// C6: all of a body that was announced, of any length; C13: none of its records is longer than a
/// record may be. "Content length cut to 16 bits, the rest of a body read as records": 65535, 65536
/// and 99000 bytes.
#[test]
fn bodies_of_every_length_arrive_whole() {
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
            client.fetch(&upload_params(len), &Pattern::bytes(len)).unwrap();
        }
        for len in by_send {
            client.send(&upload_params(len), Pattern::new(len), |_| Ok(())).unwrap();
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

/// C6: not a byte more than CONTENT_LENGTH leaves, or is read, of a body that is longer; however it
/// comes.
#[test]
fn no_more_than_the_announced_length_is_sent() {
    let mut lefts = Vec::new();
    let requests = received(|client| {
        for len in [0, 1, 5, 32768, 40_000, 100_000] {
            let mut body = Pattern::new(len + 70_000);
            client.send(&upload_params(len), &mut body, |_| Ok(())).unwrap();
            lefts.push(body.remaining());
        }
        client
            .send(&upload_params(4), ChunkedReader::new(&[b"a", b"bc", b"d", b"e"]), |_| Ok(()))
            .unwrap();
    });
    for (request, len) in requests.iter().zip([0, 1, 5, 32768, 40_000, 100_000]) {
        assert!(request.stdin == Pattern::bytes(len), "{} of {len} bytes", request.stdin.len());
    }
    assert_eq!(requests[6].stdin, b"abcd");
    assert_eq!(lefts, [70_000; 6], "what was left unread of the bodies");
}

/// C6: a body that ends early is sent as far as it goes and then ended, so that the application can
/// see that it is short.
#[test]
fn a_body_that_ends_early_is_ended_early() {
    let requests = received(|client| {
        client.send(&upload_params(100), &b"short"[..], |_| Ok(())).unwrap();
        client.send(&upload_params(100_000), Pattern::new(70_000), |_| Ok(())).unwrap();
    });
    assert_eq!(
        (&requests[0].stdin[..], requests[0].param("CONTENT_LENGTH")),
        (&b"short"[..], Some(&b"100"[..]))
    );
    assert!(requests[1].stdin == Pattern::bytes(70_000));
}

/// C6: `fetch` announces the length of its body itself, and sends nothing if another was announced.
#[test]
fn fetch_announces_what_it_sends() {
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
    assert_eq!(requests.len(), 2, "nothing is sent of a request that cannot be right");
    assert_eq!(requests[0].param("CONTENT_LENGTH"), Some(&b"12"[..]));
    assert_eq!(requests[1].param("CONTENT_LENGTH"), None);
}

/// C32, K11, K13: names and values leave as they are, bytes of any value and any length, in the
/// shortest form; empty ones too. "Length 127 written in four bytes, a wrong mask wrote 0 for every
/// length of 128 or more".
#[test]
fn params_are_sent_as_given() {
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
        "the shortest form"
    );
}

/// "php-cgi wants each pair whole in one PARAMS record": no pair is split that fits one, in a
/// request of many records.
#[test]
fn no_pair_is_split_that_fits_a_record() {
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

/// "PHP resets when content + padding > 65535", "Content + padding wrapped in 16 bits": no such
/// record is sent, also where a pair takes the whole of one.
#[test]
fn content_and_padding_stay_within_a_record() {
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

/// Nothing leaves before there is something to send with it, and flushing sends what is there: an
/// application can answer a part of a body.
#[test]
fn a_flush_sends_what_was_written() {
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

/// "A header and its content in separate writes, with Nagle on: 23 requests a second over TCP": a
/// thousand requests, each with a body that is flushed on its own, take far less than the 40 s that
/// a delayed acknowledgement for each would.
#[test]
fn small_requests_do_not_wait_for_acknowledgements() {
    let application = Application::tcp(|_, mut stream| {
        while read_request(&mut stream).is_some() {
            stream.write_all(&response(b"ok")).expect("the answer is taken");
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

/// C23, C32: the next request on a connection is sent like the first; nothing is left of that in
/// its memory.
#[test]
fn one_request_after_the_other() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    let application = thread::spawn(move || {
        let requests = [read_request(&mut far).unwrap(), {
            far.write_all(&response(b"first")).unwrap();
            read_request(&mut far).unwrap()
        }];
        far.write_all(&response(b"second")).unwrap();
        requests
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
    // Params, body and memory of the first request do not show in the second.
    let [first, second] = application.join().unwrap();
    assert_eq!((&first.stdin[..], first.param("WHICH")), (&b"first"[..], Some(&b"first"[..])));
    assert_eq!((&second.stdin[..], second.param("WHICH")), (&b"second"[..], Some(&b"second"[..])));
    assert_eq!((first.params.len(), second.params.len()), (1, 1));
}
