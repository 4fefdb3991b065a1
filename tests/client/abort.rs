//! Proves what a client sends when a request is aborted, cancelled or dropped, what its caller
//! learns, and whether the connection can be used again.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fcgi::client::{Completion, Config, Connection};
use fcgi::net::Stream;
use fcgi::record::{ProtocolStatus, Role};
use fcgi::Error;

use crate::support::application::*;
use crate::support::*;

/// Returns a kept connection and the thread of the application at its other end.
fn connected<T: Send + 'static>(
    config: Config,
    application: impl FnOnce(Stream) -> T + Send + 'static,
) -> (Connection, thread::JoinHandle<T>) {
    let (near, far) = socket_pair();
    let connection =
        Connection::new(near, Arc::new(config.keep_alive(true))).expect("a connection");
    (connection, thread::spawn(move || application(far)))
}

/// Reads records up to ABORT_REQUEST, which must be empty and have the id of the request. Returns
/// the types of the records before it.
fn read_abort(stream: &mut Stream) -> Vec<u8> {
    let mut types = Vec::new();
    loop {
        let record = read_record(stream).expect("a record, not the end");
        assert_eq!(record.id, 1, "{record:?}");
        if record.record_type == ABORT {
            assert!(record.content.is_empty(), "{record:?}");
            return types;
        }
        types.push(record.record_type);
    }
}

/// Nothing of the body follows, and the connection serves the next request. Rules C4 and C21.
#[test]
fn abort_sends_abort_request_and_waits_for_end_request() {
    let (mut connection, application) = connected(test_config(), |mut stream| {
        let types = read_abort(&mut stream);
        stream.write_all(&end(1, 7, 0)).expect("the response is sent");
        let next = read_request(&mut stream).expect("the next request, with no record before it");
        stream.write_all(&next.response(b"next")).expect("the response is sent");
        (types, next.stdin)
    });
    let mut exchange = connection.begin(Role::Responder, &upload_params(10)).unwrap();
    exchange.stdin.write_all(b"hello").unwrap();
    exchange.stdin.flush().unwrap();
    let completion = exchange.abort().unwrap();
    let mut expected = Completion::default();
    expected.app_status = 7;
    assert_eq!(completion, expected);

    assert!(connection.is_reusable());
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdin.write_all(b"all").unwrap();
    exchange.stdin.finish().unwrap();
    let mut stdout = String::new();
    exchange.stdout.read_to_string(&mut stdout).unwrap();
    exchange.finish().unwrap();
    assert_eq!(stdout, "next");
    assert_eq!(application.join().unwrap(), (vec![BEGIN, PARAMS, PARAMS, STDIN], b"all".to_vec()));
}

/// The body is untouched, buffered, sent in part, sent completely, or followed by the data of a
/// filter. Rule C21.
#[test]
fn request_can_be_aborted_in_every_state_of_its_body() {
    type Prepare = fn(&mut fcgi::client::Exchange<'_>) -> io::Result<()>;
    let cases: [(Prepare, &[u8]); 5] = [
        (|_| Ok(()), &[]),
        (|exchange| exchange.stdin.write_all(b"buffered"), &[]),
        (
            |exchange| exchange.stdin.write_all(b"sent").and_then(|()| exchange.stdin.flush()),
            &[STDIN],
        ),
        (
            |exchange| exchange.stdin.write_all(b"all").and_then(|()| exchange.stdin.finish()),
            &[STDIN, STDIN],
        ),
        (|exchange| exchange.stdin.start_data().and_then(|()| exchange.stdin.flush()), &[STDIN]),
    ];
    for (prepare, expected) in cases {
        let (mut connection, application) = connected(test_config(), |mut stream| {
            let types = read_abort(&mut stream);
            stream.write_all(&end(1, 0, 0)).expect("the response is sent");
            assert_closed(&mut stream);
            types
        });
        let mut exchange = connection.begin(Role::Filter, &get_params()).unwrap();
        prepare(&mut exchange).unwrap();
        exchange.abort().unwrap();
        assert!(connection.is_reusable());
        drop(connection);
        assert_eq!(application.join().unwrap(), [&[BEGIN, PARAMS, PARAMS], expected].concat());
    }
}

/// The application notices the abort late. Rule C21.
#[test]
fn output_after_an_abort_is_discarded_and_stderr_kept() {
    let (mut connection, application) = connected(test_config(), |mut stream| {
        read_abort(&mut stream);
        let records = self::stream(STDOUT, 1, &vec![b'x'; 1 << 20]);
        let ends = [record(STDERR, 1, b"gave up"), record(STDOUT, 1, b""), end(1, 1, 0)].concat();
        stream.write_all(&[records, ends].concat()).expect("the response is sent");
    });
    let exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    let completion = exchange.abort().unwrap();
    assert_eq!((completion.app_status, &completion.stderr[..]), (1, &b"gave up"[..]));
    assert!(connection.is_reusable());
    application.join().unwrap();
}

/// The response has been buffered, so it is complete although the connection is shut down.
#[test]
fn canceled_connection_cannot_be_reused() {
    let (mut connection, application) = connected(test_config(), |mut stream| {
        let request = read_request(&mut stream).expect("a request");
        stream.write_all(&request.response(b"response")).expect("the response is sent");
    });
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdin.finish().unwrap();
    exchange.stdout.read_exact(&mut [0]).unwrap();
    exchange.cancel();
    exchange.finish().expect("the rest of the response");
    assert!(!connection.is_reusable());
    application.join().unwrap();
}

/// libfcgi and php-cgi do this. The connection cannot be reused. Rule C21.
#[test]
fn abort_that_is_answered_with_a_close_is_an_error() {
    let (mut connection, application) = connected(test_config(), |mut stream| {
        read_abort(&mut stream);
    });
    let outcome = connection.begin(Role::Responder, &get_params()).unwrap().abort();
    assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "{outcome:?}");
    assert!(!connection.is_reusable());
    application.join().unwrap();
}

/// Rule C21.
#[test]
fn abort_may_be_answered_with_a_refusal_but_not_with_other_records() {
    for (answer, expected) in [
        (end(1, 0, 2), "application refused the request: OVERLOADED"),
        (end(2, 0, 0), "unexpected END_REQUEST record for request 2"),
        (record(ABORT, 1, b""), "unexpected ABORT_REQUEST record for request 1"),
    ] {
        let (mut connection, application) = connected(test_config(), move |mut stream| {
            read_abort(&mut stream);
            stream.write_all(&answer).expect("the response is sent");
        });
        let outcome = connection.begin(Role::Responder, &get_params()).unwrap().abort();
        assert_eq!(outcome.unwrap_err().to_string(), expected);
        assert!(!connection.is_reusable());
        application.join().unwrap();
    }
}

/// Rules C21 and C29.
#[test]
fn abort_that_is_not_answered_times_out() {
    let config = test_config().read_timeout(Some(Duration::from_millis(50)));
    let (mut connection, application) = connected(config, |mut stream| {
        read_abort(&mut stream);
        assert_closed(&mut stream);
    });
    let outcome = connection.begin(Role::Responder, &get_params()).unwrap().abort();
    assert!(matches!(outcome, Err(Error::TimedOut(_))), "{outcome:?}");
    assert!(!connection.is_reusable());
    drop(connection);
    application.join().unwrap();
}

/// The application ended the request before the abort could reach it. Rules C8 and C21.
#[test]
fn abort_after_the_application_closed_returns_its_end_request() {
    for finishes in [false, true] {
        let (near, mut far) = socket_pair();
        let mut connection =
            Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        exchange.stdin.flush().unwrap();
        read_begin_and_params(&mut far).unwrap();
        if finishes {
            exchange.stdin.finish().unwrap();
            read_record(&mut far).unwrap();
        }
        far.write_all(&end(1, 5, 0)).unwrap();
        drop(far);
        assert_eq!(exchange.abort().unwrap().app_status, 5);
        assert!(!connection.is_reusable(), "the abort could not be sent");
    }
}

/// Rules C4 and C21.
#[test]
fn abort_after_the_end_sends_nothing_and_returns_the_outcome() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    far.write_all(&[record(STDOUT, 1, b"x"), end(1, 3, 0)].concat()).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdin.finish().unwrap();
    // Without an empty STDOUT, reading to its end reads END_REQUEST.
    exchange.stdout.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(exchange.abort().unwrap().app_status, 3);
    assert!(connection.is_reusable());
    drop(connection);
    read_request(&mut far).unwrap();
    assert_closed(&mut far);
}

/// The application sees the end of the connection, and the caller gets an error.
#[test]
fn cancelled_request_fails_on_both_sides() {
    let (mut connection, application) = connected(test_config(), |mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        stream.write_all(&record(STDOUT, 1, b"half")).expect("the response is sent");
        wait_for_close(&mut stream);
    });
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    exchange.stdin.flush().unwrap();
    exchange.stdout.read_exact(&mut [0; 4]).unwrap();
    exchange.cancel();
    assert_eq!(exchange.stdout.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(exchange.finish().is_err());
    assert!(!connection.is_reusable());
    application.join().unwrap();
}

/// A handle cancels the request from another thread, which wakes the one that reads the response.
#[test]
fn cancel_handle_wakes_a_waiting_read() {
    let (near, far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config())).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    let handle = exchange.stdout.cancel_handle();
    let canceling = thread::spawn(move || handle.cancel());
    exchange.stdout.read_to_end(&mut Vec::new()).unwrap_err();
    canceling.join().unwrap();
    drop(far);
}

/// Once its request has ended, a handle does nothing to the next one on the connection, whenever
/// the handle was created.
#[test]
fn cancel_handle_does_not_affect_the_next_request() {
    let (near, mut far) = socket_pair();
    let mut connection = Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
    far.write_all(&end(1, 0, 0)).unwrap();
    let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    let early = exchange.stdout.cancel_handle();
    exchange.stdin.finish().unwrap();
    exchange.stdout.read_to_end(&mut Vec::new()).unwrap();
    let late = exchange.stdout.cancel_handle();
    exchange.finish().unwrap();

    let exchange = connection.begin(Role::Responder, &get_params()).unwrap();
    early.cancel();
    late.cancel();
    far.write_all(&end(2, 0, 0)).unwrap();
    exchange.finish().unwrap();
}

/// The request is dropped at several points. Otherwise the next request could receive the rest of
/// its response.
#[test]
fn connection_is_not_reusable_after_its_request_was_dropped() {
    for point in 0..4 {
        let (near, mut far) = socket_pair();
        let mut connection =
            Connection::new(near, Arc::new(test_config().keep_alive(true))).unwrap();
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        if point > 0 {
            exchange.stdin.finish().unwrap();
            read_request(&mut far).unwrap();
            far.write_all(&response(b"answer")).unwrap();
        }
        if point > 1 {
            exchange.stdout.read_exact(&mut [0; 3]).unwrap();
        }
        if point > 2 {
            exchange.stdout.read_to_end(&mut Vec::new()).unwrap();
        }
        drop(exchange);
        assert!(!connection.is_reusable(), "{point}");
        let error = connection.begin(Role::Responder, &get_params()).unwrap_err();
        assert!(
            matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::NotConnected),
            "{error:?}"
        );
        drop(connection);
        if point == 0 {
            assert_closed(&mut far);
        }
    }
}

/// The application does not read the rest of the body. The caller gets its own error, and the
/// application sees the close.
#[test]
fn error_of_the_receiver_ends_the_request_at_once() {
    for body in [0, 64 << 20] {
        let (gate, open) = gate();
        let application = Application::unix(move |_, mut stream| {
            read_begin_and_params(&mut stream).expect("the start of a request");
            stream.write_all(&record(STDOUT, 1, b"start")).expect("the bytes are sent");
            gate.wait();
            wait_for_close(&mut stream);
        });
        let client =
            application.client().config(Config::new().read_timeout(None).write_timeout(None));
        let outcome = run_with_timeout(move || {
            client.send(&upload_params(body), Pattern::new(body), |response| {
                response.stdout.read_exact(&mut [0; 5])?;
                Err::<(), _>(io::Error::other("enough"))
            })
        });
        assert_eq!(outcome.expect("no panic").unwrap_err().to_string(), "enough");
        drop(open);
    }
}

/// A part of the body was sent. Rules C9 and C21.
#[test]
fn abort_over_tcp_may_be_answered_with_a_refusal() {
    let application = Application::tcp(|_, mut stream| {
        read_abort(&mut stream);
        stream.write_all(&end(1, 0, 3)).expect("the response is sent");
        assert_closed(&mut stream);
    });
    let mut connection = application.client().connect().unwrap();
    let mut exchange = connection.begin(Role::Unknown(77), &get_params()).unwrap();
    exchange.stdin.write_all(&Pattern::bytes(50_000)).unwrap();
    exchange.stdin.flush().unwrap();
    assert!(matches!(exchange.abort(), Err(Error::Refused(ProtocolStatus::UnknownRole))));
    drop(connection);
}
