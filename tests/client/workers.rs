//! Proves that a client that keeps connections loses no request with an application of few
//! processes, each of which serves one connection until it is closed, as php-fpm does.
#![cfg(unix)]

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fcgi::client::Config;
use fcgi::net::{Address, Stream};
use fcgi::{Client, Error, Params};

use crate::support::application::*;
use crate::support::{pair, read_record, record, GET_VALUES, GET_VALUES_RESULT, TEST_TIMEOUT};

/// An application of threads that each accept a connection and serve it until the client closes it.
struct Workers {
    address: Address,
    threads: Vec<JoinHandle<()>>,
    is_closing: Arc<AtomicBool>,
    _directory: tempfile::TempDir,
}

impl Workers {
    fn start(count: usize) -> Self {
        Self::start_with(count, serve)
    }

    /// Serves each connection with this function.
    fn start_with(count: usize, serve: impl Fn(&mut Stream) + Clone + Send + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let address = Address::unix(directory.path().join("app.sock")).expect("an address");
        let listener = Arc::new(UnixListener::bind(address.path().unwrap()).expect("a listener"));
        let is_closing = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|_| {
                let (listener, is_closing) = (Arc::clone(&listener), Arc::clone(&is_closing));
                let serve = serve.clone();
                thread::spawn(move || {
                    while !is_closing.load(Ordering::SeqCst) {
                        serve(&mut listener.accept().expect("a connection").0.into());
                    }
                })
            })
            .collect();
        Self { address, threads, is_closing, _directory: directory }
    }

    /// Returns a client with the default configuration, except that it keeps connections.
    fn client(&self) -> Client {
        Client::from(self.address.clone()).keep_alive(true)
    }
}

impl Drop for Workers {
    /// Drop the clients before, because the workers serve their connections.
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                let _wakes_accept = UnixStream::connect(self.address.path().unwrap());
                thread::sleep(Duration::from_millis(1));
            }
            assert!(thread.join().is_ok() || thread::panicking(), "a worker failed");
        }
    }
}

/// Responds to each request of a connection, after as many milliseconds as it asks for.
fn serve(stream: &mut Stream) {
    while let Some(request) = read_request(stream) {
        pause(&request);
        // The client may have given up.
        let _closed = stream.write_all(&request.response(b""));
    }
}

/// Waits as many milliseconds as a request asks for.
fn pause(request: &ReceivedRequest) {
    let pause = request.param("PAUSE").and_then(|pause| std::str::from_utf8(pause).ok());
    thread::sleep(Duration::from_millis(pause.map_or(0, |pause| pause.parse().unwrap())));
}

fn params(method: &str, pause: u32) -> Params {
    Params::from_pairs([("REQUEST_METHOD", method), ("PAUSE", &pause.to_string())]).unwrap()
}

/// Returns params of a request that is answered when the gate of the test opens.
fn gated_params() -> Params {
    Params::from_pairs([("REQUEST_METHOD", "GET"), ("GATED", "")]).unwrap()
}

/// Sends requests from several threads for two seconds. Returns how many each thread has sent.
fn load(client: &Client, threads: usize, params: &Params) -> Vec<usize> {
    let start = Instant::now();
    let send = || {
        let mut count = 0;
        while start.elapsed() < Duration::from_secs(2) {
            client.fetch(params, b"").expect("a response");
            count += 1;
        }
        count
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().expect("its count")).collect()
    })
}

/// All threads are served, and finish in time.
#[test]
fn more_threads_than_workers_are_all_served() {
    for (threads, workers, method) in [(8, 4, "GET"), (8, 4, "POST"), (5, 1, "GET")] {
        let application = Workers::start(workers);
        let client = application.client();
        let start = Instant::now();
        let counts = load(&client, threads, &params(method, 1));
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(4), "two seconds of load took {elapsed:?}");
        assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
        drop(client);
    }
}

/// The worker of an idle connection is needed by a request that waits for one.
#[test]
fn idle_connection_is_closed_for_a_request_that_is_not_accepted() {
    let (report, reports) = mpsc::channel();
    let (gate, open) = gate();
    let application = Workers::start_with(2, move |stream| {
        while let Some(request) = read_request(stream) {
            report.send(()).expect("the test waits");
            if request.param("GATED").is_some() {
                gate.wait();
            } else {
                pause(&request);
            }
            stream.write_all(&request.response(b"")).expect("the response is sent");
        }
    });
    let client = Client::from(application.address.clone()).config(test_config().keep_alive(true));
    thread::scope(|scope| {
        let long = scope.spawn(|| client.fetch(&gated_params(), b""));
        let short = scope.spawn(|| client.fetch(&params("GET", 50), b""));
        // Both workers are busy.
        (0..2).for_each(|_| reports.recv_timeout(TEST_TIMEOUT).expect("a request"));
        client.fetch(&params("GET", 0), b"").expect("a response");
        short.join().unwrap().expect("a response");
        assert!(!long.is_finished(), "no response before the end of the long request");
        drop(open);
        long.join().unwrap().expect("a response");
    });
    drop(client);
}

/// A request that takes long is not mistaken for one that is not accepted: the connections of the
/// others are still kept.
#[test]
fn slow_request_does_not_prevent_reuse() {
    let application = Application::unix(|_, mut stream| serve(&mut stream));
    let client = application.client().keep_alive(true);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| client.fetch(&params("GET", 1000), b"").expect("a response"));
        thread::sleep(Duration::from_millis(20));
        for _ in 0..500 {
            client.fetch(&params("GET", 1), b"").expect("a response");
        }
    });
    // In each 100 ms, the slow request closes one, and a new connection that takes its place may
    // close another if the machine is busy.
    let max = 2 + 2 * start.elapsed().as_millis() as usize / 100;
    assert!(application.accepted() <= max, "{} connections", application.accepted());
    drop(client);
}

/// Each response takes longer than the time after which the client makes room.
#[test]
fn connection_of_a_slow_application_is_kept() {
    let application = Application::unix(|_, mut stream| serve(&mut stream));
    let client = application.client().keep_alive(true);
    for _ in 0..4 {
        client.fetch(&params("GET", 250), b"").expect("a response");
    }
    assert_eq!(application.accepted(), 1);
    drop(client);
}

/// The caller has limited the time of the request. That says nothing about the application.
#[test]
fn deadline_on_a_new_connection_does_not_lower_the_limit() {
    let application = Workers::start(1);
    let other = UnixStream::connect(application.address.path().unwrap()).unwrap();
    let config = Config::new()
        .keep_alive(true)
        .deadline(Some(Duration::from_millis(300)))
        .connect_timeout(Some(Duration::from_millis(100)));
    let client = Client::from(application.address.clone()).config(config);
    for _ in 0..2 {
        let errors = thread::scope(|scope| {
            [(), ()]
                .map(|()| scope.spawn(|| client.fetch(&get_params(), b"").unwrap_err()))
                .map(|request| request.join().unwrap().to_string())
        });
        assert_eq!(errors, ["request timed out after 300 ms"; 2]);
    }
    drop((client, other));
}

/// Another client uses the only worker.
#[test]
fn read_timeout_on_a_new_connection_lowers_the_limit() {
    let application = Workers::start(1);
    let other = UnixStream::connect(application.address.path().unwrap()).unwrap();
    let config = Config::new()
        .keep_alive(true)
        .read_timeout(Some(Duration::from_millis(300)))
        .connect_timeout(Some(Duration::from_millis(100)));
    let client = Client::from(application.address.clone()).config(config);
    let fetch_two = || {
        thread::scope(|scope| {
            [(), ()]
                .map(|()| scope.spawn(|| client.fetch(&get_params(), b"").unwrap_err()))
                .map(|request| request.join().unwrap())
        })
    };
    let errors = fetch_two();
    assert!(errors.iter().all(|error| matches!(error, Error::TimedOut(_))), "{errors:?}");
    let mut errors = fetch_two().map(|error| error.to_string());
    errors.sort_unstable();
    assert!(errors[0].ends_with(": waiting for a free connection timed out after 100 ms"));
    assert_eq!(errors[1], "read timed out after 300 ms");

    drop(other);
    client.fetch(&get_params(), b"").expect("a response");
    drop(client);
}

/// The only process serves a kept connection when the client asks for the limits.
#[test]
fn query_for_limits_closes_a_kept_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let workers = Workers::start_with(1, move |stream| {
        match connections.fetch_add(1, Ordering::SeqCst) {
            0 => serve(stream),
            1 => {
                let query = read_record(stream).expect("a query");
                assert_eq!(query.record_type, GET_VALUES);
                let values = record(GET_VALUES_RESULT, 0, &pair(b"FCGI_MAX_CONNS", b"1"));
                stream.write_all(&values).expect("the answer is sent");
            }
            // `Workers` connects to end the thread.
            _ => {}
        }
    });
    let client = workers.client();
    client.fetch(&params("GET", 0), b"").expect("a kept connection");
    assert_eq!(client.negotiate().expect("the limits").max_conns, Some(1));
    drop(client);
}
