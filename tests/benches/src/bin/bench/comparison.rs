//! Measures the programs of a row, and keeps the results.

use std::process::Command;

use fcgi_benches::net::Socket;
use fcgi_benches::{Workload, LARGE};

use super::rows::{Group, Program, Unit};
use super::runner::{free_address, run_client, Runner, ServerProcess};
use super::web_server::WebServer;

/// Programs that do the same work.
pub struct Comparison {
    pub title: &'static str,
    pub group: Group,
    pub unit: Unit,
    pub workload: Workload,
    pub connections: u32,
    pub connection_per_request: bool,
    pub is_tcp: bool,
    /// The web server in front of the servers.
    pub web_server: Option<WebServer>,
    pub entries: Vec<Entry>,
}

/// A program and its results.
pub struct Entry {
    pub name: &'static str,
    program: &'static str,
    argument: &'static str,
    /// The units of work per second, or what else the unit says: one number for each round.
    pub results: Vec<f64>,
    failure: Option<String>,
}

impl Entry {
    fn new((name, program, argument): Program) -> Self {
        Self { name, program, argument, results: Vec::new(), failure: None }
    }
}

impl Comparison {
    pub fn new(title: &'static str, group: Group, workload: Workload, connections: u32) -> Self {
        let is_large = matches!(workload, Workload::Response | Workload::Body);
        Self {
            title,
            group,
            unit: if is_large { Unit::Bytes(LARGE) } else { Unit::Requests },
            workload,
            connections,
            connection_per_request: false,
            is_tcp: false,
            web_server: None,
            entries: group.programs().iter().copied().map(Entry::new).collect(),
        }
    }

    /// Returns the title with that of the table.
    pub fn full_title(&self) -> String {
        format!("{}: {}", self.group.title(), self.title)
    }

    /// Measures every program once.
    pub fn run(&mut self, runner: &Runner) {
        if self.web_server.is_some_and(|web_server| !runner.has(web_server.program())) {
            return;
        }
        for at in 0..self.entries.len() {
            if !runner.has(self.entries[at].program) || !self.includes(&self.entries[at]) {
                continue;
            }
            let outcome = self.measure(&self.entries[at], runner);
            let title = self.full_title();
            let entry = &mut self.entries[at];
            match outcome {
                Ok(result) => entry.results.push(result),
                Err(reason) => {
                    eprintln!("{title}: {}: {reason}", entry.name);
                    entry.failure = Some(reason);
                    // Keeps the results of each round at the same index.
                    entry.results.push(f64::NAN);
                }
            }
        }
    }

    /// Returns whether a program can do this work. The server of `cegla-fcgi` 0.2 ignores a request
    /// on a kept connection if it has not yet removed the previous one, which had the same id.
    fn includes(&self, entry: &Entry) -> bool {
        entry.program != "cegla-fcgi" || self.connection_per_request
    }

    /// Measures a program.
    fn measure(&self, entry: &Entry, runner: &Runner) -> Result<f64, String> {
        let address = if self.is_tcp { free_address() } else { runner.socket_address() };
        let mut command = self.server(entry, runner, &address);
        let server = command.as_mut().map(ServerProcess::start).transpose()?;
        if self.web_server.is_some() || self.group == Group::Command {
            // They would fail if they were ready before the server.
            Socket::connect_first(&address).map_err(|error| error.to_string())?;
        }
        if let Some(web_server) = self.web_server {
            return self.measure_behind(web_server, runner, &address);
        }
        let mut client = self.client(entry, runner, &address);
        if let (Unit::Memory, Some(server)) = (self.unit, &server) {
            client.arg(server.id().to_string());
        }
        run_client(&mut client)
    }

    /// Measures a server that has been started, behind a web server.
    fn measure_behind(
        &self,
        web_server: WebServer,
        runner: &Runner,
        app: &str,
    ) -> Result<f64, String> {
        let (_process, address) = web_server.start(runner, app, !self.connection_per_request)?;
        run_client(self.command("http-load", runner).args([address, self.connections.to_string()]))
    }

    /// Returns the command that starts the server, if there is one.
    fn server(&self, entry: &Entry, runner: &Runner, address: &str) -> Option<Command> {
        let program = match self.group {
            Group::Echo => return None,
            Group::Cgi if entry.argument.is_empty() => return None,
            Group::Client | Group::Command => "baseline",
            _ => entry.program,
        };
        let mut server = self.command(program, runner);
        if self.group == Group::Cgi {
            server.args(self.arguments(entry, address));
            return Some(server);
        }
        server.args([self.workload.name(), address]);
        if program == entry.program {
            server.args(self.arguments(entry, address));
        }
        // The other servers close the connection because the request asks for it.
        if program == "baseline" && self.connection_per_request {
            server.arg("new");
        }
        Some(server)
    }

    /// Returns the command that measures.
    fn client(&self, entry: &Entry, runner: &Runner, address: &str) -> Command {
        let (workload, connections) = (self.workload.name(), &self.connections.to_string()[..]);
        let (program, arguments) = match self.group {
            Group::Client => (entry.program, vec![workload, address]),
            Group::Echo => (entry.program, vec![]),
            Group::Many if self.unit == Unit::Memory => ("idle-memory", vec![address]),
            Group::Many if self.unit == Unit::Percentile => {
                ("many", vec![address, connections, "p99"])
            }
            Group::Many => ("many", vec![address, connections]),
            Group::Command => ("run-load", vec![connections]),
            Group::Cgi if entry.argument.is_empty() => ("run-load", vec![connections]),
            Group::Cgi => ("cgi-load", vec![address, connections]),
            _ if self.connection_per_request => {
                ("load", vec![workload, address, connections, "new"])
            }
            _ => ("load", vec![workload, address, connections]),
        };
        let mut client = self.command(program, runner);
        client.args(arguments);
        match self.group {
            Group::Client | Group::Echo => client.args(self.arguments(entry, address)),
            Group::Command => {
                client.arg(runner.path(entry.program)).args(self.arguments(entry, address))
            }
            Group::Cgi => client.arg(runner.cgi_program(self.workload)),
            _ => &mut client,
        };
        client
    }

    /// Returns the last arguments of a program.
    fn arguments(&self, entry: &Entry, address: &str) -> Vec<String> {
        let connections = self.connections.to_string();
        let replace =
            |word: &str| word.replace("ADDRESS", address).replace("CONNECTIONS", &connections);
        entry.argument.split_whitespace().map(replace).collect()
    }

    fn command(&self, program: &str, runner: &Runner) -> Command {
        // One connection is served on one CPU. Otherwise the result would mostly depend on the time
        // to wake an idle CPU. With a web server, it would mostly depend on which of the three
        // processes share a CPU.
        let is_pinned = self.connections == 1 || self.web_server.is_some();
        // One unit of work of `echo` takes as long as thousands of units of the other comparisons.
        // With more processes or threads, the spread is larger.
        let lengths = match self.group {
            Group::Server | Group::Client | Group::Steps => 1.0,
            Group::Command | Group::Cgi => 2.0,
            Group::WebServer | Group::Many | Group::Echo => 4.0,
        };
        runner.command(program, is_pinned, lengths)
    }

    pub fn failures(&self) -> impl Iterator<Item = String> + '_ {
        self.entries.iter().filter_map(|entry| {
            let reason = entry.failure.as_ref()?.replace('\n', " ");
            Some(format!("{}, {}: {reason}", entry.name, self.full_title()))
        })
    }

    /// Returns the ratios of a program to the baseline, one for each round, in ascending order.
    pub fn ratios(&self, entry: &Entry) -> Vec<f64> {
        let pairs = entry.results.iter().zip(&self.entries[0].results);
        sorted(pairs.map(|(result, baseline)| result / baseline))
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
