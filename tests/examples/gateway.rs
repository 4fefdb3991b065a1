//! Tests of the example `gateway` over HTTP: its demonstration, and its behaviour with scripted
//! applications.

mod bodies;
mod connections;
mod files;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::thread;

use crate::example;
use crate::support::{
    end, read_record, record, stream, wait_until, TestServer, BEGIN, PARAMS, STDERR, STDIN, STDOUT,
    TEST_TIMEOUT,
};
use fcgi::server::Config;
use fcgi::Params;
use ureq::http::Response;
use ureq::{Agent, Body, SendBody};

// The demonstration

#[test]
fn demo_shows_the_environment() {
    let gateway = Gateway::demo();
    let page = text(gateway.get("/?a=%26b"));
    assert!(page.contains("<tr><th>QUERY_STRING<td>a=%26b\n"), "{page}");
    assert!(page.contains("<tr><th>SERVER_PROTOCOL<td>HTTP/1.1\n"), "{page}");
    assert!(!page.contains("{{"), "a placeholder is left: {page}");
}

#[test]
fn demo_accepts_a_form() {
    let gateway = Gateway::demo();
    let answer =
        agent().post(gateway.url("/form")).send("name=Ferris+%3C3&empty=").expect("a response");
    let page = text(answer);
    assert!(page.contains("<tr><th>name<td>Ferris &lt;3\n"), "{page}");
    assert!(page.contains("read 23 bytes"), "{page}");

    let answer = agent().post(gateway.url("/form")).send("x".repeat(64 * 1024 + 1));
    assert_eq!(answer.expect("a response").status(), 413);
}

#[test]
fn demo_accepts_an_upload() {
    let gateway = Gateway::demo();
    let file: Vec<u8> =
        (0..5_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = format!("{} bytes, CRC-32 {:08x}\n", file.len(), crc32(&file));

    let answer = agent().post(gateway.url("/upload")).send(&file[..]).expect("a response");
    assert_eq!(text(answer), expected, "with Content-Length");
    let mut reader = &file[..];
    let answer = agent()
        .put(gateway.url("/upload"))
        .send(SendBody::from_reader(&mut reader))
        .expect("a response");
    assert_eq!(text(answer), expected, "in chunks");
    let answer = agent().post(gateway.url("/upload")).send_empty().expect("a response");
    assert_eq!(text(answer), "0 bytes, CRC-32 00000000\n", "empty");
}

#[test]
fn demo_streams_line_by_line() {
    let gateway = Gateway::demo();
    let mut lines =
        BufReader::new(gateway.get("/stream?by-hand").into_body().into_reader()).lines();
    for line in 1..=12 {
        // The application writes a line only after the previous one was read and this one was
        // requested.
        let text = lines.next().expect("a line").expect("a readable line");
        assert_eq!(text, format!("line {line} of 12"));
        if line < 12 {
            let answer =
                agent().post(gateway.url("/next?by-hand")).send_empty().expect("a response");
            assert_eq!(answer.status(), 204);
        }
    }
    assert!(lines.next().is_none(), "the end of the stream");
}

/// A stream whose client has left would otherwise be remembered until the gateway ends.
#[test]
fn demo_forgets_a_stream_whose_client_has_left() {
    let gateway = Gateway::demo();
    // Writing to a client that has left fails only if that is noticed in time.
    for number in 0..10 {
        let path = format!("/stream?left{number}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = BufReader::new(gateway.raw(&request));
        let mut line = String::new();
        while !line.starts_with("line 1 ") {
            line.clear();
            client.read_line(&mut line).expect("a line");
        }
        drop(client);
        gateway.wait_for_log(&format!("GET {path}: the client disconnected"));
        let next = gateway.url(&format!("/next?left{number}"));
        let next = || agent().post(&next).send_empty().expect("a response");
        wait_until("the stream ends", || next().status() == 404);
    }
}

/// Rules E26 and H18.
#[test]
fn demo_responds_to_head_without_a_body() {
    let gateway = Gateway::demo();
    let agent = agent();
    for _ in 0..2 {
        let mut answer = agent.head(gateway.url("/")).call().expect("a response");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(answer.body_mut().read_to_string().expect("a body"), "");
    }
}

/// Rules H8 and H9.
#[test]
fn demo_passes_status_and_redirects() {
    let gateway = Gateway::demo();
    assert_eq!(gateway.get("/missing").status(), 404);
    assert_eq!(gateway.get("/error").status(), 500);
    assert_eq!(gateway.get("/panic").status(), 500);

    let moved = gateway.get("/moved");
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["location"]),
        (302, &"/?moved".parse().expect("a value"))
    );
    let shortcut = gateway.get("/shortcut");
    assert_eq!(shortcut.status(), 200);
    assert!(
        text(shortcut).contains("This is <code>/shortcut</code>"),
        "the page that the local redirect names"
    );
}

/// The records of the request of the browser, and of the one that its local redirect causes.
#[test]
fn demo_shows_the_records_of_a_request() {
    let gateway = Gateway::demo();
    let request = agent().get(gateway.url("/shortcut")).header("X-Try", "7");
    text(request.call().expect("a response"));
    let mut records = String::new();
    // The application may have responded before the relay has received the end of the request.
    wait_until("the ends of two requests", || {
        records = text(gateway.get("/records?7"));
        records.matches("\tStdin\t").count() == 2
    });
    let lines: Vec<Vec<_>> = records.lines().map(|line| line.split('\t').collect()).collect();
    let requests: Vec<_> =
        lines.iter().filter(|line| line.len() == 1).map(|line| line[0]).collect();
    assert_eq!(requests, ["GET /shortcut", "GET /?shortcut"]);
    let passed = |direction: &str| {
        let lines = lines.iter().filter(|line| line.get(1) == Some(&direction));
        lines.map(|line| line[2]).collect::<Vec<_>>()
    };
    assert_eq!(passed("sent"), ["BeginRequest", "Params", "Params", "Stdin"].repeat(2));
    assert_eq!(passed("received"), ["Stdout", "Stdout", "EndRequest"].repeat(2));
    assert_eq!(lines[1][1..], ["sent", "BeginRequest", "1", "8", "0"]);
    assert_eq!(text(gateway.get("/records?8")), "");
}

#[test]
fn stderr_and_app_status_are_logged() {
    let gateway = Gateway::demo();
    text(gateway.get("/log"));
    gateway.wait_for_log("application: a log message with an escape sequence \\u{1b}[31m");
    text(gateway.get("/status"));
    gateway.wait_for_log("gateway: the application ended the request with status 3");
}

/// Control characters are escaped, so that the application cannot forge lines or control the
/// terminal.
#[test]
fn control_characters_of_stderr_are_escaped() {
    let cases: [(&[u8], &str); 5] = [
        (b"\x1b[31mred\x00\x7f", "\\u{1b}[31mred\\u{0}\\u{7f}"),
        (b"old\rgateway: new", "old\\rgateway: new"),
        ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
        ("a\u{2028}b\u{202e}c".as_bytes(), "a\\u{2028}b\\u{202e}c"),
        (b"\xff\xc3caf\xc3\xa9", "\u{fffd}\u{fffd}caf\u{e9}"),
    ];
    for (stderr, line) in cases {
        let site = Site::scripted(&[], [record(STDERR, 1, stderr), answer(EMPTY)].concat());
        assert_eq!(site.gateway.get("/a.php").status(), 200);
        assert_eq!(site.gateway.wait_for_log("application: "), format!("application: {line}"));
    }
}

/// The log of a response is limited to 64 KiB and 1000 lines. What exceeds that is counted.
#[test]
fn stderr_beyond_the_limit_is_dropped_and_counted() {
    let cases: [(&str, Vec<u8>, usize, &str); 4] = [
        ("1000 lines", b"a\n".repeat(1000), 1000, ""),
        (
            "1 million lines",
            b"a\n".repeat(1_000_000),
            1000,
            "1998000 bytes of STDERR (999000 complete lines)",
        ),
        ("64 KiB", vec![b'x'; 65536], 8, ""),
        (
            "10 MB in one line",
            vec![b'x'; 10_000_000],
            8,
            "9934464 bytes of STDERR (0 complete lines)",
        ),
    ];
    for (name, stderr, lines, dropped) in cases {
        let site = Site::scripted(&[], [stream(STDERR, 1, &stderr), answer(EMPTY)].concat());
        assert_eq!(site.gateway.get("/a.php").status(), 200, "{name}");
        site.gateway.get("/missing.php");
        site.gateway.wait_for_log("GET /missing.php: 404");
        let log = site.gateway.log.0.lock().expect("the log");
        let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count("application: "), lines, "{name}");
        assert_eq!(count("dropped"), usize::from(!dropped.is_empty()), "{name}");
        assert!(count(dropped) > 0, "{name}: {:?}", log.last());
    }
}

/// An idle HTTP connection is closed, and an open response is completed.
#[cfg(unix)]
#[test]
fn sigterm_ends_gateway_and_application_cleanly() {
    let mut gateway = Gateway::demo();
    let socket = gateway.greeting.trim_end().rsplit("unix:").next().expect("an address").to_owned();
    assert!(PathBuf::from(&socket).exists(), "{socket}");
    let mut idle = TcpStream::connect(gateway.address()).expect("a connection");
    let mut stream = BufReader::new(gateway.get("/stream").into_body().into_reader());
    stream.read_line(&mut String::new()).expect("a line");

    let pid = gateway.child.id().to_string();
    assert!(Command::new("sh")
        .args(["-c", "kill -TERM $0", &pid])
        .status()
        .expect("a shell")
        .success());
    assert_eq!(idle.read(&mut [0]).expect("the end of an idle connection"), 0);
    assert_eq!(
        stream.lines().map_while(Result::ok).last().as_deref(),
        Some("line 12 of 12"),
        "the open response is completed"
    );
    assert!(gateway.child.wait().expect("its status").success());
    assert!(!PathBuf::from(&socket).exists(), "the socket file is removed");
}

// Authorization

/// A client with the password is allowed, and the application receives its name. Others are denied.
/// Rule C25.
#[cfg(unix)]
#[test]
fn authorizer_is_asked_before_the_application() {
    let authorizer = example::ExampleServer::start("authorizer");
    let gateway = Gateway::start(&[
        "--listen",
        "127.0.0.1:0",
        "--authorizer",
        &authorizer.address.to_string(),
    ]);
    let refused = gateway.get("/");
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Basic realm=\"cave\"".parse().expect("a value"))
    );
    assert_eq!(text(refused), "");
    // "ferris:open sesame", and a header that must not become a variable.
    let request =
        agent().get(gateway.url("/")).header("Authorization", "Basic ZmVycmlzOm9wZW4gc2VzYW1l");
    let page = text(request.header("Remote-User", "root").call().expect("a response"));
    assert!(page.contains("<tr><th>REMOTE_USER<td>ferris\n"), "{page}");
}

#[test]
fn missing_authorizer_allows_nobody() {
    let gateway = Gateway::start(&["--listen", "127.0.0.1:0", "--authorizer", "127.0.0.1:1"]);
    assert_eq!(gateway.get("/").status(), 503);
    gateway.wait_for_log("GET /: 503: the application is not available: cannot connect to ");
}

// Invalid responses

/// Rules H1, H3, H6, H15 and H19.
#[test]
fn invalid_response_is_502() {
    const TEXT: &[u8] = b"Content-Type: text/plain\n\n";
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("nothing", vec![], "input ended"),
        ("half a head", record(STDOUT, 1, b"Content-Type: te"), "input ended"),
        ("half a record", record(STDOUT, 1, TEXT)[..20].to_vec(), "input ended"),
        ("an end in the head", [record(STDOUT, 1, b"A: b\n"), end(1, 0, 0)].concat(), "head"),
        ("no output", end(1, 0, 0), "head"),
        ("no FastCGI", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "version 72"),
        ("another id", [record(STDOUT, 2, TEXT), end(2, 0, 0)].concat(), "unexpected"),
        ("an unknown role", end(1, 0, 3), "refused"),
        ("HTTP as a head", answer(b"HTTP/1.1 200 OK\r\n\r\n"), "invalid header field"),
        ("a bad status", answer(b"Status: abc\n\n"), "invalid Status"),
        ("a status of its own", answer(b"Status: 101\n\n"), "status 101"),
        ("a second status", answer(b"Status: 200\nStatus: 404\n\n"), "more than once"),
        (
            "no body, although it is announced",
            answer(b"Content-Type: a/b\nContent-Length: 9\n\n"),
            "after 0 of the 9 bytes",
        ),
        (
            "a part of the announced body, in one piece",
            answer(b"Content-Type: a/b\nContent-Length: 9\n\npart"),
            "after 4 of the 9 bytes",
        ),
        (
            "a bad length",
            answer(b"Content-Type: a/b\nContent-Length: x\n\n"),
            "invalid Content-Length",
        ),
        ("a CR in a value", answer(b"Status: 200\nX: a\rB: c\n\n"), "invalid header field"),
    ];
    for (name, bytes, reason) in cases {
        let site = Site::scripted(&[], bytes.clone());
        assert_eq!(site.gateway.get("/a.php").status(), 502, "{name}");
        let line = site.gateway.wait_for_log("GET /a.php: 502: ");
        assert!(line.contains(reason), "{name}: {line}");
    }
}

/// The application is overloaded or refuses to multiplex. Rule C9.
#[test]
fn refusal_that_may_be_temporary_is_503() {
    for protocol_status in [2, 1] {
        let site = Site::scripted(&[], end(1, 0, protocol_status));
        assert_eq!(site.gateway.get("/a.php").status(), 503);
        site.gateway.wait_for_log("GET /a.php: 503: the application is not available: ");
    }
}

/// Rule C31.
#[test]
fn missing_application_is_503() {
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let root = root();
    let gateway = Gateway::connect(&address.to_string(), &root, &[]);
    assert_eq!(gateway.get("/a.php").status(), 503);
    gateway.wait_for_log("GET /a.php: 503: the application is not available: cannot connect");
}

/// Rule C29.
#[test]
fn silent_application_is_504() {
    let site = Site::with(&["--timeout", "0.2"], |_, stream| drop(stream.read(&mut [0])));
    assert_eq!(site.gateway.get("/a.php").status(), 504);
    site.gateway.wait_for_log("GET /a.php: 504: the application timed out");
}

/// Rule C11.
#[test]
fn truncated_response_breaks_the_http_response_off() {
    const LENGTH: &[u8] = b"Content-Type: text/plain\nContent-Length: 10\n\n";
    let cases: &[(&str, Vec<u8>)] = &[
        ("without a length", record(STDOUT, 1, b"Content-Type: text/plain\n\npart")),
        ("with a length", [record(STDOUT, 1, LENGTH), two_pieces()].concat()),
        ("too short", [record(STDOUT, 1, LENGTH), two_pieces(), end(1, 0, 0)].concat()),
        (
            "refused in the end",
            [record(STDOUT, 1, b"Content-Type: text/plain\n\npart"), end(1, 0, 2)].concat(),
        ),
    ];
    for (name, bytes) in cases {
        let site = Site::scripted(&[], bytes.clone());
        // The head may be lost with the rest.
        if let Ok(mut answer) = agent().get(site.gateway.url("/a.php")).call() {
            answer.body_mut().read_to_string().expect_err(name);
        }
        site.gateway.wait_for_log("GET /a.php: 50");
    }
}

/// The beginning of a body, which arrives in two pieces.
fn two_pieces() -> Vec<u8> {
    [record(STDOUT, 1, b"pa"), record(STDOUT, 1, b"rt")].concat()
}

#[test]
fn body_longer_than_content_length_is_cut_off() {
    const HEAD: &[u8] = b"Content-Type: text/plain\nContent-Length: 4\n\n";
    let pieces: [&[&[u8]]; 2] = [&[b"part and more"], &[b"part", b" and more"]];
    for pieces in pieces {
        let records = pieces.iter().map(|piece| record(STDOUT, 1, piece));
        let records = [record(STDOUT, 1, HEAD)].into_iter().chain(records).collect::<Vec<_>>();
        let site = Site::scripted(&[], [records.concat(), end(1, 0, 0)].concat());
        // The connection stays open, so that the request is not cancelled.
        let agent = agent();
        let answer = agent.get(site.gateway.url("/a.php")).call().expect("a response");
        assert_eq!(answer.headers()["content-length"], "4");
        assert_eq!(text(answer), "part");
        site.gateway.wait_for_log("longer than the 4 bytes");
    }
}

// Lack of threads

/// The gateway serves at most 512 connections, so it would accept no more if each of these
/// connections remained counted.
#[cfg(target_os = "linux")]
#[test]
fn connection_without_a_thread_is_not_counted() {
    let root = root();
    // A connection has two threads. The second one of the next connection cannot be started.
    let gateway = Gateway::with_threads(5, "127.0.0.1:1", &root);
    let mut idle = gateway.raw("GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).expect("a response");
    assert_eq!(&answer, b"HTTP/1.1 200");
    for _ in 0..512 {
        // The connection may be reset.
        let _ = gateway.raw("").read(&mut [0]);
    }
    gateway.wait_for_log("cannot start a thread");
    drop(idle);
    let url = gateway.url("/style.css");
    wait_until(
        "a request is answered, after the threads of the idle connection have ended",
        || agent().get(&url).call().is_ok_and(|answer| answer.status() == 200),
    );
}

/// The response has a thread of its own.
#[cfg(target_os = "linux")]
#[test]
fn response_without_a_thread_is_broken_off() {
    let application = TestServer::tcp(Config::new(), |request| {
        Ok(write!(request.stdout, "Content-Type: text/plain\r\n\r\ntext")?)
    });
    let root = root();
    let gateway = Gateway::with_threads(4, &application.address.to_string(), &root);
    assert!(agent().get(gateway.url("/a.php")).call().is_err());
    gateway.wait_for_log("gateway: GET /a.php: 503: the gateway lacks a resource");
    let url = gateway.url("/style.css");
    wait_until("a request is answered, after the threads of the connection have ended", || {
        agent().get(&url).call().is_ok_and(|answer| answer.status() == 200)
    });
}

/// The client sends the body in a thread of its own if the application does not read it.
#[cfg(target_os = "linux")]
#[test]
fn upload_without_a_thread_is_503() {
    let application = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = application.local_addr().expect("its address").to_string();
    let root = root();
    let gateway = Gateway::with_threads(4, &address, &root);
    let body = vec![b'x'; 20 << 20];
    let answer = agent().post(gateway.url("/a.php")).send(&body[..]).expect("a response");
    assert_eq!(answer.status(), 503);
    gateway.wait_for_log("gateway: POST /a.php: 503: the gateway lacks a resource");
}

// Invalid requests

/// Returns the status with which the gateway answers a request of these bytes.
fn status_of(gateway: &Gateway, request: &str) -> u16 {
    let mut line = String::new();
    BufReader::new(gateway.raw(request)).read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{line:?} after {request:?}"))
}

/// RFC 9112, section 3.2.
#[test]
fn request_without_one_valid_host_is_400() {
    let site = Site::echo(&[]);
    let cases = [
        ("GET PATH HTTP/1.1\r\n\r\n", 400),
        ("GET http://a/PATH HTTP/1.1\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET PATH HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("GET PATH HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("GET PATH HTTP/1.1\r\nHost: a.example:80\r\n\r\n", 200),
        ("GET PATH HTTP/1.1\r\nhOST: [::1]:80\r\n\r\n", 200),
        ("GET http://a/PATH HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET PATH HTTP/1.0\r\n\r\n", 200),
    ];
    for path in ["/a.php", "/style.css"] {
        for (request, status) in cases {
            let request = request.replace("a/PATH", &format!("a{path}")).replace("PATH", path);
            assert_eq!(status_of(&site.gateway, &request), status, "{request:?}");
        }
    }
}

/// The application would receive a body that is still compressed. RFC 9112, sections 6.1 and 7.
#[test]
fn transfer_coding_other_than_chunked_is_501() {
    const CHUNKS: &str = "4\r\ntext\r\n0\r\n\r\n";
    let site = Site::echo(&[]);
    let cases = [
        ("Transfer-Encoding: chunked", 200),
        ("Transfer-Encoding: ,Chunked", 200),
        ("Transfer-Encoding: \t chunked\t ", 200),
        ("Transfer-Encoding: \u{a0}chunked", 400),
        ("Transfer-Encoding: chunked\u{2003}", 400),
        ("Content-Length: \u{a0}14", 400),
        ("Content-Length: \t14 ", 200),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: gzip;q=1, chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: chunked, gzip", 400),
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 14", 400),
        ("Content-Length: 14\r\nContent-Length: 14", 200),
        ("Content-Length: 14\r\nContent-Length: 15", 400),
        ("Content-Length: 14, 14", 400),
        ("Content-Length: +14", 400),
        ("Content-Length:", 400),
        ("Transfer-Encoding : chunked", 400),
        ("X: a\r\n b", 400),
    ];
    for (field, status) in cases {
        let request = format!("POST /a.php HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{CHUNKS}");
        assert_eq!(status_of(&site.gateway, &request), status, "{field}");
    }
    site.gateway.wait_for_log("POST /a.php: 501: ");
}

#[test]
fn request_that_is_not_http_is_400() {
    let site = Site::echo(&[]);
    let many = format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(300));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(70_000));
    let cases = [
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\n\r\n", 400),
        (&many, 431),
        (&long, 431),
    ];
    for (request, status) in cases {
        assert_eq!(status_of(&site.gateway, request), status, "{request:.40}");
    }
}

/// A part of the second head arrives with the first request, and is shorter than the limit.
#[test]
fn head_beyond_the_limit_is_431_even_if_it_is_complete() {
    let site = Site::echo(&[]);
    for (len, status) in [(64 * 1024, "200"), (64 * 1024 + 1, "431")] {
        let start = "GET /style.css HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ";
        let head = format!("{start}{}\r\n\r\n", "y".repeat(len - start.len() - 4));
        let first = "HEAD /style.css HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = site.gateway.raw(&format!("{first}{head}"));
        let mut responses = String::new();
        stream.read_to_string(&mut responses).expect("the responses");
        let last = responses.rsplit("HTTP/1.1 ").next().expect("a status line");
        assert!(last.starts_with(status), "{len}: {responses}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::echo(&[]);
    let mut stream = site.gateway.raw(
        "GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /a.php HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\
         HEAD /style.css HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /missing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the responses");
    let text = String::from_utf8_lossy(&bytes);
    let found = text.match_indices("HTTP/1.1 ");
    let statuses: Vec<_> = found.map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "200", "404"], "{text}");
}

// Requests and responses

/// Rules E7, E9, E10 and E22.
#[test]
fn application_receives_the_request() {
    let site = Site::echo(&["--keep"]);
    let root = site.root.path().canonicalize().expect("the root");
    let request = agent()
        .get(site.gateway.url("/a.php/x%20y/z?q=%26"))
        .header("Cookie", "c=1")
        .header("Proxy", "evil");
    let params = params(request.call().expect("a response"));
    let expected = [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/a.php"),
        ("PATH_INFO", "/x y/z"),
        ("QUERY_STRING", "q=%26"),
        ("REQUEST_URI", "/a.php/x%20y/z?q=%26"),
        ("HTTP_COOKIE", "c=1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "127.0.0.1"),
    ];
    for (name, value) in expected {
        assert_eq!(params.get(name), Some(value), "{name}");
    }
    assert_eq!(params.get("SCRIPT_FILENAME"), root.join("a.php").to_str());
    assert_eq!(params.get("SERVER_PORT"), site.gateway.address().rsplit(':').next());
    assert_eq!((params.get("HTTP_PROXY"), params.get("CONTENT_LENGTH")), (None, None));
}

/// Rules H13 and H14.
#[test]
fn response_fields_are_passed_to_the_client() {
    let head =
        b"Status: 404 Nothing Here\nContent-Type: text/plain\nSet-Cookie: a=1\nSet-Cookie: b=2\n\
                 Transfer-Encoding: gzip\nConnection: close\nX-CGI-Secret: 1\nX-Own: yes\n\nbody";
    let site = Site::scripted(&[], answer(head));
    let mut answer = site.gateway.get("/a.php");
    let values = |name| {
        answer.headers().get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    };
    let cookies: Vec<_> = values("set-cookie");
    assert_eq!(cookies, ["a=1", "b=2"]);
    let own: Vec<_> =
        ["x-own", "connection", "x-cgi-secret", "status"].into_iter().flat_map(values).collect();
    assert_eq!(own, ["yes"]);
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.body_mut().read_to_string().expect("a body"), "body");
}

/// Rules H1, H5, H11 and H22.
#[test]
fn response_head_that_breaks_a_harmless_rule_is_accepted() {
    let cases: [(&[u8], u16, &str, &str); 8] = [
        (b"Location: info.php?x=1\n\n", 302, "location", "info.php?x=1"),
        (b"Location: //host/x\n\n", 302, "location", "//host/x"),
        (b"X-A: b\n\n", 200, "x-a", "b"),
        (b"Content-Type: a/a\nContent-Type: b/b\n\n", 200, "content-type", "b/b"),
        (b"(: a\nX-A: b\n\n", 200, "x-a", "b"),
        (b"Status: 103\nX-A: a\n\nStatus: 404\nX-A: b\n\n", 404, "x-a", "b"),
        (b"Status: 100\n\nX-A: b\n\n", 200, "x-a", "b"),
        (b"Status: 199\n\nStatus: 102\n\nX-A: b\n\n", 200, "x-a", "b"),
    ];
    for (head, status, name, value) in cases {
        let site = Site::scripted(&["--strict"], answer(head));
        assert_eq!(site.gateway.get("/a.php").status(), 502);
        let site = Site::scripted(&[], answer(head));
        let answer = site.gateway.get("/a.php");
        assert_eq!(
            (answer.status().as_u16(), answer.headers()[name].as_bytes()),
            (status, value.as_bytes())
        );
        assert_eq!(text(answer), "");
    }
}

/// Rule C7.
#[test]
fn body_and_response_are_streamed_at_once() {
    let application = TestServer::tcp(Config::new(), |request| {
        write!(request.stdout, "Content-Type: text/plain\r\n\r\n")?;
        let mut buffer = [0; 64];
        loop {
            match request.stdin.read(&mut buffer)? {
                0 => return Ok(()),
                n => {
                    request.stdout.write_all(&buffer[..n]).and_then(|()| request.stdout.flush())?;
                }
            }
        }
    });
    let root = root();
    let gateway = Gateway::connect(&application.address.to_string(), &root, &["--collect", "8"]);
    let mut stream = gateway.raw(
        "POST /a.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\nfirst",
    );
    let mut seen = Vec::new();
    while !seen.ends_with(b"first\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the first part, before the second was sent");
        seen.extend(byte);
    }
    stream.write_all(b"last").expect("the second part is sent");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the second part");
    assert!(rest.contains("last\r\n0\r\n\r\n"), "{rest}");
}

/// Rule H8.
#[test]
fn local_redirects_are_followed_up_to_a_limit() {
    let site = Site::with(&[], |received, stream| {
        let body = match received.params.get("QUERY_STRING") {
            Some("loop") => "Location: /a.php?loop\n\n".to_owned(),
            Some("go") => "Location: /a.php?there\n\n".to_owned(),
            _ => {
                let get = |name| received.params.get(name).unwrap_or("-");
                format!(
                    "Content-Type: text/plain\n\n{} {}",
                    get("REQUEST_METHOD"),
                    get("CONTENT_LENGTH")
                )
            }
        };
        stream.write_all(&answer(body.as_bytes())).expect("the response is sent");
    });
    let answer = agent().post(site.gateway.url("/a.php?go")).send("body").expect("a response");
    assert_eq!(text(answer), "GET -");
    assert_eq!(site.gateway.get("/a.php?loop").status(), 500);
    site.gateway.wait_for_log("local redirects");
}

/// A local redirect is the application's mistake, not the client's.
#[test]
fn invalid_local_redirect_is_502() {
    for location in ["/..", "/a/../../secret.txt", "/%2e%2e/", "/a%2fb", "/%zz", "/a.php%00"] {
        let body = format!("Location: {location}\n\n");
        let site = Site::scripted(&[], answer(body.as_bytes()));
        assert_eq!(site.gateway.get("/a.php").status(), 502, "{location}");
        site.gateway.wait_for_log("GET /a.php: 502: the application's Location is invalid: ");
    }
}

#[test]
fn request_is_cancelled_when_its_client_disconnects() {
    for head in [&b""[..], b"Content-Type: text/plain\n\npart"] {
        let (report, reports) = mpsc::channel();
        let (report, head_record) = (Mutex::new(report), record(STDOUT, 1, head));
        let site = Site::with(&[], move |_, stream| {
            if !head.is_empty() {
                stream.write_all(&head_record).expect("the head is sent");
            }
            report.lock().expect("the lock").send("requested").expect("the test waits");
            let _ = stream.read(&mut [0]);
            report.lock().expect("the lock").send("cancelled").expect("the test waits");
        });
        let client = site.gateway.raw("GET /a.php HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok("requested"));
        drop(client);
        assert_eq!(reports.recv_timeout(TEST_TIMEOUT), Ok("cancelled"));
        site.gateway.wait_for_log("GET /a.php: the client disconnected");
    }
}

// The command line

#[test]
fn invalid_command_line_exits_with_64() {
    let cases: [&[&str]; 9] = [
        &["--root", "."],
        &["--what"],
        &["--listen"],
        &["extra"],
        &["--fallback", "/index.php"],
        &["--connect", "a:1", "--index", "index.php"],
        &["--connect", "a:1", "--root", ".", "--fallback", "index.php"],
        &["--max-body", "-1"],
        &["--timeout", "0"],
    ];
    for args in cases {
        let output = Command::new(example::path("gateway")).args(args).output().expect("a gateway");
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: gateway"), "{args:?}");
    }
}

#[test]
fn missing_directory_or_log_exits_with_74() {
    for (option, value) in [("--root", "/missing"), ("--access-log", "/missing/log")] {
        let mut gateway = Command::new(example::path("gateway"));
        gateway.args(["--listen", "127.0.0.1:0", "--connect", "127.0.0.1:1", option, value]);
        let output = gateway.output().expect("a gateway");
        assert_eq!(output.status.code(), Some(74), "{option}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(&format!("gateway: {value}: ")), "{text}");
    }
}

// The access log

#[test]
fn access_log_has_the_combined_format() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let log = file.to_str().expect("a name that is text");
    let site = Site::echo(&["--access-log", log]);
    let request = agent().get(site.gateway.url("/style.css?a=%22b"));
    let request = request.header("Referer", "http://a/\"\\").header("User-Agent", "caf\u{e9}");
    assert_eq!(text(request.call().expect("a response")), "body {}");
    assert_eq!(site.gateway.get("/missing").status(), 404);
    let mut lines = Vec::new();
    wait_until("two lines", || {
        let text = std::fs::read_to_string(&file).expect("the access log");
        lines = text.lines().map(str::to_owned).collect();
        lines.len() == 2
    });
    let (start, rest) = lines[0].split_once('[').expect("a time");
    let (time, rest) = rest.split_once("] ").expect("the end of a time");
    assert_eq!(start, "127.0.0.1 - - ");
    assert_eq!((time.len(), &time[2..3], &time[20..]), (26, "/", " +0000"), "{time}");
    let expected = r#""GET /style.css?a=%22b HTTP/1.1" 200 7 "http://a/\"\\" "caf\xc3\xa9""#;
    assert_eq!(rest, expected);
    assert!(lines[1].contains(r#""GET /missing HTTP/1.1" 404 14 "-" ""#), "{}", lines[1]);
}

// Helpers

/// A gateway process. It is killed when it is dropped.
struct Gateway {
    child: Child,
    /// The first line that it printed.
    greeting: String,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Gateway {
    fn demo() -> Self {
        Self::start(&["--listen", "127.0.0.1:0"])
    }

    fn connect(address: &str, root: &Root, options: &[&str]) -> Self {
        let root = root.path();
        let root = root.to_str().expect("a name that is text");
        Self::start(
            &[&["--listen", "127.0.0.1:0", "--connect", address, "--root", root], options].concat(),
        )
    }

    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(example::path("gateway"));
        command.args(args);
        Self::spawn(command)
    }

    /// Starts a gateway that can have `threads` threads besides its main thread. One of them waits
    /// for signals and one accepts connections.
    ///
    /// Limits the address space, because the system does not limit the threads of root.
    #[cfg(target_os = "linux")]
    fn with_threads(threads: u64, address: &str, root: &Root) -> Self {
        const STACK: u64 = 256 << 20;
        let limit = STACK * threads + STACK / 2;
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -S -v {}; exec \"$0\" \"$@\"", limit / 1024));
        command.arg(example::path("gateway"));
        command.args(["--listen", "127.0.0.1:0", "--connect", address, "--root"]).arg(root.path());
        // Without the second variable, each thread would reserve memory for its allocations.
        command.env("RUST_MIN_STACK", STACK.to_string()).env("MALLOC_ARENA_MAX", "1");
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a gateway");
        let (stdout, stderr) =
            (child.stdout.take().expect("its stdout"), child.stderr.take().expect("its stderr"));
        let log = Arc::new((Mutex::default(), Condvar::new()));
        let mut gateway = Self { child, greeting: String::new(), log: Arc::clone(&log) };
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.0.lock().expect("the log").push(line);
                log.1.notify_all();
            }
        });
        BufReader::new(stdout).read_line(&mut gateway.greeting).expect("its greeting");
        gateway
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    fn address(&self) -> &str {
        let url = self.greeting.split(' ').next().expect("a URL");
        url.trim_start_matches("http://").trim_end_matches('/')
    }

    fn get(&self, path: &str) -> Response<Body> {
        agent().get(self.url(path)).call().expect("a response")
    }

    /// Connects and sends these bytes.
    fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).expect("a connection");
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        stream
    }

    /// Waits for a line of the log that contains this text.
    #[track_caller]
    fn wait_for_log(&self, text: &str) -> String {
        let (lines, more) = &*self.log;
        let find = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let lines = lines.lock().expect("the log");
        let (lines, _) = more
            .wait_timeout_while(lines, TEST_TIMEOUT, |lines| find(lines).is_none())
            .expect("the log");
        find(&lines).unwrap_or_else(|| panic!("{text:?} in the log: {lines:#?}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway that serves a directory, with its application.
struct Site {
    gateway: Gateway,
    root: Root,
    _application: Option<TestServer>,
}

impl Site {
    /// Starts an application that responds to each request with these bytes and closes the
    /// connection.
    fn scripted(options: &[&str], bytes: Vec<u8>) -> Self {
        Self::with(options, move |_, stream| drop(stream.write_all(&bytes)))
    }

    /// Starts an application that reads each request, calls `answer` and closes the connection.
    fn with(options: &[&str], answer: impl Fn(&Received, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
                let received = Received::read(&mut stream);
                answer(&received, &mut stream);
            }
        });
        let root = root();
        Self {
            gateway: Gateway::connect(&address.to_string(), &root, options),
            root,
            _application: None,
        }
    }

    /// Starts an application that responds with the encoded params.
    fn echo(options: &[&str]) -> Self {
        let application = TestServer::tcp(Config::new(), |request| {
            io::copy(&mut request.stdin, &mut io::sink())?;
            write!(request.stdout, "Content-Type: text/plain\r\n\r\n")?;
            Ok(request.stdout.write_all(request.params.as_bytes())?)
        });
        let root = root();
        let gateway = Gateway::connect(&application.address.to_string(), &root, options);
        Self { gateway, root, _application: Some(application) }
    }
}

/// A received request.
struct Received {
    params: Params,
}

impl Received {
    fn read(stream: &mut TcpStream) -> Self {
        let mut encoded = Vec::new();
        assert_eq!(read_record(stream).expect("the start of a request").record_type, BEGIN);
        loop {
            let record = read_record(stream).expect("a record");
            match (record.record_type, record.content.is_empty()) {
                (PARAMS, _) => encoded.extend(record.content),
                (STDIN, true) => return Self { params: Params::parse(&encoded).expect("params") },
                (STDIN, false) => {}
                _ => panic!("{record:?} from a web server"),
            }
        }
    }
}

/// The head of an empty response.
const EMPTY: &[u8] = b"Content-Type: text/plain\n\n";

/// Returns a whole response.
fn answer(stdout: &[u8]) -> Vec<u8> {
    [record(STDOUT, 1, stdout), record(STDOUT, 1, b""), end(1, 0, 0)].concat()
}

/// A directory to serve, inside a directory with a file that must not be served.
struct Root(tempfile::TempDir);

impl Root {
    fn path(&self) -> PathBuf {
        self.0.path().join("www")
    }
}

fn root() -> Root {
    let outside = tempfile::tempdir().expect("a directory");
    let files = [
        ("secret.txt", "secret"),
        ("www/a.php", "<?php secret();"),
        ("www/a.php.bak", "<?php secret();"),
        ("www/a.inc", "<?php secret();"),
        ("www/B.PHP", "<?php secret();"),
        ("www/style.css", "body {}"),
        ("www/index.php", "<?php secret();"),
        ("www/LICENSE", "public"),
        ("www/.well-known/token", "public"),
        ("www/.well-known/.git/a.txt", "secret"),
        ("www/.hidden/a.txt", "secret"),
        ("www/sub/start.html", "<p>start"),
        ("www/scripts/index.php", "<?php secret();"),
        ("www/empty/other.html", ""),
        ("www/sub dir/other.html", ""),
    ];
    for (name, content) in files {
        let path = outside.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }
    Root(outside)
}

fn params(mut answer: Response<Body>) -> Params {
    assert_eq!(answer.status(), 200);
    Params::parse(&answer.body_mut().read_to_vec().expect("a body")).expect("params")
}

fn text(mut answer: Response<Body>) -> String {
    answer.body_mut().read_to_string().expect("a body")
}

/// Returns an HTTP client that follows no redirects and accepts any status.
fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
    config.timeout_global(Some(TEST_TIMEOUT)).build().into()
}

fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !data.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
