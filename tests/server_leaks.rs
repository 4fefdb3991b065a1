//! Proves that a web server which goes away in the middle of a request leaves nothing behind. Its
//! one test counts the descriptors and threads of the process, so it is alone in this file.
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

/// A12: vanish at every 9th byte, with and without a reset; descriptors and threads return, and
/// others are served.
#[test]
fn a12_clients_that_vanish() {
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
                    // What is not read when the socket is closed makes TCP send a reset.
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
        wait_until("descriptors have returned", || count("fd") <= descriptors);
        // A few threads stay, to accept those who come next.
        wait_until("threads have returned", || count("task") <= threads + 4);
    }
}
