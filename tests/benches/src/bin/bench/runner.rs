//! Starts and ends the programs of a measurement.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fcgi_benches::clock::SECONDS;
use fcgi_benches::{Workload, LARGE};

/// Starts the programs, which are in the same directory as this one.
pub struct Runner {
    programs: PathBuf,
    /// The seconds of a measurement of the shortest rows.
    seconds: f64,
    /// A directory for sockets, configurations and CGI programs.
    pub directory: PathBuf,
    /// The CPU for both ends, or `None` if `taskset` is not installed.
    cpu: Option<usize>,
}

impl Runner {
    pub fn new(seconds: f64) -> Self {
        let program = std::env::current_exe().expect("this program");
        let programs = program.parent().expect("its directory").to_path_buf();
        let directory = std::env::temp_dir().join(format!("fcgi-benches-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a new directory");
        let has_taskset = Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
        if !has_taskset {
            println!(
                "**Not pinned:** taskset is not installed, so rates with one connection include \
                 the time to wake an idle CPU.\n"
            );
        }
        // The last CPU, because the first one handles the most interrupts.
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        Self { programs, seconds, directory, cpu: has_taskset.then_some(cpus - 1) }
    }

    /// Returns the address of the server's Unix socket, and removes the one of the previous server.
    pub fn socket_address(&self) -> String {
        let socket = self.directory.join("app.sock");
        let _ = std::fs::remove_file(&socket);
        socket.to_str().expect("a path in UTF-8").into()
    }

    pub fn has(&self, program: &str) -> bool {
        self.path(program).exists()
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.programs.join(program)
    }

    /// Returns a CGI program that sends a small or a large response.
    pub fn cgi_program(&self, workload: Workload) -> PathBuf {
        let output = match workload {
            Workload::Response => format!("exec head -c {LARGE} /dev/zero"),
            _ => "echo Hello.".into(),
        };
        let path = self.directory.join("program.cgi");
        let head = "printf 'Content-Type: text/plain\\r\\n\\r\\n'";
        std::fs::write(&path, format!("#!/bin/sh\n{head}\n{output}\n")).expect("a program");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, permissions).expect("its permissions");
        path
    }

    /// Returns a command that measures for `lengths` times the shortest duration, if it is a
    /// client. With `is_pinned`, it runs on one CPU.
    pub fn command(&self, program: &str, is_pinned: bool, lengths: f64) -> Command {
        let path = self.path(program);
        let mut command = match self.cpu.filter(|_| is_pinned) {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cpu.to_string()]).arg(path);
                command
            }
            None => Command::new(path),
        };
        command.stdin(Stdio::null()).env(SECONDS, (lengths * self.seconds).to_string());
        command
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A server and the processes that it has started. They are killed on drop.
pub struct ServerProcess(Child);

impl ServerProcess {
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| error.to_string())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // The children of fcgiwrap would outlive it.
        let id = self.0.id();
        let file = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(file).unwrap_or_default();
        if !children.is_empty() {
            let _ = Command::new("kill").arg("-KILL").args(children.split_whitespace()).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a client and returns the number that it prints.
pub fn run_client(client: &mut Command) -> Result<f64, String> {
    let output = client.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).chars().take(300).collect());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("not a number: {text:?}"))
}

/// Returns an address with a free port.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}
