//! Proves that a body of one to two MiB is sent by the thread that then reads the response, until
//! the application stops reading. Another thread then continues in the middle of a record, and no
//! byte is lost.
#![cfg(unix)]

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::thread;
use std::time::Duration;

use fcgi::client::{Body, Response};
use fcgi::net::Stream;

use crate::support::application::*;
use crate::support::*;

/// Longer than the time that the client waits for the application to read on.
const LONG_PAUSE: Duration = Duration::from_millis(60);
/// Bodies of 2,040,000 bytes and of 2 MiB take two writes, and are short enough for the thread that
/// receives the response.
const LENGTHS: [u64; 7] =
    [40_000, 1 << 20, (1 << 20) + 32_769, 2_040_000, 2 << 20, (2 << 20) + 32_768, 2_100_001];

/// Reads a body to its end and checks it.
fn check(stream: &mut Stream, id: u16, mut expected: Pattern) {
    loop {
        let record = read_record(stream).expect("a record of the body, not its end");
        assert_eq!((record.record_type, record.id), (STDIN, id));
        if record.content.is_empty() {
            assert_eq!(expected.remaining(), 0, "the body ended early");
            return;
        }
        expected.write_all(&record.content).expect("the body");
    }
}

/// An application that reads a part of the body, pauses, sends a large response and then reads the
/// rest.
fn application(len: u64, part: usize) -> Application {
    Application::unix(move |_, mut stream| {
        while let Some(request) = read_begin_and_params(&mut stream) {
            let mut part_of_body = vec![0; part];
            stream.read_exact(&mut part_of_body).expect("a part of the body");
            thread::sleep(LONG_PAUSE);
            for content in Pattern::bytes(len).chunks(65535) {
                stream
                    .write_all(&record(STDOUT, request.id, content))
                    .expect("the response is sent");
            }
            let mut rest = io::Cursor::new(part_of_body).chain(&mut stream);
            let mut body = Pattern::new(len);
            while body.remaining() > 0 {
                body.write_all(&read_record(&mut rest).expect("a record of the body").content)
                    .expect("the body");
            }
            assert_eq!(read_record(&mut rest).expect("the end of the body").content, b"");
            stream.write_all(&request.response(b"")).expect("the end is sent");
        }
    })
}

/// Returns a file that contains the pattern of this length.
fn pattern_file(len: u64) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    io::copy(&mut Pattern::new(len), &mut file).expect("the file is written");
    file.rewind().expect("a regular file");
    file
}

fn check_response(response: &mut Response, len: u64) -> io::Result<()> {
    let mut expected = Pattern::new(len);
    io::copy(&mut response.stdout, &mut expected)?;
    assert_eq!(expected.remaining(), 0, "the response ended early");
    Ok(())
}

#[test]
fn body_is_sent_to_an_application_that_reads_it_first() {
    for len in LENGTHS {
        let application = Application::unix(move |_, mut stream| {
            while let Some(request) = read_begin_and_params(&mut stream) {
                check(&mut stream, request.id, Pattern::new(len));
                stream.write_all(&request.response(b"read")).expect("the response is sent");
            }
        });
        let client = application.keep_alive_client();
        for _ in 0..3 {
            assert_eq!(
                client.fetch(&upload_params(len), Pattern::bytes(len)).unwrap().stdout,
                b"read"
            );
            client
                .send(&upload_params(len), Pattern::new(len), |response| {
                    io::copy(&mut response.stdout, &mut io::sink())
                })
                .unwrap();
        }
        assert_eq!(application.accepted(), 1, "the connection is kept after {len} bytes");
        drop(client);
    }
}

#[test]
fn body_is_sent_to_an_application_that_pauses_and_responds_first() {
    for (len, part) in LENGTHS.into_iter().zip([0, 7, 70_001, 2_032_000, 65_000, 300_000, 1]) {
        let application = application(len, part);
        let client = application.keep_alive_client();
        assert_eq!(
            client.fetch(&upload_params(len), Pattern::bytes(len)).unwrap().stdout,
            Pattern::bytes(len)
        );
        client
            .send(&upload_params(len), Pattern::new(len), |response| check_response(response, len))
            .unwrap();
        for body in [Body::from(Pattern::bytes(len)), pattern_file(len).into()] {
            client
                .send(&upload_params(len), body, |response| check_response(response, len))
                .unwrap();
        }
        assert_eq!(application.accepted(), 1, "the connection is kept after {len} bytes");
        drop(client);
    }
}

/// Rule C8.
#[test]
fn response_is_returned_although_the_application_never_reads_the_body() {
    let len = 1 << 20;
    for body in [Body::from(Pattern::bytes(len)), pattern_file(len).into()] {
        let application = Application::unix(|_, mut stream| {
            read_begin_and_params(&mut stream).expect("the start of a request");
            stream.write_all(&response(b"early")).expect("the response is sent");
            wait_for_close(&mut stream);
        });
        let client = application.keep_alive_client();
        let mut stdout = String::new();
        client
            .send(&upload_params(len), body, |response| response.stdout.read_to_string(&mut stdout))
            .unwrap();
        assert_eq!(stdout, "early");
    }
}

/// Both streams are short enough for the thread that receives the response.
#[test]
fn filter_reads_both_streams_after_it_has_paused() {
    let len = 1 << 20;
    for part in [0, 500_000, 1_100_000] {
        let application = Application::unix(move |_, mut stream| {
            let request = read_begin_and_params(&mut stream).expect("the start of a request");
            let mut part_of_input = vec![0; part];
            stream.read_exact(&mut part_of_input).expect("a part of the input");
            thread::sleep(LONG_PAUSE);
            let mut rest = io::Cursor::new(part_of_input).chain(&mut stream);
            for record_type in [STDIN, DATA] {
                let mut expected = Pattern::new(len);
                while expected.remaining() > 0 {
                    let record = read_record(&mut rest).expect("a record of the input");
                    assert_eq!(record.record_type, record_type);
                    expected.write_all(&record.content).expect("the input");
                }
                let end = read_record(&mut rest).expect("the end of the stream");
                assert_eq!((end.record_type, &end.content[..]), (record_type, &b""[..]));
            }
            stream.write_all(&request.response(b"read")).expect("the response is sent");
        });
        let client = application.client();
        let (bytes, file) = (Pattern::bytes(len), pattern_file(len));
        let (stdout, _) = client
            .filter(&upload_params(len), &bytes, file, |response| {
                let mut stdout = String::new();
                response.stdout.read_to_string(&mut stdout)?;
                fcgi::Result::Ok(stdout)
            })
            .unwrap();
        assert_eq!(stdout, "read");
    }
}
