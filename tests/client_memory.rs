//! C30: a client's memory does not grow with the body or the response. Alone in its process, so
//! that what is measured is its own.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::{self, Read, Write};

use support::application::*;
use support::*;

const MIB: u64 = 1 << 20;

/// A line of what the kernel tells of this process's memory, in bytes.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let kib = status.lines().find_map(|text| text.strip_prefix(line)?.trim().strip_suffix(" kB"));
    kib.expect("a line of kilobytes").trim().parse::<u64>().expect("a number") * 1024
}

/// C30, C7; "64 MiB echoed", with less than 32 MiB in use for it, on TCP and on a Unix socket; an
/// application in the same process included.
#[test]
fn memory_does_not_grow_with_the_data() {
    let start = memory("VmRSS:");
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the head of a request");
        echo_stdin(&mut stream);
    }) {
        application
            .client()
            .send(&upload_params(64 * MIB), Pattern::new(64 * MIB), |response| {
                let mut expected = Pattern::new(64 * MIB);
                io::copy(&mut response.stdout, &mut expected)?;
                assert_eq!(expected.remaining(), 0, "the echo has ended early");
                Ok(())
            })
            .unwrap();
    }
    // A response of 100 MiB of which half is read, with as much STDERR beside it.
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        let pair = [record(STDOUT, 1, &b"o".repeat(65535)), record(STDERR, 1, &b"e".repeat(65535))]
            .concat();
        (0..1600).for_each(|_| stream.write_all(&pair).expect("the answer is taken"));
        stream.write_all(&response(b"")).expect("the end is taken");
    });
    let ((), completion) = application
        .client()
        .send(&get_params(), io::empty(), |response| {
            let half = 1600 / 2 * 65535;
            assert_eq!(io::copy(&mut (&mut response.stdout).take(half), &mut io::sink())?, half);
            Ok(())
        })
        .unwrap();
    assert_eq!(completion.stderr.len() as u64 + completion.stderr_dropped, 1600 * 65535);
    let peak = memory("VmHWM:");
    assert!(peak < start + 32 * MIB, "{peak} bytes in use at most, {start} at the start");
}
