//! Helpers that run the built examples.
#![allow(dead_code)] // Each program uses a part.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fcgi::net::{Address, Stream};

/// The time after which a test that waits fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the path of an example that `cargo test` has built.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test.parent().and_then(Path::parent).expect("the directory of the build");
    let path = directory.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
    path
}

/// Runs an example to its end with this input. Its environment contains only these variables.
pub fn run(name: &str, args: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Output {
    let mut command = Command::new(path(name));
    command.args(args).env_clear().envs(environment.iter().copied());
    run_command(command, input)
}

/// Runs a command to its end with this input.
pub fn run_command(mut command: Command, input: &[u8]) -> Output {
    use std::io::Write;
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("its stdin");
    std::thread::scope(|scope| {
        // The program may end without reading its input.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("its output")
    })
}

/// Creates a script that can be run.
///
/// Another process writes the file. If this one did, a thread that starts a program at that moment
/// would pass the open file on to it, and the system does not run a file that is open for writing.
pub fn write_script(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path);
    let output = run_command(command, text.as_bytes());
    assert!(output.status.success(), "{output:?}");
}

/// A process that is killed when this value is dropped.
pub struct KillOnDrop(pub Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running example that listens on a Unix socket of its own, or on a TCP socket if the system has
/// no Unix sockets.
pub struct ExampleServer {
    pub address: Address,
    _process: KillOnDrop,
    _directory: tempfile::TempDir,
}

impl ExampleServer {
    /// Starts an example with the address as its only argument, and waits until it listens.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts an example with the address and these arguments.
    pub fn start_with(name: &str, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let address = unused_address(&directory);
        let process = KillOnDrop(
            Command::new(path(name))
                .arg(address.to_string())
                .args(args)
                .spawn()
                .expect("the example starts"),
        );
        wait_until_listening(&address);
        Self { address, _process: process, _directory: directory }
    }
}

#[cfg(unix)]
fn unused_address(directory: &tempfile::TempDir) -> Address {
    Address::unix(directory.path().join("app.sock")).expect("an address")
}

/// Returns the address of a TCP port that has just been closed.
#[cfg(not(unix))]
fn unused_address(_: &tempfile::TempDir) -> Address {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").into()
}

/// Waits until connecting to this address succeeds.
#[track_caller]
pub fn wait_until_listening(address: &Address) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while Stream::connect(address, None).is_err() {
        assert!(Instant::now() < deadline, "no process listens on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
