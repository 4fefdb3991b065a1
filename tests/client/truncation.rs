//! A response that is cut is an error wherever it is cut, never a success and never a hang; what
//! came before the cut is still read.
#![cfg(unix)]

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use fcgi::client::{Authorization, Connection};
use fcgi::record::Role;
use fcgi::{Client, Error};

use crate::support::application::*;
use crate::support::*;

/// A response with all that can be in one, and how many bytes of STDOUT each part of it carries.
fn parts() -> Vec<(Vec<u8>, usize)> {
    vec![
        (padded_record(STDERR, 1, b"warning", 1), 0),
        (padded_record(STDOUT, 1, b"Content-Type: text/plain\r\n\r\n", 5), 28),
        (record(GET_VALUES_RESULT, 0, &pair(b"FCGI_MPXS_CONNS", b"0")), 0),
        (record(STDOUT, 1, b"body"), 4),
        (record(STDERR, 1, b""), 0),
        (padded_record(STDOUT, 1, b"", 8), 0),
        (end(1, 0, 0), 0),
    ]
}

fn whole() -> Vec<u8> {
    parts().into_iter().flat_map(|(bytes, _)| bytes).collect()
}

/// How many bytes of STDOUT are in the first `cut` bytes of the response.
fn stdout_before(cut: usize) -> usize {
    let mut start = 0;
    let mut count = 0;
    for (bytes, len) in parts() {
        count += len.min(cut.saturating_sub(start + 8));
        start += bytes.len();
    }
    count
}

/// An application whose answer on the n-th connection is cut behind n bytes.
fn cutting() -> [Application; 2] {
    Application::tcp_and_unix(|cut, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&whole()[..cut]).expect("the answer is taken");
    })
}

/// Asserts that every cut gives an error, and the whole response none.
#[track_caller]
fn assert_each_cut_fails<T: std::fmt::Debug>(ask: impl Fn(&Client) -> fcgi::Result<T>) {
    for application in cutting() {
        let client = application.client();
        for cut in 0..whole().len() {
            let outcome = ask(&client);
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "cut at {cut}: {outcome:?}");
        }
        ask(&client).expect("the whole response");
    }
}

/// C11; "END_REQUEST missing, yet taken as complete", also behind the empty STDOUT; "A partial
/// header": each header is cut at each of its inner offsets.
#[test]
fn fetch_fails_at_each_cut() {
    assert_each_cut_fails(|client| client.fetch(&get_params(), b""));
}

/// C11: the same for a caller who reads nothing of the response.
#[test]
fn an_unread_response_fails_at_each_cut() {
    assert_each_cut_fails(|client| client.send(&get_params(), io::empty(), |_| Ok(())));
}

/// C11: the same behind a body that is sent by a thread of its own.
#[test]
fn the_response_to_a_large_body_fails_at_each_cut() {
    assert_each_cut_fails(|client| {
        client.send(&upload_params(100_000), Pattern::new(100_000), |response| {
            response.stdout.read_to_end(&mut Vec::new())
        })
    });
}

/// C11: the same for a request that asks for the connection to be kept: on a new connection it is
/// not repeated.
#[test]
fn a_kept_connection_fails_at_each_cut() {
    for application in cutting() {
        let client = application.keep_alive_client();
        for cut in 0..whole().len() {
            let outcome = client.fetch(&get_params(), b"");
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "cut at {cut}: {outcome:?}");
            assert_eq!(application.accepted(), cut + 1);
        }
    }
}

/// C11; "EOF honoured before buffered bytes were read": an `Exchange` gives what came, then the
/// error, for ever.
#[test]
fn what_came_before_the_cut_is_read() {
    for application in cutting() {
        for cut in 0..whole().len() {
            let mut connection =
                Connection::connect(&application.address, Arc::new(test_config())).unwrap();
            let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
            exchange.stdin.finish().unwrap();
            let mut stdout = Vec::new();
            let outcome = exchange.stdout.read_to_end(&mut stdout);
            assert_eq!(stdout.len(), stdout_before(cut), "cut at {cut}");
            // Behind the end of STDOUT only the end of the request is missing.
            let has_ended = cut >= whole().len() - 16 - 8;
            match outcome {
                Ok(_) => assert!(has_ended, "cut at {cut}"),
                Err(error) => {
                    assert_eq!(
                        (error.kind(), has_ended),
                        (io::ErrorKind::UnexpectedEof, false),
                        "cut at {cut}"
                    );
                    exchange.stdout.read(&mut [0]).unwrap_err();
                    exchange.stdout.fill_buf().unwrap_err();
                }
            }
            let outcome = exchange.finish();
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "cut at {cut}: {outcome:?}");
            assert!(!connection.is_reusable());
        }
    }
}

/// C11: a connection that is reset is an error too, whatever came before.
#[test]
fn a_reset_is_an_error() {
    let application = Application::tcp(|cut, mut stream| {
        // Closing with a request that was not read resets the connection.
        stream.read_exact(&mut [0]).expect("a byte of the request");
        let answer = whole();
        stream.write_all(&answer[..cut.min(answer.len() - 1)]).expect("the answer is taken");
    });
    let client = application.client();
    for cut in 0..whole().len() {
        let outcome = client.fetch(&get_params(), b"");
        assert!(outcome.is_err(), "cut at {cut}: {outcome:?}");
    }
}

/// C11: a cut inside END_REQUEST's padding cuts nothing: the request has ended, and the connection
/// with it.
#[test]
fn a_cut_in_the_last_padding_cuts_nothing() {
    let whole =
        [record(STDOUT, 1, b"all"), record(STDOUT, 1, b""), padded_record(END, 1, &[0; 8], 255)]
            .concat();
    let application = Application::tcp(move |number, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&whole[..whole.len() - 1 - number]).expect("the answer is taken");
    });
    let client = application.keep_alive_client();
    for number in 0..255 {
        assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"all", "{number}");
    }
    drop(client);
}

/// C11: silence behind a cut ends with the timeout, not before; and is no success.
#[test]
fn a_stall_at_each_record_is_a_time_out() {
    let ends: Vec<usize> = parts()
        .iter()
        .scan(0, |at, (bytes, _)| {
            *at += bytes.len();
            Some(*at)
        })
        .collect();
    let last = ends.len() - 1;
    let cuts: Vec<usize> =
        [0].into_iter().chain(ends[..last].iter().flat_map(|end| [*end, *end + 3])).collect();
    let count = cuts.len();
    let application = Application::unix(move |number, mut stream| {
        read_request(&mut stream).expect("a request");
        let _gave_up = stream.write_all(&whole()[..cuts[number]]);
        wait_for_close(&mut stream);
    });
    let config = test_config().read_timeout(Some(std::time::Duration::from_millis(30)));
    let client = application.client().config(config);
    for number in 0..count {
        let outcome = client.fetch(&get_params(), b"");
        assert!(matches!(outcome, Err(Error::TimedOut("read"))), "{number}: {outcome:?}");
    }
}

/// A response that ends before its head does is no response.
#[test]
fn a_head_that_is_cut_is_an_error() {
    let head = b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    for cut in 0..head.len() {
        let application = Application::answering(response(&head[..cut]));
        let outcome = application
            .client()
            .send(&get_params(), io::empty(), |response| Ok(response.read_head()?));
        assert!(matches!(outcome, Err(Error::IncompleteHead)), "cut at {cut}: {outcome:?}");
        let reply = application.client().fetch(&get_params(), b"").unwrap();
        assert!(matches!(reply.split_head(), Err(Error::IncompleteHead)), "cut at {cut}");
    }
}

/// A body that is shorter or longer than the response's own Content-Length is told as such.
#[test]
fn a_body_of_another_length_than_its_head_says() {
    for (len, is_right) in [(4, false), (5, true), (6, false)] {
        let text = format!("Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\nhello");
        let reply = Application::answering(response(text.as_bytes()))
            .client()
            .fetch(&get_params(), b"")
            .unwrap();
        assert_eq!(reply.split_head().is_ok(), is_right, "{len}");
    }
}

/// Where there is no body, the length that one would have had says nothing: behind a 304, and in
/// answer to a HEAD, such as an authorizer's refusal.
#[test]
fn a_length_without_a_body() {
    let not_modified = response(b"Status: 304\r\nContent-Length: 5\r\n\r\n");
    let reply = Application::answering(not_modified).client().fetch(&get_params(), b"").unwrap();
    assert_eq!(reply.split_head().unwrap().1, b"");

    let refusal = Application::answering(response(b"Status: 401\r\nContent-Length: 5\r\n\r\n"));
    let authorization = refusal.client().authorize(&get_params()).unwrap();
    assert!(matches!(authorization, Authorization::Denied(_)));
}
