//! Measures how many requests are answered per second.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The environment variable with the duration of a measurement, in seconds. All clients read it.
pub const SECONDS: &str = "BENCH_SECONDS";
/// The environment variable with the number of requests after which a measurement ends early.
pub const COUNT: &str = "BENCH_COUNT";

/// The duration of the warm-up, as a part of the duration of the measurement.
const WARM_UP: f64 = 0.15;
/// The number of requests between two readings of the clock.
const BATCH: u64 = 8;

/// Calls `request` repeatedly, for the duration or the count in the environment. Prints the rate
/// per second.
pub fn measure(request: impl FnMut()) {
    print(run(request, &Barrier::new(1)));
}

/// Measures several threads at once and prints the sum of their rates. `start` is called in each
/// thread, and returns the function to call repeatedly.
pub fn measure_all<F: FnMut()>(threads: usize, start: impl Fn() -> F + Sync) {
    let (ready, start) = (&Barrier::new(threads), &start);
    let rates = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(move || run(start(), ready))).collect();
        runs.into_iter().map(|run| run.join().expect("a thread of requests")).sum()
    });
    print(rates);
}

fn run(mut request: impl FnMut(), ready: &Barrier) -> f64 {
    let seconds = from_environment(SECONDS).unwrap_or(1.0);
    let count = from_environment(COUNT).map_or(u64::MAX, |count| count as u64);
    if count == u64::MAX {
        repeat(&mut request, Duration::from_secs_f64(seconds * WARM_UP), count);
    }
    ready.wait();
    let start = Instant::now();
    let done = repeat(&mut request, Duration::from_secs_f64(seconds), count);
    done as f64 / start.elapsed().as_secs_f64()
}

fn repeat(request: &mut impl FnMut(), time: Duration, count: u64) -> u64 {
    let (start, mut done) = (Instant::now(), 0);
    while done < count && start.elapsed() < time {
        for _ in 0..BATCH.min(count - done) {
            request();
            done += 1;
        }
    }
    done
}

fn from_environment(name: &str) -> Option<f64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number in the environment"))
}

/// Prints the only line of a client's output.
fn print(rate: f64) {
    println!("{rate}");
}
