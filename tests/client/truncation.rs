//! Proves that a response that ends early is an error wherever it ends, never a success and never a
//! wait, and that the data before the end is read.
#![cfg(unix)]

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use fcgi::client::{Authorization, Connection};
use fcgi::record::Role;
use fcgi::{Client, Error};

use crate::support::application::*;
use crate::support::*;

/// Returns a response with every kind of record. Each part has its number of STDOUT bytes.
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

/// Returns the number of STDOUT bytes in the first `cut` bytes of the response.
fn stdout_before(cut: usize) -> usize {
    let mut start = 0;
    let mut count = 0;
    for (bytes, len) in parts() {
        count += len.min(cut.saturating_sub(start + 8));
        start += bytes.len();
    }
    count
}

/// Returns applications whose response on the n-th connection ends after n bytes.
fn truncating_applications() -> [Application; 2] {
    Application::tcp_and_unix(|cut, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&whole()[..cut]).expect("the response is sent");
    })
}

/// Asserts that every truncated response is an error, and the complete one is not.
#[track_caller]
fn assert_each_truncation_fails<T: std::fmt::Debug>(send: impl Fn(&Client) -> fcgi::Result<T>) {
    for application in truncating_applications() {
        let client = application.client();
        for cut in 0..whole().len() {
            let outcome = send(&client);
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "cut at {cut}: {outcome:?}");
        }
        send(&client).expect("the whole response");
    }
}

/// Even if only END_REQUEST is missing. Rules C11 and K23.
#[test]
fn truncated_response_is_an_error_for_fetch() {
    assert_each_truncation_fails(|client| client.fetch(&get_params(), b""));
}

/// Rule C11.
#[test]
fn truncated_response_is_an_error_even_if_unread() {
    assert_each_truncation_fails(|client| {
        client.send(&get_params(), io::empty(), |_| fcgi::Result::Ok(()))
    });
}

/// Another thread sends the body. Rule C11.
#[test]
fn truncated_response_to_a_large_body_is_an_error() {
    assert_each_truncation_fails(|client| {
        client.send(&upload_params(100_000), Pattern::new(100_000), |response| {
            Ok(response.stdout.read_to_end(&mut Vec::new())?)
        })
    });
}

/// The request is not sent again. Rule C11.
#[test]
fn truncated_response_on_a_new_kept_connection_is_an_error() {
    for application in truncating_applications() {
        let client = application.keep_alive_client();
        for cut in 0..whole().len() {
            let outcome = client.fetch(&get_params(), b"");
            assert!(matches!(outcome, Err(Error::UnexpectedEof(_))), "cut at {cut}: {outcome:?}");
            assert_eq!(application.accepted(), cut + 1);
        }
    }
}

/// Every read after it returns the error again. Rule C11.
#[test]
fn data_before_a_truncation_is_read() {
    for application in truncating_applications() {
        for cut in 0..whole().len() {
            let mut connection =
                Connection::connect(&application.address, Arc::new(test_config())).unwrap();
            let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
            exchange.stdin.finish().unwrap();
            let mut stdout = Vec::new();
            let outcome = exchange.stdout.read_to_end(&mut stdout);
            assert_eq!(stdout.len(), stdout_before(cut), "cut at {cut}");
            // After the end of STDOUT only the end of the request is missing.
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

/// Rule C11.
#[test]
fn reset_is_an_error() {
    let application = Application::tcp(|cut, mut stream| {
        // Closing a connection with an unread request resets it.
        stream.read_exact(&mut [0]).expect("a byte of the request");
        let answer = whole();
        stream.write_all(&answer[..cut.min(answer.len() - 1)]).expect("the response is sent");
    });
    let client = application.client();
    for cut in 0..whole().len() {
        let outcome = client.fetch(&get_params(), b"");
        assert!(outcome.is_err(), "cut at {cut}: {outcome:?}");
    }
}

/// The request has ended. Rule C11.
#[test]
fn truncated_padding_of_end_request_is_not_an_error() {
    let application = Application::tcp(|number, mut stream| {
        let id = read_request(&mut stream).expect("a request").id;
        let end = padded_record(END, id, &[0; 8], 255);
        let whole = [record(STDOUT, id, b"all"), record(STDOUT, id, b""), end].concat();
        stream.write_all(&whole[..whole.len() - 1 - number]).expect("the response is sent");
    });
    let client = application.keep_alive_client();
    for number in 0..255 {
        assert_eq!(client.fetch(&get_params(), b"").unwrap().stdout, b"all", "{number}");
    }
    drop(client);
}

/// Rules C11 and C29.
#[test]
fn stall_after_each_record_times_out() {
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
        let _closed = stream.write_all(&whole()[..cuts[number]]);
        wait_for_close(&mut stream);
    });
    let config = test_config().read_timeout(Some(std::time::Duration::from_millis(30)));
    let client = application.client().config(config);
    for number in 0..count {
        let outcome = client.fetch(&get_params(), b"");
        assert!(matches!(outcome, Err(Error::TimedOut(_))), "{number}: {outcome:?}");
    }
}

/// Rule H1.
#[test]
fn truncated_head_is_an_error() {
    let head = b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    for cut in 0..head.len() {
        let application = Application::answering(response(&head[..cut]));
        let outcome =
            application.client().send(&get_params(), io::empty(), |response| response.read_head());
        assert!(matches!(outcome, Err(Error::IncompleteHead)), "cut at {cut}: {outcome:?}");
        let reply = application.client().fetch(&get_params(), b"").unwrap();
        assert!(matches!(reply.split_head(), Err(Error::IncompleteHead)), "cut at {cut}");
    }
}

/// Rule C11.
#[test]
fn body_length_must_match_content_length() {
    for (len, is_valid) in [(4, false), (5, true), (6, false)] {
        let text = format!("Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\nhello");
        let reply = Application::answering(response(text.as_bytes()))
            .client()
            .fetch(&get_params(), b"")
            .unwrap();
        assert_eq!(reply.split_head().is_ok(), is_valid, "{len}");
    }
}

/// This is so for status 304 and for the refusal of an authorizer. Rule H18.
#[test]
fn content_length_of_a_response_without_body_is_ignored() {
    let not_modified = response(b"Status: 304\r\nContent-Length: 5\r\n\r\n");
    let reply = Application::answering(not_modified).client().fetch(&get_params(), b"").unwrap();
    assert_eq!(reply.split_head().unwrap().1, b"");

    let refusal = Application::answering(response(b"Status: 401\r\nContent-Length: 5\r\n\r\n"));
    let authorization = refusal.client().authorize(&get_params()).unwrap();
    assert!(matches!(authorization, Authorization::Denied(_)));
}
