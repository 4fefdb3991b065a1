//! Proves that a server that a web server or process manager starts serves the listening socket on
//! descriptor 0, in the environment of section 2 of the FastCGI specification, and that it copes
//! with a lack of descriptors.
//!
//! This is a program of its own because its tests run it again as the server.
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use fcgi::net::{Address, Stream};
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Server;
use support::*;

const TASK: &str = "FCGI_TEST_TASK";

/// The server process. It serves until SIGTERM, or prints why it cannot.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn helper() {
    if env::var_os(TASK).is_none() {
        return;
    }
    let server = match Server::from_stdin() {
        Ok(server) => server.config(Config::new()),
        Err(error) => {
            eprintln!("<{error}>");
            std::process::exit(3);
        }
    };
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown()).expect("a handler of SIGTERM");
    server.serve(noisy_echo).expect("served to the end");
    std::process::exit(0);
}

/// An echo that also writes to stdout, stderr and STDERR.
fn noisy_echo(request: &mut Request) -> HandlerResult {
    println!("noise");
    let _ = writeln!(std::io::stderr(), "noise");
    writeln!(request.stderr, "a message")?;
    match request.params.get("PANIC") {
        Some(_) => panic!("a panic"),
        None => echo(request),
    }
}

/// A process that runs `helper`. It is killed when it is dropped.
struct Process {
    child: Child,
    address: Address,
}

impl Process {
    /// Starts the process with a shell command in which `"$0" "$@"` stands for it.
    fn start(socket: OwnedFd, address: Address, command: &str, allowed: Option<&str>) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).arg(env::current_exe().expect("this program"));
        shell.args(["helper", "--exact", "--ignored", "--nocapture"]);
        shell.env(TASK, "serve").env_remove("FCGI_WEB_SERVER_ADDRS").env("RUST_BACKTRACE", "0");
        if let Some(allowed) = allowed {
            shell.env("FCGI_WEB_SERVER_ADDRS", allowed);
        }
        let child =
            shell.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Self { child: child.expect("a process"), address }
    }

    /// Starts a process on a TCP socket.
    fn tcp(command: &str, allowed: Option<&str>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = Address::from(socket.local_addr().expect("its address"));
        Self::start(socket.into(), address, command, allowed)
    }

    /// Starts a process on a Unix socket in this directory.
    fn unix(directory: &tempfile::TempDir, command: &str, allowed: Option<&str>) -> Self {
        let path = directory.path().join("app.sock");
        let _ = std::fs::remove_file(&path);
        let socket = UnixListener::bind(&path).expect("a socket");
        Self::start(socket.into(), Address::unix(path).expect("its address"), command, allowed)
    }

    fn connect(&self) -> Stream {
        let stream = Stream::connect(&self.address, Some(TEST_TIMEOUT)).expect("a connection");
        stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
        stream
    }

    /// Returns the lines of its stderr as they arrive.
    fn lines(&mut self) -> mpsc::Receiver<String> {
        let stderr = BufReader::new(self.child.stderr.take().expect("its stderr"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        lines
    }

    /// Waits for a line of its stderr. Panics if stderr ends without it.
    #[track_caller]
    fn expect_line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let lines = self.lines();
        loop {
            let line = lines
                .recv_timeout(TEST_TIMEOUT)
                .unwrap_or_else(|error| panic!("no line with {what}: {error}"));
            if is_it(&line) {
                return line;
            }
        }
    }

    fn terminate(&self) {
        let sent =
            Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        assert!(sent.expect("a shell").success());
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the process has ended", || {
            status = self.child.try_wait().expect("a process");
            status.is_some()
        });
        status.expect("its status")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const RUN: &str = r#"exec "$0" "$@""#;
const WITHOUT_1_AND_2: &str = r#"exec "$0" "$@" >&- 2>&-"#;

#[track_caller]
fn assert_served(stream: &mut Stream, flags: u8) {
    stream.write_all(&request(1, RESPONDER, flags, &[("A", "1")], b"body")).unwrap();
    let answer = read_answer(stream, 1);
    assert_eq!(answer.stdout, echoed(&[("A", "1")], b"body"));
    assert_eq!((&*answer.stderr, answer.app_status), (&b"a message\n"[..], 0));
}

/// Variables of the environment do not appear among the params. Output to stdout and stderr, text
/// for STDERR and a panic do not damage the records, even if a connection has descriptor 1 or 2.
/// Rules A1, A2 and A4.
#[test]
fn socket_on_descriptor_0_is_served_with_descriptors_1_and_2_closed() {
    let directory = tempfile::tempdir().unwrap();
    for command in [RUN, WITHOUT_1_AND_2] {
        for process in [Process::tcp(command, None), Process::unix(&directory, command, None)] {
            let mut streams: Vec<Stream> = (0..6).map(|_| process.connect()).collect();
            for _ in 0..3 {
                for stream in &mut streams {
                    assert_served(stream, 1);
                }
                let panicking = &mut streams[0];
                panicking.write_all(&request(1, RESPONDER, 1, &[("PANIC", "1")], b"")).unwrap();
                let answer = read_answer(panicking, 1);
                assert_eq!(answer.stderr, b"a message\nhandler panicked: a panic\n");
                assert!(answer.text().starts_with("Status: 500 "));
            }
        }
    }
}

/// Rule A15.
#[test]
fn server_goes_on_when_its_stderr_is_a_closed_pipe() {
    let mut process = Process::tcp(RUN, None);
    drop(process.child.stderr.take());
    for _ in 0..20 {
        let mut stream = process.connect();
        stream.write_all(b"garbage!").unwrap();
        assert_no_response(&mut stream);
    }
    assert_served(&mut process.connect(), 0);
}

/// Rule A3.
#[test]
fn other_descriptor_0_is_an_error_at_once() {
    let (pipe, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let any: Address = "127.0.0.1:1".parse().unwrap();
    for (socket, what) in
        [(OwnedFd::from(null), "a device such as /dev/null"), (pipe.into(), "a connected socket")]
    {
        let mut process = Process::start(socket, any.clone(), RUN, None);
        let expected =
            format!("<descriptor 0 is {what}, not a listening socket: start the program from");
        process.expect_line(what, |line| line.starts_with(&expected));
        assert_eq!(process.wait().code(), Some(3));
    }
}

/// A TCP peer is served if it is on the list, a Unix peer never. An invalid or empty list keeps the
/// server from starting. Rules A5 and A6.
#[test]
fn allow_list_is_read_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    for (list, is_allowed) in
        [("127.0.0.1", true), ("10.0.0.1, ::ffff:127.0.0.1", true), ("127.0.0.2", false)]
    {
        let process = Process::tcp(RUN, Some(list));
        let mut stream = process.connect();
        if is_allowed {
            assert_served(&mut stream, 0);
        } else {
            let _ = stream.write_all(&request(1, RESPONDER, 0, &[], b""));
            assert_no_response(&mut stream);
        }
    }
    let process = Process::unix(&directory, RUN, Some("127.0.0.1"));
    let mut stream = process.connect();
    let _ = stream.write_all(&request(1, RESPONDER, 0, &[], b""));
    assert_no_response(&mut stream);

    for list in ["", "not-an-address", "256.0.0.1", "127.0.0.1,"] {
        let mut process = Process::tcp(RUN, Some(list));
        process.expect_line(list, |line| line.starts_with("<invalid item"));
        assert_eq!(process.wait().code(), Some(3));
    }
}

/// The server is idle, has an idle kept connection, or serves a request, which it still answers.
/// Rule A14.
#[test]
fn sigterm_ends_the_process_with_status_0() {
    let directory = tempfile::tempdir().unwrap();
    for phase in ["idle", "kept", "in a request"] {
        for mut process in [Process::tcp(RUN, None), Process::unix(&directory, RUN, None)] {
            let mut stream = process.connect();
            // The response proves that the server has started.
            assert_served(&mut stream, u8::from(phase != "idle"));
            if phase == "in a request" {
                let bytes =
                    [begin(1, RESPONDER, 1), params(1, &[("A", "1")]), record(GET_VALUES, 0, b"")]
                        .concat();
                stream.write_all(&bytes).unwrap();
                assert_eq!(
                    read_record(&mut stream).expect("BEGIN was read").record_type,
                    GET_VALUES_RESULT
                );
            }
            let start = Instant::now();
            process.terminate();
            if phase == "in a request" {
                stream
                    .write_all(&[record(STDIN, 1, b"body"), record(STDIN, 1, b"")].concat())
                    .unwrap();
                assert_eq!(read_answer(&mut stream, 1).stdout, echoed(&[("A", "1")], b"body"));
            }
            assert_closed(&mut stream);
            assert_eq!(process.wait().code(), Some(0));
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        }
    }
}

/// It reports the error. Connections that wait are served once descriptors are free.
#[test]
fn server_waits_when_it_runs_out_of_descriptors() {
    let mut process = Process::tcp(&format!("ulimit -n 24; {RUN}"), None);
    let mut streams: Vec<Stream> = (0..40).map(|_| process.connect()).collect();
    for stream in &mut streams {
        // None of these connections is idle, so none can give way.
        stream.write_all(&[begin(1, RESPONDER, 0), params(1, &[("A", "1")])].concat()).unwrap();
    }
    let line = process.expect_line("a report", |line| line.starts_with("fcgi: "));
    assert!(line.contains("too many open files"), "{line}");
    for stream in &mut streams {
        stream.write_all(&[record(STDIN, 1, b"body"), record(STDIN, 1, b"")].concat()).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_answer(stream, 1).stdout, echoed(&[("A", "1")], b"body"));
    }
    // Idle connections hold descriptors too, but they give way.
    let start = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..40 {
        let mut stream = process.connect();
        assert_served(&mut stream, 1);
        kept.push(stream);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    process.terminate();
    assert_eq!(process.wait().code(), Some(0));
}

/// Descriptors above 1023 must work. A request is open on each connection.
#[test]
fn server_serves_1100_connections_at_once() {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -n 4096; {RUN}"))
        .arg(env::current_exe().expect("this program"));
    let output = shell
        .args(["helper_1100_connections", "--exact", "--ignored"])
        .env(TASK, "1100")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The other process. It has enough descriptors for both ends of the connections.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn helper_1100_connections() {
    if env::var_os(TASK).is_none() {
        return;
    }
    let server = TestServer::tcp(Config::new().max_connections(1100), echo);
    let mut streams = Vec::new();
    for _ in 0..1100 {
        let mut stream = server.connect();
        let bytes =
            [begin(1, RESPONDER, 1), params(1, &[("A", "1")]), record(GET_VALUES, 0, b"")].concat();
        stream.write_all(&bytes).unwrap();
        assert_eq!(
            read_record(&mut stream).expect("BEGIN was read").record_type,
            GET_VALUES_RESULT
        );
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.write_all(&[record(STDIN, 1, b"body"), record(STDIN, 1, b"")].concat()).unwrap();
        assert_eq!(read_answer(stream, 1).stdout, echoed(&[("A", "1")], b"body"));
    }
}
