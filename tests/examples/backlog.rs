//! Proves that `fetch` and `probe` end although the application accepts no connections.
#![cfg(target_os = "linux")]

use std::os::unix::net::UnixListener;
use std::time::Instant;

use crate::example;
use crate::support::application::fill_backlog;
use crate::support::TEST_TIMEOUT;

#[test]
fn fetch_and_probe_time_out_if_the_backlog_is_full() {
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let path = directory.path().join("app.sock");
    let _listener = UnixListener::bind(&path).expect("a listening socket");
    fill_backlog(&path);
    let address = path.to_str().expect("a path in UTF-8");

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
}
