//! Proves that a web server that disconnects inside a request leaks no descriptor and no thread.
//!
//! This is a program of its own because it counts the descriptors and threads of its process.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::Write;
use std::net::Shutdown;

use fcgi::server::Config;
use support::*;

fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).expect("a list").count()
}

/// The connection ends after every ninth byte, with and without a reset. Others are still served.
/// Rule A12.
#[test]
fn disconnecting_anywhere_leaks_no_descriptor_or_thread() {
    let bytes = [
        request(
            1,
            RESPONDER,
            1,
            &[("CONTENT_LENGTH", "2000"), ("B", &"b".repeat(200))],
            &[b'x'; 2000],
        ),
        record(GET_VALUES, 0, &pair(b"FCGI_MAX_CONNS", b"")),
    ]
    .concat();
    for server in TestServer::tcp_and_unix(&Config::new().max_connections(64), echo) {
        server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
        let (descriptors, threads) = (count("fd"), count("task"));
        for reset in [false, true] {
            for cut in (0..bytes.len()).step_by(9) {
                let mut stream = server.connect();
                stream.write_all(&bytes[..cut]).unwrap();
                if reset {
                    // Closing a socket with unread data resets a TCP connection.
                    stream
                        .write_all(&[record(99, 0, b""), bytes[..cut].to_vec()].concat())
                        .unwrap();
                } else if cut % 2 == 0 {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
            }
        }
        assert_eq!(
            server.round_trip(1, &request(1, RESPONDER, 0, &[], b"body")).stdout,
            echoed(&[], b"body")
        );
        wait_until("descriptors are closed", || count("fd") <= descriptors);
        // A few spare threads stay.
        wait_until("threads have ended", || count("task") <= threads + 16);
    }
}
