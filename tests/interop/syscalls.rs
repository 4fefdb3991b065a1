//! Proves how many system calls a small request takes, as counted by strace: one read and one write
//! on either side of a kept connection, and six calls in a server with a connection per request.

use std::env;
use std::fs;
use std::path::Path;

use fcgi::{Client, Params};

use crate::app::{example, App};
use crate::endpoint::Endpoint;
use crate::process::{command, send_signal, Process, TestDir};

const REQUESTS: usize = 1000;
/// The environment variable that contains the application's address for
/// [`client_sends_1000_requests`].
const ADDRESS: &str = "FCGI_INTEROP_ADDRESS";

/// The system calls of one thread, in order, as printed by strace.
type Calls = Vec<String>;

/// Returns a command that runs a program under strace, with one log file per thread.
fn strace(prefix: &Path) -> std::process::Command {
    let mut strace = command("strace");
    strace
        .args([
            "--follow-forks",
            "--output-separately",
            "--quiet=all",
            "--string-limit=0",
            "--output",
        ])
        .arg(prefix);
    strace
}

/// Reads the log files of all threads.
fn read_logs(prefix: &Path) -> Vec<Calls> {
    let dir = fs::read_dir(prefix.parent().expect("a directory")).expect("a directory");
    let name = prefix.file_name().and_then(|name| name.to_str()).expect("a name").to_owned() + ".";
    let files =
        dir.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
    let logs = files.map(|entry| fs::read_to_string(entry.path()).expect("a log of strace"));
    logs.map(|log| log.lines().map(str::to_owned).collect()).collect()
}

fn name(call: &str) -> &str {
    call.split('(').next().unwrap_or_default()
}

fn is_read(call: &str) -> bool {
    ["read", "recvfrom", "readv", "recvmsg"].contains(&name(call))
}

fn is_write(call: &str) -> bool {
    ["write", "sendto", "writev", "sendmsg"].contains(&name(call))
}

/// Returns the calls of the thread that carried the requests, which is the one with the most calls.
/// Asserts that the other threads took no part in them.
#[track_caller]
fn busiest_thread(mut threads: Vec<Calls>) -> Calls {
    threads.sort_by_key(Vec::len);
    let busiest = threads.pop().expect("a thread");
    for calls in threads {
        let own = calls
            .iter()
            .filter(|call| is_read(call) || is_write(call) || name(call) == "futex")
            .count();
        assert!(own < REQUESTS / 10, "another thread takes part in the requests: {calls:#?}");
    }
    busiest
}

/// Asserts that there is one call of either kind per request, in turn.
#[track_caller]
fn assert_alternating(
    calls: &[&String],
    requests: usize,
    first: fn(&str) -> bool,
    second: fn(&str) -> bool,
) {
    let beginning = &calls[..calls.len().min(10)];
    assert_eq!(calls.len(), 2 * requests, "{requests} requests begin with: {beginning:#?}");
    for (index, pair) in calls.chunks(2).enumerate() {
        assert!(first(pair[0]) && second(pair[1]), "request {index} takes {pair:?}");
    }
}

/// Asserts that a request takes two calls on either side of a kept connection.
fn check_kept_connection(endpoint: &Endpoint, dir: &TestDir) {
    let (server_log, client_log) = (dir.join("server"), dir.join("client"));
    let mut server = strace(&server_log);
    let mut server =
        Process::start("hello", server.arg(example("hello")).stdin(endpoint.listen()), dir);
    let mut client = strace(&client_log);
    client.arg(env::current_exe().expect("this test")).env(ADDRESS, endpoint.to_string());
    client.args(["--exact", "syscalls::client_sends_1000_requests", "--ignored"]);
    let mut client = Process::start("client", &mut client, dir);
    assert!(client.wait().success(), "the client failed: {}", client.log());
    // strace does not forward signals.
    server.children().into_iter().for_each(|hello| send_signal("TERM", hello));
    server.wait();

    // The last response is followed by a read that returns the end of input. A call that sets the
    // write timeout precedes the second response, so the first two requests are skipped.
    let calls = busiest_thread(read_logs(&server_log));
    let last = calls.iter().rposition(|call| is_write(call)).expect("a response");
    let start = last + 1 - 2 * (REQUESTS - 2);
    let calls: Vec<_> = calls[start..=last].iter().collect();
    assert_alternating(&calls, REQUESTS - 2, is_read, is_write);

    let calls = busiest_thread(read_logs(&client_log));
    // Another thread connects to a Unix socket. This one then sets its timeouts.
    let connected = calls.iter().position(|call| name(call) == "setsockopt").expect("a connection");
    let calls = &calls[connected..];
    let first = calls.iter().position(|call| is_write(call)).expect("a request");
    let last = calls.iter().rposition(|call| is_read(call)).expect("a response");
    let calls = without_liveness_checks(&calls[first..=last]);
    assert_alternating(&calls, REQUESTS, is_write, is_read);
}

/// Removes the checks of whether a connection is still open. The client checks a connection that
/// was idle for more than a millisecond, which depends on the load of the machine. A check is a
/// non-blocking read between two `ioctl` calls.
fn without_liveness_checks(calls: &[String]) -> Vec<&String> {
    let (mut rest, mut others, mut checks) = (calls, Vec::new(), 0);
    while let [call, tail @ ..] = rest {
        match tail {
            [read, blocking, after @ ..]
                if name(call) == "ioctl"
                    && read.contains("EAGAIN")
                    && name(blocking) == "ioctl" =>
            {
                checks += 1;
                rest = after;
            }
            _ => {
                others.push(call);
                rest = tail;
            }
        }
    }
    // A client that checked before every request would make about REQUESTS checks.
    assert!(checks < REQUESTS / 2, "{checks} checks of a connection that is in use");
    others
}

#[test]
#[ignore = "needs strace, run by .ci/run"]
fn kept_connection_takes_two_calls_per_request_on_unix_socket() {
    let dir = TestDir::new();
    check_kept_connection(&Endpoint::unix(&dir), &dir);
}

#[test]
#[ignore = "needs strace, run by .ci/run"]
fn kept_connection_takes_two_calls_per_request_on_tcp() {
    check_kept_connection(&Endpoint::tcp(), &TestDir::new());
}

/// `accept` is followed by five calls: a read, a write, two that check for unread input, and
/// `close`. No call sets a timeout.
#[test]
#[ignore = "needs strace, run by .ci/run"]
fn connection_per_request_takes_six_calls() {
    let dir = TestDir::new();
    let (endpoint, log) = (Endpoint::unix(&dir), dir.join("server"));
    let mut server =
        Process::start("echo", strace(&log).arg(example("echo")).arg(endpoint.to_string()), &dir);
    server.wait_until("listening", || endpoint.is_listening());
    let params = Params::from_pairs([("REQUEST_METHOD", "GET")]).expect("params");
    let client = Client::new(endpoint.to_string()).expect("an address");
    for _ in 0..REQUESTS {
        client.fetch(&params, b"").expect("a response");
    }
    server.children().into_iter().for_each(|echo| send_signal("TERM", echo));
    server.wait();

    let mut threads = read_logs(&log);
    // Threads may contend for a lock, and a debug build of std checks descriptors before closing.
    for calls in &mut threads {
        calls.retain(|call| !["futex", "fcntl"].contains(&name(call)));
    }
    let connections = threads.iter().flat_map(|calls| calls.split(|call| name(call) == "accept4"));
    let connections: Vec<_> =
        connections.filter(|calls| calls.iter().any(|call| is_write(call))).collect();
    assert_eq!(connections.len(), REQUESTS);
    let has_five_calls = |calls: &&[String]| match calls {
        [request, response, ioctl, read, close] => {
            let is_answered = is_read(request) && is_write(response);
            is_answered && name(ioctl) == "ioctl" && is_read(read) && name(close) == "close"
        }
        _ => false,
    };
    let others: Vec<_> = connections.into_iter().filter(|calls| !has_five_calls(calls)).collect();
    // Some connections also start a thread.
    assert!(others.len() < REQUESTS / 20, "{} of {REQUESTS}: {:#?}", others.len(), &others[..10]);
}

/// The client whose calls are counted by the tests above. If it is run alone, it starts the
/// application itself and asserts that all requests use one connection.
#[test]
#[ignore = "the client of the strace tests, run by .ci/run"]
fn client_sends_1000_requests() {
    let dir = TestDir::new();
    let app = env::var(ADDRESS)
        .is_err()
        .then(|| App::start_on_descriptor_0("hello", Endpoint::unix(&dir), &dir));
    let address = app
        .as_ref()
        .map_or_else(|| env::var(ADDRESS).expect("its address"), |app| app.endpoint.to_string());
    let params = Params::from_pairs([("REQUEST_METHOD", "GET"), ("REMOTE_ADDR", "192.0.2.1")])
        .expect("params");
    let client = Client::new(&address).expect("an address").keep_alive(true);
    for _ in 0..REQUESTS {
        let reply = client.fetch(&params, b"").expect("a response");
        assert!(reply.stdout.ends_with(b"Hello, 192.0.2.1.\n"));
    }
    if let Some(app) = app {
        assert_eq!(app.endpoint.connections(), 1);
    }
}
