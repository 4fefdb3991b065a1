//! Runs something again and again for a bounded time.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long a measurement takes. In the environment, because every client has it, those of others
/// too.
pub const SECONDS: &str = "BENCH_SECONDS";
/// How many requests a measurement has at the most; then it ends.
pub const COUNT: &str = "BENCH_COUNT";

/// Before a measurement the same is done for this part of its time.
const WARM_UP: f64 = 0.15;
/// Between two looks at the clock.
const BATCH: u64 = 8;

/// Runs `request` for the time and the count that the environment gives, and prints how many times
/// it ran in a second.
pub fn measure(request: impl FnMut()) {
    print(run(request, &Barrier::new(1)));
}

/// The same in several threads, each with what `start` makes in it; prints the sum of all.
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

/// The one line that a client says.
fn print(rate: f64) {
    println!("{rate}");
}
