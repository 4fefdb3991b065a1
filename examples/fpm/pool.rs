//! The ping page and the status page of php-fpm.

use fcgi::{Client, Params};
use serde_json::Value;

use super::report::{State, Verdict};

/// The state of a pool, as its status page reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    /// Whether the number of processes is fixed.
    pub is_static: bool,
    pub active: u64,
    pub idle: u64,
    pub total: u64,
    /// The number of connections that wait for a process. It is 0 for a Unix socket.
    pub queue: u64,
    /// The number of slow requests since the start of the pool.
    pub slow: u64,
    /// How often the pool could not start a process that it needed.
    pub max_children_reached: u64,
}

impl Pool {
    fn parse(page: &[u8]) -> Option<Self> {
        let page: Value = serde_json::from_slice(page).ok()?;
        let number = |name: &str| page[name].as_u64();
        Some(Self {
            name: page["pool"].as_str()?.to_owned(),
            is_static: page["process manager"] == "static",
            active: number("active processes")?,
            idle: number("idle processes")?,
            total: number("total processes")?,
            queue: number("listen queue")?,
            slow: number("slow requests")?,
            max_children_reached: number("max children reached")?,
        })
    }

    /// Returns whether no process is free and none will be started.
    pub fn is_saturated(&self) -> bool {
        self.is_static && self.idle == 0
    }

    /// Counts the process that has served the status page as idle.
    pub fn without_own_request(self) -> Self {
        Self { active: self.active.saturating_sub(1), idle: self.idle + 1, ..self }
    }
}

/// Requests the ping page.
pub fn ping(client: &Client, path: &str) -> Result<(), Verdict> {
    request(client, path, "").map(drop)
}

/// Requests the status page.
pub fn status(client: &Client, path: &str) -> Result<Pool, Verdict> {
    let page = request(client, path, "json")?;
    let reason = || format!("{path} is not a status page of php-fpm");
    Pool::parse(&page).ok_or_else(|| Verdict::new(State::Unknown, reason()))
}

/// Returns the body of a response with status 200.
fn request(client: &Client, path: &str, query: &str) -> Result<Vec<u8>, Verdict> {
    let reply = client.fetch(&params(path, query)?, b"")?;
    let (head, body) = reply.split_head()?;
    match head.status() {
        200 => Ok(body.to_owned()),
        404 => Err(Verdict::new(State::Unknown, format!("the pool has no page {path}"))),
        status => Err(Verdict::new(State::Down, format!("{path} has the status {status}"))),
    }
}

fn params(path: &str, query: &str) -> fcgi::Result<Params> {
    Params::from_pairs([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", path),
        ("SCRIPT_FILENAME", path),
        ("REQUEST_URI", path),
        ("QUERY_STRING", query),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ])
}
