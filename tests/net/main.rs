//! Tests of `fcgi::net`.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fcgi::net::{Address, Listener, Stream};
use fcgi::{Error, Result};

mod address;
mod allow_list;
#[cfg(unix)]
mod clients;
mod close;
#[cfg(unix)]
mod descriptor0;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod shared;
#[cfg(unix)]
mod socket_file;
#[cfg(unix)]
mod stale;
#[cfg(unix)]
mod support;
#[cfg(unix)]
mod takeover;
mod tcp;
#[cfg(unix)]
mod unix;

/// The time after which a test that waits fails. No assertion depends on its value.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether `net` uses its code for Linux.
const LINUX: bool = cfg!(target_os = "linux") && !cfg!(fcgi_portable);

#[track_caller]
fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[track_caller]
fn connect(address: &Address) -> Stream {
    let stream = Stream::connect(address, Some(TEST_TIMEOUT)).unwrap();
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).unwrap();
    stream
}

/// Sends a byte each way over a new connection.
#[track_caller]
fn exchange(listener: &Listener, address: &Address) -> (Stream, Stream) {
    let mut client = connect(address);
    let mut server = listener.accept().unwrap().expect("listener is open");
    let mut byte = [0];
    client.write_all(b"a").unwrap();
    server.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"a");
    server.write_all(b"b").unwrap();
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
    (client, server)
}

/// Sends a byte over a new connection to a socket on which another listener has been closed. Before
/// it there may be connections that `close` has made.
#[cfg(unix)]
#[track_caller]
fn exchange_after_close_of_another(listener: &Listener, address: &Address) {
    let mut client = connect(address);
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    while listener.accept().unwrap().unwrap().read(&mut byte).unwrap() == 0 {}
    assert_eq!(&byte, b"x");
}

#[track_caller]
fn io_kind<T: std::fmt::Debug>(outcome: Result<T>) -> io::ErrorKind {
    match outcome.unwrap_err() {
        Error::Io(error)
        | Error::Connect { source: error, .. }
        | Error::Socket { source: error, .. } => error.kind(),
        error => panic!("{error:?} is not an I/O error"),
    }
}

/// Accepts connections until the listener is closed, and sends the first byte of each back.
/// Returns the number of connections that sent a byte. The others have been made by `close`.
#[track_caller]
fn echo_until_closed(listener: &Listener) -> usize {
    let mut count = 0;
    while let Some(mut stream) = listener.accept().unwrap() {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 1 {
            // A client that has left is not the subject of any test.
            let _ = stream.write_all(&byte);
            count += 1;
        }
    }
    count
}

/// Closes a listener when it is dropped, so that a test whose assertion fails does not wait for
/// threads in `accept`.
#[cfg(unix)]
struct CloseOnDrop<'a>(&'a Listener);

#[cfg(unix)]
impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Ends the process if a test does not drop the value in time, because nothing else ends threads in
/// `accept` that `close` has not woken.
struct Watchdog(#[allow(dead_code)] mpsc::Sender<()>);

impl Watchdog {
    fn start(task: &'static str) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            if receiver.recv_timeout(TEST_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Not `eprintln`, which the test harness captures.
                let _ = writeln!(io::stderr(), "{task} takes longer than {TEST_TIMEOUT:?}");
                std::process::exit(1);
            }
        });
        Self(sender)
    }
}

/// Runs `check` while four threads block in `accept`, and then waits for them to return. Checks
/// that none has a connection from a client.
fn with_waiters(listener: &Listener, check: impl FnOnce()) {
    let _watchdog = Watchdog::start("returning from accept");
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let (sender, receiver) = mpsc::channel();
                let waiter = scope.spawn(move || {
                    sender.send(std::fs::read_link("/proc/thread-self").ok()).unwrap();
                    listener.accept()
                });
                (waiter, receiver.recv().unwrap())
            })
            .collect();
        // A thread that sleeps is in `accept`, because nothing else that it does blocks. On systems
        // without `/proc` it may not have called `accept` yet, but must return all the same.
        for link in waiters.iter().filter_map(|(_, link)| link.as_ref()) {
            let stat = Path::new("/proc").join(link).join("stat");
            while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
                thread::yield_now();
            }
        }
        check();
        for (waiter, _) in waiters {
            assert!(
                waiter.join().unwrap().unwrap().is_none(),
                "a connection that `close` has made"
            );
        }
    });
    assert!(listener.accept().unwrap().is_none(), "the listener stays closed");
}
