//! The results as Markdown tables.

use std::fmt::Write;

use super::comparison::{median, sorted, spread, Comparison, Entry, Group};

pub fn markdown(comparisons: &[Comparison], rounds: usize) -> String {
    let mut text = format!(
        "Numbers are ratios to the baseline: the median of {rounds} rounds, with the middle half \
         of the rounds in parentheses. The rate of the baseline is absolute. Unix sockets are used \
         unless a row says otherwise. With one connection, both ends run on one CPU.\n"
    );
    for (group, title) in [
        (Group::Server, "Server"),
        (Group::Client, "Client"),
        (Group::Echo, "Both"),
        (Group::Steps, "Step by step"),
    ] {
        let comparisons: Vec<_> =
            comparisons.iter().filter(|comparison| comparison.group == group).collect();
        let (mut head, mut line) = (format!("\n| {title} |"), String::from("| --- |"));
        for entry in &comparisons[0].entries {
            write!(head, " {} |", entry.name).expect("a string");
            line += " ---: |";
        }
        writeln!(text, "{head}\n{line}").expect("a string");
        for comparison in comparisons {
            write!(text, "| {} |", comparison.title).expect("a string");
            for (at, entry) in comparison.entries.iter().enumerate() {
                let cell =
                    if at == 0 { absolute(comparison, entry) } else { ratio(comparison, entry) };
                write!(text, " {} |", cell.unwrap_or("—".into())).expect("a string");
            }
            text.push('\n');
        }
    }
    text
}

fn ratio(comparison: &Comparison, entry: &Entry) -> Option<String> {
    let ratios = comparison.ratios(entry);
    let (median, (low, high)) = (median(&ratios)?, spread(&ratios)?);
    Some(format!("{median:.2} ({low:.2}–{high:.2})"))
}

/// Returns the median rate of the baseline.
pub fn absolute(comparison: &Comparison, entry: &Entry) -> Option<String> {
    let rate = median(&sorted(entry.rates.iter().copied()))?;
    Some(match comparison.bytes {
        Some(bytes) => format!("{:.1} GB/s", rate * bytes as f64 / 1e9),
        None => format!("{:.0},000/s", rate / 1000.0),
    })
}
