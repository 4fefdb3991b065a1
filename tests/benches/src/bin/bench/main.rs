//! Runs everything in turn and shows what came out: `bench [--rounds N] [--seconds S] [--svg FILE]
//! [--left-out TEXT]…`
//!
//! Each measurement has a server and a load that were started for it, so that none depends on what
//! was before. In each round everybody takes part once in each race, one after the other; a ratio
//! is one to the floor of the same round.

mod chart;
mod race;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use self::race::{Race, Runner};

struct Options {
    rounds: usize,
    seconds: f64,
    svg: Option<PathBuf>,
    /// Who is not there, and why.
    left_out: Vec<String>,
}

fn main() -> ExitCode {
    let options = options(std::env::args().skip(1));
    let runner = Runner::new(options.seconds);
    let mut races = race::all();
    for round in 1..=options.rounds {
        for race in &mut races {
            eprintln!("round {round} of {}: {}", options.rounds, race.title);
            race.run(&runner);
        }
    }
    print!("{}", table::markdown(&races, options.rounds));
    for line in &options.left_out {
        println!("\n**Left out:** {line}");
    }
    let failures: Vec<_> = races.iter().flat_map(Race::failures).collect();
    for failure in &failures {
        println!("\n**Failed:** {failure}");
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, chart::svg(&races)).expect("the picture is written");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Options {
    let mut options = Options { rounds: 15, seconds: 0.15, svg: None, left_out: Vec::new() };
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match &*name {
            "--rounds" => options.rounds = value.parse().expect("a number of rounds"),
            "--seconds" => options.seconds = value.parse().expect("a number of seconds"),
            "--svg" => options.svg = Some(value.into()),
            "--left-out" => options.left_out.push(value),
            _ => panic!("unknown option {name}"),
        }
    }
    options
}
