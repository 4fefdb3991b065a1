//! The rows of the tables: which programs are compared, and how.

use fcgi_benches::{Workload, LARGE};

use super::comparison::Comparison;
use super::web_server::WebServer::{Caddy, HAProxy, Nginx};

/// Rows that compare the same programs. They form one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Server,
    WebServer,
    Many,
    Client,
    Command,
    Cgi,
    Echo,
    Steps,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Requests,
    /// The rate is displayed in bytes. A unit of work has this number of them.
    Bytes(usize),
    /// The 99th percentile of the time to a response, in microseconds.
    Percentile,
    /// The memory of an idle connection, in bytes.
    Memory,
}

impl Unit {
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Requests | Self::Bytes(_))
    }
}

/// The displayed name of a program, the program, and its last arguments, in which ADDRESS and
/// CONNECTIONS stand for those of the measurement.
pub type Program = (&'static str, &'static str, &'static str);

/// The first one is the baseline. The same order applies to the other groups.
const SERVERS: [Program; 8] = [
    ("baseline", "baseline", ""),
    ("fcgi", "fcgi-server", ""),
    ("libfcgi (C)", "libfcgi", ""),
    ("net/http/fcgi (Go)", "net-http-fcgi", ""),
    ("tokio-fastcgi", "tokio-fastcgi", ""),
    ("outer_cgi", "outer_cgi", ""),
    ("fastcgi", "fastcgi", ""),
    ("cegla-fcgi", "cegla-fcgi", ""),
];
/// The servers behind a web server.
const BEHIND_WEB_SERVER: [Program; 3] = [SERVERS[0], SERVERS[1], SERVERS[2]];
/// The servers that can serve thousands of connections at once.
const MANY: [Program; 4] = [("baseline", "baseline", "many"), SERVERS[1], SERVERS[3], SERVERS[4]];
/// The server is the baseline.
const CLIENTS: [Program; 7] = [
    ("baseline", "load", "1"),
    ("response in memory", "load", "1 hold"),
    ("fcgi `send`", "fcgi-client", ""),
    ("fcgi `fetch`", "fcgi-client", "fetch"),
    ("fastcgi-client 0.5", "fastcgi-client-05", ""),
    ("fastcgi-client 0.12", "fastcgi-client-012", ""),
    ("cegla-fcgi", "cegla-fcgi-client", ""),
];
/// Programs that send one request. The server is the baseline.
const COMMANDS: [Program; 4] = [
    ("baseline", "once", "ADDRESS"),
    ("fcgi, example `cgi-fcgi`", "examples/cgi-fcgi", "-bind -connect ADDRESS"),
    ("fcgi, linked statically", "cgi-fcgi-static", "-bind -connect ADDRESS"),
    ("cgi-fcgi (C)", "installed/cgi-fcgi", "-bind -connect ADDRESS"),
];
/// Servers that run CGI programs. The baseline has no server.
const CGI: [Program; 3] = [
    ("program alone", "run-load", ""),
    ("fcgi, example `cgi-wrap`", "examples/cgi-wrap", "--children CONNECTIONS unix:ADDRESS"),
    ("fcgiwrap (C)", "installed/fcgiwrap", "-c CONNECTIONS -s unix:ADDRESS"),
];
const ECHO: [Program; 2] =
    [("two raw threads", "echo", "baseline"), ("fcgi, both ends", "echo", "fcgi")];
/// The steps from the baseline to the server of this crate. Each step includes the previous ones.
const STEPS: [Program; 5] = [
    ("baseline", "baseline", ""),
    ("+ params indexed", "steps", "params"),
    ("+ one param looked up", "steps", "look-up"),
    ("+ records read", "steps", "records"),
    ("+ rest of `Server`", "fcgi-server", ""),
];

impl Group {
    /// The groups in the order of their tables.
    pub const ALL: [Self; 8] = [
        Self::Server,
        Self::WebServer,
        Self::Many,
        Self::Client,
        Self::Command,
        Self::Cgi,
        Self::Echo,
        Self::Steps,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::WebServer => "Server behind a web server",
            Self::Many => "Server with many connections",
            Self::Client => "Client",
            Self::Command => "Client, a process for each request",
            Self::Cgi => "CGI program",
            Self::Echo => "Both",
            Self::Steps => "Step by step",
        }
    }

    pub fn programs(self) -> &'static [Program] {
        match self {
            Self::Server => &SERVERS,
            Self::WebServer => &BEHIND_WEB_SERVER,
            Self::Many => &MANY,
            Self::Client => &CLIENTS,
            Self::Command => &COMMANDS,
            Self::Cgi => &CGI,
            Self::Echo => &ECHO,
            Self::Steps => &STEPS,
        }
    }
}

pub fn all() -> Vec<Comparison> {
    let steps = Comparison::new("small request, kept connection", Group::Steps, Workload::Small, 1);
    [servers(), web_servers(), many(), clients(), programs(), echo(), vec![steps]]
        .into_iter()
        .flatten()
        .collect()
}

fn servers() -> Vec<Comparison> {
    use Workload::{Body, Response, Small};
    let server =
        |title, workload, connections| Comparison::new(title, Group::Server, workload, connections);
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
    ]
}

fn web_servers() -> Vec<Comparison> {
    let behind = |title, web_server, connection_per_request| Comparison {
        web_server: Some(web_server),
        connection_per_request,
        ..Comparison::new(title, Group::WebServer, Workload::Small, 8)
    };
    vec![
        behind("nginx, kept connections", Nginx, false),
        behind("nginx, a connection for each request", Nginx, true),
        behind("HAProxy, kept connections", HAProxy, false),
        behind("HAProxy, a connection for each request", HAProxy, true),
        behind("Caddy, a connection for each request", Caddy, true),
    ]
}

fn many() -> Vec<Comparison> {
    let many = |title, connections, unit| Comparison {
        unit,
        ..Comparison::new(title, Group::Many, Workload::Small, connections)
    };
    vec![
        many("1,000 connections, 100 active", 1000, Unit::Requests),
        many("1,000 connections, 99th percentile", 1000, Unit::Percentile),
        many("4,000 connections, 400 active", 4000, Unit::Requests),
        many("4,000 connections, 99th percentile", 4000, Unit::Percentile),
        many("memory of an idle connection", 1000, Unit::Memory),
    ]
}

fn clients() -> Vec<Comparison> {
    let client = |title, workload| Comparison::new(title, Group::Client, workload, 1);
    vec![
        client("small request, kept connection", Workload::Small),
        client("small POST request, kept connection", Workload::Post),
        client("1 MiB response", Workload::Response),
        client("1 MiB body", Workload::Body),
    ]
}

/// Returns the rows in which a process is started for each request.
fn programs() -> Vec<Comparison> {
    let cgi = |title, workload, processes| Comparison::new(title, Group::Cgi, workload, processes);
    vec![
        Comparison {
            connection_per_request: true,
            ..Comparison::new("small request, one at a time", Group::Command, Workload::Small, 1)
        },
        cgi("small response, one at a time", Workload::Small, 1),
        cgi("small response, 8 at a time", Workload::Small, 8),
        cgi("1 MiB response, one at a time", Workload::Response, 1),
        cgi("1 MiB response, 8 at a time", Workload::Response, 8),
    ]
}

fn echo() -> Vec<Comparison> {
    let echo = |title, connections| Comparison {
        unit: Unit::Bytes(64 * LARGE),
        ..Comparison::new(title, Group::Echo, Workload::Small, connections)
    };
    vec![echo("64 MiB there and back, on one CPU", 1), echo("64 MiB there and back", 0)]
}
