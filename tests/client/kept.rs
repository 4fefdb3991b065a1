//! Proves that a kept connection loses no request that may not be repeated, and that a response to
//! an earlier request is never taken for the response to a later one.
#![cfg(unix)]

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use fcgi::net::Stream;
use fcgi::{Client, Error, Params, Result};

use crate::begin;
use crate::support::application::*;
use crate::support::*;

const REQUESTS: usize = 2000;

/// A way of sending a request with a body, which returns the response.
type Ask = fn(&Client, &Params, &[u8]) -> Result<Vec<u8>>;

/// The same rules apply to both.
const WAYS: [Ask; 2] = [fetch, begin::ask];

fn fetch(client: &Client, params: &Params, body: &[u8]) -> Result<Vec<u8>> {
    client.fetch(params, body).map(|reply| reply.stdout)
}

/// The application has seen none of the requests that it does not answer.
#[test]
fn post_is_not_lost_if_the_application_closes_after_each_response() {
    for ask in WAYS {
        for application in Application::tcp_and_unix(|_, mut stream| {
            let request = read_request(&mut stream).expect("a request");
            stream.write_all(&request.response(&request.stdin)).expect("the response is sent");
        }) {
            let client = application.keep_alive_client();
            for number in 0..REQUESTS / 2 {
                let body = number.to_string();
                let outcome = ask(&client, &post_params(), body.as_bytes());
                assert_eq!(outcome.expect("a response"), body.as_bytes());
            }
            drop(client);
        }
    }
}

/// The connection that the first request has used is closed while the second one waits to be sent.
/// The application could also be slow to close it.
#[test]
fn post_is_not_lost_if_the_application_closes_late() {
    for (ask, pause) in WAYS.into_iter().flat_map(|ask| [0, 200, 2000].map(|pause| (ask, pause))) {
        let application = Application::unix(move |_, mut stream| {
            let request = read_request(&mut stream).expect("a request");
            stream.write_all(&request.response(b"")).expect("the response is sent");
            thread::sleep(Duration::from_micros(pause));
        });
        let client = application.keep_alive_client();
        for number in 0..20 {
            let outcome = ask(&client, &post_params(), b"body");
            assert!(outcome.is_ok(), "{number}, closed after {pause} µs: {outcome:?}");
        }
        drop(client);
    }
}

/// The connection is reused as soon as the application has been seen to keep it open.
#[test]
fn post_uses_a_kept_connection() {
    for ask in WAYS {
        let application = Application::unix(|_, mut stream| {
            while let Some(request) = read_request(&mut stream) {
                stream.write_all(&request.response(b"")).expect("the response is sent");
            }
        });
        let client = application.keep_alive_client();
        let start = Instant::now();
        for _ in 0..REQUESTS {
            ask(&client, &post_params(), b"body").expect("a response");
        }
        assert_eq!(application.accepted(), 1);
        assert!(start.elapsed() < TEST_TIMEOUT, "each request waited for the connection to close");
        drop(client);
    }
}

/// Nothing is known of the application any more once it has closed a connection after its first
/// request.
#[test]
fn post_is_not_lost_if_the_application_no_longer_keeps_connections_open() {
    for ask in WAYS {
        // The first connection serves two requests, and each other one a single request.
        let application = Application::unix(|number, mut stream| {
            for _ in 0..if number == 0 { 2 } else { 1 } {
                let request = read_request(&mut stream).expect("a request");
                stream.write_all(&request.response(b"")).expect("the response is sent");
            }
            if number > 1 {
                thread::sleep(Duration::from_millis(2));
            }
        });
        let client = application.keep_alive_client();
        for _ in 0..2 {
            ask(&client, &get_params(), b"").expect("a response on the first connection");
        }
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(2));
            ask(&client, &get_params(), b"").expect("a response on a connection of its own");
        }
        for number in 0..5 {
            let outcome = ask(&client, &post_params(), b"body");
            assert!(outcome.is_ok(), "{number}: {outcome:?}");
        }
        drop(client);
    }
}

/// Reads a request. Returns `None` if the client closes the connection, even with a reset.
fn read_request_or_close(stream: &mut Stream) -> Option<ReceivedRequest> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    while ![1, 2].iter().any(|id| bytes.ends_with(&record(STDIN, *id, b""))) {
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&piece[..n]);
    }
    read_request(&mut &bytes[..])
}

/// The application sends a second response after each response, at once or after a pause. Rule C23.
#[test]
fn response_to_an_earlier_request_is_never_taken() {
    for method in ["GET", "POST"] {
        for application in Application::tcp_and_unix(|number, mut stream| {
            while let Some(request) = read_request_or_close(&mut stream) {
                let stray = request.response(b"stray");
                let pause = Duration::from_micros([0, 20, 100, 1500][number % 4]);
                let _closed = stream.write_all(&request.response(&request.stdin)).and_then(|()| {
                    thread::sleep(pause);
                    stream.write_all(&stray)
                });
            }
        }) {
            let client = application.keep_alive_client();
            let params = Params::from_pairs([("REQUEST_METHOD", method)]).unwrap();
            for number in 0..REQUESTS / 4 {
                let body = number.to_string();
                match client.fetch(&params, body.as_bytes()) {
                    Ok(reply) => assert_eq!(reply.stdout, body.as_bytes(), "{method} {number}"),
                    Err(Error::UnexpectedRecord { .. }) => {}
                    Err(error) => panic!("{method} {number}: {error:?}"),
                }
            }
            drop(client);
        }
    }
}
