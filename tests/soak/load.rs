//! The ordinary load: requests whose responses are checked.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use fcgi::client::{self, Config};
use fcgi::net::{Address, Stream};
use fcgi::record::Role;
use fcgi::{Client, Error, Params};

use crate::applications::{CLOSING, STRAY};
use crate::support::{request, RESPONDER, TEST_TIMEOUT};

/// The number of threads that send requests.
pub const CLIENTS: u64 = 64;

/// The longest body that fits into the first write of the client, and into the buffer of the
/// server. If the server is closing the connection, such a request is sent again or still answered.
const MAX_SMALL: usize = 24 * 1024;

/// The response head of all applications.
const HEAD: &[u8] = b"Content-Type: text/plain\r\n\r\n";

/// The clients, and the number of requests of each kind.
pub struct Load {
    address: Address,
    kept: Client,
    single: Client,
    closing: Client,
    stray: Client,
    is_stopped: AtomicBool,
    answered: AtomicU64,
    disconnected: AtomicU64,
    /// The requests that failed because the server was closing the kept connection. The second
    /// program forces it to do so.
    lost_on_kept: AtomicU64,
    /// The requests that failed because the server took a new connection for a silent one. It does
    /// so if a thread of either side does not run for 200 ms.
    lost_on_new: AtomicU64,
    /// The requests to the application that closes each connection.
    to_closing: Outcomes,
    /// The requests to the application that sends a second response.
    to_stray: Outcomes,
}

/// The outcomes of requests to an application that may make them fail.
#[derive(Debug, Default)]
struct Outcomes {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// Stops the load when it is dropped.
pub struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::SeqCst);
    }
}

impl Load {
    /// Creates clients of the server at this address, and of the applications in this directory.
    pub fn new(directory: &Path, address: Address) -> Self {
        let keeping = |address| {
            let config = Config::new().keep_alive(true).max_idle(CLIENTS as usize);
            Client::from(address).config(config)
        };
        let in_directory = |name| Address::unix(directory.join(name)).expect("an address");
        Self {
            kept: keeping(address.clone()),
            single: Client::from(address.clone()),
            closing: keeping(in_directory(CLOSING)),
            stray: keeping(in_directory(STRAY)),
            address,
            is_stopped: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            disconnected: AtomicU64::new(0),
            lost_on_kept: AtomicU64::new(0),
            lost_on_new: AtomicU64::new(0),
            to_closing: Outcomes::default(),
            to_stray: Outcomes::default(),
        }
    }

    pub fn stop_on_drop(&self) -> StopOnDrop<'_> {
        StopOnDrop(self)
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Returns how many requests were broken off by their client.
    pub fn disconnected(&self) -> u64 {
        self.disconnected.load(Ordering::SeqCst)
    }

    /// Sends requests until the load is stopped. Panics on a failure that was not provoked, and
    /// stops the load.
    pub fn run(&self, seed: u64) {
        let _stop = self.stop_on_drop();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        while !self.is_stopped() {
            match random.below(100) {
                0..=79 => {
                    self.request_and_check(&self.kept, "PUT", &self.lost_on_kept, &mut random);
                }
                80..=89 => {
                    self.request_and_check(&self.single, "POST", &self.lost_on_new, &mut random);
                }
                90..=92 => self.abort(&mut random),
                93..=94 => self.disconnect(&mut random),
                95..=97 => self.request_to_closing(&mut random),
                _ => self.request_to_stray(&mut random),
            }
        }
    }

    /// Sends a request and checks its response: the body echoed, or a response of a random size.
    /// Counts a request in `lost` that failed because the server was closing the connection, and
    /// that was large or sent on a new connection.
    fn request_and_check(
        &self,
        client: &Client,
        method: &str,
        lost: &AtomicU64,
        random: &mut Random,
    ) {
        let (body, len) = (vec![b'y'; random.size()], random.size());
        let (query, expected) = match random.below(2) {
            0 => ("stream=1".to_owned(), &body[..]),
            _ => (format!("exit=7&bytes={len}"), &vec![b'x'; len][..]),
        };
        let mut params = params(&query, body.len(), random);
        params.push("REQUEST_METHOD", method).expect("a param");
        let reply = match client.fetch(&params, &body) {
            Ok(reply) => reply,
            Err(error)
                if is_closed(&error)
                    && (body.len() > MAX_SMALL || std::ptr::eq(client, &raw const self.single)) =>
            {
                lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Err(error) => panic!("{method} {query} with {} bytes: {error}", body.len()),
        };
        assert_eq!(reply.completion.app_status, if query == "stream=1" { 0 } else { 7 });
        let is_expected = reply.stdout.strip_prefix(HEAD) == Some(expected);
        assert!(is_expected, "{query}: {} bytes", reply.stdout.len());
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    /// Aborts a request before its body is complete, and reuses the connection.
    fn abort(&self, random: &mut Random) {
        let config = Arc::new(Config::new().keep_alive(true));
        let mut connection =
            client::Connection::connect(&self.address, config).expect("a connection");
        let mut exchange = connection
            .begin(Role::Responder, &params("stream=1", 1000, random))
            .expect("a request");
        exchange.stdin.write_all(b"a part").expect("written");
        match exchange.abort() {
            Ok(_) => {}
            Err(error) if is_closed(&error) => {
                self.lost_on_new.fetch_add(1, Ordering::SeqCst);
                return;
            }
            Err(error) => panic!("an aborted request: {error}"),
        }
        match finish_empty(&mut connection, random) {
            Ok(app_status) => assert_eq!(app_status, 5),
            Err(error) if is_closed(&error) => {
                self.lost_on_kept.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => panic!("after an abort: {error}"),
        }
    }

    /// Disconnects at a random place of a request or response.
    fn disconnect(&self, random: &mut Random) {
        self.disconnected.fetch_add(1, Ordering::SeqCst);
        let query = format!("bytes={}", random.size());
        let bytes =
            request(1, RESPONDER, 1, &[("QUERY_STRING", &query)], &vec![b'y'; random.size()]);
        let mut stream = Stream::connect(&self.address, Some(TEST_TIMEOUT)).expect("a connection");
        // Without a timeout both sides might write and neither read, until the server's own
        // timeout.
        stream.set_timeouts(None, Some(Duration::from_millis(100))).expect("a timeout");
        let part = random.below(bytes.len() as u64 + 1) as usize;
        // The server may have closed the connection.
        let _ = stream.write_all(&bytes[..part]);
    }

    /// Sends a request to an application that closes the connection after its response.
    fn request_to_closing(&self, random: &mut Random) {
        let method = if random.below(2) == 0 { "GET" } else { "POST" };
        match fetch_nonce(&self.closing, method, random) {
            Ok(()) => self.to_closing.count(false),
            // The application may close the connection while the request is being sent. A request
            // that may be repeated is then sent again.
            Err(error) if method == "POST" && is_closed(&error) => self.to_closing.count(true),
            Err(error) => panic!("{method} to an application that closes: {error}"),
        }
    }

    /// Sends a request to an application that sends a second response.
    fn request_to_stray(&self, random: &mut Random) {
        let method = if random.below(2) == 0 { "GET" } else { "POST" };
        match fetch_nonce(&self.stray, method, random) {
            Ok(()) => self.to_stray.count(false),
            // The second response of the previous request.
            Err(Error::UnexpectedRecord { .. }) => self.to_stray.count(true),
            Err(error) => panic!("{method} to an application that answers twice: {error}"),
        }
    }

    /// Checks that few of the requests have failed that may fail.
    pub fn check(&self) {
        let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let (sent, failed) = (load(&self.to_closing.sent), load(&self.to_closing.failed));
        assert!(failed * 1000 <= sent, "{failed} of {sent} to an application that closes");
        let lost = load(&self.lost_on_kept) + load(&self.lost_on_new);
        let answered = load(&self.answered);
        assert!(lost * 1000 <= answered, "{lost} requests were lost, {answered} answered");
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, disconnected, lost_on_kept, lost_on_new, .. } = self;
        write!(
            f,
            "{answered:?} requests answered, {disconnected:?} disconnected, {lost_on_kept:?} lost \
             on a kept and {lost_on_new:?} on a new connection; application that closes: {}; that \
             answers twice: {}",
            self.to_closing, self.to_stray
        )
    }
}

impl Outcomes {
    fn count(&self, is_failed: bool) {
        self.sent.fetch_add(1, Ordering::SeqCst);
        self.failed.fetch_add(is_failed.into(), Ordering::SeqCst);
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} failed", self.failed, self.sent)
    }
}

/// Sends a request without a body, and returns its app status.
fn finish_empty(connection: &mut client::Connection, random: &mut Random) -> fcgi::Result<u32> {
    let mut exchange = connection.begin(Role::Responder, &params("exit=5", 0, random))?;
    exchange.stdin.finish()?;
    Ok(exchange.finish()?.app_status)
}

/// Sends a request with a random param, and checks that the response contains it.
fn fetch_nonce(client: &Client, method: &str, random: &mut Random) -> fcgi::Result<()> {
    let nonce = random.below(1 << 40).to_string();
    let params = Params::from_pairs([("REQUEST_METHOD", method), ("NONCE", &nonce)])?;
    let reply = client.fetch(&params, b"")?;
    assert_eq!(
        String::from_utf8_lossy(&reply.stdout),
        format!("Content-Type: text/plain\r\n\r\n{nonce}"),
        "the response of another request"
    );
    Ok(())
}

/// Returns whether the peer has closed the connection.
fn is_closed(error: &Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Returns params for this query, with a cookie of random size.
fn params(query: &str, body: usize, random: &mut Random) -> Params {
    let cookie = "c".repeat(random.below(2000) as usize);
    let pairs =
        [("QUERY_STRING", query), ("CONTENT_LENGTH", &body.to_string()), ("HTTP_COOKIE", &cookie)];
    Params::from_pairs(pairs).expect("params")
}

/// A deterministic pseudo-random number generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Returns a size that is mostly small, and sometimes exceeds every buffer.
    fn size(&mut self) -> usize {
        let limit =
            [300, 300, 300, 300, 300, 300, 300, 9_000, 70_000, 300_000][self.below(10) as usize];
        self.below(limit) as usize
    }
}
