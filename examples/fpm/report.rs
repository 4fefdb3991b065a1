//! What a check has found, the verdict on it, and the line that is printed.

use std::io::ErrorKind;
use std::time::Duration;

use fcgi::net::Address;
use fcgi::record::ProtocolStatus;
use fcgi::Error;
use serde_json::json;

use super::options::Options;
use super::pool::Pool;

/// The state of a pool, the least serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Up,
    Busy,
    Unknown,
    Down,
}

impl State {
    /// Returns the exit status that monitoring systems expect.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Busy => 1,
            Self::Down => 2,
            Self::Unknown => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Busy => "busy",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// The state of a pool, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub state: State,
    pub reason: String,
    /// Whether there was no answer in time.
    is_timeout: bool,
}

impl Verdict {
    pub fn new(state: State, reason: impl Into<String>) -> Self {
        Self { state, reason: reason.into(), is_timeout: false }
    }

    pub fn timeout() -> Self {
        Self { is_timeout: true, ..Self::new(State::Down, "no answer in time") }
    }
}

/// The verdict on a request that has failed.
impl From<Error> for Verdict {
    fn from(error: Error) -> Self {
        match error {
            error if error.kind() == ErrorKind::TimedOut => Self::timeout(),
            error => Self::new(state_after(&error), error.to_string()),
        }
    }
}

fn state_after(error: &Error) -> State {
    match error {
        Error::Refused(ProtocolStatus::Overloaded) => State::Busy,
        Error::UnexpectedEof(_) | Error::StreamTooShort { .. } => State::Down,
        Error::Io(_) | Error::Connect { .. } | Error::Socket { .. } => match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::NotFound
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe => State::Down,
            _ => State::Unknown,
        },
        _ => State::Unknown,
    }
}

/// What a check has found. A part is `None` if it was not requested.
#[derive(Debug, Default)]
pub struct Report {
    /// The time of the answer to the ping.
    pub ping: Option<Result<Duration, Verdict>>,
    pub status: Option<Result<Pool, Verdict>>,
    /// The number of connections that wait at the pool's Unix socket.
    pub waiting: Option<u64>,
    pub elapsed: Duration,
}

impl Report {
    /// Creates the report of a check that has not ended in time.
    pub fn timeout() -> Self {
        Self { ping: Some(Err(Verdict::timeout())), ..Self::default() }
    }

    fn pool(&self) -> Option<&Pool> {
        self.status.as_ref()?.as_ref().ok()
    }

    pub fn is_saturated(&self) -> bool {
        self.pool().is_some_and(Pool::is_saturated)
    }

    /// Returns whether the pool's own socket did not answer, so that a ping would not be answered
    /// either.
    pub fn is_silent(&self, options: &Options) -> bool {
        let is_down = |verdict: &Verdict| verdict.state == State::Down;
        options.status_address.is_none()
            && matches!(&self.status, Some(Err(verdict)) if is_down(verdict))
    }

    /// Returns the number of connections that wait for a process, without that of the check itself.
    fn queue(&self) -> Option<u64> {
        // A status that was requested without a ping was requested from the same socket.
        let own = match (&self.ping, &self.status) {
            (Some(Err(verdict)), _) | (None, Some(Err(verdict))) => verdict.is_timeout,
            _ => false,
        };
        let waiting = self.waiting.map(|waiting| waiting.saturating_sub(u64::from(own)));
        waiting.or(self.pool().map(|pool| pool.queue))
    }

    /// Returns the most serious verdict.
    pub fn verdict(&self, options: &Options) -> Verdict {
        let mut verdicts = vec![Verdict::new(State::Up, self.describe_answer())];
        verdicts.extend(self.ping_failure());
        verdicts.extend(self.status_failure());
        verdicts.extend(self.exceeded(options).map(|reason| Verdict::new(State::Busy, reason)));
        if self.is_saturated() {
            verdicts.push(Verdict::new(State::Busy, "no process is free"));
        }
        // Of several with the same state, `max_by_key` would return the last.
        let worst = verdicts.into_iter().rev().max_by_key(|verdict| verdict.state);
        worst.expect("at least one verdict")
    }

    /// Returns why the ping has failed. A pool whose status can be read is not down.
    fn ping_failure(&self) -> Option<Verdict> {
        let verdict = self.with_time(self.ping.as_ref()?.as_ref().err()?);
        let is_busy = verdict.is_timeout && self.pool().is_some();
        Some(if is_busy { Verdict { state: State::Busy, ..verdict } } else { verdict })
    }

    /// Returns why the status cannot be read. A pool that has answered the ping is not down.
    fn status_failure(&self) -> Option<Verdict> {
        let verdict = self.with_time(self.status.as_ref()?.as_ref().err()?);
        if !matches!(self.ping, Some(Ok(_))) {
            return Some(verdict);
        }
        let reason = format!("the status cannot be read: {}", verdict.reason);
        Some(Verdict::new(verdict.state.min(State::Unknown), reason))
    }

    /// Adds the time to the reason if there was no answer.
    fn with_time(&self, verdict: &Verdict) -> Verdict {
        let mut verdict = verdict.clone();
        if verdict.is_timeout {
            verdict.reason = format!("no answer within {}", milliseconds(self.elapsed));
        }
        verdict
    }

    /// Returns which threshold is exceeded.
    fn exceeded(&self, options: &Options) -> Option<String> {
        let pool = self.pool();
        let values = [
            ("active processes", pool.map(|pool| pool.active), options.max_active),
            ("waiting connections", self.queue(), options.max_queue),
            ("slow requests", pool.map(|pool| pool.slow), options.max_slow),
        ];
        values.into_iter().find_map(|(what, value, max)| {
            let (value, max) = (value?, max?);
            (value > max).then(|| format!("{value} {what}, more than {max}"))
        })
    }

    fn describe_answer(&self) -> String {
        match self.ping {
            Some(Ok(time)) => format!("ping answered in {}", milliseconds(time)),
            _ => format!("status answered in {}", milliseconds(self.elapsed)),
        }
    }

    /// Returns the line that is printed, in the format of Nagios plugins.
    pub fn line(&self, verdict: &Verdict, address: &Address) -> String {
        let state = verdict.state.name().to_uppercase();
        let mut text = vec![format!("{state}: {address}: {}", verdict.reason)];
        let mut data = vec![format!("time={:.6}s", self.elapsed.as_secs_f64())];
        if let Some(Pool { name, active, idle, total, slow, .. }) = self.pool() {
            text.push(format!("pool {name}: {active} of {total} processes active"));
            text.push(format!("{slow} slow requests"));
            data.push(format!("active={active} idle={idle} slow={slow}"));
        }
        if let Some(queue) = self.queue() {
            text.push(format!("{queue} waiting"));
            data.push(format!("queue={queue}"));
        }
        // The name of the pool and the error may contain anything.
        let line = format!("{} | {}", text.join(", "), data.join(" "));
        line.replace(char::is_control, " ")
    }

    /// Returns the JSON object that is printed with `--json`.
    pub fn json(&self, verdict: &Verdict, address: &Address) -> String {
        let pool = self.pool().map(|pool| {
            json!({
                "name": pool.name,
                "active": pool.active,
                "idle": pool.idle,
                "total": pool.total,
                "slow": pool.slow,
                "max_children_reached": pool.max_children_reached,
            })
        });
        json!({
            "state": verdict.state.name(),
            "exit_status": verdict.state.exit_status(),
            "reason": verdict.reason,
            "address": address.to_string(),
            "seconds": self.elapsed.as_secs_f64(),
            "waiting": self.queue(),
            "pool": pool,
        })
        .to_string()
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
