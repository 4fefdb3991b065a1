//! Proves that a `StatusError` of a handler becomes the response to its request, and that a body of
//! another length than announced is the client's error.

use std::io::{self, Write};

use crate::support::*;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request, StatusError};
use fcgi::{Error, ResponseHead, Server};

fn fail(request: &mut Request) -> HandlerResult {
    let error = StatusError::new(422, "The name is missing.");
    match request.query() {
        "own" => Err(error.into()),
        "inside" => Err(io::Error::other(error).into()),
        "contained" => Err(Error::Io(io::Error::other(error)).into()),
        "method" => {
            let allowed = ["GET", "HEAD", "PUT\r\nX-Injected: 1", "BAD METHOD"];
            Err(StatusError::method_not_allowed(&allowed).into())
        }
        "field" => Err(error.field("Retry-After", "60")?.field("X-Second", "2")?.into()),
        "unavailable" => Err(StatusError::new(503, "Come back later.").into()),
        "no error" => Err(StatusError::new(200, "OK").into()),
        "buffered" => {
            request.respond(ResponseHead::text(), "dropped")?;
            Err(error.into())
        }
        "sent" => {
            ResponseHead::text().write_to(&mut request.stdout)?;
            request.stdout.flush()?;
            Err(error.into())
        }
        query => panic!("{query}"),
    }
}

fn response(status: &str, allow: &str, body: &str) -> String {
    format!(
        "Status: {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{allow}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Below 500, the application has not failed.
#[test]
fn status_error_becomes_the_response() {
    let server = TestServer::tcp(Config::new(), fail);
    let missing = response("422 Unprocessable Content", "", "The name is missing.\n");
    let not_allowed = "The method is not allowed.\n";
    let not_allowed = response("405 Method Not Allowed", "Allow: GET, HEAD\r\n", not_allowed);
    let with_fields = "Retry-After: 60\r\nX-Second: 2\r\n";
    let with_fields = response("422 Unprocessable Content", with_fields, "The name is missing.\n");
    let unavailable = response("503 Service Unavailable", "", "Come back later.\n");
    let no_error = response("500 Internal Server Error", "", "OK\n");
    for (query, expected, stderr, app_status) in [
        ("own", &missing, "", 0),
        ("inside", &missing, "", 0),
        ("contained", &missing, "", 0),
        ("buffered", &missing, "", 0),
        ("method", &not_allowed, "", 0),
        ("field", &with_fields, "", 0),
        ("unavailable", &unavailable, "Come back later.\n", 1),
        ("no error", &no_error, "OK\n", 1),
        (
            "sent",
            &"Content-Type: text/plain; charset=utf-8\r\n\r\n".to_owned(),
            "The name is missing.\n",
            1,
        ),
    ] {
        let answer =
            server.round_trip(1, &request(1, RESPONDER, 0, &[("QUERY_STRING", query)], b""));
        assert_eq!(answer.text(), *expected, "{query}");
        assert_eq!(String::from_utf8_lossy(&answer.stderr), stderr, "{query}");
        assert_eq!(answer.app_status, app_status, "{query}");
    }
}

#[test]
fn error_response_to_head_has_no_body() {
    let server = TestServer::tcp(Config::new().max_body(Some(3)), fail);
    for (query, length, head, body_len) in
        [("0", "own", "422 Unprocessable Content", 21), ("4", "own", "413 Content Too Large", 33)]
    {
        let pairs =
            [("REQUEST_METHOD", "HEAD"), ("QUERY_STRING", length), ("CONTENT_LENGTH", query)];
        let text = server.round_trip(1, &request(1, RESPONDER, 0, &pairs, b"")).text();
        let start = format!("Status: {head}\r\n");
        let end = format!("Content-Length: {body_len}\r\n\r\n");
        assert!(text.starts_with(&start) && text.ends_with(&end), "{text}");
    }
}

#[test]
fn error_page_has_the_text_and_the_head_of_a_status_error() {
    let server = Server::bind("127.0.0.1:0").expect("a server").error_page(|request, failure| {
        request.respond(failure.head(ResponseHead::json())?, format!("[{:?}]", failure.text()))
    });
    let server = TestServer::start(server, fail);
    for (query, status, fields, text) in [
        ("method", "405 Method Not Allowed", "Allow: GET, HEAD", "The method is not allowed."),
        (
            "field",
            "422 Unprocessable Content",
            "Retry-After: 60\r\nX-Second: 2",
            "The name is missing.",
        ),
    ] {
        let answer =
            server.round_trip(1, &request(1, RESPONDER, 0, &[("QUERY_STRING", query)], b""));
        let expected = format!(
            "Status: {status}\r\nContent-Type: application/json\r\n{fields}\r\n\
             Content-Length: {}\r\n\r\n[{text:?}]",
            text.len() + 4
        );
        assert_eq!(answer.text(), expected);
        assert_eq!((answer.stderr, answer.app_status), (Vec::new(), 0));
    }
}

/// A value cannot inject another field, and a field of the response itself is not sent twice.
#[test]
fn status_error_refuses_invalid_and_repeated_fields() {
    for (name, value) in [("X-Name", "a\r\nX-Injected: 1"), ("X-Name", "\0"), ("X Name", "a")] {
        let refused = StatusError::new(401, "").field(name, value);
        assert!(matches!(refused, Err(Error::InvalidField(_))), "{refused:?}");
    }
    for name in ["status", "Content-type", "CONTENT-LENGTH"] {
        let refused = StatusError::new(401, "").field(name, "1");
        assert!(matches!(&refused, Err(Error::DuplicateField(field)) if field == name));
    }
}

fn read(request: &mut Request) -> HandlerResult {
    match request.query() {
        "copy" => drop(io::copy(&mut request.stdin, &mut io::sink())?),
        "data" => drop(io::copy(request.stdin.data()?, &mut io::sink())?),
        _ => drop(request.stdin.read_limited(100)?),
    }
    request.respond(ResponseHead::text(), "read")
}

/// The length of a filter's file is a mistake of the web server.
#[test]
fn body_of_another_length_than_announced_is_answered_with_400() {
    let roles = Config::new().roles(&[Role::Responder, Role::Filter]);
    let server = TestServer::tcp(roles, read);
    for query in ["copy", "limited"] {
        for (announced, status) in [("4", ""), ("5", "400 Bad Request"), ("3", "400 Bad Request")] {
            let pairs = [("QUERY_STRING", query), ("CONTENT_LENGTH", announced)];
            let text = server.round_trip(1, &request(1, RESPONDER, 0, &pairs, b"body")).text();
            match status {
                "" => assert!(text.ends_with("\r\n\r\nread"), "{text}"),
                _ => assert!(text.starts_with(&format!("Status: {status}\r\n")), "{text}"),
            }
        }
    }
    let pairs = [("QUERY_STRING", "data"), ("FCGI_DATA_LENGTH", "5")];
    let bytes = request(1, FILTER, 0, &pairs, b"");
    let bytes = [bytes, record(DATA, 1, b"file"), record(DATA, 1, b"")].concat();
    assert_eq!(server.round_trip(1, &bytes).text(), FAILED);
}

fn check(request: &mut Request) -> HandlerResult {
    request.expect_method(&["GET", "POST"])?;
    request.expect_content_type("application/json")?;
    request.respond(ResponseHead::text(), "checked")
}

#[test]
fn method_and_content_type_are_checked() {
    let server = TestServer::tcp(Config::new(), check);
    for (method, content_type, status) in [
        ("GET", "application/json", None),
        ("POST", "Application/JSON ;charset=utf-8", None),
        ("POST", "application/json-seq", Some("415 Unsupported Media Type")),
        ("POST", "text/plain; application/json", Some("415 Unsupported Media Type")),
        ("POST", "", Some("415 Unsupported Media Type")),
        ("PUT", "application/json", Some("405 Method Not Allowed")),
        ("get", "application/json", Some("405 Method Not Allowed")),
        ("", "application/json", Some("405 Method Not Allowed")),
    ] {
        let pairs = [("REQUEST_METHOD", method), ("CONTENT_TYPE", content_type)];
        let text = server.round_trip(1, &request(1, RESPONDER, 0, &pairs, b"")).text();
        let expected = status.map_or("Content-Type".into(), |status| format!("Status: {status}"));
        assert!(text.starts_with(&expected), "{method} {content_type}: {text}");
    }
}
