//! Proves that a small request on a kept connection allocates nothing, neither in the server nor in
//! a client that uses `send`, and that `begin` allocates no more than its exchange.
//!
//! This is a program of its own, with a single test, because it counts the allocations of all
//! threads of its process.

mod support;

use std::alloc::System;
use std::io::{self, Read, Write};

use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::{Client, Params};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};
use support::{request, TestServer, RESPONDER};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 100;
/// Threads that start during the first requests allocate at unpredictable times.
const ATTEMPTS: usize = 50;

/// Runs a request until a steady state is reached, and asserts that it then allocates nothing.
#[track_caller]
fn assert_allocates_nothing(what: &str, request: impl FnMut()) {
    assert_allocations(what, 0, request);
}

/// Runs a request until a steady state is reached, and asserts how often it then allocates.
#[track_caller]
fn assert_allocations(what: &str, expected: usize, mut request: impl FnMut()) {
    let count = || {
        let region = Region::new(ALLOCATOR);
        (0..REQUESTS).for_each(|_| request());
        let stats = region.change();
        stats.allocations + stats.reallocations
    };
    let counts: Vec<_> = std::iter::repeat_with(count).take(ATTEMPTS).collect();
    assert_eq!(
        counts.iter().min(),
        Some(&(expected * REQUESTS)),
        "{what}: allocations in each {REQUESTS} requests: {counts:?}"
    );
}

fn handler(request: &mut Request) -> HandlerResult {
    let name = request.params.get("REMOTE_ADDR").unwrap_or("nobody");
    write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
    io::copy(&mut request.stdin, &mut request.stdout)?;
    Ok(())
}

#[test]
fn small_kept_request_allocates_nothing() -> fcgi::Result<()> {
    let server = TestServer::unix(Config::default(), handler);
    let pairs = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "4"), ("REMOTE_ADDR", "192.0.2.7")];

    let bytes = request(1, RESPONDER, 1, &pairs, b"body");
    let mut socket = server.connect();
    let mut answer = Vec::new();
    socket.write_all(&bytes)?;
    while !answer.ends_with(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    assert_allocates_nothing("server", || {
        socket.write_all(&bytes).expect("the request is sent");
        socket.read_exact(&mut answer).expect("the response arrives");
    });

    let client = Client::from(server.address.clone()).keep_alive(true);
    let params = Params::from_pairs(pairs)?;
    let mut stdout = [0; 256];
    assert_allocates_nothing("client and server", || {
        let sent = client.send(&params, &b"body"[..], |response| response.stdout.read(&mut stdout));
        let (n, completion) = sent.expect("a response");
        assert!(stdout[..n].ends_with(b"Hello, 192.0.2.7.\nbody"));
        assert_eq!(completion.app_status, 0);
    });

    // Without a body, and with an empty `CONTENT_LENGTH`.
    let params = Params::from_pairs([("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "")])?;
    assert_allocates_nothing("client and server, no body", || {
        client
            .send(&params, io::empty(), |response| response.stdout.read(&mut stdout))
            .expect("a response");
    });

    // The exchange owns the connection, and its two halves may move to two threads.
    assert_allocations("client and server, begin", 5, || {
        let mut exchange = client.begin(Role::Responder, &params).expect("an exchange");
        exchange.send_body(io::empty()).expect("no error of the body");
        let len = exchange.stdout.read(&mut stdout).expect("a response");
        assert!(stdout[..len].ends_with(b"Hello, nobody.\n"));
        exchange.finish().expect("the end of the response");
    });
    Ok(())
}
