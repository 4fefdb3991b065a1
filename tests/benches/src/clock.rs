//! Measures how many requests are answered per second, or how long they take.

use std::panic::{catch_unwind, AssertUnwindSafe};
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
    print(run(request, &Barrier::new(1)).rate());
}

/// Measures several threads at once and prints the sum of their rates. `start` is called in each
/// thread, and returns the function to call repeatedly.
pub fn measure_all<F: FnMut()>(threads: usize, start: impl Fn() -> F + Sync) {
    print(run_all(threads, |ready| run(start(), ready).rate()).iter().sum());
}

/// Measures several threads at once, likewise, and prints the 99th percentile of the durations of
/// all calls, in microseconds.
pub fn measure_p99<F: FnMut()>(threads: usize, start: impl Fn() -> F + Sync) {
    let durations = run_all(threads, |ready| {
        let (mut request, mut durations) = (start(), Vec::new());
        let timed = || {
            let start = Instant::now();
            request();
            durations.push(start.elapsed());
        };
        let done = run(timed, ready).done as usize;
        // The first ones are the warm-up.
        durations.split_off(durations.len() - done)
    });
    let mut durations = durations.concat();
    let index = durations.len() * 99 / 100;
    let (_, p99, _) = durations.select_nth_unstable(index);
    print(p99.as_secs_f64() * 1e6);
}

/// Calls `run` in several threads with a barrier for all of them. Returns the results.
fn run_all<T: Send>(threads: usize, run: impl Fn(&Barrier) -> T + Sync) -> Vec<T> {
    let ready = &Barrier::new(threads);
    // Without the exit, the other threads would wait for one that has panicked.
    let run = &|| {
        catch_unwind(AssertUnwindSafe(|| run(ready))).unwrap_or_else(|_| std::process::exit(101))
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().expect("a thread of requests")).collect()
    })
}

/// The calls of one thread, without the warm-up.
struct Run {
    done: u64,
    time: Duration,
}

impl Run {
    fn rate(&self) -> f64 {
        self.done as f64 / self.time.as_secs_f64()
    }
}

fn run(mut request: impl FnMut(), ready: &Barrier) -> Run {
    let seconds = from_environment(SECONDS).unwrap_or(1.0);
    let count = from_environment(COUNT).map_or(u64::MAX, |count| count as u64);
    if count == u64::MAX {
        repeat(&mut request, Duration::from_secs_f64(seconds * WARM_UP), count);
    }
    ready.wait();
    let start = Instant::now();
    let done = repeat(&mut request, Duration::from_secs_f64(seconds), count);
    Run { done, time: start.elapsed() }
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
fn print(result: f64) {
    println!("{result}");
}
