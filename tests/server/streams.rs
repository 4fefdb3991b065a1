//! Proves how the streams of a request behave for a handler, in all three roles: input is complete
//! or fails, its length is compared with the announced one, output keeps its order and ends once,
//! and unread input never blocks it.

use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::support::*;
use fcgi::record::Role;
#[cfg(unix)]
use fcgi::server::Connection;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Error;

/// A handler that responds with how reading its body ended.
fn report_stdin(request: &mut Request) -> HandlerResult {
    let mut body = Vec::new();
    let outcome = request.stdin.read_to_end(&mut body);
    let received = request.stdin.received();
    write!(request.stdout, "{ECHO_HEAD}{} of {received} bytes: ", body.len())?;
    match outcome.map_err(|error| (error.kind(), Error::from(error))) {
        Ok(_) => write!(request.stdout, "ended")?,
        Err((kind, error)) => write!(request.stdout, "{kind:?}, {error}")?,
    }
    Ok(())
}

/// Rule A37.
#[test]
fn handler_runs_after_all_params_have_arrived() {
    let called = Arc::new(AtomicBool::new(false));
    let server = TestServer::tcp(Config::new(), {
        let called = Arc::clone(&called);
        move |request| {
            called.store(true, SeqCst);
            echo(request)
        }
    });
    let mut stream = server.connect();
    let mut bytes = [begin(1, RESPONDER, 0), params(1, &[("A", "1"), ("B", "2")])].concat();
    let end_of_params = bytes.split_off(bytes.len() - 8);
    // The response to GET_VALUES proves that everything before it was read.
    stream.write_all(&[bytes, record(GET_VALUES, 0, b"")].concat()).unwrap();
    assert_eq!(read_record(&mut stream).expect("a result").record_type, GET_VALUES_RESULT);
    assert!(!called.load(SeqCst));
    stream.write_all(&[end_of_params, record(STDIN, 1, b"")].concat()).unwrap();
    assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[("A", "1"), ("B", "2")], b""));
}

/// A handler learns of a difference from an error with both numbers. Rules A39, A40 and S12.
#[test]
fn stdin_is_compared_with_content_length() {
    const LENGTH: &str = "CONTENT_LENGTH";
    for server in TestServer::tcp_and_unix(&Config::new(), report_stdin) {
        let mut stream = server.connect();
        for (announced, body, expected) in [
            (Some("10"), "0123456789", "10 of 10 bytes: ended"),
            (Some("0"), "", "0 of 0 bytes: ended"),
            (Some("010"), "0123456789", "10 of 10 bytes: ended"),
            (None, "0123456789", "10 of 10 bytes: ended"),
            (None, "", "0 of 0 bytes: ended"),
            (Some(""), "01234", "5 of 5 bytes: ended"),
            (Some("-1"), "01234", "5 of 5 bytes: ended"),
            (
                Some("10"),
                "01234",
                "5 of 5 bytes: UnexpectedEof, stream ended after 5 of the 10 bytes announced by \
                 CONTENT_LENGTH",
            ),
            (
                Some("1"),
                "",
                "0 of 0 bytes: UnexpectedEof, stream ended after 0 of the 1 bytes announced by \
                 CONTENT_LENGTH",
            ),
            (
                Some("18446744073709551615"),
                "01",
                "2 of 2 bytes: UnexpectedEof, stream ended after 2 of the 18446744073709551615 \
                 bytes announced by CONTENT_LENGTH",
            ),
            (
                Some("10"),
                "0123456789+",
                "10 of 10 bytes: InvalidData, stream is longer than the 10 bytes announced by \
                 CONTENT_LENGTH",
            ),
            (
                Some("0"),
                "0",
                "0 of 0 bytes: InvalidData, stream is longer than the 0 bytes announced by \
                 CONTENT_LENGTH",
            ),
        ] {
            let pairs: Vec<_> = announced.iter().map(|length| (LENGTH, *length)).collect();
            stream.write_all(&request(1, RESPONDER, 1, &pairs, body.as_bytes())).unwrap();
            assert_eq!(read_answer(&mut stream, 1).body(), expected, "{announced:?} {body:?}");
        }
    }
}

/// Rules A39 and K8.
#[test]
fn stdin_may_be_split_and_read_in_any_pieces() {
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = body.clone();
    let server = TestServer::unix(Config::new(), move |request| {
        let mut body = Vec::new();
        let mut buffer = vec![0; request.params.get("BUFFER").unwrap_or("").parse()?];
        match buffer.len() {
            0 => loop {
                let n = request.stdin.fill_buf()?.len();
                if n == 0 {
                    break;
                }
                body.extend_from_slice(&request.stdin.fill_buf()?[..n.min(1000)]);
                request.stdin.consume(n.min(1000));
            },
            _ => loop {
                let n = request.stdin.read(&mut buffer)?;
                if n == 0 {
                    break;
                }
                body.extend_from_slice(&buffer[..n]);
            },
        }
        assert!(body == expected);
        respond(request, request.stdin.received().to_string())
    });
    let mut stream = server.connect();
    for (cut, buffer) in
        [(7, "0"), (7, "100"), (1000, "100000"), (65535, "0"), (65535, "33"), (65535, "1000000")]
    {
        let mut bytes = [
            begin(1, RESPONDER, 1),
            params(1, &[("CONTENT_LENGTH", "300000"), ("BUFFER", buffer)]),
        ]
        .concat();
        bytes.extend(body.chunks(cut).flat_map(|content| record(STDIN, 1, content)));
        bytes.extend(record(STDIN, 1, b""));
        stream.write_all(&bytes).unwrap();
        assert_eq!(read_answer(&mut stream, 1).body(), "300000");
    }
}

/// It reads none or a part of 1 MiB of body. The rest is discarded, nothing blocks, and the next
/// request is served. Rule A41.
#[test]
fn handler_may_respond_before_it_reads_stdin() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        write!(request.stdout, "early")?;
        request.stdout.flush()?;
        let mut part = vec![0; request.params.get("READ").unwrap_or("").parse()?];
        request.stdin.read_exact(&mut part)?;
        Ok(write!(request.stdout, ", {}", part.len())?)
    }) {
        let mut stream = server.connect();
        for part in ["0", "1", "70000", "1048576"] {
            let bytes = request(1, RESPONDER, 1, &[("READ", part)], &vec![b'x'; 1 << 20]);
            stream.write_all(&bytes).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((answer.text(), answer.stdout_ends), (format!("early, {part}"), 1));
        }
    }
}

/// Rules A42, A43 and K3.
#[test]
fn stdout_ends_with_one_empty_record_and_stderr_only_if_used() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        let size: usize = request.params.get("SIZE").unwrap_or("").parse()?;
        write!(request.stdout, "{ECHO_HEAD}")?;
        match request.params.get("BY").unwrap_or("").parse()? {
            0 => request.stdout.write_all(&vec![b'x'; size])?,
            by => (0..size / by).try_for_each(|_| request.stdout.write_all(&vec![b'x'; by]))?,
        }
        if let Some(message) = request.params.get_bytes("MESSAGE") {
            request.stderr.write_all(message)?;
        }
        Ok(())
    }) {
        let mut stream = server.connect();
        let head = ECHO_HEAD.len();
        let sizes = [65527, 65528, 65535, 65536].map(|size| size - head);
        for size in sizes.into_iter().chain([0, 1, 8, 99_000, 1_000_000]) {
            for by in ["0", "1", "1000"] {
                for message in [None, Some("a message")] {
                    let size = if by == "1000" { size / 1000 * 1000 } else { size };
                    let text = size.to_string();
                    let mut pairs = vec![("SIZE", &*text), ("BY", by)];
                    pairs.extend(message.map(|message| ("MESSAGE", message)));
                    stream.write_all(&request(1, RESPONDER, 1, &pairs, b"")).unwrap();
                    let answer = read_answer(&mut stream, 1);
                    assert_eq!((answer.body(), answer.stdout_ends), ("x".repeat(size), 1));
                    assert_eq!(answer.stderr, message.unwrap_or("").as_bytes());
                    assert_eq!(answer.stderr_ends, usize::from(message.is_some()));
                }
            }
        }
    }
}

/// An empty record would end the stream. STDERR that was only flushed has no record at all.
/// Rules A43 and K9.
#[test]
fn empty_writes_and_flushes_send_no_record() {
    let server = TestServer::tcp(Config::new(), |request| {
        for stream in [&mut request.stdout, &mut request.stderr] {
            for _ in 0..3 {
                assert_eq!(stream.write(&[])?, 0);
                stream.flush()?;
            }
        }
        for piece in ["one ", "", "two"] {
            request.stdout.write_all(piece.as_bytes())?;
            request.stdout.flush()?;
            request.stdout.flush()?;
        }
        Ok(())
    });
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
    assert_eq!((answer.text(), answer.stdout_ends), ("one two".to_owned(), 1));
    assert_eq!((answer.stderr.len(), answer.stderr_ends), (0, 0));
}

/// Each stream keeps its order. Rule A44.
#[test]
fn stdout_and_stderr_may_interleave() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        for n in 0..10_000 {
            write!(request.stdout, "{n:9} ")?;
            write!(request.stderr, "{n:8}! ")?;
            if n % 97 == 0 {
                request.stderr.flush()?;
            }
            if n % 89 == 0 {
                request.stdout.flush()?;
            }
        }
        Ok(())
    }) {
        let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
        let expected = |form: fn(u32) -> String| (0..10_000).map(form).collect::<String>();
        assert_eq!(answer.text(), expected(|n| format!("{n:9} ")));
        assert_eq!(String::from_utf8_lossy(&answer.stderr), expected(|n| format!("{n:8}! ")));
        assert_eq!((answer.stdout_ends, answer.stderr_ends), (1, 1));
    }
}

/// Rule A45.
#[test]
fn end_request_comes_last_with_the_app_status() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        request.app_status = request.params.get("EXIT").unwrap_or("").parse()?;
        respond(request, "")
    }) {
        for status in [0, 1, 255, 256, 938, 0x0102_0304, u32::MAX] {
            let mut stream = server.connect();
            stream
                .write_all(&request(1, RESPONDER, 0, &[("EXIT", &status.to_string())], b""))
                .unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(
                (answer.app_status, answer.protocol_status, answer.stdout_ends),
                (status, 0, 1)
            );
            assert_closed(&mut stream);
        }
    }
}

/// Once output was sent, only STDERR has the error. An app status set by the handler is kept.
/// Rules A45 and A46.
#[test]
fn handler_error_becomes_status_500_and_a_line_on_stderr() {
    let server = TestServer::tcp(Config::new(), |request| {
        write!(request.stdout, "partial")?;
        match request.params.get("HOW") {
            Some("flushed") => request.stdout.flush()?,
            Some("status") => request.app_status = 7,
            _ => {}
        }
        Err("the reason\nforged line".into())
    });
    let mut stream = server.connect();
    for (how, text, app_status) in
        [("", FAILED, 1), ("flushed", "partial", 1), ("status", FAILED, 7)]
    {
        stream.write_all(&request(1, RESPONDER, 1, &[("HOW", how)], b"")).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((&*answer.text(), answer.app_status), (text, app_status));
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "the reason forged line\n");
        assert_eq!((answer.stdout_ends, answer.stderr_ends), (1, 1));
    }
}

/// STDIN may be missing and is discarded otherwise. Rule A50.
#[test]
fn authorizer_response_does_not_wait_for_stdin() {
    for server in TestServer::tcp_and_unix(&Config::new().roles(&[Role::Authorizer]), |request| {
        let mut body = Vec::new();
        assert_eq!(request.stdin.read_to_end(&mut body)?, 0);
        assert!(request.stdin.data()?.fill_buf()?.is_empty());
        Ok(write!(request.stdout, "Status: 200 OK\r\nVariable-NAME: value\r\n\r\n")?)
    }) {
        let mut stream = server.connect();
        for stdin in [
            &b""[..],
            &record(STDIN, 1, b""),
            &[record(STDIN, 1, b"dropped"), record(STDIN, 1, b"")].concat(),
        ] {
            // Some web servers pass on the length of a body that they do not send.
            stream
                .write_all(
                    &[begin(1, AUTHORIZER, 1), params(1, &[("CONTENT_LENGTH", "9")])].concat(),
                )
                .unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(answer.text(), "Status: 200 OK\r\nVariable-NAME: value\r\n\r\n");
            assert_eq!((answer.app_status, answer.protocol_status), (0, 0));
            stream.write_all(stdin).unwrap();
        }
        stream.write_all(&[begin(1, AUTHORIZER, 0), params(1, &[])].concat()).unwrap();
        read_answer(&mut stream, 1);
        assert_closed(&mut stream);
    }
}

/// A filter that responds with the body, the data and the error that ended them.
fn filter(request: &mut Request) -> HandlerResult {
    let mut body = String::new();
    if request.params.get("SKIP").is_none() {
        request.stdin.read_to_string(&mut body)?;
    }
    write!(request.stdout, "{body}|")?;
    request.stdout.flush()?;
    let mut data = Vec::new();
    let outcome = request.stdin.data()?.read_to_end(&mut data);
    request.stdout.write_all(&data)?;
    if let Err(error) = outcome {
        write!(request.stdout, "|{:?}, {error}", error.kind())?;
    }
    Ok(())
}

fn filter_request(pairs: &[(&str, &str)], body: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = request(1, FILTER, 1, pairs, body);
    bytes.extend(stream(DATA, 1, data));
    bytes.extend(record(DATA, 1, b""));
    bytes
}

/// It may write before the data ends, and may leave the body unread. Rules A51 and A52.
#[test]
fn filter_reads_data_after_stdin_and_compares_its_length() {
    let data = "d".repeat(100_000);
    for server in TestServer::tcp_and_unix(&Config::new().roles(&[Role::Filter]), filter) {
        let mut stream = server.connect();
        let whole = format!("body|{data}");
        for (pairs, data, expected) in [
            (&[("CONTENT_LENGTH", "4"), ("FCGI_DATA_LENGTH", "100000")][..], &*data, &*whole),
            (&[], &data, &whole),
            (&[("SKIP", "1"), ("FCGI_DATA_LENGTH", "4")], "data", "|data"),
            (&[("FCGI_DATA_LENGTH", "0"), ("FCGI_DATA_LAST_MOD", "840000000")], "", "body|"),
            (
                &[("FCGI_DATA_LENGTH", "9")],
                "data",
                "body|data|UnexpectedEof, stream ended after 4 of the 9 bytes announced by \
                 FCGI_DATA_LENGTH",
            ),
            (
                &[("FCGI_DATA_LENGTH", "3")],
                "data",
                "body|dat|InvalidData, stream is longer than the 3 bytes announced by \
                 FCGI_DATA_LENGTH",
            ),
        ] {
            stream.write_all(&filter_request(pairs, b"body", data.as_bytes())).unwrap();
            assert_eq!(read_answer(&mut stream, 1).text(), expected);
        }
        let bytes = filter_request(&[("CONTENT_LENGTH", "9")], b"body", b"data");
        stream.write_all(&bytes).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert!(answer.text().starts_with("Status: 400"), "{}", answer.text());
        assert!(String::from_utf8_lossy(&answer.stderr)
            .contains("4 of the 9 bytes announced by CONTENT_LENGTH"));

        // The output begins before the data has arrived.
        let bytes = filter_request(&[], b"body", b"data");
        let (before, data) = bytes.split_at(bytes.len() - 20);
        stream.write_all(before).unwrap();
        assert_eq!(read_record(&mut stream).expect("the first part").content, b"body|");
        stream.write_all(data).unwrap();
        assert_eq!(read_answer(&mut stream, 1).text(), "data");
    }
}

/// They are never mixed into another stream. Rules A53 and S2.
#[test]
fn streams_out_of_order_are_refused() {
    let [start, more] =
        [pair(b"A", b"1"), pair(b"B", b"2")].map(|content| record(PARAMS, 1, &content));
    let end_of_params = record(PARAMS, 1, b"");
    let (body, end_of_body) = (record(STDIN, 1, b"body"), record(STDIN, 1, b""));
    let data = record(DATA, 1, b"data");
    let config = Config::new().roles(&[Role::Responder, Role::Filter]);
    let server = TestServer::tcp(config, |request| {
        let mut body = Vec::new();
        request.stdin.read_to_end(&mut body)?;
        if request.role == Role::Filter {
            request.stdin.data()?.read_to_end(&mut body)?;
        }
        respond(request, body)
    });

    // Before the end of PARAMS the connection is closed without a response.
    for early in [&body, &end_of_body, &data] {
        let mut stream = server.connect();
        let bytes = [&begin(1, RESPONDER, 1), &start, early, &more, &end_of_params, &end_of_body];
        stream.write_all(&bytes.map(|piece| &**piece).concat()).unwrap();
        assert_no_response(&mut stream);
        assert!(server.next_error().1.starts_with("unexpected "));
    }

    // In the body the handler's read fails, and the connection is closed.
    for (role, wrong) in
        [(RESPONDER, &data), (FILTER, &data), (RESPONDER, &more), (RESPONDER, &end_of_params)]
    {
        let mut stream = server.connect();
        let bytes = [&begin(1, role, 1), &start, &end_of_params, &body, wrong, &body, &end_of_body];
        stream.write_all(&bytes.map(|piece| &**piece).concat()).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert!(answer.text().starts_with("Status: 500"), "{}", answer.text());
        assert!(String::from_utf8_lossy(&answer.stderr).contains("unexpected "));
        assert_no_response(&mut stream);
    }

    // After the body the records belong to no request. For a filter they are an error as above.
    let mut stream = server.connect();
    for late in [&body, &end_of_body, &data, &more] {
        let bytes = [&begin(1, RESPONDER, 1), &start, &end_of_params, &body, &end_of_body, late];
        stream.write_all(&bytes.map(|piece| &**piece).concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1).body(), "body");
    }
    let bytes = [
        &begin(1, FILTER, 1),
        &start,
        &end_of_params,
        &body,
        &end_of_body,
        &data,
        &body,
        &end_of_body,
    ];
    stream.write_all(&bytes.map(|piece| &**piece).concat()).unwrap();
    assert!(read_answer(&mut stream, 1).text().starts_with("Status: 500"));
}

/// Every read receives something in time, and the whole request takes longer.
#[test]
fn read_timeout_applies_to_each_read() {
    let server = TestServer::tcp(Config::new().read_timeout(Some(Duration::from_secs(1))), echo);
    let mut stream = server.connect();
    let bytes = request(1, RESPONDER, 0, &[("CONTENT_LENGTH", "4")], b"slow");
    let step = bytes.len() / 12;
    for piece in bytes.chunks(step) {
        stream.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[("CONTENT_LENGTH", "4")], b"slow"));
}

/// Every write sends something in time, and the whole response takes longer.
#[test]
fn write_timeout_applies_to_each_write() {
    const SIZE: usize = 8 << 20;
    for server in TestServer::tcp_and_unix(
        &Config::new().write_timeout(Some(Duration::from_secs(1))),
        |request| {
            request.stdout.write_all(&vec![b'x'; SIZE])?;
            Ok(())
        },
    ) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        let mut slow_reader = SlowReader(&mut stream, 0);
        assert_eq!(read_answer(&mut slow_reader, 1).stdout.len(), SIZE);
    }
}

/// Sleeps after each 600 KiB, so that reading everything takes longer than the write timeout.
struct SlowReader<'a>(&'a mut fcgi::net::Stream, usize);

impl Read for SlowReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1 += n;
        if self.1 > 600 << 10 {
            self.1 = 0;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(n)
    }
}

/// The rest of a record is read into a large slice without a copy, and the next record after it.
/// Rule A39.
#[cfg(unix)]
#[test]
fn rest_of_a_large_record_is_read_into_the_slice_of_the_handler() {
    const LEN: usize = 20_000;
    let body: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
    let (mut peer, served) = std::os::unix::net::UnixStream::pair().unwrap();
    let bytes = [begin(1, RESPONDER, 0), params(1, &[]), record(STDIN, 1, &body)].concat();
    let (first, rest) = bytes.split_at(bytes.len() - LEN + 5);
    peer.write_all(first).unwrap();
    let mut connection = Connection::new(served).unwrap();
    let mut request = connection.next_request().unwrap().expect("a request");
    let mut received = vec![0; LEN];
    request.stdin.read_exact(&mut received[..5]).unwrap();
    peer.write_all(&[rest, &record(STDIN, 1, b"")].concat()).unwrap();
    request.stdin.read_exact(&mut received[5..]).unwrap();
    assert!(received == body);
    assert_eq!(request.stdin.read(&mut [0]).unwrap(), 0);
}

/// FCGI_DATA_LAST_MOD has the time in seconds since 1970.
#[test]
fn filter_receives_the_time_of_the_last_change_of_its_file() {
    let config = Config::new().roles(&[Role::Filter]);
    let server = TestServer::tcp(config, |request| {
        Ok(write!(request.stdout, "A: b\r\n\r\n{:?}", request.data_last_modified())?)
    });
    let modified = UNIX_EPOCH + Duration::from_secs(840_000_000);
    for (pairs, expected) in [
        (&[("FCGI_DATA_LAST_MOD", "840000000")][..], Some(modified)),
        (&[("FCGI_DATA_LAST_MOD", "yesterday")], None),
        (&[], None),
    ] {
        let answer = server.round_trip(1, &filter_request(pairs, b"", b"file"));
        assert_eq!(answer.text(), format!("A: b\r\n\r\n{expected:?}"));
    }
}
