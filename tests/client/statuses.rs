//! Proves that each way in which an application refuses a request is a distinct error, and never an
//! empty success.
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
fn assert_refused<T: std::fmt::Debug>(
    outcome: Result<T, impl Into<Error>>,
    expected: ProtocolStatus,
) {
    let outcome = outcome.map_err(Into::into);
    match outcome {
        Err(Error::Refused(status)) => assert_eq!(status, expected),
        outcome => panic!("{outcome:?} instead of {expected:?}"),
    }
}

/// This holds whatever was received before, and for every app status. Rule C9.
#[test]
fn every_protocol_status_is_a_refusal() {
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
            assert_refused(
                client.send(&get_params(), io::empty(), |_| fcgi::Result::Ok(())),
                status,
            );
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

/// The application does not read the body, and closes the connection or not. The caller gets the
/// refusal, not the error of the write. Rules C8 and C9.
#[test]
fn refusal_is_returned_while_the_body_is_sent() {
    let refuse = |stream: &mut Stream| {
        read_begin_and_params(stream).expect("the start of a request");
        stream.write_all(&end(1, 0, 2)).expect("the refusal is sent");
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

/// The next request is not affected. Rules C9 and C19.
#[test]
fn refusal_is_returned_although_the_connection_stays_open() {
    let application = Application::unix(|number, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let answer = if number == 0 { end(1, 0, 2) } else { request.response(b"served") };
            stream.write_all(&answer).expect("the response is sent");
        }
    });
    let client = application.keep_alive_client();
    assert_refused(client.fetch(&get_params(), b""), ProtocolStatus::Overloaded);
    assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"served");
    drop(client);
}

/// Rule C9.
#[test]
fn ignored_refusal_is_not_a_success() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&[end(1, 0, 1), end(1, 0, 0)].concat()).expect("the response is sent");
        wait_for_close(&mut stream);
    });
    let outcome = application.client().send(&get_params(), io::empty(), |response| {
        response.stdout.read(&mut [0]).unwrap_err();
        fcgi::Result::Ok(())
    });
    assert!(outcome.is_err(), "{outcome:?}");
}

/// Rule C9.
#[test]
fn refusals_have_their_own_messages_and_transience() {
    let expected = [
        (1, true, "application refused the request: CANT_MPX_CONN"),
        (2, true, "application refused the request: OVERLOADED"),
        (3, false, "application refused the request: UNKNOWN_ROLE"),
        (9, false, "application refused the request: status-9"),
    ];
    for (byte, is_transient, message) in expected {
        let error =
            Application::answering(end(1, 0, byte)).client().fetch(&get_params(), b"").unwrap_err();
        assert_eq!((error.is_transient(), &error.to_string()[..]), (is_transient, message));
    }
}

/// It is neither a refusal nor a success. libfcgi and php-cgi do this. Rule C11.
#[test]
fn close_in_response_to_an_unknown_role_is_an_error() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
    });
    let outcome =
        application
            .client()
            .send_as(Role::Unknown(9), &get_params(), io::empty(), |_| fcgi::Result::Ok(()));
    assert!(matches!(&outcome, Err(Error::UnexpectedEof(_) | Error::Socket { .. })), "{outcome:?}");
}
