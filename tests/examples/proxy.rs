//! Tests of the example `proxy`: it forwards HTTP requests on connections that it keeps.
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
    assert_eq!(application.accepted(), 1);
    drop(proxy);
}

#[test]
fn proxy_reports_a_failure_of_the_application_and_an_invalid_request() {
    let (_proxy, address) = start(&"127.0.0.1:1".parse().expect("an address"));
    assert!(ask(&address, "GET /").starts_with("HTTP/1.1 503 "));
    assert!(ask(&address, "GET /../secret").starts_with("HTTP/1.1 400 "));
}
