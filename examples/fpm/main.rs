//! Checks whether a pool of php-fpm answers, for a monitoring system.
//!
//! ```sh
//! cargo run --example fpm -- unix:/run/php/php8.2-fpm.sock --ping --status --max-slow 10
//! ```
//!
//! prints a line in the format of Nagios plugins:
//!
//! ```text
//! UP: unix:/run/php/php8.2-fpm.sock: ping answered in 0.3 ms, pool www: 1 of 5 processes active,
//! 0 slow requests, 0 waiting | time=0.000713s active=1 idle=4 slow=0 queue=0
//! ```
//!
//! `fpm --help` lists the options and the exit statuses.
//!
//! The pool must have `ping.path = /ping` and `pm.status_path = /status`. Neither a pool whose
//! processes are all busy nor one that was stopped answers on its own socket. With
//! `pm.status_listen`, a pool has another socket for its status. `--status-address` then
//! distinguishes the two states.
//!
//! php-fpm cannot count the connections that wait at a Unix socket. On Linux, the program counts
//! them itself.

mod options;
mod pool;
mod queue;
mod report;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::client::Config;
use fcgi::net::Address;
use fcgi::Client;

use self::options::{Options, EXIT_STATUSES, HELP};
use self::pool::Pool;
use self::report::{Report, State, Verdict};
use self::support::cli::Program;
use self::support::stdio::print;

/// How long the check may exceed its timeout. A client cannot limit the resolution of a host name.
const GRACE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let program = Program {
        exit_statuses: EXIT_STATUSES,
        usage_status: State::Unknown.exit_status(),
        ..Program::new("fpm", HELP)
    };
    program.main(|args| {
        let (address, options) = Options::parse(args)?;
        let report = run(&address, &options);
        let verdict = report.verdict(&options);
        let line = if options.json {
            report.json(&verdict, &address)
        } else {
            report.line(&verdict, &address)
        };
        print(&(line + "\n"))?;
        Ok(verdict.state.exit_status())
    })
}

/// Checks the pool, for no longer than the timeout.
fn run(address: &Address, options: &Options) -> Report {
    let start = Instant::now();
    let (sender, reports) = mpsc::channel();
    let (pool, checked) = (address.clone(), options.clone());
    thread::spawn(move || {
        // After the timeout, the report is not received.
        let _ = sender.send(check(&pool, &checked));
    });
    let report = reports.recv_timeout(options.timeout + GRACE);
    let mut report = report.unwrap_or_else(|_| Report::timeout());
    report.elapsed = start.elapsed();
    report.waiting = queue::waiting(address);
    report
}

/// Sends the requests, one after another, so that none of them makes the pool look busy to another.
fn check(address: &Address, options: &Options) -> Report {
    let deadline = Instant::now() + options.timeout;
    let mut report = Report { status: status(address, options), ..Report::default() };
    if report.is_saturated() || report.is_silent(options) {
        return report;
    }
    if let Some(path) = &options.ping {
        let start = Instant::now();
        let client = client(address, deadline.saturating_duration_since(start));
        report.ping = Some(pool::ping(&client, path).map(|()| start.elapsed()));
    }
    report
}

/// Reads the status page of the pool, if it is requested.
fn status(address: &Address, options: &Options) -> Option<Result<Pool, Verdict>> {
    let path = options.status.as_ref()?;
    if let Some(address) = &options.status_address {
        // The other half of the time remains for the ping.
        return Some(pool::status(&client(address, options.timeout / 2), path));
    }
    let pool = pool::status(&client(address, options.timeout), path);
    Some(pool.map(Pool::without_own_request))
}

fn client(address: &Address, max: Duration) -> Client {
    let max = Some(max);
    let config = Config::new().deadline(max).connect_timeout(max).read_timeout(max);
    Client::from(address.clone()).config(config.write_timeout(max).max_response(1024 * 1024))
}
