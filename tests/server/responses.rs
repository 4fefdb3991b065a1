//! Proves that a response in one call is complete, that no value can split it, and that a server
//! replaces the response of a handler that fails.

use std::io::{Read, Write};

use crate::support::*;
use fcgi::server::{Config, Connection, Failure, HandlerResult, Request};
use fcgi::{Error, ResponseHead, Server};

/// Sends a request to a server and returns its answer.
#[track_caller]
fn ask(server: &TestServer, pairs: &[(&str, &str)], body: &[u8]) -> Answer {
    server.round_trip(1, &request(1, RESPONDER, 0, pairs, body))
}

fn server(handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static) -> TestServer {
    TestServer::tcp(Config::new(), handler)
}

fn respond_as_asked(request: &mut Request) -> HandlerResult {
    let head = ResponseHead::text();
    match request.query() {
        "204" => request.respond(head.status(204)?, "not sent"),
        "304" => request.respond(head.status(304)?.field("ETag", "\"1\"")?, "not sent"),
        "redirect" => request.respond(ResponseHead::redirect(303, "/x")?, ""),
        "not found" => request.respond(ResponseHead::not_found(), "gone"),
        "cookies" => {
            let head = head.cookie("a", "1", "Path=/")?.cookie("b", "", "")?;
            request.respond(head, "")
        }
        "own length" => request.respond(head.field("Content-Length", "7")?, ""),
        "large" => request.respond(head, vec![b'x'; 200_000]),
        _ => request.respond(head, "body"),
    }
}

/// Rule H21.
#[test]
fn response_in_one_call_has_its_length() {
    let server = server(respond_as_asked);
    let text = "Content-Type: text/plain; charset=utf-8\r\n";
    for (method, query, expected) in [
        ("GET", "", format!("{text}Content-Length: 4\r\n\r\nbody")),
        ("POST", "", format!("{text}Content-Length: 4\r\n\r\nbody")),
        ("HEAD", "", format!("{text}Content-Length: 4\r\n\r\n")),
        ("HEAD", "own length", format!("{text}Content-Length: 7\r\n\r\n")),
        ("GET", "204", format!("Status: 204 No Content\r\n{text}\r\n")),
        ("GET", "304", format!("Status: 304 Not Modified\r\n{text}ETag: \"1\"\r\n\r\n")),
        ("HEAD", "304", format!("Status: 304 Not Modified\r\n{text}ETag: \"1\"\r\n\r\n")),
        (
            "GET",
            "redirect",
            "Location: /x\r\nContent-Length: 0\r\nStatus: 303 See Other\r\n\r\n".to_owned(),
        ),
        (
            "GET",
            "not found",
            format!("Status: 404 Not Found\r\n{text}Content-Length: 4\r\n\r\ngone"),
        ),
        (
            "GET",
            "cookies",
            format!("{text}Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("GET", "large", format!("{text}Content-Length: 200000\r\n\r\n{}", "x".repeat(200_000))),
    ] {
        let pairs = [("REQUEST_METHOD", method), ("QUERY_STRING", query)];
        let answer = ask(&server, &pairs, b"");
        assert_eq!(answer.text(), expected, "{method} {query}");
        assert_eq!((answer.app_status, answer.stdout_ends), (0, 1));
    }
    let answer = ask(&server, &[("QUERY_STRING", "own length")], b"");
    assert_eq!(answer.text(), FAILED, "a length that is not that of the body");
}

/// The error carries the value. The client receives none of it. Rule H21.
#[test]
fn value_that_would_split_the_response_is_refused() {
    let server = server(|request| {
        let value = request.header("X").unwrap_or("").replace('|', "\r\nSet-Cookie: admin=1");
        let head = match request.query() {
            "cookie" => ResponseHead::html().cookie("a", &value, "")?,
            "attributes" => ResponseHead::html().cookie("a", "1", &value)?,
            "name" => ResponseHead::html().cookie(&value, "1", "")?,
            "location" => ResponseHead::redirect(303, &value)?,
            _ => ResponseHead::html().field("X", &value)?,
        };
        request.respond(head, "body")
    });
    for query in ["", "cookie", "attributes", "name", "location"] {
        let pairs = [("HTTP_X", "/a|"), ("QUERY_STRING", query)];
        let answer = ask(&server, &pairs, b"");
        assert_eq!(answer.text(), FAILED, "{query}");
        let reason = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(reason.contains("/a\\r\\nSet-Cookie: admin=1"), "{query}: {reason}");
    }
    let separators = [("HTTP_X", "1; Domain=example.org"), ("QUERY_STRING", "cookie")];
    assert_eq!(ask(&server, &separators, b"").text(), FAILED);
    for status in [0, 200, 299, 400, u16::MAX] {
        let outcome = ResponseHead::redirect(status, "/x");
        assert!(matches!(outcome, Err(Error::InvalidStatus(_))), "{status}: {outcome:?}");
    }
}

/// lighttpd drops the fields before the status of an authorizer.
#[test]
fn status_of_an_authorizer_is_its_first_field() {
    let config = Config::new().roles(&[fcgi::record::Role::Authorizer]);
    let server = TestServer::tcp(config, respond_as_asked);
    let pairs = [("QUERY_STRING", "redirect")];
    let answer = server.round_trip(1, &[begin(1, AUTHORIZER, 0), params(1, &pairs)].concat());
    assert!(answer.text().starts_with("Status: 303 See Other\r\nLocation: "), "{}", answer.text());
}

#[test]
fn second_response_is_refused_unless_the_first_is_discarded() {
    let server = server(|request| {
        ResponseHead::html().write_to(&mut request.stdout)?;
        if request.query() == "flush" {
            request.stdout.flush()?;
        }
        let error = request.respond(ResponseHead::text(), "second").expect_err("an error");
        assert!(matches!(error.downcast_ref(), Some(Error::ResponseStarted)), "{error}");
        if request.discard_response() {
            return request.respond(ResponseHead::text(), "third");
        }
        Ok(write!(request.stdout, "first")?)
    });
    let answer = ask(&server, &[], b"");
    assert!(answer.text().ends_with("\r\n\r\nthird"), "{}", answer.text());
    assert!(!answer.text().contains("html"), "{}", answer.text());
    let answer = ask(&server, &[("QUERY_STRING", "flush")], b"");
    assert_eq!(answer.text(), "Content-Type: text/html; charset=utf-8\r\n\r\nfirst");
}

#[test]
fn body_over_the_limit_of_the_handler_is_answered_with_413() {
    let server = server(|request| {
        if request.query() == "second" {
            request.stdin.read_exact(&mut [0; 2])?;
        }
        let body = request.stdin.read_limited(5)?;
        request.respond(ResponseHead::text(), format!("{} bytes", body.len()))
    });
    for (query, length, body, expected) in [
        ("", None, "", "0 bytes"),
        ("", None, "12345", "5 bytes"),
        ("", Some("5"), "12345", "5 bytes"),
        ("", None, "123456", "413"),
        ("", Some("6"), "123456", "413"),
        ("", Some("99999999999"), "1", "413"),
        ("second", Some("7"), "1234567", "5 bytes"),
        ("second", Some("8"), "12345678", "413"),
    ] {
        let mut pairs = vec![("QUERY_STRING", query)];
        pairs.extend(length.map(|length| ("CONTENT_LENGTH", length)));
        let answer = ask(&server, &pairs, body.as_bytes());
        match expected {
            "413" => {
                let head = "Status: 413 Content Too Large\r\n";
                assert!(answer.text().starts_with(head), "{length:?} {body}: {}", answer.text());
                assert_eq!(answer.app_status, 1);
            }
            expected => assert!(answer.text().ends_with(expected), "{body}: {}", answer.text()),
        }
    }
}

/// The handler has not read the body, although the web server has not sent all of it.
#[test]
fn announced_body_over_the_limit_is_not_read() {
    let server = server(|request| {
        request.stdin.read_limited(5)?;
        Ok(())
    });
    let start = [begin(1, RESPONDER, 0), params(1, &[("CONTENT_LENGTH", "6")])].concat();
    let answer = server.round_trip(1, &start);
    assert!(answer.text().starts_with("Status: 413 "), "{}", answer.text());
}

#[test]
fn invalid_path_is_answered_with_400() {
    let server = server(|request| {
        let path = request.path()?;
        request.respond(ResponseHead::text(), &*path)
    });
    let answer = ask(&server, &[("REQUEST_URI", "/a%20b")], b"");
    assert!(answer.text().ends_with("\r\n\r\n/a b"), "{}", answer.text());
    for target in ["/a/../b", "/%2e%2E", "/%zz", "/%0a", "/%ff", "a", "*"] {
        let answer = ask(&server, &[("REQUEST_URI", target)], b"");
        assert!(answer.text().starts_with("Status: 400 Bad Request\r\n"), "{target}");
        assert!(!answer.stderr.is_empty());
    }
}

/// Fails in the way that the query names.
fn fail(request: &mut Request) -> HandlerResult {
    ResponseHead::text().write_to(&mut request.stdout)?;
    match request.query() {
        "error" => Err("an error".into()),
        "panic" => panic!("a panic"),
        "too large" => request.stdin.read_limited(0).map(drop).map_err(Into::into),
        "sent" => {
            request.stdout.write_all(b"part")?;
            request.stdout.flush()?;
            Err("an error".into())
        }
        _ => {
            request.discard_response();
            Ok(())
        }
    }
}

fn page(request: &mut Request, failure: &Failure) -> HandlerResult {
    match request.header("Page") {
        Some("error") => return Err("the page failed".into()),
        Some("panic") => panic!("the page panicked"),
        Some("nothing") => return Ok(()),
        Some("part") => return Ok(request.stdout.write_all(b"Status: 500\r\n")?),
        Some(end @ ("early" | "flush")) => {
            request.respond(ResponseHead::text(), "a page")?;
            match end {
                "early" => request.finish_early()?,
                _ => request.stdout.flush()?,
            }
            return Err("the page failed".into());
        }
        _ => {}
    }
    let head = ResponseHead::html().status(failure.status())?;
    request.respond(head, format!("<p>{failure}"))
}

fn start_with_page() -> TestServer {
    TestServer::start(Server::bind("127.0.0.1:0").expect("a server").error_page(page), fail)
}

/// The reason is written to the web server's log all the same.
#[test]
fn error_page_replaces_the_response_of_a_handler_that_fails() {
    let server = start_with_page();
    for (query, status, reason) in [
        ("error", "500 Internal Server Error", "an error"),
        ("panic", "500 Internal Server Error", "handler panicked: a panic"),
        ("too large", "413 Content Too Large", "body exceeds the limit of 0 bytes"),
        ("nothing", "500 Internal Server Error", "handler returned without a response"),
    ] {
        let answer = ask(&server, &[("QUERY_STRING", query)], b"body");
        assert_eq!(
            answer.text(),
            format!(
                "Status: {status}\r\nContent-Type: text/html; charset=utf-8\r\n\
                 Content-Length: {}\r\n\r\n<p>{reason}",
                reason.len() + 3
            )
        );
        assert_eq!((answer.app_status, answer.stdout_ends), (1, 1));
        assert_eq!(String::from_utf8_lossy(&answer.stderr), format!("{reason}\n"));
    }
}

/// The error of the handler is in the log of the web server, and that of the page is reported.
#[test]
fn error_page_that_fails_is_replaced_by_the_default() {
    let server = start_with_page();
    let mut pages = vec![
        ("error", "the page failed"),
        ("panic", "handler panicked: the page panicked"),
        ("nothing", "handler returned without a response"),
    ];
    if cfg!(debug_assertions) {
        pages.push(("part", "response ended before the end of its head"));
    }
    for (page, reason) in pages {
        let answer = ask(&server, &[("QUERY_STRING", "error"), ("HTTP_PAGE", page)], b"");
        assert_eq!((&*answer.text(), answer.app_status), (FAILED, 1), "{page}");
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "an error\n");
        let report = (std::io::ErrorKind::Other, format!("error page failed: {reason}"));
        assert_eq!(server.next_error(), report, "{page}");
    }
}

/// The request has a response, so the page cannot be replaced by the default.
#[test]
fn error_page_that_fails_after_its_response_was_sent_is_reported() {
    let server = start_with_page();
    for page in ["early", "flush"] {
        let answer = ask(&server, &[("QUERY_STRING", "error"), ("HTTP_PAGE", page)], b"");
        assert!(answer.text().ends_with("a page"), "{page}: {}", answer.text());
        assert_eq!(String::from_utf8_lossy(&answer.stderr), "an error\n", "{page}");
        assert_eq!(answer.app_status, 1, "{page}");
        assert_eq!(server.next_error().1, "error page failed: the page failed", "{page}");
    }
}

/// No response is not the same error as no page.
#[test]
fn error_page_that_fails_does_not_hide_that_there_is_no_response() {
    let server = start_with_page();
    for page in ["error", "early", "flush"] {
        ask(&server, &[("QUERY_STRING", "nothing"), ("HTTP_PAGE", page)], b"");
        assert_eq!(server.next_error().1, "handler returned without a response", "{page}");
        assert_eq!(server.next_error().1, "error page failed: the page failed", "{page}");
    }
}

/// The status has been sent. Only the app status says that the response is incomplete.
#[test]
fn response_that_was_sent_in_part_is_not_replaced() {
    let server = start_with_page();
    let answer = ask(&server, &[("QUERY_STRING", "sent")], b"");
    assert_eq!(answer.text(), "Content-Type: text/plain; charset=utf-8\r\n\r\npart");
    assert_eq!((answer.app_status, answer.stdout_ends), (1, 1));
}

#[test]
fn accessors_look_up_what_was_requested() {
    let pairs = [
        ("REQUEST_METHOD", "PATCH"),
        ("REQUEST_URI", "/app/a%2Fb/caf%C3%A9?x=%26"),
        ("QUERY_STRING", "x=%26"),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", ""),
        ("HTTP_CONTENT_LENGTH", "5"),
        ("REMOTE_ADDR", "2001:db8::1"),
        ("HTTP_USER_AGENT", "first"),
        ("HTTP_USER_AGENT", "last"),
        ("HTTP_EMPTY", ""),
        ("HTTP_COOKIE", "a=1; b = 2;c=\"3=3\"; ; d"),
    ];
    with_request(&pairs, |request| {
        assert_eq!(request.method(), "PATCH");
        assert_eq!(request.path().unwrap(), "/app/a%2Fb/café");
        assert_eq!(request.path_below("/app/").unwrap().as_deref(), Some("/a%2Fb/café"));
        assert_eq!(request.path_below("/other").unwrap(), None);
        assert_eq!(request.query(), "x=%26");
        assert_eq!(request.content_type(), Some("text/plain"));
        assert_eq!(request.remote_addr(), "2001:db8::1".parse().ok());
        for (name, value) in [
            ("User-Agent", Some("last")),
            ("user-AGENT", Some("last")),
            ("User_Agent", Some("last")),
            ("User-Agen", None),
            ("User-Agents", None),
            ("Content-Type", Some("text/plain")),
            ("content-length", None),
            ("Empty", None),
            ("Absent", None),
            ("", None),
            ("Request-Method", None),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
        let cookies = ["a", "b", "c", "d", "e"].map(|name| request.cookie(name));
        assert_eq!(cookies, [Some("1"), Some("2"), Some("\"3=3\""), None, None]);
    });
    with_request(&[("REMOTE_ADDR", "unix:")], |request| {
        assert_eq!((request.method(), request.query(), request.content_type()), ("", "", None));
        assert_eq!((request.remote_addr(), request.cookie("a")), (None, None));
        assert_eq!(request.path().unwrap(), "/");
    });
}

/// Passes a request with these params to a function.
fn with_request(pairs: &[(&str, &str)], check: impl FnOnce(&mut Request)) {
    let (mut client, served) = connected_pair();
    client.write_all(&request(1, RESPONDER, 0, pairs, b"")).unwrap();
    let mut connection = Connection::new(served).unwrap();
    check(&mut connection.next_request().unwrap().expect("a request"));
}
