//! Proves that a server which aborts its connections after the shutdown timeout says so: to the
//! handler, to the hook for the end of a request, and in reports.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;
use fcgi::net::{Address, Stream};
use fcgi::server::{CloseReason, Config, Handle, HandlerResult, Request};
use fcgi::Server;

/// A server, what it reports, and the outcome of each request.
struct ObservedServer {
    address: Address,
    handle: Handle,
    thread: thread::JoinHandle<fcgi::Result<()>>,
    reports: Receiver<(Option<CloseReason>, String)>,
    outcomes: Receiver<String>,
}

impl ObservedServer {
    /// Starts a server with a short shutdown timeout.
    fn start(
        config: Config,
        handler: impl Fn(&mut Request) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        let (report, reports) = mpsc::channel();
        let (outcome, outcomes) = mpsc::channel();
        let config = config.shutdown_timeout(Duration::from_millis(50));
        let server = Server::bind("127.0.0.1:0").expect("a server").config(config);
        let server = server
            .on_error(move |error| drop(report.send((error.close_reason, error.to_string()))))
            .on_request_end(move |ended| drop(outcome.send(ended.outcome.to_string())));
        let (address, handle) = (server.local_address().expect("an address"), server.handle());
        let thread = thread::spawn(move || server.serve(handler));
        Self { address, handle, thread, reports, outcomes }
    }

    fn connect(&self) -> Stream {
        let stream = Stream::connect(&self.address, Some(TEST_TIMEOUT)).expect("a connection");
        stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
        stream
    }

    /// Stops the server. Returns all reports and all outcomes.
    fn stop(self) -> (Vec<(Option<CloseReason>, String)>, Vec<String>) {
        self.handle.shutdown();
        self.thread.join().expect("the server's thread").expect("a clean end");
        (self.reports.try_iter().collect(), self.outcomes.try_iter().collect())
    }
}

/// Sends the beginning of a request, then a query. Its answer proves that the server has read both.
fn send_part(stream: &mut Stream, part: &[u8]) {
    stream.write_all(&[part, &record(GET_VALUES, 0, b"")].concat()).expect("a part is sent");
    assert_eq!(read_record(stream).expect("the answer").record_type, GET_VALUES_RESULT);
}

#[test]
fn request_that_is_aborted_in_its_params_is_not_an_error_of_the_web_server() {
    for part in [vec![], record(PARAMS, 1, &pair(b"A", b"2")[..2])] {
        let server = ObservedServer::start(Config::new(), echo);
        let mut stream = server.connect();
        send_part(&mut stream, &[begin(1, RESPONDER, 1), part].concat());
        assert_eq!(server.stop(), (vec![], vec![]));
    }
}

#[test]
fn request_that_is_aborted_in_its_body_is_reported_with_the_shutdown() {
    let server = ObservedServer::start(Config::new(), |request| {
        io::copy(&mut request.stdin, &mut request.stdout)?;
        Ok(())
    });
    let mut stream = server.connect();
    let part = [begin(1, RESPONDER, 1), params(1, &[]), record(STDIN, 1, b"part")].concat();
    send_part(&mut stream, &part);
    let (reports, outcomes) = server.stop();
    let text = "connection closed: the server was shut down: input ended before the end of a \
                request";
    assert_eq!(reports, [(Some(CloseReason::Shutdown), text.to_owned())]);
    assert_eq!(outcomes, ["aborted"]);
}

/// The handler only computes. The end of the input alone would not be an abort if peers half-close.
#[test]
fn abort_by_the_server_is_noticed_even_if_peers_half_close() {
    for peers_half_close in [false, true] {
        for uses_handle in [false, true] {
            let (begun, has_begun) = mpsc::channel();
            let config = Config::new().peers_half_close(peers_half_close);
            let server = ObservedServer::start(config, move |request| {
                let handle = uses_handle.then(|| request.abort_handle());
                begun.send(()).expect("the test waits");
                let start = Instant::now();
                let mut is_aborted =
                    || handle.as_ref().map_or_else(|| request.is_aborted(), |h| h.is_aborted());
                while !is_aborted() && start.elapsed() < TEST_TIMEOUT {
                    thread::yield_now();
                }
                respond(request, "late")
            });
            let mut stream = server.connect();
            stream.write_all(&request(1, RESPONDER, 1, &[], b"")).expect("a request is sent");
            has_begun.recv_timeout(TEST_TIMEOUT).expect("the handler runs");
            let (reports, outcomes) = server.stop();
            assert_eq!(outcomes, ["aborted"], "{peers_half_close} {uses_handle}");
            let text = "connection closed: the server was shut down";
            assert_eq!(reports, [(Some(CloseReason::Shutdown), text.to_owned())]);
            assert_no_response(&mut stream);
        }
    }
}
