//! The server under test: the example `echo`.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};

use fcgi::net::Address;

use crate::example::{self, KillOnDrop};

/// The user `nobody`, which runs the server instead of root.
const USER: u32 = 65534;

/// Errors that a peer explains that disconnects or does not read.
const DISCONNECTED: [&str; 6] = [
    "input ended",
    "closed the connection before the end",
    "Broken pipe",
    "Connection reset",
    "earlier write to the stream failed",
    "write timed out",
];
/// The error of a thread that could not be started.
const NO_THREAD: &str = "Resource temporarily unavailable";

pub struct Server {
    pub address: Address,
    process: KillOnDrop,
    reports: JoinHandle<Reports>,
}

/// The number of errors that the server has reported.
#[derive(Debug, Default)]
pub struct Reports {
    disconnected: u64,
    no_thread: u64,
}

/// What a process uses.
#[derive(Debug)]
pub struct Usage {
    /// In bytes.
    pub memory: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Server {
    /// Starts the server on a socket in this directory, and waits until it listens.
    pub fn start(directory: &Path) -> Self {
        let address = Address::unix(directory.join("app.sock")).expect("an address");
        let mut command = Command::new("prlimit");
        command.arg("--nofile=8192:").arg(program(directory)).arg(address.to_string());
        fs::set_permissions(directory, Permissions::from_mode(0o777)).expect("its mode");
        let command = as_user(&mut command).stderr(Stdio::piped());
        let mut child = command.spawn().expect("echo starts");
        let stderr = child.stderr.take().expect("its stderr");
        let process = KillOnDrop(child);
        let reports = thread::spawn(move || Reports::read(stderr));
        example::wait_until_listening(&address);
        Self { address, process, reports }
    }

    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Stops the server with SIGTERM, and returns the errors that it has reported.
    pub fn stop(mut self) -> Reports {
        let killed = Command::new("kill").arg(self.id().to_string()).status();
        assert!(killed.expect("kill runs").success(), "the server runs");
        assert!(self.process.0.wait().expect("its status").success(), "the server has failed");
        self.reports.join().expect("only expected reports")
    }
}

/// Returns the path of a copy of `echo` that every user can run.
fn program(directory: &Path) -> PathBuf {
    let program = directory.join("echo");
    fs::copy(example::path("echo"), &program).expect("a copy of echo");
    program
}

/// Lets the user of the server run a program. This is `nobody` if the current user is root.
pub fn as_user(program: &mut Command) -> &mut Command {
    let is_root = fs::metadata("/proc/self").expect("this process").uid() == 0;
    if is_root {
        program.uid(USER).gid(USER);
    }
    program
}

impl Reports {
    /// Counts the errors. Panics on one that was not provoked.
    fn read(stderr: ChildStderr) -> Self {
        let mut reports = Self::default();
        for line in BufReader::new(stderr).lines().map_while(io::Result::ok) {
            if DISCONNECTED.iter().any(|text| line.contains(text)) {
                reports.disconnected += 1;
            } else if line.contains(NO_THREAD) {
                reports.no_thread += 1;
            } else {
                panic!("an error of the server that was not provoked: {line}");
            }
        }
        reports
    }

    /// Compares the number of errors with the number of peers that have disconnected.
    pub fn check(&self, disconnected: u64) {
        println!("errors of the server: {self:?}");
        assert!(self.disconnected <= disconnected, "{disconnected} peers have disconnected");
        assert!(self.no_thread > 0, "the server could start every thread");
    }
}

impl Usage {
    /// Returns what a process uses. `self` is the current one.
    pub fn of(process: &str) -> Self {
        let path = |name| format!("/proc/{process}/{name}");
        let count = |name| fs::read_dir(path(name)).expect("a list of the process").count();
        let memory = fs::read_to_string(path("statm")).expect("the memory of the process");
        let pages = memory.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        Self {
            memory: pages.expect("a number of pages") * 4096,
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}
