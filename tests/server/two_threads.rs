//! Proves that a handler may use the streams of its request on several threads at once, and that
//! only whole records are sent.

use std::io::{Read, Write};
use std::thread;

use crate::support::*;
use fcgi::server::Config;

/// The number of GET_VALUES records that the web server sends during the response.
const QUERIES: usize = 300;
const PIECE: usize = 300_000;
const PIECES: usize = 60;

/// Rules A33 and A44.
#[test]
fn records_written_by_several_threads_do_not_mix() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        let (stdin, stdout, stderr) =
            (&mut request.stdin, &mut request.stdout, &mut request.stderr);
        thread::scope(|scope| {
            // This thread answers the queries, and returns when STDIN ends.
            let reading = scope.spawn(move || stdin.read_to_end(&mut Vec::new()));
            let writing = scope
                .spawn(move || (0..PIECES).try_for_each(|_| stderr.write_all(&vec![b'e'; PIECE])));
            for _ in 0..PIECES {
                stdout.write_all(&vec![b'o'; PIECE])?;
            }
            writing.join().expect("the writing thread")?;
            reading.join().expect("the reading thread")?;
            Ok(())
        })
    }) {
        let stream = server.connect();
        let mut sending = stream.clone();
        let query = record(GET_VALUES, 0, &pair(b"FCGI_MAX_CONNS", b""));
        thread::scope(|scope| {
            scope.spawn(move || {
                sending
                    .write_all(&[begin(1, RESPONDER, 0), params(1, &[])].concat())
                    .expect("written");
                for _ in 0..QUERIES {
                    sending.write_all(&query).expect("written");
                }
                sending.write_all(&record(STDIN, 1, b"")).expect("written");
            });
            // `read_answer` fails if records are mixed.
            let answer = read_answer(&mut { stream }, 1);
            assert_eq!(
                (answer.stdout.len(), answer.stderr.len()),
                (PIECE * PIECES, PIECE * PIECES)
            );
            assert!(
                answer.stdout.iter().all(|byte| *byte == b'o')
                    && answer.stderr.iter().all(|byte| *byte == b'e')
            );
            assert_eq!(answer.management.len(), QUERIES);
        });
    }
}
