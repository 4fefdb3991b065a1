//! Connections: how they end, and what happens to their requests.

#[path = "../../../examples/gateway/http/guard.rs"]
mod guard;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use fcgi::record::Role;
use fcgi::server::Config;
use socket2::{Domain, SockRef, Socket, Type};

use super::{answer, root, Gateway, Site};
use crate::support::{end, record, TestServer, STDOUT, TEST_TIMEOUT};

/// Such a response ends with the connection, so only a reset tells the client that a part is
/// missing. A part that was sent may be lost.
#[test]
fn broken_response_without_a_length_resets_the_connection() {
    let part = record(STDOUT, 1, b"Content-Type: text/plain\n\npart");
    for (name, end, reason) in
        [("truncated", vec![], "input ended"), ("refused in the end", end(1, 0, 2), "OVERLOADED")]
    {
        let site = Site::scripted(&[], [part.clone(), end].concat());
        let mut client = site.gateway.raw("GET /a.php HTTP/1.0\r\n\r\n");
        let error = client.read_to_end(&mut Vec::new()).expect_err(name);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{name}");
        site.gateway.wait_for_log(reason);
    }
}

/// The end of such a response is the end of the connection.
#[test]
fn complete_response_without_a_length_closes_the_connection() {
    let site = Site::scripted(&[], answer(b"Content-Type: text/plain\n\nwhole"));
    let mut client = site.gateway.raw("GET /a.php HTTP/1.0\r\n\r\n");
    let mut response = String::new();
    client.read_to_string(&mut response).expect("the response");
    assert!(response.ends_with("\r\n\r\nwhole"), "{response}");
}

/// The thread that receives blocks until the connection ends. The panic of the thread that answers
/// would otherwise wait for it.
#[test]
fn panic_resets_the_connection_and_ends_the_thread_that_receives() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let (server, _) = listener.accept().expect("a connection");
    let panicked = panic::catch_unwind(move || {
        thread::scope(|scope| {
            let _guard = guard::ConnectionGuard::new(&server);
            scope.spawn(|| (&server).read(&mut [0]));
            panic::resume_unwind(Box::new("a panic without a message"));
        });
    });
    panicked.expect_err("the panic");
    let error = client.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn complete_connection_ends_without_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let (server, _) = listener.accept().expect("a connection");
    thread::scope(|scope| {
        let mut guard = guard::ConnectionGuard::new(&server);
        scope.spawn(|| (&server).read(&mut [0]));
        guard.complete();
    });
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
}

/// The gateway is paused, so that the requests arrive before the signal. Some connections are being
/// started when they are told to stop.
#[cfg(unix)]
#[test]
fn requests_that_arrived_before_sigterm_are_answered() {
    const REQUEST: &str = "GET /a.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut site = Site::echo(&["--keep"]);
    let signal = |name: &str| {
        let pid = site.gateway.child.id().to_string();
        let kill = Command::new("sh").args(["-c", "kill -$0 $1", name, &pid]).status();
        assert!(kill.expect("a shell").success());
    };
    signal("STOP");
    let clients: Vec<_> = (0..100).map(|_| site.gateway.raw(REQUEST)).collect();
    signal("TERM");
    signal("CONT");
    for mut client in clients {
        let mut response = Vec::new();
        // A connection that was not accepted is reset, or ends without a response.
        if client.read_to_end(&mut response).is_ok() && !response.is_empty() {
            assert!(response.starts_with(b"HTTP/1.1 200 "), "{}", response.escape_ascii());
        }
    }
    assert!(site.gateway.child.wait().expect("its status").success());
    let log = site.gateway.log.0.lock().expect("the log");
    assert!(!log.iter().any(|line| line.contains("the client disconnected")), "{log:#?}");
}

/// Connects from an address that another connection may have used before.
#[cfg(unix)]
fn connect_from(local: SocketAddr, gateway: &Gateway, request: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&local.into()).expect("the address is free");
    let address: SocketAddr = gateway.address().parse().expect("an address");
    socket.connect(&address.into()).expect("a connection");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("the request is sent");
    stream
}

/// Starts a server that reports each query string and then waits for permission to respond.
#[cfg(unix)]
fn waiting_server(head: &'static str) -> (TestServer, Receiver<String>, Sender<()>) {
    let (report, reports) = mpsc::channel();
    let (permit, permits) = mpsc::channel();
    let (report, permits) = (Mutex::new(report), Mutex::new(permits));
    let config = Config::new().roles(&[Role::Authorizer, Role::Responder]);
    let server = TestServer::tcp(config, move |request| {
        let query = request.params.get("QUERY_STRING").unwrap_or_default().to_owned();
        let is_waiting = query == head;
        report.lock().expect("the lock").send(query).expect("the test waits");
        if is_waiting {
            permits.lock().expect("the lock").recv().expect("permission");
        }
        Ok(write!(request.stdout, "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{head}")?)
    });
    (server, reports, permit)
}

/// The first connection has been reset, but its request still waits for the authorizer.
#[cfg(unix)]
#[test]
fn connections_from_the_same_address_are_told_apart() {
    let (authorizer, asked, allow) = waiting_server("first");
    let (application, begun, respond) = waiting_server("second");
    let (root, authorizer) = (root(), authorizer.address.to_string());
    let options = ["--authorizer", &authorizer];
    let mut gateway = Gateway::connect(&application.address.to_string(), &root, &options);
    let request = |query| format!("GET /a.php?{query} HTTP/1.1\r\nHost: a\r\n\r\n");

    let local = "127.0.0.1:0".parse().expect("an address");
    let first = connect_from(local, &gateway, &request("first"));
    assert_eq!(asked.recv_timeout(TEST_TIMEOUT).as_deref(), Ok("first"));
    let local = first.local_addr().expect("its address");
    SockRef::from(&first).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(first);
    let mut second = connect_from(local, &gateway, &request("second"));
    assert_eq!(begun.recv_timeout(TEST_TIMEOUT).as_deref(), Ok("second"));
    let mut idle = BufReader::new(gateway.raw("GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n"));
    idle.read_until(b'}', &mut Vec::new()).expect("a response");
    allow.send(()).expect("the authorizer waits");
    gateway.wait_for_log("GET /a.php?first: the client disconnected");

    let pid = gateway.child.id().to_string();
    let kill = Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status();
    assert!(kill.expect("a shell").success());
    assert_eq!(idle.read(&mut [0]).expect("the end of an idle connection"), 0);
    respond.send(()).expect("the application waits");
    let mut response = String::new();
    second.read_to_string(&mut response).expect("a response");
    assert!(response.contains("\r\nsecond\r\n"), "{response}");
    assert!(gateway.child.wait().expect("its status").success());
}

/// The gateway accepts connections until it exits. They must not delay that.
#[cfg(unix)]
#[test]
fn connection_that_is_accepted_after_sigterm_is_closed() {
    let (application, begun, respond) = waiting_server("slow");
    let root = root();
    let mut gateway = Gateway::connect(&application.address.to_string(), &root, &[]);
    let mut idle = BufReader::new(gateway.raw("GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n"));
    idle.read_until(b'}', &mut Vec::new()).expect("a response");
    let request = "GET /a.php?slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut slow = gateway.raw(request);
    assert_eq!(begun.recv_timeout(TEST_TIMEOUT).as_deref(), Ok("slow"));

    let pid = gateway.child.id().to_string();
    let kill = Command::new("sh").args(["-c", "kill -TERM $0", &pid]).status();
    assert!(kill.expect("a shell").success());
    assert_eq!(idle.read(&mut [0]).expect("the end of an idle connection"), 0);
    let mut late = gateway.raw("");
    assert_eq!(late.read(&mut [0]).expect("the end of the connection"), 0);
    respond.send(()).expect("the application waits");
    let mut response = String::new();
    slow.read_to_string(&mut response).expect("a response");
    assert!(response.contains("\r\nslow\r\n"), "{response}");
    assert!(gateway.child.wait().expect("its status").success());
}
