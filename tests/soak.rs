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
/// The most memory in bytes that the last measurement may exceed the first.
const GROWTH: u64 = 8 * 1024 * 1024;
/// The most descriptors that server and client may each have open while the second program rests:
/// a connection for each client, the idle ones, and a few others.
const MAX_DESCRIPTORS: usize = 3 * CLIENTS as usize;

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
    println!("memory and descriptors of server and client: {samples:?}");
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
        usage().iter().all(|usage| usage.descriptors <= MAX_DESCRIPTORS)
    });
    let sample = usage();
    hostile.play();
    Some(sample)
}

fn assert_flat(samples: &[[Usage; 2]]) {
    assert_eq!(samples.len(), 10, "a request has failed");
    for (first, last) in samples[0].iter().zip(&samples[9]) {
        assert!(last.memory <= first.memory + GROWTH, "memory grew: {first:?}, {last:?}");
        assert!(
            last.descriptors <= first.descriptors + CLIENTS as usize,
            "descriptors grew: {first:?}, {last:?}"
        );
    }
}
