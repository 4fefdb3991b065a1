//! Queries the limits of an application and measures its latency: `probe ADDRESS`.
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
//! A value that the application does not report is shown as `unknown`. Many applications do not
//! answer GET_VALUES at all. The reason is then printed to stderr, and the exit status is 1. The
//! exit status is 64 for invalid arguments. If the reader of stdout closes it, this is not an
//! error.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fcgi::Client;

/// The number of queries whose latency is measured.
const SAMPLES: u32 = 5;

fn main() -> ExitCode {
    let address = match std::env::args_os().nth(1).map(OsString::into_string) {
        Some(Ok(address)) => address,
        Some(Err(address)) => return usage(&format!("{address:?} is not UTF-8")),
        None => return usage("ADDRESS is missing"),
    };
    match probe(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints how to call the program, and returns its exit status.
fn usage(reason: &str) -> ExitCode {
    eprintln!("probe: {reason}\nusage: probe ADDRESS");
    ExitCode::from(64)
}

fn probe(address: &str) -> fcgi::Result<()> {
    let client = Client::new(address)?;
    let values = client.get_values()?;
    print(&format!("FCGI_MAX_CONNS  {}", describe(values.max_conns)))?;
    print(&format!("FCGI_MAX_REQS   {}", describe(values.max_reqs)))?;
    print(&format!("FCGI_MPXS_CONNS {}", describe(values.mpxs_conns.map(usize::from))))?;
    let latencies = (0..SAMPLES).map(|_| latency(&client)).collect::<fcgi::Result<Vec<_>>>()?;
    let mean = latencies.iter().sum::<Duration>() / SAMPLES;
    let best = latencies.iter().min().copied().unwrap_or_default();
    print(&format!("answers in {mean:.1?} (best of {SAMPLES}: {best:.1?}), connection included"))?;
    Ok(())
}

/// Prints a line, unless the reader of stdout has closed it.
fn print(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
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
