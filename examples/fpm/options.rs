//! The command line of `fpm`.

use std::ffi::OsString;
use std::time::Duration;

use fcgi::net::Address;

use super::support::cli::{to_text, Arguments};
use super::support::exit::Exit;

pub const HELP: &str = "\
usage: fpm ADDRESS [--ping[=PATH]] [--status[=PATH]] [--status-address ADDRESS]
           [--max-active N] [--max-queue N] [--max-slow N] [--timeout SECONDS] [--json]

Checks whether the pool of php-fpm at ADDRESS answers, and prints one line. ADDRESS is HOST:PORT or
the path of a Unix socket.

Options:
  --ping[=PATH]             request PATH, the pool's `ping.path` (default: /ping); this is what the
                            program does without --ping and --status
  --status[=PATH]           request PATH, the pool's `pm.status_path` (default: /status)
  --status-address ADDRESS  request the status from ADDRESS, the pool's `pm.status_listen`, which
                            answers even if all processes are busy; without it, such a pool
                            looks like one that was stopped, and is down
  --max-active N            the pool is busy if more than N processes are active
  --max-queue N             the pool is busy if more than N connections wait for a process
  --max-slow N              the pool is busy if it has had more than N slow requests since its start
  --timeout SECONDS         limit the whole check, connecting included (default: 5)
  --json                    print JSON

Examples:
  fpm 127.0.0.1:9000
  fpm unix:/run/php/php8.2-fpm.sock --ping --status --max-queue 10 --timeout 2
";

pub const EXIT_STATUSES: &str = "\
Exit status:
  0  up: the pool answers
  1  busy: no process is free, or a threshold is exceeded
  2  down: nothing listens, there is no answer in time, or it is incomplete
  3  unknown: invalid arguments, no permission, or the pool has no such page
";

#[derive(Clone)]
pub struct Options {
    /// The path of the ping page, if it is requested.
    pub ping: Option<String>,
    /// The path of the status page, if it is requested.
    pub status: Option<String>,
    pub status_address: Option<Address>,
    pub max_active: Option<u64>,
    pub max_queue: Option<u64>,
    pub max_slow: Option<u64>,
    /// The limit for the whole check.
    pub timeout: Duration,
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ping: None,
            status: None,
            status_address: None,
            max_active: None,
            max_queue: None,
            max_slow: None,
            timeout: Duration::from_secs(5),
            json: false,
        }
    }
}

impl Options {
    /// Returns the address of the pool and the options.
    pub fn parse(mut args: Arguments) -> Result<(Address, Self), Exit> {
        let mut options = Self::default();
        while let Some(option) = args.next_option()? {
            options.set(&option, &mut args)?;
        }
        let address = args.required_address()?;
        args.finish()?;
        Ok((address, options.complete()))
    }

    fn set(&mut self, option: &str, args: &mut Arguments) -> Result<(), Exit> {
        match option {
            "--ping" => self.ping = Some(path(args.optional_value(), "/ping")?),
            "--status" => self.status = Some(path(args.optional_value(), "/status")?),
            "--status-address" => self.status_address = Some(args.address()?),
            "--max-active" => self.max_active = Some(args.number("a number of processes")?),
            "--max-queue" => self.max_queue = Some(args.number("a number of connections")?),
            "--max-slow" => self.max_slow = Some(args.number("a number of requests")?),
            "--timeout" => self.timeout = args.seconds()?,
            "--json" => self.json = true,
            _ => return Err(args.unknown_option()),
        }
        Ok(())
    }

    /// Selects the pages that the other options need.
    fn complete(mut self) -> Self {
        let has_threshold = self.max_active.or(self.max_queue).or(self.max_slow).is_some();
        if has_threshold || self.status_address.is_some() {
            self.status.get_or_insert_with(|| "/status".into());
        }
        if self.status.is_none() || self.status_address.is_some() {
            self.ping.get_or_insert_with(|| "/ping".into());
        }
        self
    }
}

fn path(value: Option<OsString>, default: &str) -> Result<String, Exit> {
    value.map_or(Ok(default.into()), to_text)
}
