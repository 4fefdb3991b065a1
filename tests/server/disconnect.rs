//! Proves that a handler notices when the web server closes the connection during the response,
//! that a web server that has only shut down its write half still gets its response, and that a
//! handle with which other threads look at the connection affects no request.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::Stream;
use fcgi::server::{AbortHandle, Config, Connection, HandlerResult, Request};

/// A time after which a close would have been noticed.
const SHORT: Duration = Duration::from_millis(100);

/// Responds with whether the request is aborted: at once if it is, otherwise after a while.
fn respond_if_aborted(request: &mut Request) -> HandlerResult {
    let start = Instant::now();
    let is_aborted = loop {
        if request.is_aborted() {
            break true;
        }
        if start.elapsed() > SHORT {
            break false;
        }
        thread::sleep(Duration::from_millis(1));
    };
    write!(request.stdout, "{ECHO_HEAD}{is_aborted}")?;
    request.stdout.write_all(&vec![b'x'; 1 << 20])?;
    Ok(())
}

/// Starts a server on a TCP socket, one on TCP whose peers may half-close, and one on a Unix
/// socket. The handler sends a message when it begins, and one when the request is aborted.
fn watching_servers() -> [(TestServer, Receiver<&'static str>); 3] {
    let start = |peers_half_close, start: fn(Config, _) -> TestServer| {
        let (sender, receiver) = mpsc::channel();
        let config = Config::new().peers_half_close(peers_half_close);
        (start(config, move |request: &mut Request| watch(request, &sender)), receiver)
    };
    [start(false, TestServer::tcp), start(true, TestServer::tcp), start(false, TestServer::unix)]
}

fn watch(request: &mut Request, sender: &Sender<&'static str>) -> HandlerResult {
    if request.params.get("READ").is_some() {
        io::copy(&mut request.stdin, &mut io::sink())?;
    }
    if request.params.get("FLUSH").is_some() {
        write!(request.stdout, "{ECHO_HEAD}")?;
        request.stdout.flush()?;
    }
    sender.send("begun")?;
    let start = Instant::now();
    while !request.is_aborted() {
        if start.elapsed() > TEST_TIMEOUT {
            return Err("the abort was not noticed".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(request.is_aborted(), "an abort stays");
    sender.send("aborted")?;
    Ok(())
}

/// This is what web servers do when the client has disconnected. The whole request has arrived
/// before. Rule A12.
#[test]
fn close_during_the_response_is_an_abort() {
    let [tcp, half_closing, unix] = watching_servers();
    // A peer that leaves a part of the response unread resets a TCP connection. Nothing else tells
    // that a peer that may half-close has closed.
    for ((server, messages), flush) in [(&tcp, None), (&half_closing, Some("FLUSH")), (&unix, None)]
    {
        for (read, body) in [(None, &b""[..]), (None, b"body"), (Some("READ"), b"body")] {
            let pairs: Vec<_> = flush.iter().chain(&read).map(|name| (*name, "1")).collect();
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 1, &pairs, body)).unwrap();
            assert_eq!(messages.recv_timeout(TEST_TIMEOUT), Ok("begun"));
            drop(stream);
            assert_eq!(messages.recv_timeout(TEST_TIMEOUT), Ok("aborted"), "{pairs:?}");
        }
    }
}

/// A part of a large body was not read, so the end of the input is not visible.
#[cfg(target_os = "linux")]
#[test]
fn close_of_a_unix_socket_is_noticed_beyond_unread_input() {
    let [_, _, (server, messages)] = watching_servers();
    let stream = server.connect();
    stream.set_timeouts(None, Some(SHORT)).unwrap();
    let bytes = request(1, RESPONDER, 1, &[], &vec![b'b'; 1 << 20]);
    assert!((&stream).write_all(&bytes).is_err(), "the body exceeds all buffers");
    assert_eq!(messages.recv_timeout(TEST_TIMEOUT), Ok("begun"));
    drop(stream);
    assert_eq!(messages.recv_timeout(TEST_TIMEOUT), Ok("aborted"));
}

/// The half-close comes after the whole input. Rules A13 and S9.
#[test]
fn half_close_is_an_abort_only_over_tcp_and_by_default() {
    for (server, is_abort) in [
        (TestServer::tcp(Config::new(), respond_if_aborted), true),
        (TestServer::tcp(Config::new().peers_half_close(true), respond_if_aborted), false),
        (TestServer::unix(Config::new(), respond_if_aborted), !cfg!(unix)),
    ] {
        for body in [&b""[..], b"body"] {
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 0, &[], body)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let answer = read_answer(&mut stream, 1);
            assert!(answer.text().starts_with(&format!("{ECHO_HEAD}{is_abort}")));
            assert!(answer.stdout.len() > 1 << 20, "the response is complete in any case");
            assert_eq!((answer.app_status, answer.stdout_ends), (0, 1));
            assert_closed(&mut stream);
        }
    }
}

/// What the handler of a test and the test tell each other.
struct Channels {
    handles: Receiver<AbortHandle>,
    resume: Sender<()>,
}

/// Returns a handler that sends a handle of its request, waits for the test, and echoes.
fn handle_sender() -> (impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static, Channels) {
    let (sender, handles) = mpsc::channel();
    let (resume, resumed) = mpsc::channel();
    let resumed = Mutex::new(resumed);
    let send_and_echo = move |request: &mut Request<'_>| {
        sender.send(request.abort_handle())?;
        resumed.lock().unwrap().recv_timeout(TEST_TIMEOUT)?;
        echo(request)
    };
    (send_and_echo, Channels { handles, resume })
}

/// Starts a server on a TCP socket and one on a Unix socket.
fn servers_with_handles(config: &Config) -> [(TestServer, Channels); 2] {
    let ((tcp, one), (unix, other)) = (handle_sender(), handle_sender());
    [(TestServer::tcp(config.clone(), tcp), one), (TestServer::unix(config.clone(), unix), other)]
}

impl Channels {
    #[track_caller]
    fn handle(&self) -> AbortHandle {
        self.handles.recv_timeout(TEST_TIMEOUT).expect("a handle")
    }
}

/// The handler is busy and neither reads nor writes. Rule A12.
#[test]
fn handle_notices_a_close() {
    for (server, channels) in servers_with_handles(&Config::new()) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
        let handle = channels.handle();
        for _ in 0..10 {
            assert!(!handle.is_aborted());
        }
        drop(stream);
        let clone = handle.clone();
        wait_until("the handle notices the close", || handle.is_aborted());
        assert!(clone.is_aborted() && handle.is_aborted());
        channels.resume.send(()).unwrap();
        wait_until("the request has ended", || !handle.is_aborted() && !clone.is_aborted());
    }
}

/// Rules A13 and S9.
#[test]
fn handle_does_not_take_a_half_close_for_an_abort() {
    for (server, channels) in servers_with_handles(&Config::new().peers_half_close(true)) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 0, &[], b"body")).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let handle = channels.handle();
        let start = Instant::now();
        while start.elapsed() < SHORT {
            assert!(!handle.is_aborted());
        }
        channels.resume.send(()).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b"body"));
        assert_closed(&mut stream);
    }
}

/// The handle of the first request sees nothing of the second one, and does not keep the connection
/// open.
#[test]
fn handle_does_nothing_after_its_request() {
    for (server, channels) in servers_with_handles(&Config::new()) {
        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
        let first = channels.handle();
        channels.resume.send(()).unwrap();
        read_answer(&mut stream, 1);

        stream.write_all(&request(1, RESPONDER, 0, &[], b"")).unwrap();
        let second = channels.handle();
        stream.shutdown(Shutdown::Write).unwrap();
        channels.resume.send(()).unwrap();
        assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[], b""));
        assert!(!first.is_aborted());
        assert_closed(&mut stream);
        assert!(!first.is_aborted() && !second.is_aborted());

        let mut stream = server.connect();
        stream.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
        let third = channels.handle();
        drop(stream);
        wait_until("the handle notices the close", || third.is_aborted());
        assert!(!first.is_aborted() && !second.is_aborted());
        channels.resume.send(()).unwrap();
    }
}

/// Rule A49.
#[test]
fn handle_knows_what_the_request_has_noticed() {
    let (sender, handles) = mpsc::channel();
    let server = TestServer::tcp(Config::new(), move |request| {
        let before = request.abort_handle();
        let aborted = request.stdin.read_to_end(&mut Vec::new()).is_err();
        sender.send((aborted, before.is_aborted(), request.abort_handle().is_aborted()))?;
        echo(request)
    });
    let mut stream = server.connect();
    stream.write_all(&[begin(1, RESPONDER, 1), params(1, &[])].concat()).unwrap();
    stream.write_all(&record(ABORT, 1, b"")).unwrap();
    assert_eq!(handles.recv_timeout(TEST_TIMEOUT), Ok((true, true, true)));
    read_answer(&mut stream, 1);
    stream.write_all(&request(1, RESPONDER, 1, &[], b"body")).unwrap();
    assert_eq!(handles.recv_timeout(TEST_TIMEOUT), Ok((false, false, false)));
    read_answer(&mut stream, 1);
}

/// Without a server, too.
#[test]
fn handle_of_a_dropped_request_does_not_keep_the_connection_open() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    client.write_all(&request(1, RESPONDER, 1, &[], b"")).unwrap();
    let mut connection = Connection::new(server.accept().unwrap().0).unwrap();
    let mut request = connection.next_request().unwrap().expect("a request");
    let handle = request.abort_handle();
    drop(request);
    drop(connection);
    assert!(!handle.is_aborted());
    assert_no_response(&mut client);
}

/// Ends the polling threads, also if the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Looks at the connection of the current request all the time. Returns how often.
fn poll(current: &Mutex<Option<AbortHandle>>, is_over: &AtomicBool) -> u64 {
    let mut looks = 0;
    while !is_over.load(SeqCst) {
        let handle = current.lock().unwrap().clone();
        for _ in 0..20 {
            assert!(!handle.as_ref().is_some_and(AbortHandle::is_aborted));
            looks += 1;
        }
    }
    looks
}

/// The length of some responses, which exceeds the buffers of a connection.
const LARGE: usize = 8 << 20;

/// Sends requests on a kept connection, in two pieces each, and checks the responses.
fn send_requests(stream: &Stream, count: usize) {
    let mut stream = stream;
    for number in 0..count {
        if number % 100 == 0 {
            stream.write_all(&request(1, RESPONDER, 1, &[("LARGE", "1")], b"")).unwrap();
            assert_eq!(read_answer(&mut stream, 1).stdout.len(), LARGE);
        }
        let body = vec![b'b'; [0, 5, 3000, 70_000][number % 4]];
        let bytes = request(1, RESPONDER, 1, &[], &body);
        for piece in bytes.chunks(bytes.len() / 2 + 1) {
            stream.write_all(piece).unwrap();
            thread::yield_now();
        }
        let answer = read_answer(&mut stream, 1);
        assert!(answer.stdout == echoed(&[], &body), "request {number}");
        assert_eq!((answer.app_status, answer.stderr.len()), (0, 0));
    }
}

/// Two threads look at the connection all the time. No read or write fails or loses a byte.
#[test]
fn handle_does_not_disturb_2000_requests() {
    let current: Arc<Mutex<Option<AbortHandle>>> = Arc::default();
    let publish = Arc::clone(&current);
    for server in TestServer::tcp_and_unix(&Config::new(), move |request| {
        *publish.lock().unwrap() = Some(request.abort_handle());
        if request.params.get("LARGE").is_some() {
            return Ok(request.stdout.write_all(&vec![b'x'; LARGE])?);
        }
        echo(request)?;
        request.stdout.flush()?;
        assert!(!request.is_aborted());
        Ok(())
    }) {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let pollers = [0, 1].map(|_| scope.spawn(|| poll(&current, &is_over)));
            {
                let _end = SetOnDrop(&is_over);
                send_requests(&server.connect(), 1000);
            }
            let looks: u64 = pollers.map(|poller| poller.join().unwrap()).iter().sum();
            assert!(looks > 1000, "{looks} looks");
        });
        assert_eq!(server.reported_errors(), []);
    }
}

/// The request and its handle look at the connection at the same time. Neither blocks. The request
/// looks at the socket itself because its buffer of 128 KiB is full.
#[test]
fn request_and_handle_look_at_the_connection_at_the_same_time() {
    for server in TestServer::tcp_and_unix(&Config::new(), |request| {
        let (handle, is_over) = (request.abort_handle(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| poll(&Mutex::new(Some(handle)), &is_over));
            let _end = SetOnDrop(&is_over);
            assert!((0..200_000).all(|_| !request.is_aborted()));
            respond(request, "done")
        })
    }) {
        let body = record(STDIN, 1, &[b'x'; 65_528]).repeat(2);
        let bytes = [begin(1, RESPONDER, 1), params(1, &[]), body].concat();
        assert_eq!(server.round_trip(1, &bytes).body(), "done");
    }
}
