//! Proves that process managers can start `hello` with the listening socket on descriptor 0.

use crate::app::{check_hello, example};
use crate::endpoint::Endpoint;
use crate::process::{
    command, count_running, find_program, send_signal, wait_until, Process, TestDir,
};

#[test]
#[ignore = "needs spawn-fcgi, run by .ci/run"]
fn spawn_fcgi_executes_hello() {
    let dir = TestDir::new();
    for endpoint in [Endpoint::unix(&dir), Endpoint::tcp()] {
        let mut spawn = command("spawn-fcgi");
        match &endpoint {
            Endpoint::Tcp(port) => spawn.args(["-a", "127.0.0.1", "-p", &port.to_string()]),
            Endpoint::Unix(path) => spawn.arg("-s").arg(path),
        };
        let mut process =
            Process::start("spawn-fcgi", spawn.arg("-n").arg("--").arg(example("hello")), &dir);
        process.wait_until("listening", || endpoint.is_listening());
        check_hello(&endpoint);
    }
}

#[test]
#[ignore = "needs spawn-fcgi, run by .ci/run"]
fn spawn_fcgi_starts_three_processes() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let hello = dir.install(&example("hello"));
    let mut spawn = command("spawn-fcgi");
    spawn.args(["-F", "3", "-s", &endpoint.without_scheme(), "--"]).arg(&hello);
    let mut spawn = Process::start("spawn-fcgi", &mut spawn, &dir);
    let status = spawn.wait();
    assert!(status.success(), "{status}: {}", spawn.log());
    wait_until("three running processes", || count_running(&hello) == 3);
    for _ in 0..30 {
        check_hello(&endpoint);
    }
}

#[test]
#[ignore = "needs spawn-fcgi and multiwatch, run by .ci/run"]
fn multiwatch_restarts_killed_process() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let mut spawn = command("spawn-fcgi");
    let hello = dir.install(&example("hello"));
    spawn.args(["-n", "-s", &endpoint.without_scheme(), "--"]).arg(find_program("multiwatch"));
    let mut process = Process::start("multiwatch", spawn.args(["-f", "3", "--"]).arg(&hello), &dir);
    process.wait_until("three running processes", || count_running(&hello) == 3);
    check_hello(&endpoint);

    // A killed process is replaced. The others serve requests until then.
    let before = process.children();
    send_signal("KILL", before[0]);
    check_hello(&endpoint);
    wait_until("a new process", || {
        let now = process.children();
        count_running(&hello) == 3 && !now.contains(&before[0])
    });
    check_hello(&endpoint);

    // SIGTERM also stops the child processes.
    process.signal("TERM");
    process.wait();
    wait_until("the socket to close", || !endpoint.is_listening());
}
