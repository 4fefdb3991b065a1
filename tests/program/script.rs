//! A server that runs a shell script for each request, and files through which a test and a script
//! tell each other how far they are.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fcgi::bridge::{self, Program};
use fcgi::net::Stream;
use fcgi::server::{Config, HandlerResult, Request};

use crate::support::*;

/// Runs the shell script in the param `SCRIPT`, with early output if `EARLY_OUTPUT` is set.
/// `TIMEOUT`, `IDLE_TIMEOUT` and `KILL_TIMEOUT` are in milliseconds, or `max`.
pub fn run_script(request: &mut Request) -> HandlerResult {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", request.params.get("SCRIPT").expect("a script")]);
    let millis = |name| {
        let value = request.params.get(name)?;
        let millis = |value: &str| Duration::from_millis(value.parse().expect("a number"));
        Some(if value == "max" { Duration::MAX } else { millis(value) })
    };
    let mut program = Program::from(command);
    program = match millis("TIMEOUT") {
        Some(timeout) => program.timeout(Some(timeout)),
        None => program,
    };
    program = match millis("IDLE_TIMEOUT") {
        Some(timeout) => program.idle_timeout(Some(timeout)),
        None => program,
    };
    program = match millis("KILL_TIMEOUT") {
        Some(timeout) => program.kill_timeout(timeout),
        None => program,
    };
    let early_output = request.params.get("EARLY_OUTPUT").is_some();
    bridge::run_program(request, program.early_output(early_output))?;
    Ok(())
}

/// A server on TCP and one on a Unix socket.
pub fn servers() -> [TestServer; 2] {
    TestServer::tcp_and_unix(&Config::new(), run_script)
}

pub fn server() -> TestServer {
    TestServer::unix(Config::new(), run_script)
}

/// Runs a script with these params and this body. Returns its response.
#[track_caller]
pub fn run_with(server: &TestServer, pairs: &[(&str, &str)], script: &str, body: &[u8]) -> Answer {
    let len = body.len().to_string();
    let pairs = [pairs, &[("SCRIPT", script), ("CONTENT_LENGTH", &len)]].concat();
    let mut stream = server.connect();
    let mut sending = stream.clone();
    let bytes = request(1, RESPONDER, 0, &pairs, body);
    std::thread::scope(|scope| {
        // The program may end before it has read everything.
        scope.spawn(move || drop(sending.write_all(&bytes)));
        read_answer(&mut stream, 1)
    })
}

/// Runs a script without a body on a server of its own.
#[track_caller]
pub fn run(script: &str) -> Answer {
    run_with(&server(), &[], script, b"")
}

/// Sends a whole request without a body, and returns the connection.
pub fn start(server: &TestServer, pairs: &[(&str, &str)], script: &str) -> Stream {
    let mut stream = server.connect();
    let pairs = [pairs, &[("SCRIPT", script)]].concat();
    stream.write_all(&request(1, RESPONDER, 0, &pairs, b"")).expect("the request is sent");
    stream
}

/// A directory in which scripts report what they do.
pub struct Reports(tempfile::TempDir);

impl Reports {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a script with the path of the directory in place of `DIR`.
    pub fn script(&self, text: &str) -> String {
        text.replace("DIR", self.0.path().to_str().expect("a path in UTF-8"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Returns the number of files whose names begin with `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        let files = fs::read_dir(self.0.path()).expect("the directory").flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with(prefix)).count()
    }

    /// Creates a named pipe.
    pub fn create_pipe(&self, name: &str) {
        let status = Command::new("mkfifo").arg(self.path(name)).status();
        assert!(status.expect("mkfifo").success());
    }

    /// Waits until a script has written a line with a process id to a file.
    #[track_caller]
    pub fn wait_for_process(&self, name: &str) -> u32 {
        let mut text = String::new();
        wait_until(&format!("the script writes {name}"), || {
            text = fs::read_to_string(self.path(name)).unwrap_or_default();
            text.ends_with('\n')
        });
        text.trim().parse().expect("a process id")
    }
}

/// Returns whether a process exists. A zombie exists.
pub fn exists(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).exists()
}

/// Returns whether a process runs. A zombie does not.
pub fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

/// Kills a process that a script has left.
pub fn kill(process: u32) {
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status();
    assert!(status.expect("kill").success());
}
