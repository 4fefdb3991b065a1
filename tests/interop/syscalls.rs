//! What a small request costs in system calls, as strace sees them: one read and one write on each
//! side of a kept connection, and nothing else in any thread.

use std::env;
use std::fs;
use std::path::Path;

use fcgi::{Client, Params};

use crate::app::{example, App};
use crate::place::Place;
use crate::process::{command, send_signal, Folder, Process};

const REQUESTS: usize = 1000;
/// Where [`client_of_a_thousand_requests`] finds an application that was started for it.
const ADDRESS: &str = "FCGI_INTEROP_ADDRESS";

/// The calls of one thread, in order, each as strace prints it.
type Calls = Vec<String>;

/// A command that runs a program under strace, with a file for each of its threads.
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

/// What the threads of a program did.
fn read_logs(prefix: &Path) -> Vec<Calls> {
    let folder = fs::read_dir(prefix.parent().expect("a directory")).expect("a directory");
    let name = prefix.file_name().and_then(|name| name.to_str()).expect("a name").to_owned() + ".";
    let files =
        folder.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
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

/// The thread that carried the requests: by far the most calls are its own. Checks that the others
/// did next to nothing.
#[track_caller]
fn the_busy_one(mut threads: Vec<Calls>) -> Calls {
    threads.sort_by_key(Vec::len);
    let busy = threads.pop().expect("a thread");
    for calls in threads {
        let own = calls
            .iter()
            .filter(|call| is_read(call) || is_write(call) || name(call) == "futex")
            .count();
        assert!(own < REQUESTS / 10, "another thread has a part in each request: {calls:#?}");
    }
    busy
}

/// Checks that calls alternate between two kinds, from the first of the one to the last of the
/// other, once each of so many requests.
#[track_caller]
fn check_turns(
    calls: &[&String],
    requests: usize,
    first: fn(&str) -> bool,
    second: fn(&str) -> bool,
) {
    assert_eq!(
        calls.len(),
        2 * requests,
        "calls for {requests} requests; the first: {:#?}",
        &calls[..10]
    );
    for (index, turn) in calls.chunks(2).enumerate() {
        assert!(first(turn[0]) && second(turn[1]), "request {index} costs {turn:?}");
    }
}

fn count(place: &Place, folder: &Folder) {
    // Both sides, each under its own strace.
    let (server_log, client_log) = (folder.join("server"), folder.join("client"));
    let mut server = strace(&server_log);
    let mut server =
        Process::start("hello", server.arg(example("hello")).stdin(place.listen()), folder);
    let mut client = strace(&client_log);
    client.arg(env::current_exe().expect("this test")).env(ADDRESS, place.to_string());
    client.args(["--exact", "syscalls::client_of_a_thousand_requests", "--ignored"]);
    let mut client = Process::start("client", &mut client, folder);
    assert!(client.wait().success(), "the client fails: {}", client.log());
    // strace hands no signal on.
    server.children().into_iter().for_each(|hello| send_signal("TERM", hello));
    server.wait();

    // The application, up to its last answer; the read behind that finds the end. Its second write
    // sets a time-out.
    let calls = the_busy_one(read_logs(&server_log));
    let last = calls.iter().rposition(|call| is_write(call)).expect("an answer");
    let start = last + 1 - 2 * (REQUESTS - 2);
    check_turns(&calls[start..=last].iter().collect::<Vec<_>>(), REQUESTS - 2, is_read, is_write);

    // The client: from its first write to the read of the last answer.
    let calls = the_busy_one(read_logs(&client_log));
    // Another thread connects to a Unix socket. This one then sets its timeouts.
    let connected = calls.iter().position(|call| name(call) == "setsockopt").expect("a connection");
    let calls = &calls[connected..];
    let first = calls.iter().position(|call| is_write(call)).expect("a request");
    let last = calls.iter().rposition(|call| is_read(call)).expect("an answer");
    check_turns(&without_looks(&calls[first..=last]), REQUESTS, is_write, is_read);
}

/// Leaves out where the client looked whether the connection, idle for more than a millisecond
/// because the machine was busy with something else, was still open: a read that does not wait,
/// between the two calls that make it so.
fn without_looks(calls: &[String]) -> Vec<&String> {
    let (mut rest, mut kept, mut looks) = (calls, Vec::new(), 0);
    while let [call, behind @ ..] = rest {
        match behind {
            [look, back, after @ ..]
                if name(call) == "ioctl" && look.contains("EAGAIN") && name(back) == "ioctl" =>
            {
                looks += 1;
                rest = after;
            }
            _ => {
                kept.push(call);
                rest = behind;
            }
        }
    }
    // How many depends on what else the machine does; a client that always looked would at each
    // request but the first.
    assert!(looks < REQUESTS / 2, "{looks} looks at a connection in use");
    kept
}

#[test]
#[ignore = "needs strace, run by .ci/run"]
fn a_small_request_costs_two_on_a_unix_socket() {
    let folder = Folder::new();
    count(&Place::unix(&folder), &folder);
}

#[test]
#[ignore = "needs strace, run by .ci/run"]
fn a_small_request_costs_two_on_tcp() {
    count(&Place::tcp(), &Folder::new());
}

/// Five calls behind `accept`: a read, a write, a look in two whether anything was left, `close`.
/// No time-out is set where nothing waits.
#[test]
#[ignore = "needs strace, run by .ci/run"]
fn a_connection_for_each_request_costs_six() {
    let folder = Folder::new();
    let (place, log) = (Place::unix(&folder), folder.join("server"));
    let mut server =
        Process::start("echo", strace(&log).arg(example("echo")).arg(place.to_string()), &folder);
    server.wait_until("it listens", || place.is_open());
    let params = Params::from_pairs([("REQUEST_METHOD", "GET")]).expect("params");
    let client = Client::new(&place.to_string()).expect("an address");
    for _ in 0..REQUESTS {
        client.fetch(&params, b"").expect("an answer");
    }
    server.children().into_iter().for_each(|echo| send_signal("TERM", echo));
    server.wait();

    let mut threads = read_logs(&log);
    // Two threads may meet at a lock, and a debug build of std looks at what it closes.
    for calls in &mut threads {
        calls.retain(|call| !["futex", "fcntl"].contains(&name(call)));
    }
    let connections = threads.iter().flat_map(|calls| calls.split(|call| name(call) == "accept4"));
    let connections: Vec<_> =
        connections.filter(|calls| calls.iter().any(|call| is_write(call))).collect();
    assert_eq!(connections.len(), REQUESTS);
    let is_cheap = |calls: &&[String]| match calls {
        [request, answer, mode, look, close] => {
            let is_answered = is_read(request) && is_write(answer);
            is_answered && name(mode) == "ioctl" && is_read(look) && name(close) == "close"
        }
        _ => false,
    };
    let others: Vec<_> = connections.into_iter().filter(|calls| !is_cheap(calls)).collect();
    // Those that start another thread.
    assert!(others.len() < REQUESTS / 20, "{} of {REQUESTS}: {:#?}", others.len(), &others[..10]);
}

/// What the tests above count in; by itself it starts the application, and shows that one
/// connection carries them all.
#[test]
#[ignore = "the part of the strace tests that is counted, run by .ci/run"]
fn client_of_a_thousand_requests() {
    let folder = Folder::new();
    let app = env::var(ADDRESS)
        .is_err()
        .then(|| App::start_on_descriptor_0("hello", Place::unix(&folder), &folder));
    let address = app
        .as_ref()
        .map_or_else(|| env::var(ADDRESS).expect("its address"), |app| app.place.to_string());
    let params = Params::from_pairs([("REQUEST_METHOD", "GET"), ("REMOTE_ADDR", "192.0.2.1")])
        .expect("params");
    let client = Client::new(&address).expect("an address").keep_alive(true);
    for _ in 0..REQUESTS {
        let reply = client.fetch(&params, b"").expect("an answer");
        assert!(reply.stdout.ends_with(b"Hello, 192.0.2.1.\n"));
    }
    if let Some(app) = app {
        assert_eq!(app.place.connections(), 1);
    }
}
