//! Tests of `fcgi::net`.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use fcgi::net::{Address, Listener, Stream};
use fcgi::{Error, Result};

mod address;
mod allow_list;
#[cfg(unix)]
mod descriptor0;
mod tcp;
#[cfg(unix)]
mod unix;

#[track_caller]
fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// Sends a byte each way over a new connection.
#[track_caller]
fn exchange(listener: &Listener, address: &Address) -> (Stream, Stream) {
    let mut client = Stream::connect(address, Some(Duration::from_secs(10))).unwrap();
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

#[track_caller]
fn io_kind<T: std::fmt::Debug>(outcome: Result<T>) -> io::ErrorKind {
    match outcome.unwrap_err() {
        Error::Io(error) => error.kind(),
        error => panic!("{error:?} is not an I/O error"),
    }
}

/// Whether `close` makes the system refuse connections while the listener still exists.
const REFUSES_AFTER_CLOSE: bool = cfg!(target_os = "linux") && !cfg!(fcgi_portable);

/// Runs `check` while four threads block in `accept`, and then waits for them to return.
fn with_waiters(listener: &Listener, check: impl FnOnce()) {
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let (sender, receiver) = std::sync::mpsc::channel();
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
            let stat = std::path::Path::new("/proc").join(link).join("stat");
            while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
                thread::yield_now();
            }
        }
        check();
        for (waiter, _) in waiters {
            assert!(waiter.join().unwrap().unwrap().is_none());
        }
    });
    assert!(listener.accept().unwrap().is_none(), "the listener stays closed");
}
