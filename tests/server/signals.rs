//! Proves that signals do not prolong a timeout: each of them interrupts the system call.

use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::server::{Config, Connection};
use signal_hook::consts::SIGUSR1;

const TIMEOUT: Duration = Duration::from_millis(500);

/// Returns the system's number of the current thread.
fn thread_id() -> String {
    let path = fs::read_link("/proc/thread-self").expect("a link to this thread");
    path.file_name().expect("its number").to_string_lossy().into_owned()
}

/// Calls a function in a thread that a signal interrupts all the time. Returns how often that
/// happened, and what the function has returned.
fn call_interrupted<T: Send>(call: impl FnOnce() -> T + Send) -> (usize, T) {
    // A signal without a handler would end the process.
    signal_hook::flag::register(SIGUSR1, Arc::new(AtomicBool::new(false))).expect("a handler");
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let caller = scope.spawn(move || {
            sender.send(thread_id()).expect("a receiver");
            call()
        });
        let id = receiver.recv().expect("the number of the thread");
        let (start, mut signals) = (Instant::now(), 0);
        while !caller.is_finished() && start.elapsed() < TEST_TIMEOUT {
            thread::sleep(TIMEOUT / 5);
            // This fails if the thread has ended meanwhile.
            let sent = Command::new("sh").args(["-c", &format!("kill -USR1 {id}")]).output();
            signals += usize::from(sent.expect("a shell").status.success());
        }
        (signals, caller.join().expect("the result of the call"))
    })
}

/// The peer reads nothing. Without a bound, the write would start again with each signal.
#[test]
fn signals_do_not_prolong_a_write() {
    let (stream, mut peer) = connected_pair();
    let config = Arc::new(Config::new().write_timeout(Some(TIMEOUT)));
    let mut connection = Connection::with_config(stream, config).expect("a connection");
    peer.write_all(&request(1, RESPONDER, 1, &[], b"")).expect("the request is sent");
    let mut request = connection.next_request().expect("a request").expect("a request");
    let start = Instant::now();
    let (signals, written) = call_interrupted(|| request.stdout.write_all(&vec![b'x'; 16 << 20]));
    let error = written.expect_err("a timeout");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(signals > 2, "{signals}");
    assert!(start.elapsed() < 4 * TIMEOUT, "{:?}", start.elapsed());
}
