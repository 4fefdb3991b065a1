//! Proves that the file of a socket on which no process listens is replaced by exactly one of those
//! who try, and that no other file is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{symlink, FileTypeExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Barrier;

use super::process::command;
use super::support::*;
use super::*;

#[test]
fn stale_socket_file_is_replaced() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    leave_stale(&path);
    let listener = bind(&path);
    exchange(&listener, &Address::unix(&path).unwrap());
}

/// The socket is in use by a listener or is a datagram socket.
#[test]
fn socket_in_use_is_not_replaced() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let listener = bind(&path);
    assert_eq!(io_kind(Listener::bind(Address::unix(&path).unwrap())), io::ErrorKind::AddrInUse);
    // The failed bind made no connection: the first one to arrive is this one.
    exchange(&listener, &Address::unix(&path).unwrap());
    drop(listener);

    let _datagram = UnixDatagram::bind(&path).unwrap();
    assert_eq!(io_kind(Listener::bind(Address::unix(&path).unwrap())), io::ErrorKind::AddrInUse);
    assert!(path.exists());
}

/// The path belongs to a socket that accepts input from one other socket only.
#[test]
fn bind_returns_the_error_of_a_file_that_it_may_not_use() {
    let dir = dir();
    let (path, other) = (dir.path().join("app.sock"), dir.path().join("other.sock"));
    let socket = UnixDatagram::bind(&path).unwrap();
    let _other = UnixDatagram::bind(&other).unwrap();
    socket.connect(&other).unwrap();
    assert_eq!(
        io_kind(Listener::bind(Address::unix(&path).unwrap())),
        io::ErrorKind::PermissionDenied
    );
    assert!(path.exists());
}

#[test]
fn path_that_is_not_a_socket_is_left_alone() {
    let dir = dir();
    let (file, link, dangling, folder) = (
        dir.path().join("file"),
        dir.path().join("link"),
        dir.path().join("dangling"),
        dir.path().join("folder"),
    );
    let stale = dir.path().join("stale.sock");
    fs::write(&file, "precious").unwrap();
    leave_stale(&stale);
    symlink(&stale, &link).unwrap();
    symlink(dir.path().join("nowhere"), &dangling).unwrap();
    fs::create_dir(&folder).unwrap();
    for path in [&file, &link, &dangling, &folder] {
        let error = Listener::bind(Address::unix(path).unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().ends_with("exists and is not a socket"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::symlink_metadata(&stale).unwrap().file_type().is_socket());
    assert!(!dir.path().join("nowhere").exists());
}

/// Returns four paths of the same file.
fn spellings(dir: &Path) -> [PathBuf; 4] {
    let folder = dir.join("folder");
    fs::create_dir(&folder).unwrap();
    symlink(&folder, dir.join("link")).unwrap();
    [
        folder.join("app.sock"),
        dir.join("folder/./app.sock"),
        dir.join("link/app.sock"),
        dir.join("link/../folder/app.sock"),
    ]
}

/// Lets four threads bind the same path at the same time. Checks that one succeeds, that clients
/// reach its socket, and that the others fail with `AddrInUse`.
#[track_caller]
fn assert_one_of_four_binds(paths: &[PathBuf; 4]) {
    let barrier = Barrier::new(paths.len());
    let outcomes: Vec<_> = thread::scope(|scope| {
        let start = |path: &PathBuf| {
            let address = unix_address(path);
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                Listener::bind(&address)
            })
        };
        let starters: Vec<_> = paths.iter().map(start).collect();
        starters.into_iter().map(|starter| starter.join().unwrap()).collect()
    });
    let (bound, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(bound.len(), 1, "the number of listeners on one path");
    for outcome in failed {
        assert_eq!(io_kind(outcome), io::ErrorKind::AddrInUse);
    }
    exchange(bound[0].as_ref().unwrap(), &unix_address(&paths[0]));
}

/// Every third round begins without a file.
#[test]
fn one_of_four_starters_replaces_a_stale_file() {
    let dir = dir();
    let paths = spellings(dir.path());
    for round in 0..200 {
        if round % 3 > 0 {
            leave_stale(&paths[0]);
        }
        assert_one_of_four_binds(&paths);
        assert!(!paths[0].exists(), "the listener was dropped");
        let left = fs::read_dir(paths[0].parent().unwrap()).unwrap().count();
        assert_eq!(left, 0, "temporary files");
    }
}

/// A program that does not use this crate removes a stale file and binds its own socket. It may
/// have bound the socket but not listen on it yet, and the file then looks stale.
#[test]
fn socket_that_another_program_has_just_bound_is_not_replaced() {
    let dir = dir();
    let path = dir.path().join("app.sock");
    for _ in 0..100 {
        leave_stale(&path);
        let barrier = Barrier::new(2);
        let (ours, other) = thread::scope(|scope| {
            let other = scope.spawn(|| {
                barrier.wait();
                let _ = fs::remove_file(&path);
                UnixListener::bind(&path)
            });
            barrier.wait();
            (Listener::bind(unix_address(&path)), other.join().unwrap())
        });
        assert!(ours.is_err() || other.is_err(), "two listeners on one path");
        let _ = fs::remove_file(&path);
    }
}

/// Any process can bind the abstract name that serves as a lock.
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
#[test]
fn lock_held_by_another_process_delays_bind() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::SocketAddr;

    let dir = dir();
    let path = dir.path().join("app.sock");
    let metadata = fs::metadata(dir.path()).unwrap();
    let name = format!("fcgi-bind/{:x}/{:x}/app.sock", metadata.dev(), metadata.ino());
    let _lock = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    leave_stale(&path);
    let start = std::time::Instant::now();
    let listener = bind(&path);
    assert!(start.elapsed() > Duration::from_millis(900), "bind did not wait for the lock");
    exchange(&listener, &unix_address(&path));
    drop(listener);
    assert!(!path.exists());
}

/// The part of a test that runs in the other process: binds each path that it reads from standard
/// input, prints the outcome, and drops the listener when it reads the next line.
pub(super) fn bind_on_request() {
    let mut lines = io::stdin().lines();
    while let Some(path) = lines.next() {
        let outcome = Listener::bind(unix_address(path.unwrap().as_ref()));
        match &outcome {
            Ok(_) => println!("<bound>"),
            Err(error) => println!("<{:?}>", error.kind()),
        }
        lines.next();
        drop(outcome);
        println!("<dropped>");
    }
}

/// A process that binds paths on request.
struct Starter {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Starter {
    fn start() -> Self {
        let mut process = command("bind")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, requests, answers }
    }

    fn send(&mut self, line: &Path) {
        writeln!(self.requests, "{}", line.display()).unwrap();
    }

    /// Skips what the test harness prints, and returns the text in angle brackets.
    fn receive(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the process has ended");
            if let Some((_, answer)) = line.split_once('<') {
                return answer.trim_end().trim_end_matches('>').to_owned();
            }
        }
    }
}

/// Lets four processes bind the same path at the same time. Returns how many rounds ended without
/// exactly one listener, and how many binds failed with another error than `AddrInUse`.
fn count_lost_races(rounds: usize) -> (usize, usize) {
    let dir = dir();
    let path = dir.path().join("app.sock");
    let mut starters: Vec<_> = (0..4).map(|_| Starter::start()).collect();
    let (mut not_one, mut other_errors) = (0, 0);
    for _ in 0..rounds {
        leave_stale(&path);
        for starter in &mut starters {
            starter.send(&path);
        }
        let answers: Vec<_> = starters.iter_mut().map(Starter::receive).collect();
        let count = |answer| answers.iter().filter(|other| *other == answer).count();
        let (bound, in_use) = (count("bound"), count("AddrInUse"));
        not_one += usize::from(bound != 1);
        other_errors += answers.len() - bound - in_use;
        for starter in &mut starters {
            starter.send(Path::new("drop"));
            assert_eq!(starter.receive(), "dropped");
        }
        // It is there only if no process has bound it, or if two have.
        let _ = fs::remove_file(&path);
    }
    for Starter { mut process, requests, .. } in starters {
        drop(requests);
        assert!(process.wait().unwrap().success());
    }
    (not_one, other_errors)
}

#[test]
fn one_of_four_processes_replaces_a_stale_file() {
    assert_eq!(count_lost_races(50), (0, 0));
}

#[test]
#[ignore = "takes ten seconds or more"]
fn one_of_four_processes_replaces_a_stale_file_in_each_of_1000_rounds() {
    assert_eq!(count_lost_races(1000), (0, 0));
}
