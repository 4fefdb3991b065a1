//! The results as Markdown tables.

use std::fmt::Write;

use super::comparison::{median, sorted, spread, Comparison, Entry};
use super::rows::{Group, Unit};

pub fn markdown(comparisons: &[Comparison], rounds: usize) -> String {
    let mut text = format!(
        "Numbers are ratios to the baseline: the median of {rounds} rounds, with the middle half \
         of the rounds in parentheses. The rate of the baseline is absolute. Unix sockets are used \
         unless a row says otherwise. With one connection, and behind a web server, all processes \
         run on one CPU. Less is better in the rows of times and of memory.\n"
    );
    for group in Group::ALL {
        let comparisons: Vec<_> =
            comparisons.iter().filter(|comparison| comparison.group == group).collect();
        let Some(first) = comparisons.first() else { continue };
        let (mut head, mut line) = (format!("\n| {} |", group.title()), String::from("| --- |"));
        for entry in &first.entries {
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

/// Returns the median result of the baseline.
pub fn absolute(comparison: &Comparison, entry: &Entry) -> Option<String> {
    let result = median(&sorted(entry.results.iter().copied()))?;
    Some(match comparison.unit {
        Unit::Bytes(bytes) => format!("{:.1} GB/s", result * bytes as f64 / 1e9),
        Unit::Requests if result < 10_000.0 => format!("{result:.0}/s"),
        Unit::Requests => format!("{:.0},000/s", result / 1000.0),
        Unit::Percentile => format!("{:.1} ms", result / 1000.0),
        Unit::Memory => format!("{:.1} KiB", result / 1024.0),
    })
}
