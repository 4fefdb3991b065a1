//! Proves that the memory of a server is bounded by what a handler keeps, whatever a web server
//! sends or does not read.
//!
//! This is a program of its own because it measures the memory of its process.
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
/// The allowed growth. About a hundred times as much data is transferred.
const MARGIN: usize = 12 * MIB;

/// Returns the resident memory of the process in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).expect("its second number").parse::<usize>().expect("pages") * 4096
}

/// Runs an action and returns by how much memory grew at most meanwhile.
fn growth(action: impl FnOnce() + Send) -> usize {
    let before = resident();
    let mut most = before;
    thread::scope(|scope| {
        let running = scope.spawn(action);
        while !running.is_finished() {
            most = most.max(resident());
            thread::sleep(Duration::from_millis(1));
        }
    });
    most - before
}

/// Writes `count` MiB of a stream of request 1, without its end. Returns whether all of it was
/// sent.
fn write_mib(mut stream: &Stream, record_type: u8, count: usize) -> bool {
    let mib = record(record_type, 1, &[0].repeat(32768 - 8)).repeat(32);
    (0..count).all(|_| stream.write_all(&mib).is_ok())
}

/// The cases are 200 MiB of output to a slow reader, 128 MiB of unread body with and without
/// KEEP_CONN, 1 GiB of PARAMS, and 20 requests that declare names and values of 2 GiB. Rules A54
/// and K17.
#[test]
fn memory_is_bounded_for_output_unread_input_and_params() {
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
            // Read nothing for a while. An unbounded buffer would fill meanwhile.
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
            // Without KEEP_CONN the connection is closed at some point.
            let mut stream = server.connect();
            stream.write_all(&[begin(1, RESPONDER, 0), params(1, &[])].concat()).unwrap();
            assert!(!write_mib(&stream, STDIN, 128));
        });
        assert!(grown < MARGIN, "{grown} bytes for input that is not read");

        let grown = growth(|| {
            let mut stream = server.connect();
            stream.write_all(&begin(1, RESPONDER, 1)).unwrap();
            assert!(!write_mib(&stream, PARAMS, 1024), "1 GiB of params was accepted");
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
