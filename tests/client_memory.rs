//! Proves that the memory of a client does not grow with the body or the response.
//!
//! This is a program of its own because it measures the memory of its process.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::{self, Read, Write};

use support::application::*;
use support::*;

const MIB: u64 = 1 << 20;

/// Returns the value of a line of `/proc/self/status` in bytes.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the state of this process");
    let kib = status.lines().find_map(|text| text.strip_prefix(line)?.trim().strip_suffix(" kB"));
    kib.expect("a line of kilobytes").trim().parse::<u64>().expect("a number") * 1024
}

/// 64 MiB are echoed over TCP and over a Unix socket. Client and application together use less than
/// 32 MiB. Rules C7 and C30.
#[test]
fn memory_does_not_grow_with_body_or_response() {
    let start = memory("VmRSS:");
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    }) {
        application
            .client()
            .send(&upload_params(64 * MIB), Pattern::new(64 * MIB), |response| {
                let mut expected = Pattern::new(64 * MIB);
                io::copy(&mut response.stdout, &mut expected)?;
                assert_eq!(expected.remaining(), 0, "the echo ended early");
                fcgi::Result::Ok(())
            })
            .unwrap();
    }
    // A response of 100 MiB, half of which is read, with as much STDERR beside it.
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        let pair = [record(STDOUT, 1, &b"o".repeat(65535)), record(STDERR, 1, &b"e".repeat(65535))]
            .concat();
        (0..1600).for_each(|_| stream.write_all(&pair).expect("the response is sent"));
        stream.write_all(&response(b"")).expect("the end is sent");
    });
    let ((), completion) = application
        .client()
        .send(&get_params(), io::empty(), |response| {
            let half = 1600 / 2 * 65535;
            assert_eq!(io::copy(&mut (&mut response.stdout).take(half), &mut io::sink())?, half);
            fcgi::Result::Ok(())
        })
        .unwrap();
    assert_eq!(completion.stderr.len() as u64 + completion.stderr_dropped, 1600 * 65535);
    let peak = memory("VmHWM:");
    assert!(peak < start + 32 * MIB, "at most {peak} bytes in use, {start} at the start");
}
