//! Runs ordinary load over 64 connections, with random sizes, with and without keep-alive, with
//! aborts and with clients that disconnect, while a second program attacks the same server and
//! answers some of the requests in ways that confuse clients. Proves that no error occurs that was
//! not provoked, that no response reaches another request, and that neither memory nor descriptors
//! grow.
//!
//! The second program, [`hostile`], opens silent connections, keeps the server from starting
//! threads, and sends floods of records without reading the answers. Ten times during the run it
//! rests, and memory and descriptors are measured.
//!
//! It takes a minute:
//!
//! ```sh
//! cargo test --release --test soak -- --ignored --nocapture
//! ```
//!
//! For half an hour, set the number of seconds:
//!
//! ```sh
//! SOAK_SECONDS=1800 cargo test --release --test soak -- --ignored --nocapture
//! ```
//!
//! This is a program of its own because it measures the memory and descriptors of its process. It
//! needs `prlimit` of util-linux. Run as root, it runs the server as another user, because the
//! system does not limit the threads of root.
#![cfg(target_os = "linux")]

#[path = "soak/applications.rs"]
mod applications;
#[path = "support/example.rs"]
mod example;
#[path = "soak/hostile.rs"]
mod hostile;
#[path = "soak/load.rs"]
mod load;
#[path = "soak/server.rs"]
mod server;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use hostile::HostileProgram;
use load::{Load, CLIENTS};
use server::{Server, Usage};
use support::wait_until;

const DEFAULT_SECONDS: u64 = 60;
/// The number of bytes by which the memory of the last measurement may exceed the largest in the
/// first half of the run.
const GROWTH: u64 = 8 * 1024 * 1024;
/// The most descriptors and threads that server and client may each have while the second program
/// rests: one for each client, the idle connections of three pools, and a few others.
const MAX_AT_REST: usize = 5 * CLIENTS as usize;

/// Rules A12, A54 and C30.
#[test]
#[ignore = "takes a minute or more, in release mode"]
fn load_among_hostile_peers_neither_fails_nor_leaks() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    let directory = tempfile::tempdir().expect("a directory for the sockets");
    let server = Server::start(directory.path());
    let mut hostile = HostileProgram::start(directory.path(), &server);
    let load = Load::new(directory.path(), server.address.clone());
    let start = Instant::now();
    let samples: Vec<_> = thread::scope(|scope| {
        let _stop = load.stop_on_drop();
        for seed in 1..=CLIENTS {
            let load = &load;
            scope.spawn(move || load.run(seed));
        }
        let tenths = (1..=10).map(|tenth| start + duration * tenth / 10);
        tenths.map_while(|time| sample(time, &load, &mut hostile, &server)).collect()
    });
    println!("in {:.1?}: {load}", start.elapsed());
    for [server, client] in &samples {
        println!("server {server:?}, client {client:?}");
    }
    let attacks = hostile.stop();
    println!("{attacks}");
    assert_flat(&samples);
    load.check();
    server.stop().check(load.disconnected() + attacks.disconnected());
}

/// Waits until a time. Then lets the second program rest, and returns what the server and this
/// process use. Returns `None` if a request has failed.
fn sample(
    time: Instant,
    load: &Load,
    hostile: &mut HostileProgram,
    server: &Server,
) -> Option<[Usage; 2]> {
    while Instant::now() < time {
        if load.is_stopped() {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    hostile.rest();
    let usage = || [Usage::of(&server.id().to_string()), Usage::of("self")];
    wait_until("the connections of the second program are closed", || {
        usage().iter().all(|usage| usage.descriptors.max(usage.threads) <= MAX_AT_REST)
    });
    let sample = usage();
    hostile.play();
    Some(sample)
}

fn assert_flat(samples: &[[Usage; 2]]) {
    assert_eq!(samples.len(), 10, "a request has failed");
    for process in 0..2 {
        let first_half = samples[..5].iter().map(|sample| &sample[process]);
        let memory = first_half.clone().map(|usage| usage.memory).max().unwrap_or(0);
        let descriptors = first_half.map(|usage| usage.descriptors).max().unwrap_or(0);
        let last = &samples[9][process];
        assert!(last.memory <= memory + GROWTH, "memory grew from {memory} bytes: {last:?}");
        let limit = descriptors + CLIENTS as usize;
        assert!(last.descriptors <= limit, "descriptors grew from {descriptors}: {last:?}");
    }
}
