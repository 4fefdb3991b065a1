//! Proves that a `Reply` answers like an HTTP response, within the configured limits, that errors
//! of a client name the operation and the address, and that its configuration has no order.
#![cfg(unix)]

use std::io::Write;

use fcgi::client::{Authorization, Completion, Config, Reply};
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::*;

const HEAD: &str = "Status: 404\r\nContent-Type: text/plain\r\nX-A: 1\r\nX-A: 2\r\n\r\n";

fn reply(text: &str) -> Reply {
    Reply::new(text.into(), Completion::default())
}

#[test]
fn reply_has_status_header_body_and_text() {
    let reply = reply(&format!("{HEAD}gone"));
    assert_eq!(reply.status().unwrap(), 404);
    assert_eq!(reply.header("x-a").unwrap(), Some("1"));
    assert_eq!(reply.header("X-B").unwrap(), None);
    assert_eq!((reply.body().unwrap(), &*reply.text().unwrap()), (&b"gone"[..], "gone"));
    let (head, body) = reply.split_head().unwrap();
    assert_eq!((head.reason(), body), ("Not Found", &b"gone"[..]));
    assert_eq!(reply.head().unwrap().as_bytes(), HEAD.as_bytes());
}

#[test]
fn body_begins_after_the_final_head_and_not_after_an_interim_one() {
    let interim = "Status: 103\r\nLink: </a.css>; rel=preload\r\n\r\n";
    for fields in ["", "Content-Length: 4\r\n"] {
        let reply = reply(&format!("{interim}{fields}{HEAD}gone"));
        assert_eq!(reply.status().unwrap(), 404);
        assert_eq!(reply.text().unwrap(), "gone");
    }
}

/// A head that has been parsed is not part of the comparison.
#[test]
fn replies_are_equal_if_their_bytes_are() {
    let (one, other) = (reply(HEAD), reply(HEAD));
    one.status().unwrap();
    assert_eq!(one, other);
    assert_ne!(one, reply("Status: 200\n\n"));
}

#[test]
fn text_replaces_bytes_that_are_not_utf8() {
    let stdout = [HEAD.as_bytes(), b"caf\xe9"].concat();
    let reply = Reply::new(stdout, Completion::default());
    assert_eq!(reply.text().unwrap(), "caf\u{fffd}");
}

#[test]
fn every_method_reports_an_invalid_head() {
    for text in ["Status: 200\n", "no field\n\n", ""] {
        let reply = reply(text);
        assert!(reply.status().is_err() && reply.header("Status").is_err(), "{text}");
        assert!(reply.body().is_err() && reply.text().is_err(), "{text}");
        assert!(reply.head().is_err() && reply.split_head().is_err(), "{text}");
    }
}

/// The head itself can be read.
#[test]
fn body_of_another_length_than_announced_is_an_error() {
    let reply = reply("Status: 200\nContent-Length: 9\n\nshort");
    assert_eq!(reply.status().unwrap(), 200);
    assert!(matches!(reply.body(), Err(Error::StreamTooShort { received: 5, .. })));
    assert!(matches!(reply.text(), Err(Error::StreamTooShort { .. })));
    assert!(matches!(reply.split_head(), Err(Error::StreamTooShort { .. })));
}

/// Whether the application sends a body or not.
#[test]
fn response_to_head_has_no_body() {
    for body in ["", "short", "whole body"] {
        let text = format!("Status: 200\nContent-Length: 10\n\n{body}");
        let application = Application::answering(response(text.as_bytes()));
        let params = Params::from_pairs([("REQUEST_METHOD", "HEAD")]).unwrap();
        let reply = application.client().fetch(&params, b"").unwrap();
        let (head, received) = reply.split_head().unwrap();
        assert_eq!((head.content_length(), received), (Some(10), &b""[..]));
        assert_eq!((&*reply.text().unwrap(), reply.stdout.len()), ("", text.len()));
    }
}

/// The last head exceeds the default limits.
#[test]
fn limits_on_the_head_are_those_of_the_client() {
    let head = |fields| "X-A: 1\r\n".repeat(fields) + "Status: 200\r\n\r\n";
    for (config, fields, is_accepted) in [
        (Config::new().max_head(1000, 3), 2, true),
        (Config::new().max_head(1000, 2), 2, false),
        (Config::new().max_head(23, 99), 1, true),
        (Config::new().max_head(22, 99), 1, false),
        (Config::new().max_head(1 << 20, 1 << 16), 9000, true),
    ] {
        let application = Application::answering(response(head(fields).as_bytes()));
        let client = application.client().config(config.clone());
        let reply = client.fetch(&get_params(), b"").unwrap();
        assert_eq!(reply.status().is_ok(), is_accepted, "{config:?}");
        assert_eq!(reply.split_head().is_ok(), is_accepted, "{config:?}");
        let allowed = client.authorize(&get_params());
        assert_eq!(matches!(allowed, Ok(Authorization::Allowed(_))), is_accepted, "{config:?}");
    }
}

#[test]
fn errors_of_a_connection_name_the_operation_and_the_address() {
    let application = Application::unix(|_, mut stream| {
        let request = read_begin_and_params(&mut stream).expect("the start of a request");
        // The rest of the request is not read, so the system resets the connection.
        stream.write_all(&record(STDOUT, request.id, b"half")).expect("the response is sent");
    });
    let address = application.address.to_string();
    let client = Client::new(&address).unwrap().config(test_config());
    let error = client.fetch(&upload_params(4), b"body").unwrap_err();
    assert!(matches!(error, Error::Socket { .. }), "{error}");
    let expected = format!("cannot read from {address}: connection reset by peer");
    assert_eq!(error.to_string(), expected);
}

/// The field cannot be set past the check of the setter.
#[test]
fn limit_of_no_connection_is_one() {
    let application = Application::answering(response(b""));
    let mut config = test_config();
    config.max_connections = Some(0);
    application.client().config(config).fetch(&get_params(), b"").unwrap();
}

#[test]
fn order_of_builder_calls_makes_no_difference() {
    let application = Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let new = || Client::from(application.address.clone());
    let clients = [
        new().keep_alive(true).config(test_config()),
        new().config(test_config()).keep_alive(true),
    ];
    for (number, client) in clients.iter().enumerate() {
        client.fetch(&get_params(), b"").unwrap();
        client.fetch(&get_params(), b"").unwrap();
        assert_eq!(application.accepted(), number + 1);
    }
    drop(clients);
}
