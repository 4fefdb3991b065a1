//! Tests of the example `proxy`: it forwards HTTP requests on connections that it keeps, and is the
//! program of the guide.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use fcgi::net::Address;

use crate::example::{self, KillOnDrop};
use crate::support::application::*;
use crate::support::*;

/// Starts the proxy. Returns the process and its address.
fn start(application: &Address) -> (KillOnDrop, String) {
    let mut command = Command::new(example::path("proxy"));
    command.args(["127.0.0.1:0", &application.to_string()]).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("proxy starts");
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("its stdout")).read_line(&mut url).expect("a URL");
    let address = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    (KillOnDrop(child), address)
}

/// Sends a request on a connection of its own, and returns the response.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let body = if request.starts_with("POST") { "Content-Length: 4\r\n\r\nbody" } else { "\r\n" };
    stream.write_all((head + body).as_bytes()).expect("the request is sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

#[test]
fn proxy_keeps_its_connection_to_the_application() {
    let application = Application::unix(|_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let param =
                |name| String::from_utf8_lossy(request.param(name).unwrap_or(b"")).into_owned();
            let body = String::from_utf8_lossy(&request.stdin);
            let text = format!("{} {} {body}", param("REQUEST_METHOD"), param("PATH_INFO"));
            let head =
                format!("Status: 201\r\nX-Length: 7\r\nContent-Length: {}\r\n\r\n", text.len());
            let text = if param("REQUEST_METHOD") == "HEAD" { "" } else { &text };
            let answer = request.response((head + text).as_bytes());
            stream.write_all(&answer).expect("the response is sent");
        }
    });
    let (proxy, address) = start(&application.address);
    for (request, body) in [
        ("GET /a%20b?c", "GET /a b "),
        ("POST /form", "POST /form body"),
        ("HEAD /", ""),
        ("GET /", "GET / "),
    ] {
        let response = ask(&address, request);
        assert!(response.starts_with("HTTP/1.1 201 Created\r\n"), "{response}");
        assert!(response.contains("\r\nX-Length: 7\r\n"), "{response}");
        assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");
    }
    // A request may begin before the connection of the last one has been given back.
    assert!(application.accepted() < 4, "no connection was used again");
    drop(proxy);
}

#[test]
fn proxy_reports_a_failure_of_the_application_and_an_invalid_request() {
    let (_proxy, address) = start(&"127.0.0.1:1".parse().expect("an address"));
    assert!(ask(&address, "GET /").starts_with("HTTP/1.1 503 "));
    assert!(ask(&address, "GET /../secret").starts_with("HTTP/1.1 400 "));
}

/// The length of a body, and of the response, that exceeds every buffer.
const LARGE: usize = 8 << 20;

/// Starts an application that echoes the body while it reads, after a head with this field.
fn start_echo(field: &'static str) -> Application {
    Application::unix(move |_, mut stream| {
        let request = read_begin_and_params(&mut stream).expect("a request");
        assert_eq!(request.param("CONTENT_LENGTH"), Some(LARGE.to_string().as_bytes()));
        let head = format!("Status: 200\n{field}\n");
        let mut answer = record(STDOUT, request.id, head.as_bytes());
        loop {
            stream.write_all(&answer).expect("the response is sent");
            let received = read_record(&mut stream).expect("the body");
            if received.content.is_empty() {
                break;
            }
            answer = record(STDOUT, request.id, &received.content);
        }
        stream.write_all(&end(request.id, 0, 0)).expect("the end is sent");
    })
}

/// Sends a request that ends with `rest`. Returns the head and the body of the response.
fn post(address: &str, rest: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    stream.write_all(&[head, rest].concat().into_bytes()).expect("the request is sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// A response keeps its length, so that a client notices if a part is missing.
#[test]
fn proxy_forwards_a_large_body_and_a_large_response() {
    let application = start_echo("Content-Length: 8388608\n");
    let (_proxy, address) = start(&application.address);
    let body = "x".repeat(LARGE);
    let (head, received) = post(&address, &format!("Content-Length: {LARGE}\r\n\r\n{body}"));
    assert!(head.contains("\r\nContent-Length: 8388608"), "{head}");
    assert!(received == body, "{} bytes", received.len());
}

#[test]
fn proxy_forwards_a_body_and_a_response_of_unknown_length() {
    let application = start_echo("");
    let (_proxy, address) = start(&application.address);
    let body = format!("{LARGE:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(LARGE));
    let (head, received) = post(&address, &format!("Transfer-Encoding: chunked\r\n\r\n{body}"));
    assert!(head.contains("\r\nTransfer-Encoding: chunked"), "{head}");
    assert_eq!(received.matches('x').count(), LARGE);
    assert!(received.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn guide_contains_the_program() {
    let program = include_str!("../../examples/proxy.rs");
    let (_, code) = program.split_once("\n\n").expect("a description");
    assert!(include_str!("../../src/guide/php_fpm.md").contains(code), "copy examples/proxy.rs");
}
