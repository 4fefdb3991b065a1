//! Sends requests from several threads, and prints how many are answered, and how quickly:
//! `load ADDRESS [THREADS [SECONDS]]`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use fcgi::client::{Client, Config};
use fcgi::Params;

fn main() -> Result<(), Box<dyn Error>> {
    let args = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    let args: Vec<_> = args.collect();
    let address = args.first().ok_or("usage: load ADDRESS [THREADS [SECONDS]]")?;
    let threads: usize = args.get(1).map_or(Ok(8), |text| text.parse())?;
    let seconds = args.get(2).map_or(Ok(5.0), |text| text.parse())?;
    let time = Duration::try_from_secs_f64(seconds)?;
    let client = Client::new(address)?.config(Config::new().keep_alive(true).max_idle(threads));
    let params = Params::from_pairs([("REQUEST_METHOD", "GET"), ("QUERY_STRING", "bytes=100")])?;

    let start = Instant::now();
    let end = start + time;
    let (mut times, mut errors) = (Vec::new(), BTreeMap::<_, usize>::new());
    thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| run(&client, &params, end));
        for thread in (0..threads).map(spawn).collect::<Vec<_>>() {
            for outcome in thread.join().expect("a thread") {
                match outcome {
                    Ok(time) => times.push(time),
                    Err(error) => *errors.entry(error).or_default() += 1,
                }
            }
        }
    });

    times.sort_unstable();
    let rate = times.len() as u64 * 1000 / start.elapsed().as_millis().max(1) as u64;
    println!("{} responses, {rate} per second", times.len());
    for percent in [50, 90, 99, 100] {
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        println!("{percent} % within {:.1?}", times.get(index).unwrap_or(&Duration::ZERO));
    }
    for (error, count) in errors {
        println!("{count} times: {error}");
    }
    Ok(())
}

/// Sends requests one after another until `end`, at least one. Returns the time or the error of
/// each, including the last one, which ends after `end`.
fn run(client: &Client, params: &Params, end: Instant) -> Vec<Result<Duration, String>> {
    let request = || {
        let start = Instant::now();
        match client.fetch(params, b"").and_then(|reply| reply.status()) {
            Ok(200) => Ok(start.elapsed()),
            Ok(status) => Err(format!("HTTP status {status}")),
            Err(error) => Err(error.to_string()),
        }
    };
    let mut outcomes = vec![request()];
    while Instant::now() < end {
        outcomes.push(request());
    }
    outcomes
}
