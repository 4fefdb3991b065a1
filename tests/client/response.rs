//! Proves how a client reads a response: records and reads of any size, padding of any length,
//! STDERR at any place, and an error for every record that must not occur.
#![cfg(unix)]

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use fcgi::client::{Completion, Connection, Reply};
use fcgi::record::{RecordType, Role};
use fcgi::{Error, Params};

use crate::support::application::*;
use crate::support::*;

/// Returns the reply of a client to an application that sends these bytes and closes the
/// connection.
#[track_caller]
fn reply(answer: &[u8]) -> fcgi::Result<Reply> {
    Application::answering(answer).client().fetch(&get_params(), b"")
}

#[track_caller]
fn assert_reply(answer: &[u8], stdout: &[u8], stderr: &[u8]) {
    let reply = reply(answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&reply.stdout), String::from_utf8_lossy(stdout));
    let Completion { app_status, stderr: kept, stderr_dropped, .. } = &reply.completion;
    assert_eq!((*app_status, &kept[..], *stderr_dropped), (0, stderr, 0));
}

/// Asserts that a response fails because of an unexpected record.
#[track_caller]
fn assert_unexpected(answer: &[&[u8]], expected_type: RecordType, expected_id: u16) {
    match reply(&answer.concat()) {
        Err(Error::UnexpectedRecord { record_type, request_id }) => {
            assert_eq!((record_type, request_id), (expected_type, expected_id));
        }
        outcome => panic!("{outcome:?}"),
    }
}

/// Runs an exchange with an application that sends these bytes and closes the connection.
fn with_answer<T>(answer: Vec<u8>, read: impl FnOnce(&mut Connection) -> T) -> T {
    let (near, mut far) = socket_pair();
    let application = thread::spawn(move || {
        read_request(&mut far).expect("a request");
        let _closed = far.write_all(&answer);
    });
    let mut connection = Connection::new(near, Arc::new(test_config())).expect("a connection");
    let outcome = read(&mut connection);
    drop(connection);
    application.join().expect("the application");
    outcome
}

/// A writer whose content can be read through its clones.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the log").write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All 32 bits are returned by each way of sending a request. Rule C10.
#[test]
fn app_status_is_returned() {
    for status in [0, 1, 255, 256, 938, 0x0102_0304, u32::MAX] {
        let answer = [record(STDOUT, 1, b"x"), record(STDOUT, 1, b""), end(1, status, 0)].concat();
        let application = Application::answering(answer);
        assert_eq!(
            application.client().fetch(&get_params(), b"").unwrap().completion.app_status,
            status
        );
        let ((), completion) =
            application.client().send(&get_params(), &b""[..], |_| fcgi::Result::Ok(())).unwrap();
        assert_eq!(completion.app_status, status);
        let mut connection = application.client().connect().unwrap();
        let exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        assert_eq!(exchange.finish().unwrap().app_status, status);
    }
}

/// php-cgi omits the empty STDOUT record and does not clear the reserved bytes of END_REQUEST.
/// Rule C12.
#[test]
fn stdout_and_stderr_may_interleave_and_lack_their_ends() {
    let out = |content: &[u8]| record(STDOUT, 1, content);
    let err = |content: &[u8]| record(STDERR, 1, content);
    let done = || end(1, 0, 0);
    let cases: &[(&[Vec<u8>], &str, &str)] = &[
        (&[out(b"a"), out(b""), done()], "a", ""),
        (&[out(b"a"), out(b""), err(b""), done()], "a", ""),
        (&[err(b"e"), out(b"a"), err(b"f"), out(b"b"), err(b""), out(b""), done()], "ab", "ef"),
        (&[out(b"a"), err(b"e"), out(b""), done()], "a", "e"),
        (&[out(b"a"), err(b"e"), err(b""), err(b""), out(b""), done()], "a", "e"),
        (&[out(b""), err(b"late"), done()], "", "late"),
        (&[out(b"a"), done()], "a", ""),
        (&[err(b"e"), done()], "", "e"),
        (&[err(b"e"), err(b""), done()], "", "e"),
        (&[done()], "", ""),
        (&[out(b"a"), record(END, 1, &[0, 0, 0, 0, 0, 9, 9, 9])], "a", ""),
    ];
    for (records, stdout, stderr) in cases {
        assert_reply(&records.concat(), stdout.as_bytes(), stderr.as_bytes());
    }
}

/// Rule C12.
#[test]
fn empty_stderr_record_does_not_block_the_response() {
    let (near, mut far) = socket_pair();
    far.write_all(&[record(STDERR, 1, b""), record(STDOUT, 1, b"here")].concat()).unwrap();
    let mut connection = Connection::new(near, Arc::new(test_config())).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    let mut stdout = [0; 4];
    exchange.stdout.read_exact(&mut stdout).unwrap();
    assert_eq!(&stdout, b"here");
    far.write_all(&response(b"")).unwrap();
    assert_eq!(exchange.finish().unwrap(), Completion::default());
}

/// It is complete and in order, and is not held as well.
#[test]
fn stderr_is_copied_to_the_writer_as_it_arrives() {
    let (near, mut far) = socket_pair();
    far.write_all(&[record(STDERR, 1, b"one "), record(STDOUT, 1, b"a")].concat()).unwrap();
    let mut connection = Connection::new(near, Arc::new(test_config())).unwrap();
    let (mut log, mut logged) = std::os::unix::net::UnixStream::pair().unwrap();
    logged.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdout.stderr_to(&mut log);
    exchange.stdout.read_exact(&mut [0]).unwrap();
    let mut first = [0; 4];
    logged.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"one ");

    far.write_all(&[record(STDERR, 1, b"two"), record(STDERR, 1, b""), response(b"")].concat())
        .unwrap();
    assert_eq!(exchange.finish().unwrap(), Completion::default());
    drop(connection);
    drop(log);
    assert_eq!(read_all(&mut logged).unwrap(), b"two");
}

/// A caller may read the head first, and choose the writer then.
#[test]
fn stderr_that_arrived_before_its_writer_is_kept() {
    let answer = [
        record(STDERR, 1, b"early"),
        record(STDOUT, 1, b"Content-Type: text/plain\r\n\r\n"),
        record(STDERR, 1, b"late"),
        response(b""),
    ];
    for (max, kept, dropped) in [(3, &b"ear"[..], 2), (100, b"early", 0)] {
        let application = Application::answering(answer.concat());
        let log = Log::default();
        let client = application.client().config(test_config().max_stderr(max));
        let ((), completion) = client
            .send(&get_params(), &b""[..], |response| {
                response.read_head()?;
                response.stdout.stderr_to(log.clone());
                fcgi::Result::Ok(())
            })
            .unwrap();
        assert_eq!((&completion.stderr[..], completion.stderr_dropped), (kept, dropped));
        assert_eq!(*log.0.lock().unwrap(), b"late");
    }
}

/// 300 KB of STDERR arrive between the records of the response.
#[test]
fn stderr_of_any_size_is_copied_to_the_writer() {
    let answer: Vec<u8> = (0..5)
        .flat_map(|number| {
            [
                stream(STDERR, 1, &[b'0' + number].repeat(70_000)),
                record(STDOUT, 1, &[b'a' + number; 3]),
            ]
        })
        .chain([end(1, 0, 0)])
        .flatten()
        .collect();
    let application = Application::answering(answer);
    let log = Log::default();
    let (stdout, completion) = application
        .client()
        .send(&get_params(), &b""[..], |response| {
            response.stdout.stderr_to(log.clone());
            let mut stdout = String::new();
            response.stdout.read_to_string(&mut stdout)?;
            fcgi::Result::Ok(stdout)
        })
        .unwrap();
    assert_eq!(stdout, "aaabbbcccdddeee");
    assert_eq!(completion, Completion::default());
    let expected: Vec<u8> = (0..5).flat_map(|number| [b'0' + number].repeat(70_000)).collect();
    let log = log.0.lock().unwrap();
    assert!(*log == expected, "{} bytes", log.len());
}

#[test]
fn error_of_the_stderr_writer_ends_the_request() {
    let application =
        Application::answering([record(STDERR, 1, b"log me"), response(b"x")].concat());
    let outcome = application.client().send(&get_params(), &b""[..], |response| {
        response.stdout.stderr_to(io::Cursor::new([0_u8; 2]));
        Ok(())
    });
    assert!(
        matches!(&outcome, Err(Error::Io(error)) if error.kind() == io::ErrorKind::WriteZero),
        "{outcome:?}"
    );
}

/// A caller that logs STDERR escapes it itself.
#[test]
fn error_messages_escape_control_bytes_and_stderr_is_unchanged() {
    let reply = reply(
        &[record(STDERR, 1, b"a\r\n\x1b[2Jforged"), response(b"X\x1b[2J\rforged: 1\n\n")].concat(),
    )
    .unwrap();
    assert_eq!(reply.completion.stderr, b"a\r\n\x1b[2Jforged");
    let message = reply.split_head().unwrap_err().to_string();
    assert!(message.contains("forged") && !message.contains(char::is_control), "{message:?}");
}

/// Rules C13 and K4.
#[test]
fn padding_is_skipped_on_every_record_of_a_response() {
    for padding in [0, 1, 7, 8, 255] {
        let answer = [
            padded_record(STDERR, 1, b"", padding),
            padded_record(STDOUT, 1, b"hel", padding),
            padded_record(GET_VALUES_RESULT, 0, b"", padding),
            padded_record(STDERR, 1, b"log", padding),
            padded_record(STDOUT, 1, b"lo", padding),
            padded_record(STDOUT, 1, b"", padding),
            padded_record(END, 1, &[0; 8], padding),
        ];
        assert_reply(&answer.concat(), b"hello", b"log");
    }
}

/// Content and padding together exceed 16 bits. Rules C13 and K4.
#[test]
fn largest_record_with_most_padding_is_read() {
    let content = Pattern::bytes(65535);
    let answer = [
        padded_record(STDOUT, 1, &content, 255),
        padded_record(STDOUT, 1, b"after", 255),
        response(b""),
    ]
    .concat();
    let reply = reply(&answer).unwrap();
    assert!(reply.stdout == [&content[..], b"after"].concat(), "{} bytes", reply.stdout.len());
}

/// Rules C13, K8 and K10.
#[test]
fn response_is_read_from_one_byte_records_and_writes() {
    let text = b"Content-Type: text/plain\r\n\r\nbody";
    let records: Vec<u8> =
        text.iter().flat_map(|byte| padded_record(STDOUT, 1, &[*byte], 3)).collect();
    let answer = [records, record(STDERR, 1, b"log"), response(b"")].concat();
    let application = Application::tcp(move |_, mut stream| {
        read_request(&mut stream).expect("a request");
        for byte in &answer {
            stream.write_all(&[*byte]).expect("the byte is sent");
        }
    });
    let reply = application.client().fetch(&get_params(), b"").unwrap();
    assert_eq!((&reply.stdout[..], &reply.completion.stderr[..]), (&text[..], &b"log"[..]));
    let (head, body) = reply.split_head().unwrap();
    assert_eq!((head.status(), body), (200, &b"body"[..]));
}

/// The lengths are near the buffer sizes and the limit of a record. A header that spans the end of
/// the buffer must not be mistaken for the end of the input. Rule C13.
#[test]
fn response_may_end_anywhere_near_the_size_of_a_buffer() {
    let near = |size: usize| size - 20..=size + 12;
    let lengths = [
        near(8192),
        near(16384),
        near(65536),
        near(2 * 65536),
        near(65536 + 8192),
        near(2 * 65536 + 8192),
    ]
    .into_iter()
    .flatten();
    let application = Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let number = |name| {
                std::str::from_utf8(request.param(name).unwrap()).unwrap().parse::<usize>().unwrap()
            };
            let (len, size) = (number("LEN"), number("SIZE"));
            let content = Pattern::bytes(len as u64);
            let records: Vec<u8> = content
                .chunks(size)
                .flat_map(|content| record(STDOUT, request.id, content))
                .collect();
            stream
                .write_all(&[records, request.response(b"")].concat())
                .expect("the response is sent");
        }
    });
    let client = application.keep_alive_client();
    for len in lengths {
        for size in [65535, 8184, 1000] {
            let params =
                Params::from_pairs([("LEN", len.to_string()), ("SIZE", size.to_string())]).unwrap();
            // Small reads are served by the buffer, large ones bypass it.
            let ((), _) = client
                .send(&params, &b""[..], |response| {
                    let (mut expected, mut piece) = (
                        Pattern::new(len as u64),
                        vec![0; if len % 2 == 0 { 4096 } else { 1 << 17 }],
                    );
                    loop {
                        let n = response.stdout.read(&mut piece)?;
                        if n == 0 {
                            assert_eq!(expected.remaining(), 0, "{len} bytes in records of {size}");
                            return fcgi::Result::Ok(());
                        }
                        expected.write_all(&piece[..n])?;
                    }
                })
                .unwrap();
        }
    }
    assert_eq!(application.accepted(), 1);
    drop(client);
}

/// The response is read into slices of several sizes, through `BufRead`, or not at all. Rule C13.
#[test]
fn every_way_to_read_returns_the_same() {
    let body = Pattern::bytes(300_000);
    let answer = || -> Vec<u8> {
        let records = body.chunks(30_000).flat_map(|content| padded_record(STDOUT, 1, content, 5));
        records.chain(response(b"")).collect()
    };
    let from_slices = with_answer(answer(), |connection| {
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        exchange.stdin.finish().unwrap();
        let mut data = Vec::new();
        let mut piece = vec![0; 100_000];
        for size in [1, 100_000, 3, 70_000, 9].into_iter().cycle() {
            let n = exchange.stdout.read(&mut piece[..size]).unwrap();
            data.extend_from_slice(&piece[..n]);
            if n == 0 {
                break;
            }
        }
        assert_eq!(
            exchange.stdout.read(&mut piece).unwrap(),
            0,
            "further reads return the end again"
        );
        exchange.finish().unwrap();
        data
    });
    assert!(from_slices == body);

    let from_buf_read = with_answer(answer(), |connection| {
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        exchange.stdin.finish().unwrap();
        let mut data = Vec::new();
        loop {
            let piece = exchange.stdout.fill_buf().unwrap();
            if piece.is_empty() {
                break;
            }
            let used = piece.len().min(777);
            data.extend_from_slice(&piece[..used]);
            exchange.stdout.consume(used);
        }
        exchange.finish().unwrap();
        data
    });
    assert!(from_buf_read == body);

    let ((), completion) = Application::answering(answer())
        .client()
        .send(&get_params(), &b""[..], |_| fcgi::Result::Ok(()))
        .unwrap();
    assert_eq!(completion, Completion::default());
}

/// An END_REQUEST of another request ends nothing. Rule C14.
#[test]
fn record_with_another_id_is_an_error() {
    let open = record(STDOUT, 1, b"mine");
    for id in [2, 256, 257, 65535] {
        assert_unexpected(
            &[&open, &record(STDOUT, id, b"theirs"), &response(b"")],
            RecordType::Stdout,
            id,
        );
        assert_unexpected(
            &[&open, &record(STDERR, id, b"theirs"), &response(b"")],
            RecordType::Stderr,
            id,
        );
        assert_unexpected(
            &[&open, &record(STDOUT, id, b""), &response(b"")],
            RecordType::Stdout,
            id,
        );
        assert_unexpected(&[&open, &end(id, 0, 0), &response(b"")], RecordType::EndRequest, id);
        assert_unexpected(&[&end(id, 0, 0)], RecordType::EndRequest, id);
    }
}

/// They are not data and end nothing. Rules C15 and K7.
#[test]
fn records_with_id_0_are_skipped() {
    let long = vec![b'v'; 65535];
    for noise in [
        record(STDOUT, 0, b"not data"),
        record(STDERR, 0, b"no message"),
        record(STDIN, 0, b"no body"),
        record(STDOUT, 0, b""),
        record(STDERR, 0, b""),
        end(0, 7, 0),
        record(GET_VALUES_RESULT, 0, &pair(b"FCGI_MPXS_CONNS", b"0")),
        padded_record(GET_VALUES_RESULT, 0, &long, 255),
        record(UNKNOWN_TYPE, 0, &[99, 0, 0, 0, 0, 0, 0, 0]),
        record(99, 0, b"?"),
        record(0, 0, b""),
    ] {
        let records = [
            record(STDOUT, 1, b"a"),
            record(STDOUT, 1, b"b"),
            record(STDOUT, 1, b""),
            end(1, 0, 0),
        ];
        for place in 0..records.len() {
            let answer =
                [records[..place].concat(), noise.clone(), records[place..].concat()].concat();
            assert_reply(&answer, b"ab", b"");
        }
    }
}

/// Rules C16 and K2.
#[test]
fn unsupported_version_is_an_error_that_names_it() {
    for version in [0, 2, 128, 255] {
        for place in 0..4 {
            let mut records = [
                record(STDOUT, 1, b"a"),
                record(STDERR, 1, b"b"),
                record(STDOUT, 1, b""),
                end(1, 0, 0),
            ];
            records[place][0] = version;
            let outcome = reply(&records.concat());
            assert!(
                matches!(outcome, Err(Error::UnsupportedVersion(found)) if found == version),
                "{outcome:?}"
            );
        }
    }
}

/// Of a longer one the first 8 bytes are read. Rules C17 and K19.
#[test]
fn end_request_shorter_than_eight_bytes_is_an_error() {
    for len in 0..8 {
        let answer =
            [record(STDOUT, 1, b"a"), record(STDOUT, 1, b""), record(END, 1, &[0; 8][..len])]
                .concat();
        let outcome = reply(&answer);
        match outcome {
            Err(Error::InvalidBodyLength { record_type: RecordType::EndRequest, len: found }) => {
                assert_eq!(found, len);
            }
            outcome => panic!("{len}: {outcome:?}"),
        }
    }
    for len in [9, 16, 65535] {
        let mut body = vec![0xff; len];
        body[..8].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 0]);
        let reply = reply(&[record(STDOUT, 1, b"a"), record(END, 1, &body)].concat()).unwrap();
        assert_eq!((&reply.stdout[..], reply.completion.app_status), (&b"a"[..], 5));
    }
}

/// Unknown types are an error too, if they have the id of the request. Rule C18.
#[test]
fn record_type_that_an_application_never_sends_is_an_error() {
    for record_type in [
        0,
        BEGIN,
        ABORT,
        PARAMS,
        STDIN,
        DATA,
        GET_VALUES,
        GET_VALUES_RESULT,
        UNKNOWN_TYPE,
        12,
        99,
        200,
        255,
    ] {
        for content in [&b""[..], b"eight by"] {
            let noise = record(record_type, 1, content);
            assert_unexpected(&[&noise, &response(b"a")], record_type.into(), 1);
            assert_unexpected(
                &[&record(STDOUT, 1, b"a"), &noise, &response(b"")],
                record_type.into(),
                1,
            );
        }
    }
}

/// Even an empty record is. Rule K9.
#[test]
fn stdout_after_its_end_is_an_error() {
    let whole = [record(STDOUT, 1, b"a"), record(STDOUT, 1, b"")].concat();
    assert_unexpected(&[&whole, &record(STDOUT, 1, b"more"), &end(1, 0, 0)], RecordType::Stdout, 1);
    assert_unexpected(&[&whole, &record(STDOUT, 1, b""), &end(1, 0, 0)], RecordType::Stdout, 1);
    assert_unexpected(
        &[&whole, &record(STDERR, 1, b"e"), &record(STDOUT, 1, b"x"), &end(1, 0, 0)],
        RecordType::Stdout,
        1,
    );
}

/// Rule C20.
#[test]
fn bytes_after_end_request_do_not_change_the_response() {
    for extra in [
        record(STDOUT, 1, b"ghost"),
        record(STDERR, 1, b"ghost"),
        end(1, 9, 0),
        end(1, 0, 2),
        b"rubbish".to_vec(),
    ] {
        assert_reply(&[response(b"all"), extra].concat(), b"all", b"");
    }
}

/// The records after the error are not read.
#[test]
fn ignored_read_error_is_not_a_success() {
    let broken: [&[u8]; 3] =
        [&record(STDOUT, 2, b"theirs"), &record(99, 1, b""), &record(END, 1, b"short")];
    for record in broken {
        let answer = [record, &end(1, 0, 0)].concat();
        let application = Application::answering(answer.clone());
        let outcome = application.client().send(&get_params(), &b""[..], |response| {
            response.stdout.read_to_end(&mut Vec::new()).unwrap_err();
            fcgi::Result::Ok(())
        });
        assert!(outcome.is_err(), "{record:?}: {outcome:?}");

        with_answer(answer, |connection| {
            let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
            exchange.stdin.finish().unwrap();
            exchange.stdout.read_to_end(&mut Vec::new()).unwrap_err();
            exchange.stdout.read(&mut [0]).unwrap_err();
            exchange.finish().unwrap_err();
            assert!(!connection.is_reusable());
        });
    }
}

/// Rules H16 and H17.
#[test]
fn head_may_be_split_across_records() {
    let text = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno such page\n\n";
    for cut in 1..text.len() {
        let answer =
            [record(STDOUT, 1, &text[..cut]), record(STDERR, 1, b"log"), response(&text[cut..])]
                .concat();
        let application = Application::answering(answer);
        let ((head, body), _) = application
            .client()
            .send(&get_params(), &b""[..], |response| {
                let head = response.read_head()?;
                let mut body = String::new();
                response.stdout.read_to_string(&mut body)?;
                fcgi::Result::Ok((head, body))
            })
            .unwrap();
        assert_eq!(
            (head.status(), head.content_type(), &body[..]),
            (404, Some("text/plain"), "no such page\n\n")
        );
    }
}

/// The rest of a record is read into a large slice without a copy, and the next record after it.
#[test]
fn rest_of_a_large_record_is_read_into_the_slice_of_the_caller() {
    const LEN: usize = 20_000;
    let expected = Pattern::bytes(LEN as u64);
    let answer = response(&expected);
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config())).expect("a connection");
    let mut exchange = connection.begin(Role::Responder, &get_params()).expect("a request");
    exchange.stdin.finish().expect("the request is sent");
    let mut stdout = vec![0; LEN];
    let (first, rest) = answer.split_at(8 + 5);
    far.write_all(first).expect("a part of the response is sent");
    exchange.stdout.read_exact(&mut stdout[..5]).expect("a part of the response");
    far.write_all(rest).expect("the rest of the response is sent");
    exchange.stdout.read_exact(&mut stdout[5..]).expect("the rest of the response");
    assert!(stdout == expected);
    exchange.finish().expect("the end of the response");
}

#[test]
fn debug_output_of_a_response_shows_how_much_was_received() {
    with_answer(response(b"hello"), |connection| {
        let mut exchange = connection.begin(Role::Responder, &get_params()).expect("a request");
        exchange.stdin.finish().expect("the request is sent");
        exchange.stdout.read_exact(&mut [0; 4]).expect("a part of the response");
        let text = format!("{:?}", exchange.stdout);
        assert!(text.contains("request_id: 1, state: Open, received: 4"), "{text}");
    });
}
