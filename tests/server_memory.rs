//! Proves that memory is bounded by what a handler keeps, whatever a web server sends or does not
//! take. Its one test looks at the memory of the process, so it is alone in this file.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use fcgi::net::Stream;
use fcgi::server::Config;
use support::*;

const MIB: usize = 1 << 20;
/// What the memory may grow by while a hundred times as much passes.
const MARGIN: usize = 12 * MIB;

/// The resident memory of the process, in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).expect("its second number").parse::<usize>().expect("pages") * 4096
}

/// Does something while it looks at the memory again and again; returns by how much that has grown
/// at most.
fn growth(action: impl FnOnce() + Send) -> usize {
    let before = resident();
    let mut most = before;
    thread::scope(|scope| {
        let acting = scope.spawn(action);
        while !acting.is_finished() {
            most = most.max(resident());
            thread::sleep(Duration::from_millis(1));
        }
    });
    most - before
}

/// Writes so many MiB of a stream of request 1, without its end; false if the application does not
/// take it all.
fn write_mib(mut stream: &Stream, record_type: u8, count: usize) -> bool {
    let mib = record(record_type, 1, &[0].repeat(32768 - 8)).repeat(32);
    (0..count).all(|_| stream.write_all(&mib).is_ok())
}

/// A54: 200 MiB out to a slow reader, 128 MiB of unread body in, on a kept connection and not, 1
/// GiB of PARAMS, 20 requests that announce names and values of 2 GiB (K17).
#[test]
fn a54_memory_is_bounded() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        if request.params.get("OUT").is_some() {
            (0..200).try_for_each(|_| request.stdout.write_all(&vec![b'x'; MIB]))?;
        }
        Ok(())
    }) {
        server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));

        let grown = growth(|| {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 0, &[("OUT", "1")], b"")).unwrap();
            // It takes nothing for a while, when a buffer without bounds would fill.
            thread::sleep(Duration::from_millis(200));
            let read = io::copy(&mut stream, &mut io::sink()).unwrap();
            assert!(read > 200 << 20, "{read} bytes");
        });
        assert!(grown < MARGIN, "{grown} bytes for the output");

        let grown = growth(|| {
            let mut stream = server.connect();
            stream.write_all(&[begin(1, RESPONDER, 1), params(1, &[])].concat()).unwrap();
            assert!(write_mib(&stream, STDIN, 128));
            stream
                .write_all(&[record(STDIN, 1, b""), request(2, RESPONDER, 0, &[], b"")].concat())
                .unwrap();
            read_answer(&mut stream, 1);
            read_answer(&mut stream, 2);
            // Not kept, it is cut off at some point.
            let mut stream = server.connect();
            stream.write_all(&[begin(1, RESPONDER, 0), params(1, &[])].concat()).unwrap();
            assert!(!write_mib(&stream, STDIN, 128));
        });
        assert!(grown < MARGIN, "{grown} bytes for input that is not read");

        let grown = growth(|| {
            let mut stream = server.connect();
            stream.write_all(&begin(1, RESPONDER, 1)).unwrap();
            assert!(!write_mib(&stream, PARAMS, 1024), "1 GiB of params was taken");
            let mut refusal = Vec::new();
            let _reset = stream.read_to_end(&mut refusal);
            assert!(String::from_utf8_lossy(&refusal).contains("Status: 431 "));
        });
        assert!(grown < MARGIN, "{grown} bytes for params");

        let grown = growth(|| {
            let streams: Vec<Stream> = (0..20).map(|_| server.connect()).collect();
            for mut stream in &streams {
                let lengths = record(PARAMS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff");
                stream
                    .write_all(
                        &[begin(1, RESPONDER, 1), lengths, record(GET_VALUES, 0, b"")].concat(),
                    )
                    .unwrap();
                assert_eq!(
                    read_record(&mut stream).expect("a result").record_type,
                    GET_VALUES_RESULT
                );
            }
        });
        assert!(grown < MARGIN, "{grown} bytes for lengths");
    }
}
