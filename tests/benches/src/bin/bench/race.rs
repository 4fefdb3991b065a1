//! The races: who takes part, how it is measured, and what came out.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fcgi_benches::clock::SECONDS;
use fcgi_benches::{Workload, LARGE};

/// The servers: the name that is shown, and the program. The first is the floor, the second ours.
const SERVERS: [(&str, &str); 7] = [
    ("floor", "floor"),
    ("fcgi", "ours"),
    ("libfcgi (C)", "libfcgi"),
    ("net/http/fcgi (Go)", "net-http-fcgi"),
    ("tokio-fastcgi", "tokio-fastcgi"),
    ("outer_cgi", "outer_cgi"),
    ("fastcgi", "fastcgi"),
];
/// The clients, each with a word for its command line. They all talk to the floor.
const CLIENTS: [(&str, &str, &str); 5] = [
    ("floor", "load", "1"),
    ("fcgi `send`", "client-ours", ""),
    ("fcgi `fetch`", "client-ours", "fetch"),
    ("fastcgi-client 0.5", "fastcgi-client-05", ""),
    ("fastcgi-client 0.12", "fastcgi-client-012", ""),
];

/// The way from the floor to our server, each step with those before it.
const STEPS: [(&str, &str, &str); 5] = [
    ("floor", "floor", ""),
    ("+ params indexed", "steps", "params"),
    ("+ one looked up", "steps", "look-up"),
    ("+ records read", "steps", "records"),
    ("+ `Server`: all the rest", "ours", ""),
];

/// The same work for all who can do it.
pub struct Race {
    pub title: &'static str,
    pub group: Group,
    pub workload: Workload,
    /// A unit of work in bytes, where what counts is bytes.
    pub bytes: Option<usize>,
    connections: u32,
    /// Whether each request has a connection of its own.
    is_new: bool,
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

/// One who takes part.
pub struct Entry {
    pub name: &'static str,
    program: &'static str,
    argument: &'static str,
    /// How often in a second the work was done; one number for each round.
    pub rates: Vec<f64>,
    failure: Option<String>,
}

pub fn all() -> Vec<Race> {
    use Workload::{Body, Response, Small};
    let server =
        |title, workload, connections| Race::new(title, Group::Server, workload, connections);
    let client = |title, workload| Race::new(title, Group::Client, workload, 1);
    vec![
        server("small request, kept connection", Small, 1),
        server("small request, 8 kept connections", Small, 8),
        Race { is_tcp: true, ..server("small request over TCP, kept connection", Small, 1) },
        Race { is_tcp: true, ..server("small request over TCP, 8 kept connections", Small, 8) },
        Race { is_new: true, ..server("a connection for each request, one at a time", Small, 1) },
        Race { is_new: true, ..server("a connection for each request, 8 at a time", Small, 8) },
        server("1 MiB response", Response, 1),
        server("1 MiB response, 8 connections", Response, 8),
        server("1 MiB body", Body, 1),
        server("1 MiB body, 8 connections", Body, 8),
        client("small request, kept connection", Small),
        client("1 MiB response", Response),
        client("1 MiB body", Body),
        Race {
            bytes: Some(64 * LARGE),
            ..Race::new("64 MiB there and back, on one CPU", Group::Echo, Small, 1)
        },
        Race {
            bytes: Some(64 * LARGE),
            ..Race::new("64 MiB there and back", Group::Echo, Small, 0)
        },
        Race::new("small request, kept connection", Group::Steps, Small, 1),
    ]
}

impl Race {
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
                entry("two raw threads", "echo", "floor"),
                entry("fcgi, both ends", "echo", "ours"),
            ],
        };
        let bytes = (workload != Workload::Small).then_some(LARGE);
        Self { title, group, workload, bytes, connections, is_new: false, is_tcp: false, entries }
    }

    /// One round.
    pub fn run(&mut self, runner: &Runner) {
        for at in 0..self.entries.len() {
            if !runner.has(self.entries[at].program) {
                continue;
            }
            let outcome = self.measure(&self.entries[at], runner);
            let entry = &mut self.entries[at];
            match outcome {
                Ok(rate) => entry.rates.push(rate),
                Err(reason) => {
                    eprintln!("{}: {}: {reason}", self.title, entry.name);
                    entry.failure = Some(reason);
                    // A round without a rate would be compared with another.
                    entry.rates.push(f64::NAN);
                }
            }
        }
    }

    fn measure(&self, entry: &Entry, runner: &Runner) -> Result<f64, String> {
        let address = if self.is_tcp {
            free_port()
        } else {
            runner.socket.to_str().expect("a path in UTF-8").into()
        };
        let workload = self.workload.name();
        // With one connection, both ends on one CPU: else it is mostly the waking of an idle one
        // that is measured.
        let is_pinned = self.connections == 1;
        let (server, load) = match self.group {
            Group::Echo => {
                // One of these takes as long as thousands of the others.
                let mut command = runner.command("echo", is_pinned);
                return rate(
                    command.arg(entry.argument).env(SECONDS, (4.0 * runner.seconds).to_string()),
                );
            }
            Group::Client => ("floor", entry.program),
            Group::Server | Group::Steps => (entry.program, "load"),
        };
        let _ = std::fs::remove_file(&runner.socket);
        let is_new = self.is_new.then_some("new");
        let mut command = runner.command(server, is_pinned);
        // The others are told by the request.
        let argument = Some(entry.argument).filter(|argument| !argument.is_empty());
        let (for_server, for_load) =
            if self.group == Group::Client { (None, argument) } else { (argument, None) };
        command
            .args([workload, &address])
            .args(for_server)
            .args(is_new.filter(|_| server == "floor"));
        let _server =
            Running(command.stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?);
        let mut load = runner.command(load, is_pinned);
        load.args([workload, &address]);
        if self.group != Group::Client {
            load.arg(self.connections.to_string());
        }
        rate(load.args(for_load).args(is_new))
    }

    pub fn failures(&self) -> impl Iterator<Item = String> + '_ {
        self.entries.iter().filter_map(|entry| {
            let reason = entry.failure.as_ref()?.replace('\n', " ");
            Some(format!("{} ({:?}), {}: {reason}", entry.name, self.group, self.title))
        })
    }

    /// The ratios of an entry to the floor, from the lowest; one for each round.
    pub fn ratios(&self, entry: &Entry) -> Vec<f64> {
        let pairs = entry.rates.iter().zip(&self.entries[0].rates);
        sorted(pairs.map(|(rate, floor)| rate / floor))
    }
}

/// Numbers from the lowest, without those that are none.
pub fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// The median of sorted numbers.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 {
        *middle
    } else {
        (middle + sorted[sorted.len() / 2 - 1]) / 2.0
    })
}

/// The middle half of sorted numbers: where it begins and ends.
pub fn spread(sorted: &[f64]) -> Option<(f64, f64)> {
    let quarter = sorted.len() / 4;
    Some((*sorted.get(quarter)?, sorted[sorted.len() - 1 - quarter]))
}

/// Starts the programs, which are all in one directory: that of this one.
pub struct Runner {
    directory: PathBuf,
    seconds: f64,
    /// Where servers listen.
    socket: PathBuf,
    /// The CPU for both ends; `None` if there is no `taskset`.
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
                "**Not pinned:** there is no taskset, so one connection is measured with the waking of idle CPUs.\n"
            );
        }
        // The last one: the first has the most interrupts.
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        Self { directory, seconds, socket, cpu: has_taskset.then_some(cpus - 1) }
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

/// A server that ends with its measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a load and takes what it prints.
fn rate(load: &mut Command) -> Result<f64, String> {
    let output = load.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).chars().take(300).collect());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("no rate: {text:?}"))
}

/// An address that nobody listens on.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}
