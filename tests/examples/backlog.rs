//! Proves that `fetch`, `probe` and `cgi-fcgi` end although the application accepts no connections.
#![cfg(target_os = "linux")]

use std::os::unix::net::UnixListener;
use std::time::Instant;

use crate::example;
use crate::support::application::fill_backlog;
use crate::support::TEST_TIMEOUT;

/// Calls `check` with the address of a socket whose backlog is full.
fn with_full_backlog(check: impl FnOnce(&str)) {
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let path = directory.path().join("app.sock");
    let _listener = UnixListener::bind(&path).expect("a listening socket");
    fill_backlog(&path);
    check(path.to_str().expect("a path in UTF-8"));
}

#[test]
fn cgi_fcgi_sends_a_503_response_after_ten_seconds_if_the_backlog_is_full() {
    with_full_backlog(|name| {
        let output = example::run("cgi-fcgi", &["-connect", name], &[], b"");
        assert_eq!(output.status.code(), Some(124), "{output:?}");
        assert!(output.stdout.starts_with(b"Status: 503 "), "{output:?}");
        let reason =
            format!("cgi-fcgi: cannot connect to unix:{name}: connect timed out after 10 s\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), reason);
    });
}

#[test]
fn fetch_and_probe_time_out_if_the_backlog_is_full() {
    with_full_backlog(|address| {
        let start = Instant::now();
        let fetch = example::run("fetch", &[address, "--timeout", "0.2"], &[], b"");
        assert_eq!(fetch.status.code(), Some(124), "{fetch:?}");
        let reason = format!(": cannot connect to {address}: connect timed out after ");
        let stderr = String::from_utf8_lossy(&fetch.stderr);
        assert_eq!(stderr, format!("fetch{reason}200 ms\n"));
        let probe = example::run("probe", &[address], &[], b"");
        assert_eq!(probe.status.code(), Some(124), "{probe:?}");
        let stderr = String::from_utf8_lossy(&probe.stderr);
        assert!(stderr.starts_with(&format!("probe{reason}")), "{stderr}");
        assert!(start.elapsed() < TEST_TIMEOUT);
    });
}
