//! Each way in which an application refuses a request is a value of its own, and never an empty
//! success.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::sync::Arc;

use fcgi::client::Connection;
use fcgi::net::Stream;
use fcgi::record::{ProtocolStatus, Role};
use fcgi::Error;

use crate::support::application::*;
use crate::support::*;

const STATUSES: [(u8, ProtocolStatus); 5] = [
    (1, ProtocolStatus::CantMpxConn),
    (2, ProtocolStatus::Overloaded),
    (3, ProtocolStatus::UnknownRole),
    (4, ProtocolStatus::Unknown(4)),
    (255, ProtocolStatus::Unknown(255)),
];

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: fcgi::Result<T>, expected: ProtocolStatus) {
    match outcome {
        Err(Error::Refused(status)) => assert_eq!(status, expected),
        outcome => panic!("{outcome:?} instead of {expected:?}"),
    }
}

/// C9; "status OVERLOADED became `200` with no body": whatever came before, and whatever the app
/// status.
#[test]
fn each_status_is_told() {
    for (byte, status) in STATUSES {
        let before: [Vec<u8>; 4] = [
            Vec::new(),
            record(STDOUT, 1, b""),
            [record(STDOUT, 1, b"Content-Type: text/plain\n\nall"), record(STDOUT, 1, b"")]
                .concat(),
            [record(STDERR, 1, b"busy"), record(STDERR, 1, b"")].concat(),
        ];
        for before in before {
            let application = Application::answering([before, end(1, 0, byte)].concat());
            let client = application.client();
            assert_refused(client.fetch(&get_params(), b""), status);
            assert_refused(client.send(&get_params(), io::empty(), |_| Ok(())), status);
            let read = client.send(&get_params(), io::empty(), |response| {
                response.stdout.read_to_end(&mut Vec::new())
            });
            assert_refused(read, status);

            let mut connection =
                Connection::connect(&application.address, Arc::new(test_config())).unwrap();
            assert_refused(
                connection.begin(Role::Responder, &get_params()).unwrap().finish(),
                status,
            );
            assert!(!connection.is_reusable());
        }
    }
}

/// C9: a refusal is told while a body is sent that the application does not read, be the connection
/// closed or held; the failure to write is not what the caller gets.
#[test]
fn a_refusal_is_told_while_the_body_is_sent() {
    let refuse = |stream: &mut Stream| {
        read_begin_and_params(stream).expect("the head of a request");
        stream.write_all(&end(1, 0, 2)).expect("the refusal is taken");
    };
    let (gate, open) = gate();
    let closing = Application::tcp_and_unix(move |_, mut stream| refuse(&mut stream));
    let holding = Application::tcp_and_unix(move |_, mut stream| {
        refuse(&mut stream);
        gate.wait();
    });
    for application in closing.iter().chain(&holding) {
        let outcome = application.client().send(
            &upload_params(64 << 20),
            Pattern::new(64 << 20),
            |response| response.stdout.read_to_end(&mut Vec::new()),
        );
        assert_refused(outcome, ProtocolStatus::Overloaded);
    }
    drop(open);
}

/// C9, C19: a refusal ends a caller's waiting at once where the application keeps the connection
/// open; the next request does not hear of it.
#[test]
fn a_refusal_does_not_wait_for_the_connection_to_close() {
    let application = Application::unix(|number, mut stream| {
        while read_request(&mut stream).is_some() {
            let answer = if number == 0 { end(1, 0, 2) } else { response(b"served") };
            stream.write_all(&answer).expect("the answer is taken");
        }
    });
    let client = application.keep_alive_client();
    assert_refused(client.fetch(&get_params(), b""), ProtocolStatus::Overloaded);
    assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"served");
    drop(client);
}

/// C9: a refusal that a caller ignores while reading is still one in the end.
#[test]
fn an_ignored_refusal_is_no_success() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&[end(1, 0, 1), end(1, 0, 0)].concat()).expect("the answer is taken");
        wait_for_close(&mut stream);
    });
    let outcome = application.client().send(&get_params(), io::empty(), |response| {
        response.stdout.read(&mut [0]).unwrap_err();
        Ok(())
    });
    assert!(outcome.is_err(), "{outcome:?}");
}

/// C9: which refusals may be tried again, and how each reads.
#[test]
fn refusals_are_told_apart() {
    let expected = [
        (1, true, "application refused the request: CANT_MPX_CONN"),
        (2, true, "application refused the request: OVERLOADED"),
        (3, false, "application refused the request: UNKNOWN_ROLE"),
        (9, false, "application refused the request: protocol status 9"),
    ];
    for (byte, is_transient, message) in expected {
        let error =
            Application::answering(end(1, 0, byte)).client().fetch(&get_params(), b"").unwrap_err();
        assert_eq!((error.is_transient(), &error.to_string()[..]), (is_transient, message));
    }
}

/// "both close instead of answering an ABORT or an unknown role": the close is an error, not a
/// refusal and no success.
#[test]
fn an_unknown_role_may_be_answered_by_a_close() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
    });
    let outcome =
        application.client().send_as(Role::Unknown(9), &get_params(), io::empty(), |_| Ok(()));
    assert!(matches!(&outcome, Err(Error::UnexpectedEof(_) | Error::Io(_))), "{outcome:?}");
}
