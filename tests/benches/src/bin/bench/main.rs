//! Runs the benchmarks and prints the results: `bench [--rounds N] [--seconds S] [--only TEXT]
//! [--svg FILE] [--omitted TEXT]…`
//!
//! With `--only`, it runs the rows whose title, with that of the table, contains a text.
//!
//! Each measurement starts a server and a client of its own, so that it does not depend on previous
//! measurements. In each round, every program of every comparison is measured once. Ratios are
//! relative to the baseline of the same round.

mod chart;
mod comparison;
mod rows;
mod runner;
mod table;
mod web_server;

use std::path::PathBuf;
use std::process::ExitCode;

use self::comparison::Comparison;
use self::runner::Runner;

struct Options {
    rounds: usize,
    seconds: f64,
    only: Option<String>,
    svg: Option<PathBuf>,
    /// The programs that could not be built, and why.
    omitted: Vec<String>,
}

fn main() -> ExitCode {
    let options = options(std::env::args().skip(1));
    let runner = Runner::new(options.seconds);
    let mut comparisons = rows::all();
    if let Some(text) = &options.only {
        comparisons.retain(|comparison| comparison.full_title().contains(text));
    }
    for round in 1..=options.rounds {
        for comparison in &mut comparisons {
            eprintln!("round {round} of {}: {}", options.rounds, comparison.full_title());
            comparison.run(&runner);
        }
    }
    print!("{}", table::markdown(&comparisons, options.rounds));
    for line in &options.omitted {
        println!("\n**Omitted:** {line}");
    }
    let failures: Vec<_> = comparisons.iter().flat_map(Comparison::failures).collect();
    for failure in &failures {
        println!("\n**Failed:** {failure}");
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, chart::svg(&comparisons)).expect("cannot write the chart");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Options {
    let mut options =
        Options { rounds: 15, seconds: 0.15, only: None, svg: None, omitted: Vec::new() };
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} requires a value"));
        match &*name {
            "--rounds" => options.rounds = value.parse().expect("a number of rounds"),
            "--seconds" => options.seconds = value.parse().expect("a number of seconds"),
            "--only" => options.only = Some(value),
            "--svg" => options.svg = Some(value.into()),
            "--omitted" => options.omitted.push(value),
            _ => panic!("unknown option {name}"),
        }
    }
    options
}
