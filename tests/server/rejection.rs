//! Newcomers that are to be rejected and say nothing of use cannot keep others from being rejected
//! (rule A26; "memory grew", "holds the only worker").

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use crate::support::*;
use fcgi::server::{Config, Connection, Overload};
use fcgi::Error;

/// More than there are threads for rejections.
const NOISY: usize = 40;

#[test]
fn a26_noise_does_not_hold_a_rejection_up() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let config = Config::new().max_connections(1).overload(Overload::Reject);
    let server = TestServer::tcp(config, move |_| {
        let _is_over = released.lock().expect("the lock").recv();
        Ok(())
    });
    let mut busy = server.connect();
    busy.write_all(&[begin(1, RESPONDER, 0), params(1, &[])].concat()).expect("written");
    // The request is at work when a second one is rejected.
    let rejected = || server.round_trip(1, &begin(1, RESPONDER, 0)).protocol_status;
    assert_eq!(rejected(), 2);

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..NOISY {
            let mut stream = server.connect();
            let is_over = &is_over;
            scope.spawn(move || {
                // Records of an id that is not active, again and again.
                for _ in 0..300 {
                    if is_over.load(Ordering::SeqCst)
                        || stream.write_all(&record(STDIN, 9, b"noise")).is_err()
                    {
                        return;
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        assert_eq!(rejected(), 2);
        is_over.store(true, Ordering::SeqCst);
    });
    drop(release);
}

/// A connection of one's own that is to be rejected waits for its request no longer than for any
/// read.
#[test]
fn a26_a_rejection_of_ones_own_ends() {
    let config = Config::new().read_timeout(Some(Duration::from_millis(100)));
    let (_silent, served) = UnixStream::pair().expect("a pair of sockets");
    let connection = Connection::with_config(served, Arc::new(config)).expect("a connection");
    let (say, said) = mpsc::channel();
    thread::spawn(move || say.send(connection.reject()));
    assert!(matches!(said.recv_timeout(TEST_TIMEOUT), Ok(Err(Error::TimedOut("read")))));
}
