//! Queries the limits of an application with GET_VALUES, and measures its latency.
//!
//! ```sh
//! cargo run --example echo -- 127.0.0.1:9000
//! cargo run --example probe -- 127.0.0.1:9000    # in another shell
//! ```
//!
//! prints
//!
//! ```text
//! FCGI_MAX_CONNS  2048
//! FCGI_MAX_REQS   2048
//! FCGI_MPXS_CONNS 0
//! answers in 83.2µs (best of 5: 71.5µs), connection included
//! ```
//!
//! # Applications that exit
//!
//! Some applications ignore GET_VALUES, although the [FastCGI specification] defines it (section
//! 4.1). Others exit when they receive it, such as those that use Debian's `ruby-fcgi`. Do not send
//! it to an application in production whose library is not known. `fpm` checks php-fpm without it.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fcgi::client::Config;
use fcgi::Client;

use self::support::cli::Program;
use self::support::exit::Exit;
use self::support::stdio::print;

const PROGRAM: Program = Program::new(
    "probe",
    "\
usage: probe ADDRESS [--timeout SECONDS]

Prints the limits of the application at ADDRESS, and the time in which it answers. A value that it
does not report is shown as `unknown`. Many applications do not answer GET_VALUES at all: the exit
status is then 76 or 124.

WARNING: some applications exit when they receive GET_VALUES, such as those that use Debian's
ruby-fcgi. Use `fpm` for php-fpm in production.

Options:
  --timeout SECONDS  limit each query (default: 1, which is the maximum)

Example:
  probe 127.0.0.1:9000
",
);

/// The number of queries whose latency is measured.
const SAMPLES: u32 = 5;

fn main() -> ExitCode {
    PROGRAM.main(|mut args| {
        let mut config = Config::new();
        while let Some(option) = args.next_option()? {
            match &*option {
                "--timeout" => config.deadline = Some(args.seconds()?),
                _ => return Err(args.unknown_option()),
            }
        }
        let client = Client::from(args.required_address()?).config(config);
        args.finish()?;
        probe(&client).map(|()| 0)
    })
}

fn probe(client: &Client) -> Result<(), Exit> {
    let values = client.get_values()?;
    print(&format!("FCGI_MAX_CONNS  {}\n", describe(values.max_conns)))?;
    print(&format!("FCGI_MAX_REQS   {}\n", describe(values.max_reqs)))?;
    print(&format!("FCGI_MPXS_CONNS {}\n", describe(values.mpxs_conns.map(usize::from))))?;
    let latencies = (0..SAMPLES).map(|_| latency(client)).collect::<fcgi::Result<Vec<_>>>()?;
    let mean = latencies.iter().sum::<Duration>() / SAMPLES;
    let best = latencies.iter().min().copied().unwrap_or_default();
    print(&format!(
        "answers in {mean:.1?} (best of {SAMPLES}: {best:.1?}), connection included\n"
    ))?;
    Ok(())
}

fn describe(value: Option<usize>) -> String {
    value.map_or("unknown".into(), |value| value.to_string())
}

/// Measures the time of one GET_VALUES query, on a connection of its own.
fn latency(client: &Client) -> fcgi::Result<Duration> {
    let start = Instant::now();
    client.get_values()?;
    Ok(start.elapsed())
}
