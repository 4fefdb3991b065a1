//! Proves that a server started by a web server or process manager serves the listening socket on
//! descriptor 0, in the environment that section 2 describes, and what becomes of it when
//! descriptors are scarce. The processes that this takes are this test program again.
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

/// What the other process does: it serves until SIGTERM, or says why it cannot.
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
    server.serve(talkative).expect("served to the end");
    std::process::exit(0);
}

/// An echo that says something on every channel that there is.
fn talkative(request: &mut Request) -> HandlerResult {
    println!("habit");
    let _ = writeln!(std::io::stderr(), "habit");
    writeln!(request.stderr, "a message")?;
    match request.params.get("PANIC") {
        Some(_) => panic!("a panic"),
        None => echo(request),
    }
}

/// A process that runs `helper`, and ends with its test.
struct Process {
    child: Child,
    address: Address,
}

impl Process {
    /// Starts the process by a shell's command, in which `"$0" "$@"` stands for it.
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

    /// One on a TCP socket.
    fn tcp(command: &str, allowed: Option<&str>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = Address::from(socket.local_addr().expect("its address"));
        Self::start(socket.into(), address, command, allowed)
    }

    /// One on a Unix socket in this directory.
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

    /// The lines of its stderr, as they come.
    fn lines(&mut self) -> mpsc::Receiver<String> {
        let stderr = BufReader::new(self.child.stderr.take().expect("its stderr"));
        let (say, said) = mpsc::channel();
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(say.send(line)));
        });
        said
    }

    /// Waits for a line of its stderr; fails if that ends without, or does not come.
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

/// A1, A4: a listening socket on descriptor 0, TCP or Unix, is served; its environment does not
/// show among the params. A2: with descriptors 1 and 2 closed, several connections at once, what is
/// printed by habit, text for STDERR and a panic: the records stay intact.
#[test]
fn a1_a2_a4_served_on_descriptor_0() {
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

/// A15: reports that nobody takes, because the pipe behind stderr is broken, harm nobody.
#[test]
fn a15_a_broken_stderr() {
    let mut process = Process::tcp(RUN, None);
    drop(process.child.stderr.take());
    for _ in 0..20 {
        let mut stream = process.connect();
        stream.write_all(b"garbage!").unwrap();
        assert_no_response(&mut stream);
    }
    assert_served(&mut process.connect(), 0);
}

/// A3: what is no listening socket is told, at once; the process does not spin.
#[test]
fn a3_no_listening_socket() {
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

/// A5: FCGI_WEB_SERVER_ADDRS decides who is served: by address over TCP, nobody over a Unix socket.
/// A6, "fail closed": a list that does not parse, an empty one too, stops the start.
#[test]
fn a5_a6_addresses_from_the_environment() {
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

/// A14: SIGTERM ends the process with status 0 within ten seconds: idle, with an idle kept
/// connection, and in a request, which is answered first.
#[test]
fn a14_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    for phase in ["idle", "kept", "in a request"] {
        for mut process in [Process::tcp(RUN, None), Process::unix(&directory, RUN, None)] {
            let mut stream = process.connect();
            // It has started when it has answered.
            assert_served(&mut stream, u8::from(phase != "idle"));
            if phase == "in a request" {
                let begun =
                    [begin(1, RESPONDER, 1), params(1, &[("A", "1")]), record(GET_VALUES, 0, b"")]
                        .concat();
                stream.write_all(&begun).unwrap();
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

/// "Accept errors end the loop": out of descriptors, it says so and waits; as soon as there are
/// some again, those who have waited are served.
#[test]
fn out_of_descriptors() {
    let mut process = Process::tcp(&format!("ulimit -n 24; {RUN}"), None);
    let mut streams: Vec<Stream> = (0..40).map(|_| process.connect()).collect();
    for stream in &mut streams {
        // None of them is idle, so none can give way.
        stream.write_all(&[begin(1, RESPONDER, 0), params(1, &[("A", "1")])].concat()).unwrap();
    }
    let line = process.expect_line("a report", |line| line.starts_with("fcgi: "));
    assert!(line.contains("Too many open files") || line.contains("os error 24"), "{line}");
    for stream in &mut streams {
        stream.write_all(&[record(STDIN, 1, b"body"), record(STDIN, 1, b"")].concat()).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_answer(stream, 1).stdout, echoed(&[("A", "1")], b"body"));
    }
    // Idle connections hold descriptors too, and give way.
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

/// "Descriptors above 1023 broke `select`": 1100 connections open at once, a request begun on each,
/// all of them answered.
#[test]
fn eleven_hundred_connections() {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -n 4096; {RUN}"))
        .arg(env::current_exe().expect("this program"));
    let output = shell
        .args(["eleven_hundred_helper", "--exact", "--ignored"])
        .env(TASK, "1100")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by another test, in a process with descriptors enough for both ends"]
fn eleven_hundred_helper() {
    if env::var_os(TASK).is_none() {
        return;
    }
    let server = TestServer::tcp(Config::new().max_connections(1100), echo);
    let mut streams = Vec::new();
    for _ in 0..1100 {
        let mut stream = server.connect();
        let begun =
            [begin(1, RESPONDER, 1), params(1, &[("A", "1")]), record(GET_VALUES, 0, b"")].concat();
        stream.write_all(&begun).unwrap();
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
