//! Asks an application what it can do, and how quickly it answers: `probe ADDRESS`.
//!
//! Many applications do not answer such questions; the exit status is then 1, and the reason is on
//! stderr.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fcgi::Client;

/// How many times it is asked for the latency.
const PINGS: u32 = 5;

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: probe ADDRESS");
        return ExitCode::from(64);
    };
    match probe(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn probe(address: &str) -> fcgi::Result<()> {
    let client = Client::new(address)?;
    let values = client.get_values()?;
    let known = |value: Option<usize>| value.map_or("not told".into(), |value| value.to_string());
    println!("FCGI_MAX_CONNS  {}", known(values.max_conns));
    println!("FCGI_MAX_REQS   {}", known(values.max_reqs));
    println!("FCGI_MPXS_CONNS {}", known(values.mpxs_conns.map(usize::from)));
    let mut pings = Vec::new();
    for _ in 0..PINGS {
        let start = Instant::now();
        client.get_values()?;
        pings.push(start.elapsed());
    }
    let mean = pings.iter().sum::<Duration>() / PINGS;
    let best = pings.iter().min().copied().unwrap_or_default();
    println!("answers in {mean:.1?} (best of {PINGS}: {best:.1?}), connection included");
    Ok(())
}
