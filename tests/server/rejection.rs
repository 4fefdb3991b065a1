//! Proves that connections that are rejected cannot delay the rejection of others.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use crate::support::*;
use fcgi::server::{Config, Connection, Overload};

/// More connections than there are threads for rejections.
const NOISY: usize = 40;

/// A server whose only slot is taken.
struct BusyServer {
    /// Ends the request that takes the slot when it is dropped, before the server is.
    _request: mpsc::Sender<()>,
    server: TestServer,
}

impl BusyServer {
    fn start(config: Config) -> Self {
        let (request, receiver) = mpsc::channel();
        let receiver = std::sync::Mutex::new(receiver);
        let config = config.max_connections(1).overload(Overload::Reject);
        let server = TestServer::tcp(config, move |_| {
            let _is_over = receiver.lock().expect("the lock").recv();
            Ok(())
        });
        let mut busy = server.connect();
        busy.write_all(&[begin(1, RESPONDER, 0), params(1, &[])].concat()).expect("written");
        // The second request is rejected once the first is being served.
        let started = Self { _request: request, server };
        assert_eq!(started.rejected(), 2);
        started
    }

    /// Sends a request, and returns the protocol status of the refusal.
    fn rejected(&self) -> u8 {
        self.server.round_trip(1, &begin(1, RESPONDER, 0)).protocol_status
    }
}

/// Rule A26.
#[test]
fn noisy_connections_do_not_delay_a_rejection() {
    let busy = BusyServer::start(Config::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..NOISY {
            let mut stream = busy.server.connect();
            let is_over = &is_over;
            scope.spawn(move || {
                // Keep sending records of an id that is not active.
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
        assert_eq!(busy.rejected(), 2);
        is_over.store(true, Ordering::SeqCst);
    });
}

/// Peers that were rejected and do not close their connections are waited for, but not for long.
/// Rule A26.
#[test]
fn open_connections_do_not_delay_a_rejection() {
    let drain_time = 3 * TEST_TIMEOUT;
    let busy = BusyServer::start(Config::new().drain(u64::MAX, drain_time));
    let mut rejected: Vec<_> = (0..NOISY).map(|_| busy.server.connect()).collect();
    for stream in &mut rejected {
        stream.write_all(&begin(1, RESPONDER, 0)).expect("written");
    }
    assert_eq!(busy.rejected(), 2);
}

/// A peer that sends nothing is no error, and one that sends other records is. Rule A26.
#[test]
fn reject_waits_for_a_request_only_for_the_read_timeout() {
    for noise in [b"".to_vec(), record(STDIN, 9, b"noise")] {
        let config = Config::new().read_timeout(Some(Duration::from_millis(100)));
        let (mut peer, served) = UnixStream::pair().expect("a pair of sockets");
        peer.write_all(&noise).expect("a record is sent");
        let connection = Connection::with_config(served, Arc::new(config)).expect("a connection");
        let (result, results) = mpsc::channel();
        thread::spawn(move || result.send(connection.reject()));
        let rejected = results.recv_timeout(TEST_TIMEOUT).expect("an end in time");
        assert!(rejected.is_ok(), "{rejected:?}");
    }
}
