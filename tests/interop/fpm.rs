//! Proves that the example `fpm` tells the states of a pool of php-fpm apart, and in what time. A
//! shell script around `cgi-fcgi`, as those that are used for this, is measured beside it.
//!
//! ```sh
//! cargo test --test interop -- --ignored --nocapture fpm_beside
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::net::Address;
use fcgi::{Client, Params};
use serde_json::Value;

use crate::app::example;
use crate::endpoint::Endpoint;
use crate::process::{command, find_program, is_root, wait_until, Process, TestDir};

const CHILDREN: usize = 2;

/// Does what `php-fpm-healthcheck` does: it reads the status page with `cgi-fcgi`, and compares its
/// numbers with thresholds. Its exit status is 0, 1 if a threshold is exceeded, or 9 without an
/// answer.
const HEALTH_CHECK: &str = r#"#!/bin/sh
set -eu
status=$(env -i REQUEST_METHOD=GET SCRIPT_NAME=/status SCRIPT_FILENAME=/status \
    cgi-fcgi -bind -connect "$1" 2>/dev/null) || exit 9
status=$(echo "$status" | tail -n +5)
test -n "$status" || exit 9
for threshold in active-processes=100 listen-queue=10 slow-requests=10; do
    name=$(echo "$threshold" | cut -d = -f 1 | tr - ' ')
    max=$(echo "$threshold" | cut -d = -f 2)
    value=$(echo "$status" | grep "^$name:" | cut -d : -f 2 | sed 's/ //g')
    test "$value" -le "$max" || exit 1
done
"#;

/// A running pool, with a script that waits until the test ends.
struct Fpm {
    endpoint: Endpoint,
    status: PathBuf,
    script: PathBuf,
    process: Process,
    dir: TestDir,
}

impl Fpm {
    #[track_caller]
    fn start(endpoint: impl Fn(&TestDir) -> Endpoint) -> Self {
        let dir = TestDir::new();
        let (endpoint, status) = (endpoint(&dir), dir.join("status.sock"));
        let user = if is_root() { "user = root\ngroup = root\n" } else { "" };
        let config = format!(
            "[global]\ndaemonize = no\nerror_log = {log}\n[www]\n{user}listen = {listen}\n\
             pm = static\npm.max_children = {CHILDREN}\nping.path = /ping\n\
             pm.status_path = /status\npm.status_listen = {status}\n",
            log = dir.join("php-fpm-errors.log").display(),
            listen = endpoint.without_scheme(),
            status = status.display(),
        );
        let script =
            format!("<?php while (!file_exists('{}')) usleep(5000);", dir.join("go").display());
        let script = dir.write("wait.php", script);
        let mut fpm = command("php-fpm");
        fpm.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]);
        fpm.arg(dir.write("php-fpm.conf", config));
        let mut process =
            Process::start("php-fpm", &mut fpm, &dir).with_log(dir.join("php-fpm-errors.log"));
        process.wait_until("listening", || endpoint.is_listening());
        let fpm = Self { endpoint, status, script, process, dir };
        wait_until("idle processes", || fpm.pool()["idle"] == CHILDREN);
        fpm
    }

    /// Runs the example. Returns its exit status, its output, and its time.
    fn check(&self, args: &[&str]) -> (i32, String, Duration) {
        let mut fpm = Command::new(example("fpm"));
        timed(fpm.arg(self.endpoint.to_string()).args(args))
    }

    /// Returns the state of the pool, from its other socket.
    fn pool(&self) -> Value {
        let status = self.status.to_str().expect("a path of text");
        let (_, output, _) = self.check(&["--status-address", status, "--json"]);
        serde_json::from_str::<Value>(&output).expect("JSON")["pool"].take()
    }

    /// Runs a check while every process is busy and `waiting` more requests wait for one.
    fn while_saturated(&self, waiting: usize, check: impl FnOnce(&Self)) {
        let address: Address = self.endpoint.to_string().parse().expect("an address");
        let client = Client::from(address);
        let script = self.script.to_str().expect("a path of text");
        let params = Params::from_pairs([
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/wait.php"),
            ("SCRIPT_FILENAME", script),
        ]);
        let params = params.expect("params");
        thread::scope(|scope| {
            let _go = WriteOnDrop(self.dir.join("go"));
            for _ in 0..CHILDREN + waiting {
                scope.spawn(|| client.fetch(&params, b"").expect("a response"));
            }
            wait_until("busy processes", || self.pool()["active"] == CHILDREN);
            wait_until("waiting connections", || {
                let (_, output, _) = self.check(&["--json", "--timeout", "0.01"]);
                let report: Value = serde_json::from_str(&output).expect("JSON");
                report["waiting"].as_u64().is_none_or(|count| count >= waiting as u64)
            });
            check(self);
        });
    }

    /// Sends a signal to the processes of the pool. The first one would start others.
    fn signal(&self, signal: &str) {
        for id in [self.process.id()].into_iter().chain(self.process.children()) {
            crate::process::send_signal(signal, id);
        }
    }
}

/// Writes a file on drop, which ends the requests even if a check fails.
struct WriteOnDrop(PathBuf);

impl Drop for WriteOnDrop {
    fn drop(&mut self) {
        fs::write(&self.0, "").expect("a file");
    }
}

/// A pool that is stopped with SIGSTOP, and continued on drop.
struct Stopped<'a>(&'a Fpm);

impl<'a> Stopped<'a> {
    fn new(fpm: &'a Fpm) -> Self {
        fpm.signal("STOP");
        Self(fpm)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

fn timed(command: &mut Command) -> (i32, String, Duration) {
    let start = Instant::now();
    let output = command.output().expect("the program runs");
    let elapsed = start.elapsed();
    let status = output.status.code().expect("an exit status");
    (status, String::from_utf8_lossy(&output.stdout).into_owned(), elapsed)
}

#[track_caller]
fn assert_verdict((status, line, _): &(i32, String, Duration), expected: i32, words: &[&str]) {
    assert_eq!(*status, expected, "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} in {line:?}");
    }
}

fn check_states(fpm: &mut Fpm) {
    let status = fpm.status.to_str().expect("a path of text").to_owned();
    let other_socket = ["--status-address", &status];
    assert_verdict(&fpm.check(&[]), 0, &["UP: ", "ping answered in"]);
    let both = fpm.check(&["--ping", "--status", "--max-active", "0", "--max-slow", "0"]);
    assert_verdict(&both, 0, &["pool www: 0 of 2 processes active", "0 slow", "active=0 idle=2"]);
    assert_verdict(&fpm.check(&other_socket), 0, &["UP: ", "ping answered in", "idle=2"]);
    assert_verdict(&fpm.check(&["--ping=/none"]), 3, &["UNKNOWN: ", "no page /none"]);
    assert_verdict(&fpm.check(&["--status=/ping"]), 3, &["UNKNOWN: ", "/ping is not a status"]);

    fpm.while_saturated(3, |fpm| {
        let busy = fpm.check(&other_socket);
        assert_verdict(&busy, 1, &["BUSY: ", "no process is free", "2 of 2 processes active"]);
        assert!(busy.2 < Duration::from_secs(4), "it does not wait for the timeout: {busy:?}");
        let down = fpm.check(&["--timeout", "0.3"]);
        assert_verdict(&down, 2, &["DOWN: ", "no answer within"]);
    });

    let stopped = Stopped::new(fpm);
    for args in [&["--timeout", "0.3"][..], &["--timeout", "0.3", other_socket[0], &status]] {
        let down = stopped.0.check(args);
        assert_verdict(&down, 2, &["DOWN: ", "no answer within"]);
        assert!(down.2 >= Duration::from_millis(300), "{down:?}");
    }
    drop(stopped);

    fpm.signal("KILL");
    fpm.process.wait();
    wait_until("a dead pool", || !fpm.endpoint.is_listening());
    assert_verdict(&fpm.check(&[]), 2, &["DOWN: ", "refused"]);
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fpm_tells_the_states_of_a_pool_apart_on_unix_socket() {
    check_states(&mut Fpm::start(Endpoint::unix));
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fpm_tells_the_states_of_a_pool_apart_on_tcp() {
    check_states(&mut Fpm::start(|_| Endpoint::tcp()));
}

/// php-fpm reports the connections that wait only for TCP. The example counts those of a Unix
/// socket.
#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fpm_counts_waiting_connections() {
    for endpoint in [Endpoint::unix, |_: &TestDir| Endpoint::tcp()] {
        let fpm = Fpm::start(endpoint);
        let status = fpm.status.to_str().expect("a path of text");
        fpm.while_saturated(3, |fpm| {
            wait_until("a queue", || {
                let (_, line, _) = fpm.check(&["--status-address", status, "--max-queue", "2"]);
                line.contains("waiting connections, more than 2")
            });
        });
    }
}

/// The median time of the program, or `None` if it gives no verdict within `limit`.
fn median_time(rounds: usize, limit: Duration, start: impl Fn() -> Command) -> Option<Duration> {
    let timeout = find_program("timeout");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let command = start();
        let mut limited = Command::new(&timeout);
        limited
            .arg(limit.as_secs().to_string())
            .arg(command.get_program())
            .args(command.get_args());
        let (status, _, time) = timed(&mut limited);
        if status == 124 {
            return None;
        }
        times.push(time);
    }
    times.sort();
    Some(times[rounds / 2])
}

/// Prints the times to a verdict of both.
fn compare(state: &str, rounds: usize, fpm: &Fpm, script: &Path) {
    const LIMIT: Duration = Duration::from_secs(5);
    let status = fpm.status.to_str().expect("a path of text");
    let check = |args: &[&str]| {
        let mut command = Command::new(example("fpm"));
        command.arg(fpm.endpoint.to_string()).args(["--timeout", "1"]).args(args);
        command
    };
    let script = || {
        let mut command = Command::new(script);
        command.arg(fpm.endpoint.without_scheme());
        command
    };
    let own = median_time(rounds, LIMIT, || check(&["--status"]));
    let other = median_time(rounds, LIMIT, || check(&["--status-address", status]));
    let script = median_time(rounds, LIMIT, script);
    println!("{state:10} fpm {own:?}, with --status-address {other:?}, script {script:?}");
    let own = own.expect("a verdict");
    assert!(own < LIMIT && other.is_some());
}

#[test]
#[ignore = "needs php-fpm and cgi-fcgi, run by .ci/run"]
fn fpm_beside_a_shell_script() {
    let mut fpm = Fpm::start(Endpoint::unix);
    let script = fpm.dir.write_program("healthcheck", HEALTH_CHECK);
    assert_eq!(timed(Command::new(&script).arg(fpm.endpoint.without_scheme())).0, 0);
    compare("healthy", 20, &fpm, &script);
    fpm.while_saturated(2, |fpm| compare("saturated", 1, fpm, &script));
    let stopped = Stopped::new(&fpm);
    compare("stopped", 1, stopped.0, &script);
    drop(stopped);
    fpm.signal("KILL");
    fpm.process.wait();
    compare("dead", 20, &fpm, &script);
}
