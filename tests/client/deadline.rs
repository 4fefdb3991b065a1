//! Proves that a request ends at its deadline, whatever the application does, and that the deadline
//! does not affect a request that keeps it.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::{Config, Connection};
use fcgi::net::Stream;
use fcgi::record::Role;
use fcgi::{Error, Params};

use crate::support::application::*;
use crate::support::*;

/// A deadline that the tests reach.
const DEADLINE: Duration = Duration::from_millis(200);
/// The pause of an application that keeps within every other timeout.
const PAUSE: Duration = Duration::from_millis(30);

fn config() -> Config {
    test_config().deadline(Some(DEADLINE))
}

/// Sends the bytes one at a time, until the client closes the connection.
fn trickle(stream: &mut Stream, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        thread::sleep(PAUSE);
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
    }
}

/// Runs a request, which must end with a timeout of this operation at the deadline.
#[track_caller]
fn assert_ends_at_deadline<T: std::fmt::Debug>(
    operation: &str,
    request: impl FnOnce() -> fcgi::Result<T>,
) {
    let start = Instant::now();
    let outcome = request();
    let elapsed = start.elapsed();
    assert!(
        matches!(outcome, Err(Error::TimedOut(timeout)) if timeout.operation == operation),
        "{outcome:?} after {elapsed:?}"
    );
    assert!(elapsed >= DEADLINE, "after {elapsed:?}");
    assert!(elapsed < TEST_TIMEOUT / 2, "after {elapsed:?}");
}

/// The default is one hour. Rule C29.
#[test]
fn application_that_sends_a_byte_now_and_then_does_not_hold_a_request() {
    assert_eq!(Config::new().deadline, Some(Duration::from_secs(3600)));
    // One long record, and two kinds of records without end.
    let answers =
        [record(STDOUT, 1, &[b'x'; 60_000]), record(STDERR, 1, b""), record(UNKNOWN_TYPE, 0, b"")];
    for answer in answers {
        for application in Application::tcp_and_unix(move |_, mut stream| {
            if read_begin_and_params(&mut stream).is_some() {
                trickle(&mut stream, &answer);
            }
        }) {
            let client = application.client().config(config().keep_alive(true));
            assert_ends_at_deadline("request", || client.fetch(&get_params(), b""));
            assert_ends_at_deadline("request", || {
                client.send(
                    &upload_params(1 << 20),
                    Pattern::new(1 << 20),
                    |_| fcgi::Result::Ok(()),
                )
            });
            let mut connection = client.connect().unwrap();
            assert_ends_at_deadline("request", || {
                let mut exchange = connection.begin(Role::Responder, &get_params())?;
                exchange.stdin.finish()?;
                exchange.finish()
            });
            assert!(!connection.is_reusable());
        }
    }
}

/// An answer to GET_VALUES may take a second in all. Rule C22.
#[test]
fn application_that_sends_a_byte_now_and_then_does_not_hold_get_values() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_record(&mut stream).expect("a query");
        trickle(&mut stream, &padded_record(GET_VALUES_RESULT, 0, &[0; 200], 0));
    }) {
        for client in [application.client(), application.client().config(config())] {
            assert_ends_at_deadline("request", || client.get_values());
            assert_ends_at_deadline("request", || client.negotiate());
        }
    }
}

/// The body exceeds the buffers of the operating system. Rule C29.
#[test]
fn application_that_reads_a_byte_now_and_then_does_not_hold_a_request() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        // What has been sent can be read even after the client has closed the connection.
        let start = Instant::now();
        while start.elapsed() < 2 * DEADLINE && stream.read(&mut [0]).is_ok_and(|n| n > 0) {
            thread::sleep(PAUSE);
        }
    }) {
        let client = application.client().config(config());
        assert_ends_at_deadline("request", || {
            client.send(&upload_params(64 << 20), Pattern::new(64 << 20), |_| fcgi::Result::Ok(()))
        });
        assert_ends_at_deadline("request", || {
            client.fetch(&upload_params(16 << 20), vec![b'x'; 16 << 20])
        });
        let mut params = get_params();
        params.push("LONG", vec![b'v'; 16 << 20]).unwrap();
        assert_ends_at_deadline("request", || client.fetch(&params, b""));
        let mut connection = client.connect().unwrap();
        assert_ends_at_deadline("request", || {
            let mut exchange = connection.begin(Role::Responder, &get_params())?;
            io::copy(&mut Pattern::new(64 << 20), &mut exchange.stdin)?;
            exchange.finish()
        });
    }
}

#[test]
fn waiting_for_a_connection_counts() {
    let (report, reports) = mpsc::channel();
    let (gate, open) = gate();
    let application = Application::unix(move |_, mut stream| {
        if let Some(request) = read_request(&mut stream) {
            report.send(()).expect("the test waits");
            gate.wait();
            let _closed = stream.write_all(&request.response(b""));
        }
    });
    let client = application.client().config(config().max_connections(Some(1)));
    thread::scope(|scope| {
        scope.spawn(|| assert_ends_at_deadline("request", || client.fetch(&get_params(), b"")));
        reports.recv().expect("the first request has begun");
        let start = Instant::now();
        let outcome = client.fetch(&get_params(), b"");
        assert!(outcome.is_err() && start.elapsed() < TEST_TIMEOUT / 2, "{outcome:?}");
    });
    drop(open);
}

/// It counts although the caller, not the application, delays the request.
#[test]
fn time_between_reads_counts() {
    let application = Application::unix(|_, mut stream| {
        if let Some(request) = read_request(&mut stream) {
            let _closed = stream.write_all(&request.response(&[b'x'; 100_000]));
        }
    });
    let client = application.client().config(config());
    let outcome = client.send(&get_params(), io::empty(), |response| {
        response.stdout.read_exact(&mut [0; 10])?;
        thread::sleep(DEADLINE);
        io::copy(&mut response.stdout, &mut io::sink())
    });
    let message = outcome.expect_err("a request that takes too long").to_string();
    assert_eq!(message, format!("request timed out after {} ms", DEADLINE.as_millis()));
}

/// The first read of a small request on a kept connection makes no system call to limit its wait.
#[test]
fn time_before_the_first_read_counts() {
    let application = Application::unix(|_, mut stream| {
        for _ in 0..3 {
            let request = read_request(&mut stream).expect("a request");
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client = application.client().config(config().keep_alive(true));
    for _ in 0..2 {
        client.fetch(&get_params(), b"").expect("a kept connection");
    }
    let params = Params::from_pairs([("REQUEST_METHOD", "POST")]).expect("params");
    let outcome = client.send(&params, io::empty(), |response| {
        thread::sleep(DEADLINE);
        io::copy(&mut response.stdout, &mut io::sink())
    });
    let message = outcome.expect_err("a request that takes too long").to_string();
    assert_eq!(message, format!("request timed out after {} ms", DEADLINE.as_millis()));
    assert_eq!(application.accepted(), 1);
    drop(client);
}

/// The response of a request on a kept connection waits for the first part of its body.
#[test]
fn waiting_for_the_body_counts() {
    let application = Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client = application.client().config(config().keep_alive(true));
    client.fetch(&get_params(), b"").expect("a kept connection");
    let mut exchange = client.begin(Role::Responder, &get_params()).expect("an exchange");
    let error = exchange.stdout.read(&mut [0]).expect_err("the body is not sent");
    let message = format!("request timed out after {} ms", DEADLINE.as_millis());
    assert_eq!(error.to_string(), message);
    drop((exchange, client));
}

/// A request that ends just before its deadline leaves a short timeout on the socket.
#[test]
fn next_request_has_its_own_deadline() {
    let application = Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let answer = request.response(b"0123456789");
            let pieces = if request.id == 1 { 3 } else { 1 };
            for piece in answer.chunks(answer.len().div_ceil(pieces)) {
                // A single piece takes longer than what the first response leaves of its time.
                thread::sleep(Duration::from_millis(800) / pieces as u32);
                stream.write_all(piece).expect("the response is sent");
            }
        }
    });
    let config = test_config().deadline(Some(Duration::from_millis(1500))).keep_alive(true);
    let client = application.client().config(config.clone());
    let mut connection = Connection::connect(&application.address, Arc::new(config)).unwrap();
    for _ in 0..2 {
        assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"0123456789");
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        exchange.stdin.finish().unwrap();
        exchange.finish().unwrap();
    }
    assert_eq!(application.accepted(), 2);
    drop((client, connection));
}

#[test]
fn without_a_deadline_a_slow_response_is_received() {
    let application = Application::unix(|_, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        for piece in request.response(b"slow").chunks(1) {
            thread::sleep(PAUSE);
            stream.write_all(piece).expect("the response is sent");
        }
    });
    let client = application.client().config(test_config().deadline(None));
    assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"slow");
}
