//! The applications of the matrix, and how their processes are replaced.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::process::{find_processes, try_send_signal, Process, TestDir};

/// How long a process may run after SIGTERM.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The processes of an application, and its socket.
pub struct Backend {
    pub endpoint: Endpoint,
    kind: Kind,
    running: Option<Process>,
    /// Processes that have received a signal.
    retired: Vec<Process>,
}

/// Who starts the processes.
enum Kind {
    /// The test, with the listening socket on descriptor 0.
    Started(Box<dyn Fn() -> Process>),
    /// php-fpm, which starts its children again.
    Manager,
    /// The web server, which also creates the sockets in this directory and runs this program.
    WebServer { program: PathBuf, sockets: PathBuf },
}

impl Backend {
    /// Starts an application whose processes share a listening socket on descriptor 0.
    pub fn start(
        endpoint: Endpoint,
        dir: &Arc<TestDir>,
        command: impl Fn() -> Command + 'static,
    ) -> Self {
        let (socket, dir): (OwnedFd, _) = (endpoint.listen(), Arc::clone(dir));
        endpoint.allow_all_users();
        let start = move || {
            let stdin = Stdio::from(socket.try_clone().expect("a descriptor"));
            Process::start("application", command().stdin(stdin), &dir)
        };
        let running = Some(start());
        Self { endpoint, kind: Kind::Started(Box::new(start)), running, retired: Vec::new() }
    }

    /// Uses the children of a running php-fpm.
    pub fn managed(endpoint: Endpoint, manager: Process) -> Self {
        Self { endpoint, kind: Kind::Manager, running: Some(manager), retired: Vec::new() }
    }

    /// Uses the processes that a web server starts.
    pub fn of_web_server(program: PathBuf, sockets: PathBuf) -> Self {
        let endpoint = Endpoint::Unix(sockets.clone());
        let kind = Kind::WebServer { program, sockets };
        Self { endpoint, kind, running: None, retired: Vec::new() }
    }

    /// Returns the number of connections to the application.
    pub fn connections(&self) -> usize {
        let Kind::WebServer { sockets, .. } = &self.kind else {
            return self.endpoint.connections();
        };
        let list = std::fs::read("/proc/net/unix").expect("the list of sockets");
        let list = String::from_utf8_lossy(&list);
        let prefix = sockets.to_str().expect("a path of text");
        let lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines
            .filter(|line| line.len() > 7 && line[5] == "03" && line[7].starts_with(prefix))
            .count()
    }

    /// Returns what the processes have logged.
    pub fn log(&self) -> String {
        self.running.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Stops the processes with SIGTERM. Others take their place.
    pub fn restart(&mut self) {
        self.replace("TERM");
    }

    /// Kills the processes with SIGKILL. Others take their place.
    pub fn kill(&mut self) {
        self.replace("KILL");
    }

    fn replace(&mut self, signal: &str) {
        match (&self.kind, self.running.take()) {
            (Kind::Started(start), Some(old)) => {
                let children = if signal == "KILL" { old.children() } else { Vec::new() };
                old.signal(signal);
                for child in children {
                    try_send_signal(signal, child);
                }
                self.running = Some(start());
                self.retired.push(old);
            }
            (Kind::Manager, Some(manager)) => {
                match signal {
                    // php-fpm starts itself again.
                    "TERM" => manager.signal("USR2"),
                    _ => {
                        for id in manager.children() {
                            try_send_signal(signal, id);
                        }
                    }
                }
                self.running = Some(manager);
            }
            (Kind::WebServer { program, .. }, _) => {
                for id in find_processes(program) {
                    try_send_signal(signal, id);
                }
            }
            (_, None) => {}
        }
    }

    /// Returns whether the processes that have received a signal exit.
    pub fn old_processes_exit(&mut self) -> bool {
        let mut retired = std::mem::take(&mut self.retired);
        retired.iter_mut().all(|process| process.exits_within(EXIT_TIMEOUT))
    }
}
