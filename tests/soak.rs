//! Runs a million requests over 64 connections, with random sizes, with and without keep-alive,
//! with aborts and with clients that disconnect. Proves that no error occurs that was not provoked,
//! and that neither memory nor descriptors grow.
//!
//! Run it with `cargo test --release --test soak -- --ignored --nocapture`. The variable
//! `SOAK_REQUESTS` sets another number of requests.
//!
//! This is a program of its own because it measures the memory and descriptors of its process.
#![cfg(target_os = "linux")]

#[path = "support/example.rs"]
mod example;
mod support;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::{self, Config};
use fcgi::net::{Address, Stream};
use fcgi::record::Role;
use fcgi::{Client, Params};
use support::*;

const CLIENTS: u64 = 64;
/// The most memory in bytes that the last tenth may use more than the first.
const GROWTH: u64 = 8 * 1024 * 1024;

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

/// The response head that `echo` writes.
const HEAD: &[u8] = b"Content-Type: text/plain\r\n\r\n";

/// Returns params for this query, with a cookie of random size.
fn params(query: &str, body: usize, random: &mut Random) -> Params {
    let cookie = "c".repeat(random.below(2000) as usize);
    let pairs =
        [("QUERY_STRING", query), ("CONTENT_LENGTH", &body.to_string()), ("HTTP_COOKIE", &cookie)];
    Params::from_pairs(pairs).expect("params")
}

/// Sends a request and checks its response: the body echoed, or a response of a random size.
fn request_and_check(client: &Client, random: &mut Random) {
    let (body, len) = (vec![b'y'; random.size()], random.size());
    let (query, expected) = match random.below(2) {
        0 => ("stream=1".to_owned(), &body[..]),
        _ => (format!("exit=7&bytes={len}"), &vec![b'x'; len][..]),
    };
    let reply = client.fetch(&params(&query, body.len(), random), &body).expect("a response");
    assert_eq!(reply.completion.app_status, if query == "stream=1" { 0 } else { 7 });
    assert!(
        reply.stdout.strip_prefix(HEAD) == Some(expected),
        "{query}: {} bytes",
        reply.stdout.len()
    );
}

/// Aborts a request before its body is complete, and reuses the connection.
fn abort(address: &Address, random: &mut Random) {
    let config = Arc::new(Config::new().keep_alive(true));
    let mut connection = client::Connection::connect(address, config).expect("a connection");
    let mut exchange =
        connection.begin(Role::Responder, &params("stream=1", 1000, random)).expect("a request");
    exchange.stdin.write_all(b"a part").expect("written");
    exchange.abort().expect("the end of an aborted request");
    let mut exchange =
        connection.begin(Role::Responder, &params("exit=5", 0, random)).expect("another request");
    exchange.stdin.finish().expect("written");
    assert_eq!(exchange.finish().expect("its end").app_status, 5);
}

/// Disconnects at a random place of a request or response.
fn disconnect(address: &Address, random: &mut Random) {
    let query = format!("bytes={}", random.size());
    let bytes = request(1, RESPONDER, 1, &[("QUERY_STRING", &query)], &vec![b'y'; random.size()]);
    let mut stream = Stream::connect(address, Some(TEST_TIMEOUT)).expect("a connection");
    // Without a timeout both sides might write and neither read, until the server's own timeout.
    stream.set_timeouts(None, Some(Duration::from_millis(100))).expect("a timeout");
    let part = random.below(bytes.len() as u64 + 1) as usize;
    // The server may have closed the connection.
    let _ = stream.write_all(&bytes[..part]);
}

/// Returns the memory of a process in bytes and the number of its descriptors.
fn usage(process: &str) -> (u64, usize) {
    let statm =
        fs::read_to_string(format!("/proc/{process}/statm")).expect("the memory of a process");
    let pages: u64 =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("its pages");
    (pages * 4096, fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors").count())
}

/// Counts the errors that a server reports. Panics on one that a disconnected client does not
/// explain.
fn count_reports(stderr: ChildStderr) -> u64 {
    let expected =
        ["input ended", "Broken pipe", "Connection reset", "earlier write to the stream failed"];
    let lines = BufReader::new(stderr).lines().map_while(io::Result::ok);
    lines.inspect(|line| assert!(expected.iter().any(|text| line.contains(text)), "{line}")).count()
        as u64
}

/// Waits until `count` requests are done. Returns what the server and this process then use.
fn sample(done: &AtomicU64, count: u64, server: u32) -> [(u64, usize); 2] {
    while done.load(Ordering::Relaxed) < count {
        thread::sleep(Duration::from_millis(10));
    }
    [usage(&server.to_string()), usage("self")]
}

/// Rules A12, A54 and C30.
#[test]
#[ignore = "takes a minute or more, in release mode"]
fn million_requests_neither_fail_nor_leak() {
    let total: u64 = std::env::var("SOAK_REQUESTS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000);
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let address = &Address::unix(directory.path().join("app.sock")).expect("an address");
    let mut command = Command::new(example::path("echo"));
    let server =
        command.arg(address.to_string()).stderr(Stdio::piped()).spawn().expect("echo starts");
    let mut server = example::KillOnDrop(server);
    let stderr = server.0.stderr.take().expect("its stderr");
    example::wait_until_listening(address);

    let kept = &Client::from(address.clone()).config(Config::new().keep_alive(true).max_idle(64));
    let single = &Client::from(address.clone());
    let (done, disconnected) = (&AtomicU64::new(0), &AtomicU64::new(0));
    let start = Instant::now();
    let reports = thread::spawn(move || count_reports(stderr));
    let samples: Vec<_> = thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            scope.spawn(move || {
                let mut random = Random(seed * 0x9e37_79b9_7f4a_7c15);
                while done.fetch_add(1, Ordering::Relaxed) < total {
                    match random.below(100) {
                        0..=84 => request_and_check(kept, &mut random),
                        85..=94 => request_and_check(single, &mut random),
                        95..=97 => abort(address, &mut random),
                        _ => {
                            disconnected.fetch_add(1, Ordering::Relaxed);
                            disconnect(address, &mut random);
                        }
                    }
                }
            });
        }
        (1..=10).map(|tenth| sample(done, total * tenth / 10, server.0.id())).collect()
    });
    let elapsed = start.elapsed();
    println!(
        "{total} requests in {elapsed:.1?}; memory and descriptors of server and client after \
         each tenth: {samples:?}"
    );
    drop(server);
    let reports = reports.join().expect("only expected reports");
    assert!(reports <= disconnected.load(Ordering::Relaxed), "{reports} errors reported");
    for (first, last) in samples[0].into_iter().zip(samples[9]) {
        assert!(last.0 <= first.0 + GROWTH, "memory grew from {} to {} bytes", first.0, last.0);
        assert!(
            last.1 <= first.1 + CLIENTS as usize,
            "descriptors grew from {} to {}",
            first.1,
            last.1
        );
    }
}
