//! The comparisons: which programs are measured, how, and the measured rates.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fcgi_benches::clock::SECONDS;
use fcgi_benches::{Workload, LARGE};

/// The servers: the displayed name and the program. The first one is the baseline, the second one
/// is the server of this crate.
const SERVERS: [(&str, &str); 8] = [
    ("baseline", "baseline"),
    ("fcgi", "fcgi-server"),
    ("libfcgi (C)", "libfcgi"),
    ("net/http/fcgi (Go)", "net-http-fcgi"),
    ("tokio-fastcgi", "tokio-fastcgi"),
    ("outer_cgi", "outer_cgi"),
    ("fastcgi", "fastcgi"),
    ("cegla-fcgi", "cegla-fcgi"),
];
/// The clients: the displayed name, the program and its last arguments. The server is the baseline.
const CLIENTS: [(&str, &str, &str); 7] = [
    ("baseline", "load", "1"),
    ("response in memory", "load", "1 hold"),
    ("fcgi `send`", "fcgi-client", ""),
    ("fcgi `fetch`", "fcgi-client", "fetch"),
    ("fastcgi-client 0.5", "fastcgi-client-05", ""),
    ("fastcgi-client 0.12", "fastcgi-client-012", ""),
    ("cegla-fcgi", "cegla-fcgi-client", ""),
];

/// The steps from the baseline to the server of this crate. Each step includes the previous ones.
const STEPS: [(&str, &str, &str); 5] = [
    ("baseline", "baseline", ""),
    ("+ params indexed", "steps", "params"),
    ("+ one param looked up", "steps", "look-up"),
    ("+ records read", "steps", "records"),
    ("+ rest of `Server`", "fcgi-server", ""),
];

/// Programs that do the same work.
pub struct Comparison {
    pub title: &'static str,
    pub group: Group,
    pub workload: Workload,
    /// The number of bytes per unit of work, if the rate is displayed in bytes.
    pub bytes: Option<usize>,
    connections: u32,
    connection_per_request: bool,
    is_tcp: bool,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Server,
    Client,
    Echo,
    Steps,
}

/// A program and its results.
pub struct Entry {
    pub name: &'static str,
    program: &'static str,
    argument: &'static str,
    /// The units of work per second, one number for each round.
    pub rates: Vec<f64>,
    failure: Option<String>,
}

pub fn all() -> Vec<Comparison> {
    use Workload::{Body, Post, Response, Small};
    let server =
        |title, workload, connections| Comparison::new(title, Group::Server, workload, connections);
    let client = |title, workload| Comparison::new(title, Group::Client, workload, 1);
    vec![
        server("small request, kept connection", Small, 1),
        server("small request, 8 kept connections", Small, 8),
        Comparison { is_tcp: true, ..server("small request over TCP, kept connection", Small, 1) },
        Comparison {
            is_tcp: true,
            ..server("small request over TCP, 8 kept connections", Small, 8)
        },
        Comparison {
            connection_per_request: true,
            ..server("a connection for each request, one at a time", Small, 1)
        },
        Comparison {
            connection_per_request: true,
            ..server("a connection for each request, 8 at a time", Small, 8)
        },
        server("1 MiB response", Response, 1),
        server("1 MiB response, 8 connections", Response, 8),
        server("1 MiB body", Body, 1),
        server("1 MiB body, 8 connections", Body, 8),
        client("small request, kept connection", Small),
        client("small POST request, kept connection", Post),
        client("1 MiB response", Response),
        client("1 MiB body", Body),
        Comparison {
            bytes: Some(64 * LARGE),
            ..Comparison::new("64 MiB there and back, on one CPU", Group::Echo, Small, 1)
        },
        Comparison {
            bytes: Some(64 * LARGE),
            ..Comparison::new("64 MiB there and back", Group::Echo, Small, 0)
        },
        Comparison::new("small request, kept connection", Group::Steps, Small, 1),
    ]
}

impl Comparison {
    fn new(title: &'static str, group: Group, workload: Workload, connections: u32) -> Self {
        let entry = |name, program, argument| Entry {
            name,
            program,
            argument,
            rates: Vec::new(),
            failure: None,
        };
        let entries = match group {
            Group::Server => {
                SERVERS.iter().map(|(name, program)| entry(name, program, "")).collect()
            }
            Group::Client => CLIENTS
                .iter()
                .map(|(name, program, argument)| entry(name, program, argument))
                .collect(),
            Group::Steps => STEPS
                .iter()
                .map(|(name, program, argument)| entry(name, program, argument))
                .collect(),
            Group::Echo => vec![
                entry("two raw threads", "echo", "baseline"),
                entry("fcgi, both ends", "echo", "fcgi"),
            ],
        };
        let is_large = matches!(workload, Workload::Response | Workload::Body);
        let bytes = is_large.then_some(LARGE);
        Self {
            title,
            group,
            workload,
            bytes,
            connections,
            connection_per_request: false,
            is_tcp: false,
            entries,
        }
    }

    /// Measures every program once.
    pub fn run(&mut self, runner: &Runner) {
        for at in 0..self.entries.len() {
            if !runner.has(self.entries[at].program) || !self.includes(&self.entries[at]) {
                continue;
            }
            let outcome = self.measure(&self.entries[at], runner);
            let entry = &mut self.entries[at];
            match outcome {
                Ok(rate) => entry.rates.push(rate),
                Err(reason) => {
                    eprintln!("{}: {}: {reason}", self.title, entry.name);
                    entry.failure = Some(reason);
                    // Keeps the rates of each round at the same index.
                    entry.rates.push(f64::NAN);
                }
            }
        }
    }

    /// Returns whether a program can do this work. The server of `cegla-fcgi` 0.2 ignores a request
    /// on a kept connection if it has not yet removed the previous one, which had the same id.
    fn includes(&self, entry: &Entry) -> bool {
        entry.program != "cegla-fcgi" || self.connection_per_request
    }

    /// Measures the rate of a program.
    fn measure(&self, entry: &Entry, runner: &Runner) -> Result<f64, String> {
        // One connection is served on one CPU. Otherwise the result would mostly depend on the time
        // to wake an idle CPU.
        let is_pinned = self.connections == 1;
        if self.group == Group::Echo {
            let mut echo = runner.command("echo", is_pinned);
            // One unit of work takes as long as thousands of units of the other comparisons.
            echo.arg(entry.argument).env(SECONDS, (4.0 * runner.seconds).to_string());
            return run_client(&mut echo);
        }
        let address = if self.is_tcp { free_address() } else { runner.socket_address() };
        let (mut server, mut client) = self.commands(entry, runner, is_pinned, &address);
        let _ = std::fs::remove_file(&runner.socket);
        let server = server.stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let _server = ServerProcess(server);
        run_client(&mut client)
    }

    /// Returns the commands that start the server and the client.
    fn commands(
        &self,
        entry: &Entry,
        runner: &Runner,
        is_pinned: bool,
        address: &str,
    ) -> (Command, Command) {
        let arguments = [self.workload.name(), address];
        let argument = entry.argument.split_whitespace();
        let (mut server, mut client) = if self.group == Group::Client {
            let mut client = runner.command(entry.program, is_pinned);
            client.args(arguments).args(argument);
            let mut server = runner.command("baseline", is_pinned);
            server.args(arguments);
            (server, client)
        } else {
            let mut client = runner.command("load", is_pinned);
            client.args(arguments).arg(self.connections.to_string());
            let mut server = runner.command(entry.program, is_pinned);
            server.args(arguments).args(argument);
            (server, client)
        };
        if self.connection_per_request {
            client.arg("new");
            // The other servers close the connection because the request asks for it.
            if entry.program == "baseline" {
                server.arg("new");
            }
        }
        (server, client)
    }

    pub fn failures(&self) -> impl Iterator<Item = String> + '_ {
        self.entries.iter().filter_map(|entry| {
            let reason = entry.failure.as_ref()?.replace('\n', " ");
            Some(format!("{} ({:?}), {}: {reason}", entry.name, self.group, self.title))
        })
    }

    /// Returns the ratios of a program to the baseline, one for each round, in ascending order.
    pub fn ratios(&self, entry: &Entry) -> Vec<f64> {
        let pairs = entry.rates.iter().zip(&self.entries[0].rates);
        sorted(pairs.map(|(rate, baseline)| rate / baseline))
    }
}

/// Returns the finite numbers in ascending order.
pub fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// Returns the median of sorted numbers.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 {
        *middle
    } else {
        (middle + sorted[sorted.len() / 2 - 1]) / 2.0
    })
}

/// Returns the bounds of the middle half of sorted numbers.
pub fn spread(sorted: &[f64]) -> Option<(f64, f64)> {
    let quarter = sorted.len() / 4;
    Some((*sorted.get(quarter)?, sorted[sorted.len() - 1 - quarter]))
}

/// Starts the programs, which are in the same directory as this one.
pub struct Runner {
    directory: PathBuf,
    seconds: f64,
    /// The Unix socket of the servers.
    socket: PathBuf,
    /// The CPU for both ends, or `None` if `taskset` is not installed.
    cpu: Option<usize>,
}

impl Runner {
    pub fn new(seconds: f64) -> Self {
        let program = std::env::current_exe().expect("this program");
        let directory = program.parent().expect("its directory").to_path_buf();
        let socket = std::env::temp_dir().join(format!("fcgi-benches-{}.sock", std::process::id()));
        let has_taskset = Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_ok();
        if !has_taskset {
            println!(
                "**Not pinned:** taskset is not installed, so rates with one connection include \
                 the time to wake an idle CPU.\n"
            );
        }
        // The last CPU, because the first one handles the most interrupts.
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        Self { directory, seconds, socket, cpu: has_taskset.then_some(cpus - 1) }
    }

    fn socket_address(&self) -> String {
        self.socket.to_str().expect("a path in UTF-8").into()
    }

    fn has(&self, program: &str) -> bool {
        self.path(program).exists()
    }

    fn path(&self, program: &str) -> PathBuf {
        Path::new(&self.directory).join(program)
    }

    fn command(&self, program: &str, is_pinned: bool) -> Command {
        let path = self.path(program);
        let mut command = match self.cpu.filter(|_| is_pinned) {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cpu.to_string()]).arg(path);
                command
            }
            None => Command::new(path),
        };
        command.stdin(Stdio::null()).env(SECONDS, self.seconds.to_string());
        command
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A server process, which is killed on drop.
struct ServerProcess(Child);

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a client and returns the rate that it prints.
fn run_client(client: &mut Command) -> Result<f64, String> {
    let output = client.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).chars().take(300).collect());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("not a rate: {text:?}"))
}

/// Returns an address with a free port.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}
