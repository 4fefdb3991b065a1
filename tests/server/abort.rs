//! Proves that a request can be aborted at any time: it is answered with exactly one END_REQUEST,
//! the handler learns of it, and the connection stays in step.

use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Error;

fn abort(id: u16) -> Vec<u8> {
    record(ABORT, id, b"")
}

/// Asserts that a plain request with the same id is served, and that nothing comes before its
/// answer.
#[track_caller]
fn assert_in_step(stream: &mut Stream) {
    stream.write_all(&request(1, RESPONDER, 1, &[("A", "1")], b"body")).unwrap();
    let answer = read_answer(stream, 1);
    assert_eq!(answer.stdout, echoed(&[("A", "1")], b"body"));
    assert_eq!((answer.app_status, answer.management.len()), (0, 0));
}

/// A handler that tests wait for and direct.
struct Directed {
    /// Told what the handler has seen.
    said: Receiver<String>,
    /// Lets the handler go on.
    go_on: Sender<()>,
}

/// A server for a handler that gets both ends of a conversation with its test. A request with the
/// param `A` is echoed.
fn directed(
    handler: impl Fn(&mut Request, &dyn Fn(String), &dyn Fn()) -> HandlerResult + Send + Sync + 'static,
) -> (TestServer, Directed) {
    let (say, said) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let told = Mutex::new(told);
    let server = TestServer::tcp(Config::new(), move |request| {
        if request.params.get("A").is_some() {
            return echo(request);
        }
        let wait = || told.lock().unwrap().recv_timeout(TEST_TIMEOUT).expect("told to go on");
        handler(request, &|text| say.send(text).expect("a test"), &wait)
    });
    (server, Directed { said, go_on })
}

impl Directed {
    #[track_caller]
    fn expect(&self, text: &str) {
        assert_eq!(self.said.recv_timeout(TEST_TIMEOUT).expect("the handler says something"), text);
    }
}

/// A47: right after BEGIN and in PARAMS, where no handler runs: END_REQUEST at once, with
/// REQUEST_COMPLETE and without STDOUT. "ABORT answered with two END_REQUESTs and output after the
/// first, or never".
#[test]
fn a47_in_params() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        let part = record(PARAMS, 1, &pair(b"A", b"2")[..2]);
        for before in [&b""[..], &part, &part.repeat(3)] {
            stream.write_all(&[&begin(1, RESPONDER, 1), before, &abort(1)].concat()).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!(answer, Answer::default(), "END_REQUEST alone, with REQUEST_COMPLETE");
            assert_in_step(&mut stream);
        }
        // A48: what is still on its way under that id belongs to no request.
        let late =
            [params(1, &[("B", "2")]), record(STDIN, 1, b"late"), record(STDIN, 1, b""), abort(1)]
                .concat();
        stream.write_all(&[begin(1, RESPONDER, 1), abort(1), late].concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1), Answer::default());
        assert_in_step(&mut stream);
        // A9: without KEEP_CONN, the close follows.
        stream.write_all(&[begin(1, RESPONDER, 0), abort(1)].concat()).unwrap();
        assert_eq!(read_answer(&mut stream, 1), Answer::default());
        assert_closed(&mut stream);
    }
}

/// A47, A49: while the handler reads: reading fails with `ConnectionAborted`, and goes on failing
/// so.
#[test]
fn a47_a49_while_the_handler_reads() {
    for how in ["read", "fill_buf", "data"] {
        let (server, directed) = directed(move |request, say, _| {
            let mut byte = [0];
            request.stdin.read_exact(&mut byte)?;
            say("reading".into());
            for _ in 0..2 {
                let error = match how {
                    "read" => request.stdin.read(&mut [0; 9]).unwrap_err(),
                    "fill_buf" => request.stdin.fill_buf().unwrap_err(),
                    _ => request.stdin.data().unwrap_err(),
                };
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                assert!(matches!(Error::from(error), Error::Aborted));
            }
            assert!(request.is_aborted());
            Err(Error::Aborted.into())
        });
        let mut stream = server.connect();
        stream
            .write_all(&[begin(1, RESPONDER, 1), params(1, &[]), record(STDIN, 1, b"x")].concat())
            .unwrap();
        directed.expect("reading");
        // A48: more of the body behind the abort, and its end, belong to no request.
        stream
            .write_all(&[abort(1), record(STDIN, 1, b"late"), record(STDIN, 1, b"")].concat())
            .unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((answer.app_status, answer.protocol_status), (1, 0));
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "request aborted by the web server\n");
        assert_in_step(&mut stream);
    }
}

/// A47, A48: before and in STDIN, with everything sent at once: one END_REQUEST, none of the body
/// behind it.
#[test]
fn a47_a48_in_stdin() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for body in [&b""[..], &record(STDIN, 1, b"some"), &record(STDIN, 1, &[b'x'].repeat(65535))]
        {
            let late = [record(STDIN, 1, b"late"), record(STDIN, 1, b""), abort(1)].concat();
            stream
                .write_all(
                    &[&begin(1, RESPONDER, 1), &params(1, &[]), body, &abort(1), &late].concat(),
                )
                .unwrap();
            let answer = read_answer(&mut stream, 1);
            assert_eq!((answer.app_status, answer.protocol_status), (1, 0));
            assert!(!answer.text().contains("late"));
            assert_in_step(&mut stream);
        }
    }
}

/// A47, A49: while the handler writes, it sees the abort by `is_aborted`, which never waits.
#[test]
fn a47_a49_during_output() {
    for body in [&b""[..], b"body"] {
        let (server, directed) = directed(|request, say, _| {
            let start = Instant::now();
            assert!(!request.is_aborted());
            assert!(start.elapsed() < Duration::from_secs(5), "it has waited");
            say("not aborted".into());
            while !request.is_aborted() && start.elapsed() < TEST_TIMEOUT {
                request.stdout.write_all(b"more ")?;
                request.stdout.flush()?;
                thread::sleep(Duration::from_millis(1));
            }
            request.app_status = if request.is_aborted() { 9 } else { 1 };
            Ok(())
        });
        let before = [begin(1, RESPONDER, 1), params(1, &[]), stream(STDIN, 1, body)].concat();
        let mut stream = server.connect();
        stream.write_all(&before).unwrap();
        directed.expect("not aborted");
        assert_eq!(read_record(&mut stream).expect("output").record_type, STDOUT);
        stream.write_all(&abort(1)).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!((answer.app_status, answer.protocol_status, answer.stdout_ends), (9, 0, 1));
        assert_in_step(&mut stream);
    }
}

/// A48: a handler that never looks ends its request as ever, with one END_REQUEST, and the abort is
/// no one's.
#[test]
fn a48_unseen() {
    let (server, directed) = directed(|request, say, wait| {
        say("working".into());
        wait();
        Ok(write!(request.stdout, "done")?)
    });
    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    directed.expect("working");
    stream.write_all(&abort(1)).unwrap();
    directed.go_on.send(()).unwrap();
    let answer = read_answer(&mut stream, 1);
    assert_eq!((answer.text(), answer.app_status, answer.stdout_ends), ("done".into(), 0, 1));
    assert_in_step(&mut stream);
}

/// A47: after the end an abort is a record of an inactive id: no second END_REQUEST.
#[test]
fn a47_after_the_end() {
    for server in TestServer::tcp_and_unix(&Config::new(), echo) {
        let mut stream = server.connect();
        for _ in 0..3 {
            assert_in_step(&mut stream);
            stream.write_all(&[abort(1), abort(2), abort(0)].concat()).unwrap();
        }
        assert_in_step(&mut stream);
    }
}

/// The abort of another request is not this one's, whether the handler reads or asks.
#[test]
fn of_another_request() {
    let (server, _directed) = directed(|request, _, _| {
        assert!(!request.is_aborted());
        let mut body = String::new();
        request.stdin.read_to_string(&mut body)?;
        assert!(!request.is_aborted());
        Ok(request.stdout.write_all(body.as_bytes())?)
    });
    let bytes = request(1, RESPONDER, 0, &[], b"body");
    let (head, body) = bytes.split_at(bytes.len() - 20);
    let answer = server.round_trip(1, &[head, &abort(2), &abort(0), body].concat());
    assert_eq!((answer.text(), answer.app_status), ("body".into(), 0));
}

/// A49: behind body that the handler has not read, or has read in part, the abort is seen all the
/// same, and reading what came before it is not.
#[test]
fn a49_behind_unread_stdin() {
    for part in [0, 3] {
        let (server, directed) = directed(move |request, say, wait| {
            request.stdin.read_exact(&mut vec![0; part])?;
            assert!(!request.is_aborted());
            say("looking".into());
            wait();
            while !request.is_aborted() {
                thread::yield_now();
            }
            Err(Box::new(Error::from(request.stdin.read(&mut [0; 9]).unwrap_err())))
        });
        let mut stream = server.connect();
        stream
            .write_all(
                &[
                    begin(1, RESPONDER, 1),
                    params(1, &[]),
                    record(STDIN, 1, b"some"),
                    record(STDIN, 1, b"more"),
                ]
                .concat(),
            )
            .unwrap();
        directed.expect("looking");
        stream.write_all(&abort(1)).unwrap();
        directed.go_on.send(()).unwrap();
        let answer = read_answer(&mut stream, 1);
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "request aborted by the web server\n");
        assert_in_step(&mut stream);
    }
}

/// A47 in the other roles: in a filter's data, and to an authorizer, which has no input where it
/// could come.
#[test]
fn a47_filter_and_authorizer() {
    let server =
        TestServer::tcp(Config::new().roles(&[Role::Filter, Role::Authorizer]), |request| {
            match request.role {
                Role::Filter => io::copy(request.stdin.data()?, &mut request.stdout).map(drop)?,
                _ => {
                    while !request.is_aborted() {
                        thread::yield_now();
                    }
                }
            }
            Ok(())
        });
    let mut stream = server.connect();
    let filter = [
        request(1, FILTER, 1, &[], b"body"),
        record(DATA, 1, b"da"),
        abort(1),
        record(DATA, 1, b"ta"),
    ]
    .concat();
    stream.write_all(&filter).unwrap();
    let answer = read_answer(&mut stream, 1);
    assert_eq!((answer.app_status, answer.protocol_status), (1, 0));
    stream
        .write_all(
            &[record(DATA, 1, b""), begin(2, AUTHORIZER, 1), params(2, &[]), abort(2)].concat(),
        )
        .unwrap();
    assert_eq!(read_answer(&mut stream, 2).protocol_status, 0);
    stream
        .write_all(
            &[request(3, FILTER, 0, &[], b""), record(DATA, 3, b"data"), record(DATA, 3, b"")]
                .concat(),
        )
        .unwrap();
    assert_eq!(read_answer(&mut stream, 3).text(), "data");
    assert_closed(&mut stream);
}

/// A12: a web server that has gone away is seen as one that aborts; one that has ended its side
/// behind the whole input is not (A13).
#[test]
fn a12_a13_gone_or_half_closed() {
    let (server, directed) = directed(|request, say, wait| {
        say("working".into());
        wait();
        if request.params.get("GONE").is_some() {
            while !request.is_aborted() {
                thread::yield_now();
            }
            let error = io::copy(&mut request.stdin, &mut io::sink()).unwrap_err();
            say(format!("{:?}", error.kind()));
        } else {
            for _ in 0..100 {
                assert!(!request.is_aborted());
            }
            assert_eq!(io::copy(&mut request.stdin, &mut io::sink())?, 4);
            assert!(!request.is_aborted());
        }
        Ok(())
    });
    let stream = server.connect();
    (&stream)
        .write_all(
            &[begin(1, RESPONDER, 1), params(1, &[("GONE", "1")]), record(STDIN, 1, b"some")]
                .concat(),
        )
        .unwrap();
    directed.expect("working");
    drop(stream);
    directed.go_on.send(()).unwrap();
    assert!(["UnexpectedEof", "ConnectionReset"]
        .contains(&&*directed.said.recv_timeout(TEST_TIMEOUT).unwrap()));

    let mut stream = server.connect();
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    directed.expect("working");
    directed.go_on.send(()).unwrap();
    let answer = read_answer(&mut stream, 1);
    assert_eq!(
        (answer.app_status, answer.stderr.len()),
        (0, 0),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    assert_closed(&mut stream);
}
