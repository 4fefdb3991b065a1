//! Bodies of requests and responses: which are collected, and what slow clients hold.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter;
use std::net::{TcpListener, TcpStream};
use std::sync::{mpsc, Mutex};

use fcgi::record::Role;
use fcgi::server::Config;
use ureq::SendBody;

use super::{agent, answer, root, status_of, text, Gateway, Site, EMPTY};
use crate::support::{TestServer, TEST_TIMEOUT};

/// Starts an application that reports the query string of each request that it receives.
fn reporting_site(options: &[&str]) -> (Site, mpsc::Receiver<String>) {
    let (report, reports) = mpsc::channel();
    let report = Mutex::new(report);
    let site = Site::with(options, move |received, stream| {
        let query = received.params.get("QUERY_STRING").unwrap_or("").to_owned();
        report.lock().expect("the lock").send(query).expect("the test waits");
        stream.write_all(&answer(EMPTY)).expect("the response is sent");
    });
    (site, reports)
}

fn post(gateway: &Gateway, query: &str, framing: &str, body: &str) -> TcpStream {
    gateway.raw(&format!("POST /a.php?{query} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}"))
}

/// The application is asked when the whole body has arrived. It never receives half a form, and
/// does not wait for a slow client.
#[test]
fn short_or_chunked_body_is_collected_before_the_application_is_asked() {
    let (site, reports) = reporting_site(&[]);
    let broken = post(&site.gateway, "broken", "Content-Length: 9", "half");
    drop(broken);
    site.gateway.wait_for_log("POST /a.php?broken: the client disconnected");
    let mut slow = post(&site.gateway, "slow", "Content-Length: 9", "half");
    let mut chunked = post(&site.gateway, "chunked", "Transfer-Encoding: chunked", "4\r\nhalf\r\n");
    assert_eq!(site.gateway.get("/a.php?quick").status(), 200);
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT).as_deref(), Ok("quick"));
    slow.write_all(b" rest").expect("the rest is sent");
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT).as_deref(), Ok("slow"));
    chunked.write_all(b"5;x=y\r\n rest\r\n0\r\nA: b\r\n\r\n").expect("the rest is sent");
    assert_eq!(reports.recv_timeout(TEST_TIMEOUT).as_deref(), Ok("chunked"));
    for mut client in [slow, chunked] {
        let mut status = [0; 12];
        client.read_exact(&mut status).expect("a response");
        assert_eq!(&status, b"HTTP/1.1 200");
    }
}

/// The default is 1 MiB.
#[test]
fn body_longer_than_the_limit_for_collecting_is_forwarded_at_once() {
    for (options, length) in [(&["--collect", "8"][..], 9), (&[][..], (1 << 20) + 1)] {
        let application = TestServer::tcp(Config::new(), |request| {
            write!(request.stdout, "Content-Type: text/plain\r\n\r\n")?;
            request.stdin.read_exact(&mut [0])?;
            request.stdout.write_all(b"begun")?;
            request.stdout.flush()?;
            io::copy(&mut request.stdin, &mut request.stdout)?;
            Ok(())
        });
        let root = root();
        let gateway = Gateway::connect(&application.address.to_string(), &root, options);
        let mut client = post(&gateway, "", &format!("Content-Length: {length}"), "b");
        let mut seen = Vec::new();
        while !seen.ends_with(b"begun\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("the start of the response");
            seen.extend(byte);
        }
        client.write_all(&vec![b'x'; length - 1]).expect("the rest is sent");
    }
}

/// Returns the number of bytes that the system buffers for a client that reads nothing.
#[cfg(unix)]
fn system_buffer() -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let _client = TcpStream::connect(address).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    server.set_nonblocking(true).expect("the mode of a socket");
    iter::from_fn(|| server.write(&[0; 65536]).ok()).sum()
}

/// Returns the largest amount of memory that a process has used, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kibibytes = peak.trim().strip_suffix(" kB").expect("a unit");
    kibibytes.parse::<usize>().expect("a number") * 1024
}

/// The response does not fit into the buffers of the system, but into that of the gateway. The
/// application does not wait for a client that reads nothing.
#[cfg(unix)]
#[test]
fn slow_client_does_not_hold_the_application() {
    const BUFFERED: usize = (4 << 20) - (128 << 10);
    let length = system_buffer() + BUFFERED;
    let (report, reports) = mpsc::channel();
    let report = Mutex::new(report);
    let application = TestServer::unix(Config::new(), move |request| {
        let is_first = request.params.get("QUERY_STRING") == Some("first");
        let length = if is_first { 1 << 20 } else { length };
        write!(request.stdout, "Content-Type: text/plain\r\n\r\n")?;
        request.stdout.write_all(&vec![b'x'; length])?;
        request.stdout.flush()?;
        report.lock().expect("the lock").send(()).expect("the test waits");
        Ok(())
    });
    let root = root();
    let gateway = Gateway::connect(&application.address.to_string(), &root, &[]);
    text(gateway.get("/a.php?first"));
    reports.recv_timeout(TEST_TIMEOUT).expect("the application has written its response");
    #[cfg(target_os = "linux")]
    let before = peak_memory(gateway.child.id());
    let mut client = gateway.raw("GET /a.php HTTP/1.0\r\n\r\n");
    reports.recv_timeout(TEST_TIMEOUT).expect("the application has written its response");
    let mut response = Vec::new();
    client.read_to_end(&mut response).expect("the response");
    assert!(response.len() > length && response.ends_with(b"xx"), "{}", response.len());
    #[cfg(target_os = "linux")]
    {
        let used = peak_memory(gateway.child.id()) - before;
        assert!(used < BUFFERED + (2 << 20), "{used} bytes of memory for {BUFFERED}");
    }
}

/// What follows a head whose body was not read is not a request.
#[test]
fn connection_is_closed_after_a_body_that_was_not_read() {
    let (site, _reports) = reporting_site(&["--max-body", "1000"]);
    let smuggled = "GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = post(&site.gateway, "", "Content-Length: 2000", smuggled);
    let mut response = String::new();
    client.read_to_string(&mut response).expect("a response");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
}

#[test]
fn body_over_the_limit_is_413() {
    let (site, reports) = reporting_site(&["--max-body", "1000"]);
    let post = |body: SendBody| {
        agent().post(site.gateway.url("/a.php")).send(body).expect("a response").status()
    };
    assert_eq!(post(SendBody::from_reader(&mut &[b'x'; 1000][..])), 200, "in chunks");
    assert_eq!(post(SendBody::from_reader(&mut &[b'x'; 1001][..])), 413, "in chunks");
    let announced = "POST /a.php HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(status_of(&site.gateway, announced), 413, "announced");
    assert_eq!(reports.try_iter().count(), 1, "only one request reaches the application");
}

/// RFC 9110, section 10.1.1.
#[test]
fn client_that_expects_100_continue_receives_it_unless_the_body_is_refused() {
    let (site, _reports) = reporting_site(&["--max-body", "1000"]);
    for (length, status) in [(4, "HTTP/1.1 100 Continue\r\n"), (1001, "HTTP/1.1 413 ")] {
        let framing = format!("Content-Length: {length}\r\nExpect: 100-continue");
        let client = post(&site.gateway, "", &framing, "");
        let mut client = BufReader::new(client);
        let mut line = String::new();
        client.read_line(&mut line).expect("a status line");
        assert!(line.starts_with(status), "{line}");
        if length == 4 {
            client.read_line(&mut line).expect("an empty line");
            client.get_mut().write_all(b"body").expect("the body is sent");
            line.clear();
            client.read_line(&mut line).expect("a status line");
            assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        }
    }
}

/// The application would receive another body than the client has sent.
#[test]
fn invalid_chunks_are_400() {
    let (site, reports) = reporting_site(&[]);
    let long = format!("4;{}", "x".repeat(20_000));
    let cases = [
        "zz\r\n",
        "4\r\nbody!\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "00000000000000000\r\n\r\n",
        "-1\r\n",
        "+4\r\nbody\r\n0\r\n\r\n",
        "0x4\r\nbody\r\n0\r\n\r\n",
        " 4\r\nbody\r\n0\r\n\r\n",
        "\r\n\r\n",
        "5\r\nhello\r\n\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        ";a\r\n\r\n",
        "4\nbody\r\n0\r\n\r\n",
        "4;a\nb\r\nbody\r\n0\r\n\r\n",
        "4;a\rb\r\nbody\r\n0\r\n\r\n",
        "4;a\0b\r\nbody\r\n0\r\n\r\n",
        "4\r\nbody\n0\r\n\r\n",
        "0\r\nA: b\rC: d\r\n\r\n",
        "0\r\n\n",
        &long,
    ];
    for body in cases {
        let client = post(&site.gateway, "", "Transfer-Encoding: chunked", body);
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).expect("a status line");
        assert_eq!(line, "HTTP/1.1 400 Bad Request\r\n", "{body:.20?}");
    }
    assert_eq!(reports.try_iter().count(), 0);
}

/// RFC 9112, section 7.1.
#[test]
fn valid_chunks_are_accepted() {
    let (site, _reports) = reporting_site(&[]);
    for body in [
        "4\r\nbody\r\n0\r\n\r\n",
        "4 \t;a=\"b;\tc\"\r\nbody\r\n0\r\nA: b\r\n\r\n",
        "0000000000000004\r\nbody\r\n0000\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0 ;x\r\n\r\n",
    ] {
        let client = post(&site.gateway, "", "Transfer-Encoding: chunked", body);
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).expect("a status line");
        assert_eq!(line, "HTTP/1.1 200 OK\r\n", "{body:?}");
    }
}

/// The response arrives although the body has not been sent, and the client is not asked for it.
#[test]
fn body_is_not_read_before_the_script_is_found() {
    let (site, reports) = reporting_site(&[]);
    let cases = [("missing.php", 404), ("style.css", 405), ("sub", 301), (".git/a.php", 404)];
    let framings = ["Content-Length: 9", "Transfer-Encoding: chunked"];
    for ((path, status), framing) in cases.into_iter().flat_map(|case| framings.map(|f| (case, f)))
    {
        let expect = "Expect: 100-continue";
        let head = format!("POST /{path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n{expect}\r\n\r\n");
        assert_eq!(status_of(&site.gateway, &head), status, "{path}, {framing}");
    }
    assert_eq!(reports.try_iter().count(), 0);
}

/// The authorizer does not receive the body.
#[test]
fn body_is_not_read_before_the_authorizer_allows_the_request() {
    let authorizer = TestServer::tcp(Config::new().roles(&[Role::Authorizer]), |request| {
        Ok(write!(request.stdout, "Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nno")?)
    });
    let address = authorizer.address.to_string();
    let (site, reports) = reporting_site(&["--authorizer", &address]);
    for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let framing = format!("{framing}\r\nExpect: 100-continue");
        let mut client = post(&site.gateway, "", &framing, "");
        let mut response = String::new();
        client.read_to_string(&mut response).expect("a response");
        assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
        assert!(response.ends_with("\r\n\r\nno"), "{response}");
    }
    assert_eq!(reports.try_iter().count(), 0);
}

/// A client may otherwise send its next request on a connection that is about to be closed.
#[test]
fn response_to_a_request_whose_body_was_not_read_closes_the_connection() {
    let (site, _reports) = reporting_site(&["--max-body", "1000"]);
    let cases = [
        ("/a.php", "Content-Length: 1001", "", 413),
        ("/a.php", "Transfer-Encoding: chunked", "zz\r\n", 400),
        ("/style.css", "Content-Length: 4", "", 405),
        ("/missing.php", "Transfer-Encoding: chunked", "", 404),
        ("/sub", "Content-Length: 4", "", 301),
    ];
    for (path, framing, body, status) in cases {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}");
        let mut client = site.gateway.raw(&request);
        let mut response = String::new();
        client.read_to_string(&mut response).expect("a response");
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
    }
    let mut kept = site.gateway.raw("POST /style.css HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = String::new();
    let mut lines = BufReader::new(&mut kept);
    while !head.ends_with("\r\n\r\n") {
        lines.read_line(&mut head).expect("a line");
    }
    assert!(head.starts_with("HTTP/1.1 405 ") && !head.contains("Connection: "), "{head}");
}

/// The limit is 64 KiB for all trailers together.
#[test]
fn trailers_beyond_the_limit_are_400() {
    let (site, reports) = reporting_site(&[]);
    let trailer = format!("A: {}\r\n", "x".repeat(1019));
    for (count, status) in [(64, 200), (65, 400)] {
        let trailers = trailer.repeat(count);
        let chunks = format!("4\r\nbody\r\n0\r\n{trailers}\r\n");
        let head = "POST /a.php HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status_of(&site.gateway, &format!("{head}{chunks}")), status, "{count}");
    }
    assert_eq!(reports.try_iter().count(), 1);
}
