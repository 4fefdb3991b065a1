//! Proves that an application that is missing or does nothing is an error in time, and that a slow
//! one is not.
#![cfg(unix)]

use std::io::{self, Read, Write};
use std::net::TcpListener;
#[cfg(target_os = "linux")]
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::{Body, Config, Connection};
use fcgi::net::{Address, Stream};
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::*;

const SHORT: Duration = Duration::from_millis(100);

/// Returns a configuration with timeouts that the test reaches.
fn short_timeouts() -> Config {
    test_config().read_timeout(Some(SHORT)).write_timeout(Some(SHORT))
}

#[track_caller]
fn assert_timed_out<T: std::fmt::Debug>(outcome: fcgi::Result<T>, operation: &str) {
    assert_timed_out_after(SHORT, outcome, operation);
}

#[track_caller]
fn assert_timed_out_after<T: std::fmt::Debug>(
    after: Duration,
    outcome: fcgi::Result<T>,
    operation: &str,
) {
    match outcome {
        Err(Error::TimedOut(timeout)) => {
            assert_eq!((timeout.operation, timeout.after), (operation, after));
        }
        outcome => panic!("{outcome:?}"),
    }
}

/// Asserts that each way of sending a request fails with this kind of error at once.
#[track_caller]
fn assert_connect_fails(address: &Address, kind: io::ErrorKind) {
    let start = Instant::now();
    let client = Client::from(address.clone()).config(test_config());
    let outcomes = [
        client.fetch(&get_params(), b"").map(|_| ()),
        client
            .send(&upload_params(1 << 20), Pattern::new(1 << 20), |_| fcgi::Result::Ok(()))
            .map(|_| ()),
        client.connect().map(|_| ()),
    ];
    for outcome in outcomes {
        let is_expected =
            matches!(&outcome, Err(Error::Connect { source, .. }) if source.kind() == kind);
        assert!(is_expected, "{outcome:?}");
    }
    assert!(start.elapsed() < TEST_TIMEOUT / 2, "the client waited for a timeout");
}

/// Rule C31.
#[test]
fn refused_connection_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    drop(listener);
    assert_connect_fails(&address, io::ErrorKind::ConnectionRefused);
}

/// Rule C31.
#[test]
fn missing_or_stale_socket_is_an_error_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let address = Address::unix(&path).unwrap();
    assert_connect_fails(&address, io::ErrorKind::NotFound);
    drop(UnixListener::bind(&path).unwrap());
    assert_connect_fails(&address, io::ErrorKind::ConnectionRefused);
}

/// Rule C31.
#[test]
fn invalid_address_is_an_error_before_connecting() {
    for text in ["", "localhost", "127.0.0.1:99999", "unix:"] {
        assert!(matches!(Client::new(text), Err(Error::InvalidAddress(found)) if found == text));
    }
}

/// The backlog of the listening socket is full. Rule C29.
#[test]
#[cfg(target_os = "linux")]
fn connecting_times_out() {
    assert_eq!(Config::new().connect_timeout, Some(Duration::from_secs(10)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let _waiting: Vec<_> = std::iter::from_fn(|| TcpStream::connect_timeout(&address, SHORT).ok())
        .take(10_000)
        .collect();
    let client =
        Client::from(Address::from(address)).config(short_timeouts().connect_timeout(Some(SHORT)));
    let outcomes = run_with_timeout(move || (client.fetch(&get_params(), b""), client.connect()))
        .expect("no panic");
    let expected = format!("cannot connect to {address}: connect timed out after 100 ms");
    assert_eq!(outcomes.0.expect_err("a timeout").to_string(), expected);
    assert_eq!(outcomes.1.expect_err("a timeout").to_string(), expected);
    drop(listener);
}

/// The default is 60 seconds. The next request uses another connection. Rule C29.
#[test]
fn application_that_never_responds_times_out() {
    assert_eq!(Config::new().read_timeout, Some(Duration::from_secs(60)));
    let (report, reports) = mpsc::channel();
    for application in Application::tcp_and_unix(move |number, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        report.send(number).expect("the test waits");
        wait_for_close(&mut stream);
    }) {
        let client = application.client().config(short_timeouts().keep_alive(true));
        let start = Instant::now();
        assert_timed_out(client.fetch(&get_params(), b""), "read");
        assert!(start.elapsed() >= SHORT);
        assert_timed_out(client.send(&get_params(), io::empty(), |_| fcgi::Result::Ok(())), "read");
        let body = Pattern::new(1 << 20);
        assert_timed_out(
            client.send(&upload_params(1 << 20), body, |_| fcgi::Result::Ok(())),
            "read",
        );
        let numbers: Vec<_> = (0..3).map(|_| reports.recv_timeout(TEST_TIMEOUT).unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2]);
        drop(client);
    }
}

/// The request has a large body, or params that do not fit into the buffer of the socket.
/// Rule C29.
#[test]
fn application_that_never_reads_times_out() {
    assert_eq!(Config::new().write_timeout, Some(Duration::from_secs(60)));
    let (gate, open) = gate();
    let applications = Application::tcp_and_unix(move |_, _stream| gate.wait());
    for application in &applications {
        let client = application.client().config(short_timeouts());
        let body = Pattern::new(64 << 20);
        assert_timed_out(
            client.send(&upload_params(64 << 20), body, |_| fcgi::Result::Ok(())),
            "read",
        );

        let mut params = get_params();
        params.push("LONG", vec![b'v'; 16 << 20]).unwrap();
        assert_timed_out(client.fetch(&params, b""), "write");

        let mut connection = client.connect().unwrap();
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        let error = io::copy(&mut Pattern::new(64 << 20), &mut exchange.stdin).unwrap_err();
        assert_timed_out(Err::<(), _>(error.into()), "write");
        assert_timed_out(exchange.finish(), "write");
        assert!(!connection.is_reusable());
    }
    drop(open);
}

/// The buffers of the socket are full.
#[test]
fn abort_that_cannot_be_sent_times_out() {
    let (near, _far) = socket_pair();
    let mut filler = near.try_clone().expect("a second handle");
    let mut connection = Connection::new(near, Arc::new(short_timeouts())).expect("a connection");
    let exchange = connection.begin(Role::Responder, &get_params()).expect("a request");
    filler.set_nonblocking(true).expect("non-blocking mode");
    while filler.write(&[0; 4096]).is_ok() {}
    while filler.write(&[0]).is_ok() {}
    filler.set_nonblocking(false).expect("blocking mode");
    assert_timed_out(exchange.abort(), "write");
}

/// It stops in each part of a record. What arrived before is read. Rule C29.
#[test]
fn application_that_stalls_times_out() {
    let answer =
        [padded_record(STDOUT, 1, b"start", 3), record(STDERR, 1, b"log"), response(b"")].concat();
    let (header, content, padding) = (4, 10, 14);
    let (report, reports) = mpsc::channel();
    let stops = [
        header,
        content,
        padding,
        16,
        20,
        25,
        answer.len() - 20,
        answer.len() - 16,
        answer.len() - 1,
    ];
    let application = Application::unix(move |number, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&answer[..stops[number]]).expect("the bytes are sent");
        report.send(()).expect("the test waits");
        wait_for_close(&mut stream);
    });
    for stop in stops {
        let mut connection =
            Connection::connect(&application.address, Arc::new(short_timeouts())).unwrap();
        let mut exchange = connection.begin(Role::Responder, &get_params()).unwrap();
        exchange.stdin.finish().unwrap();
        reports.recv_timeout(TEST_TIMEOUT).unwrap();
        let mut stdout = Vec::new();
        let outcome = exchange.stdout.read_to_end(&mut stdout);
        assert_eq!(stdout.len(), stop.saturating_sub(8).min(5), "{stop}");
        if let Err(error) = outcome {
            assert_timed_out(Err::<(), _>(error.into()), "read");
        }
        // After the error there is no second wait.
        assert_timed_out(exchange.finish(), "read");
    }
}

/// The timeout starts again with each byte. Rule C29.
#[test]
fn slow_response_does_not_time_out() {
    let timeout = Duration::from_secs(1);
    let application = Application::unix(move |_, mut stream| {
        read_request(&mut stream).expect("a request");
        for byte in response(b"slow").chunks(4) {
            thread::sleep(timeout / 8);
            stream.write_all(byte).expect("the byte is sent");
        }
    });
    let start = Instant::now();
    let reply = application
        .client()
        .config(test_config().read_timeout(Some(timeout)))
        .fetch(&get_params(), b"")
        .unwrap();
    assert_eq!(reply.stdout, b"slow");
    assert!(start.elapsed() > timeout);
}

/// Rule C29.
#[test]
fn timeout_is_not_extended_by_the_write_before_it() {
    let timeout = Duration::from_secs(1);
    let application = Application::unix(|_, mut stream| wait_for_close(&mut stream));
    let client = application.client().config(test_config().read_timeout(Some(timeout)));
    let start = Instant::now();
    assert_timed_out_after(timeout, client.fetch(&post_params(), b"body"), "read");
    assert!((timeout..2 * timeout).contains(&start.elapsed()), "{:?}", start.elapsed());
}

/// A body that arrives in pieces, with pauses.
struct Slow {
    pieces: u32,
    pause: Duration,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.pieces == 0 {
            return Ok(0);
        }
        self.pieces -= 1;
        thread::sleep(self.pause);
        buffer[..5].copy_from_slice(b"piece");
        Ok(5)
    }
}

/// While the body is being sent, the application may wait for all of it before it responds.
/// Rule C29.
#[test]
fn slow_upload_does_not_time_out() {
    let timeout = Duration::from_secs(1);
    let application = Application::unix(|_, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        stream
            .write_all(&response(request.stdin.len().to_string().as_bytes()))
            .expect("the response is sent");
    });
    let client = application.client().config(test_config().read_timeout(Some(timeout)));
    let mut body = Slow { pieces: 10, pause: timeout / 4 };
    let start = Instant::now();
    let (stdout, _) = client
        .send(&post_params(), &mut body, |response| {
            let mut stdout = String::new();
            response.stdout.read_to_string(&mut stdout)?;
            fcgi::Result::Ok(stdout)
        })
        .unwrap();
    assert_eq!(stdout, "50");
    assert!(start.elapsed() > 2 * timeout);
}

#[test]
fn client_without_timeouts_waits_for_a_slow_application() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        thread::sleep(3 * SHORT);
        stream.write_all(&response(b"late")).expect("the response is sent");
    });
    let config = Config::new().connect_timeout(None).read_timeout(None).write_timeout(None);
    assert_eq!(
        application.client().config(config).fetch(&Params::new(), b"").unwrap().stdout,
        b"late"
    );
}

/// The application answers without reading the body. The end of the body exceeds the send buffer.
#[test]
fn end_of_the_body_that_is_not_read_in_time_is_an_error() {
    let (near, mut far) = socket_pair();
    socket2::SockRef::from(&near).set_send_buffer_size(4096).expect("a short buffer");
    far.write_all(&response(b"Status: 200\n\nwhole")).expect("the response is sent");
    let config = Arc::new(test_config().write_timeout(Some(Duration::from_millis(50))));
    let mut connection = Connection::new(near, config).expect("a connection");
    let params = upload_params(60_000);
    let mut exchange = connection.begin(Role::Responder, &params).expect("an exchange");
    exchange.stdin.write_all(&[b'x'; 60_000]).expect("the body is buffered");
    let error = exchange.finish().expect_err("a timeout");
    assert_eq!(error.to_string(), "write timed out after 50 ms");
}

/// A body that disconnects the channel when it is dropped: nothing more of it is sent.
struct Reporting {
    body: Pattern,
    _dropped: mpsc::Sender<()>,
}

impl Read for Reporting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

/// Sends a body that the application does not read until the write has timed out. The application
/// then sends `answer`, calls `end` and closes the connection. Returns what the client receives
/// over TCP and over a Unix socket.
fn send_unread_body(answer: &[u8], end: fn(&mut Stream)) -> [fcgi::Result<Vec<u8>>; 2] {
    let answer = answer.to_vec();
    let (pass_on, receivers) = mpsc::channel::<mpsc::Receiver<()>>();
    let receivers = Arc::new(Mutex::new(receivers));
    Application::tcp_and_unix(move |_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        let dropped = receivers.lock().unwrap().recv().expect("the test sends it");
        dropped.recv_timeout(TEST_TIMEOUT).expect_err("the body is dropped");
        stream.write_all(&answer).expect("the response is sent");
        end(&mut stream);
    })
    .map(|application| {
        let (sender, dropped) = mpsc::channel();
        pass_on.send(dropped).expect("the application waits");
        let body = Reporting { body: Pattern::new(64 << 20), _dropped: sender };
        let client = application.client().config(test_config().write_timeout(Some(SHORT)));
        let params = upload_params(64 << 20);
        let received = client.send(&params, Body::from_reader(body), |response| {
            let mut stdout = Vec::new();
            response.stdout.read_to_end(&mut stdout)?;
            fcgi::Result::Ok(stdout)
        });
        received.map(|(stdout, _)| stdout)
    })
}

/// The application closes the connection, after it has read the rest of the body or without that.
/// Rule C29.
#[test]
fn write_timeout_is_the_error_if_it_cuts_the_response_off() {
    for end in [|_: &mut _| {}, wait_for_close] {
        for received in send_unread_body(&record(STDOUT, 1, b"start"), end) {
            assert_timed_out(received, "write");
        }
    }
}

/// Rules C8 and C29.
#[test]
fn response_that_is_complete_after_a_write_timeout_is_returned() {
    for received in send_unread_body(&response(b"complete"), wait_for_close) {
        assert_eq!(received.expect("a response"), b"complete");
    }
}
