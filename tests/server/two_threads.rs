//! A handler may use its streams in threads of its own: whole records only leave, whoever writes
//! (property 10 of the design; rules A33, A44).

use std::io::{Read, Write};
use std::thread;

use crate::support::*;
use fcgi::server::Config;

/// How often the web server asks while the answer is on its way.
const QUERIES: usize = 300;
const PIECE: usize = 300_000;
const PIECES: usize = 60;

#[test]
fn a33_a44_records_do_not_mix() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        let (stdin, stdout, stderr) =
            (&mut request.stdin, &mut request.stdout, &mut request.stderr);
        thread::scope(|scope| {
            // Answers the queries, and comes to the end when all were sent.
            let reading = scope.spawn(move || stdin.read_to_end(&mut Vec::new()));
            let writing = scope
                .spawn(move || (0..PIECES).try_for_each(|_| stderr.write_all(&vec![b'e'; PIECE])));
            for _ in 0..PIECES {
                stdout.write_all(&vec![b'o'; PIECE])?;
            }
            writing.join().expect("the thread that writes")?;
            reading.join().expect("the thread that reads")?;
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
            // Anything out of place fails in here.
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
