//! Proves that signals neither fail a request of the client nor extend its timeouts.
//!
//! A signal interrupts the system calls of the thread that handles it. This is a program of its own
//! because the signals would also interrupt other tests.
#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fcgi::net::{Address, Stream};
use fcgi::{Client, Error};

use support::application::*;
use support::*;

/// Sends SIGWINCH repeatedly to the threads of a process whose names begin with `fcgi-`, until the
/// process ends. Linux lets the thread handle a signal that is sent to its id.
const SEND_SIGNALS: &str = r#"
    while [ -d "/proc/$0/task" ]; do
        for task in "/proc/$0/task"/*; do
            read -r name < "$task/comm" && case $name in
                fcgi-*) kill -s WINCH "${task##*/}" ;;
            esac
        done
    done"#;

const LIMIT: Duration = Duration::from_millis(300);

/// The longest tick of the system's clock. A socket's timeout may end up to one tick early.
const TICK: Duration = Duration::from_millis(10);

/// Set by the handler of the signal, which would otherwise be ignored.
static HAS_HANDLED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let flag = Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGWINCH, Arc::clone(&flag)).unwrap();
    flag
});

/// Sends signals to the threads of the client until it is dropped.
struct Signals {
    sender: Child,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Signals {
    fn start() -> Self {
        static LOCK: Mutex<()> = Mutex::new(());
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        LazyLock::force(&HAS_HANDLED);
        let process = std::process::id().to_string();
        let mut shell = Command::new("/bin/sh");
        // A thread may end before the shell reads its name.
        shell.args(["-c", SEND_SIGNALS, &process]).stderr(Stdio::null());
        Self { sender: shell.spawn().expect("a shell"), _one_at_a_time: lock }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.sender.kill().expect("the shell is running");
        self.sender.wait().expect("its end");
    }
}

/// Waits until a thread has handled this many signals.
fn wait_for_signals(count: usize) {
    for _ in 0..count {
        HAS_HANDLED.store(false, Ordering::SeqCst);
        let start = Instant::now();
        while !HAS_HANDLED.load(Ordering::SeqCst) {
            assert!(start.elapsed() < TEST_TIMEOUT, "no signal");
            thread::yield_now();
        }
    }
}

/// Runs a function on a thread that gets signals.
#[track_caller]
fn run_interrupted<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let outcome = run_with_timeout(|| {
        let _signals = Signals::start();
        let thread = thread::Builder::new().name("fcgi-caller".into()).spawn(run);
        thread.expect("a thread").join()
    });
    outcome.expect("no panic").expect("no panic of the function")
}

/// Reads a request, and sends its body as the response. Neither begins before the client has waited
/// for it.
fn echo_slowly(stream: &mut Stream) {
    read_begin_and_params(stream).expect("the start of a request");
    wait_for_signals(50);
    echo_stdin(stream);
}

/// The body is in memory, sent by the calling thread, or read and sent by another one.
#[test]
fn large_request_succeeds() {
    for application in Application::tcp_and_unix(|_, mut stream| echo_slowly(&mut stream)) {
        let client = application.client();
        run_interrupted(move || {
            for len in [1 << 20, 8 << 20] {
                let check = |response: &mut fcgi::client::Response<'_>| {
                    let mut expected = Pattern::new(len);
                    io::copy(&mut response.stdout, &mut expected)?;
                    assert_eq!(expected.remaining(), 0, "the response ended early");
                    fcgi::Result::Ok(())
                };
                let bytes = Pattern::bytes(len);
                client.send(&upload_params(len), &bytes, check).expect("a response");
                client.send(&upload_params(len), Pattern::new(len), check).expect("a response");
            }
        });
    }
}

/// A body in memory is sent by the calling thread. When the application stops reading, another one
/// continues, so that this one can receive the response.
#[test]
fn application_may_stop_reading_until_its_response_is_read() {
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        stream.write_all(&stream_of(16 << 20)).expect("the response is read");
        wait_for_signals(1);
        while read_record(&mut stream).is_some_and(|record| !record.content.is_empty()) {}
        stream.write_all(&response(b"")).expect("the end is sent");
    });
    let client = application.client();
    run_interrupted(move || {
        let body = vec![b'x'; 2 << 20];
        client.send(&upload_params(2 << 20), &body, |_| fcgi::Result::Ok(())).expect("a response");
    });
}

/// Returns STDOUT without its end.
fn stream_of(len: usize) -> Vec<u8> {
    stream(STDOUT, 1, &vec![b'y'; len])
}

/// The backlog is full until the client has waited for a while.
#[test]
fn connecting_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    fill_backlog(&path);
    let client = Client::from(Address::unix(&path).unwrap()).config(test_config());
    let serving = thread::spawn(move || {
        wait_for_signals(50);
        loop {
            let mut stream = Stream::from(listener.accept().unwrap().0);
            if let Some(request) = read_request(&mut stream) {
                return stream.write_all(&request.response(b"late"));
            }
        }
    });
    let reply = run_interrupted(move || client.fetch(&get_params(), b"")).expect("a response");
    assert_eq!(reply.stdout, b"late");
    serving.join().expect("no panic").expect("the response is sent");
}

/// The client waits for that before it sends the second request.
#[test]
fn post_is_not_lost_if_the_application_closes_after_each_response() {
    let application = Application::unix(|_, mut stream| {
        let request = read_request(&mut stream).expect("a request");
        stream.write_all(&request.response(b"")).expect("the response is sent");
        wait_for_signals(20);
    });
    let client = application.keep_alive_client();
    run_interrupted(move || {
        for _ in 0..10 {
            client.fetch(&post_params(), b"body").expect("a response");
        }
    });
}

/// Asserts that a request fails after `LIMIT`, with this message.
#[track_caller]
fn assert_times_out<T: std::fmt::Debug + Send + 'static>(
    message: &str,
    run: impl FnOnce() -> fcgi::Result<T> + Send + 'static,
) {
    let (outcome, elapsed) = run_interrupted(move || {
        let start = Instant::now();
        (run(), start.elapsed())
    });
    let error = outcome.expect_err("a timeout");
    assert!(error.to_string().ends_with(message), "{error}");
    assert!(elapsed + TICK >= LIMIT, "{message} in fact after {elapsed:?}");
}

/// Rule C29.
#[test]
fn read_timeout_and_deadline_hold() {
    for application in Application::tcp_and_unix(|_, mut stream| drain(&mut stream)) {
        let client = application.client().config(test_config().read_timeout(Some(LIMIT)));
        assert_times_out("read timed out after 300 ms", move || client.fetch(&get_params(), b""));
        let config = test_config().read_timeout(None).deadline(Some(LIMIT));
        let client = application.client().config(config);
        assert_times_out("request timed out after 300 ms", move || {
            client.fetch(&get_params(), b"")
        });
    }
}

/// Reads until the client closes the connection.
fn drain(stream: &mut Stream) {
    let _closed = stream.read_to_end(&mut Vec::new());
}

/// Rule C29.
#[test]
fn write_timeout_holds() {
    let (gate, open) = gate();
    let applications = Application::tcp_and_unix(move |_, _stream| gate.wait());
    for application in &applications {
        let client = application.client().config(test_config().write_timeout(Some(LIMIT)));
        let mut params = get_params();
        params.push("LONG", vec![b'v'; 16 << 20]).unwrap();
        assert_times_out("write timed out after 300 ms", move || client.fetch(&params, b""));
    }
    drop(open);
}

/// The backlogs are full. Rule C29.
#[test]
fn connect_timeout_holds() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let _waiting: Vec<_> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, LIMIT / 3).ok()).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let _unix = UnixListener::bind(&path).unwrap();
    fill_backlog(&path);
    for address in [Address::from(address), Address::unix(&path).unwrap()] {
        let client = Client::from(address).config(test_config().connect_timeout(Some(LIMIT)));
        assert_times_out("connect timed out after 300 ms", move || {
            let outcome = client.fetch(&get_params(), b"");
            assert!(matches!(outcome, Err(Error::Connect { .. })), "{outcome:?}");
            outcome
        });
    }
}
