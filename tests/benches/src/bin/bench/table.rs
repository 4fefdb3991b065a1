//! The outcome as Markdown.

use std::fmt::Write;

use super::race::{median, sorted, spread, Entry, Group, Race};

pub fn markdown(races: &[Race], rounds: usize) -> String {
    let mut text = format!(
        "Ratios to the floor, medians of {rounds} rounds (and where the middle half of them is); the floor in absolute numbers. Unix sockets unless \
         said. One connection: both ends on one CPU.\n"
    );
    for (group, title) in [
        (Group::Server, "Server"),
        (Group::Client, "Client"),
        (Group::Echo, "Both"),
        (Group::Steps, "Step by step"),
    ] {
        let races: Vec<_> = races.iter().filter(|race| race.group == group).collect();
        let (mut head, mut line) = (format!("\n| {title} |"), String::from("| --- |"));
        for entry in &races[0].entries {
            write!(head, " {} |", entry.name).expect("a string");
            line += " ---: |";
        }
        writeln!(text, "{head}\n{line}").expect("a string");
        for race in races {
            write!(text, "| {} |", race.title).expect("a string");
            for (at, entry) in race.entries.iter().enumerate() {
                let cell = if at == 0 { absolute(race, entry) } else { ratio(race, entry) };
                write!(text, " {} |", cell.unwrap_or("—".into())).expect("a string");
            }
            text.push('\n');
        }
    }
    text
}

fn ratio(race: &Race, entry: &Entry) -> Option<String> {
    let ratios = race.ratios(entry);
    let (median, (low, high)) = (median(&ratios)?, spread(&ratios)?);
    Some(format!("{median:.2} ({low:.2}–{high:.2})"))
}

/// The median rate of the floor.
pub fn absolute(race: &Race, entry: &Entry) -> Option<String> {
    let rate = median(&sorted(entry.rates.iter().copied()))?;
    Some(match race.bytes {
        Some(bytes) => format!("{:.1} GB/s", rate * bytes as f64 / 1e9),
        None => format!("{:.0},000/s", rate / 1000.0),
    })
}
