//! Measures what web servers and applications do in the cases of the matrix, and compares that with
//! the tables of `README.md`, section "Tested with".
//!
//! Each test measures one row, prints it, and fails if the table has another one. A cell is `ok`, or
//! a word with a footnote that says why.

mod applications;
mod backend;
mod cases;
mod servers;

use std::collections::BTreeSet;

use self::cases::{Site, CASES};
use crate::process::command;

const README: &str = include_str!("../../README.md");

/// The first two cells of a row.
struct Row<'a> {
    name: &'a str,
    version: String,
}

/// Measures a row, and compares it with the table.
#[track_caller]
fn check_row(row: Row<'_>, mut site: Site) {
    let cells = CASES.map(|(name, check)| {
        let cell = check(&mut site).err();
        println!("{}, {name}: {}", row.name, cell.as_deref().unwrap_or("ok"));
        cell.map_or("ok".to_owned(), |word| format!("{word}[^{}]", word.replace(' ', "-")))
    });
    let line = format!("| {} | {} | {} |", row.name, row.version, cells.join(" | "));
    println!("{line}");
    let logs = format!("{}\n{}", site.web_server.log(), site.backend.log());
    assert!(README.contains(&format!("{line}\n")), "the README should contain:\n{line}\n{logs}");
}

/// Returns the first two numbers of the version of a Debian package. Those that follow change with
/// security updates.
#[track_caller]
fn package_version(package: &str) -> String {
    if package.is_empty() {
        return String::new();
    }
    let mut query = command("dpkg-query");
    let output = query.args(["--show", "--showformat", "${Version}", package]).output();
    let version = String::from_utf8(output.expect("dpkg-query").stdout).expect("text");
    let version = version.split_once(':').map_or(&*version, |(_epoch, version)| version);
    let numbers = version.split(|c: char| !c.is_ascii_digit()).take(2).collect::<Vec<_>>();
    assert!(numbers.len() == 2, "{package} is not installed; .ci/run installs it");
    numbers.join(".")
}

/// Returns the rows of the tables.
fn rows() -> Vec<Vec<&'static str>> {
    let header = format!(" | {} |", CASES.map(|(name, _)| name).join(" | "));
    let mut rows = Vec::new();
    for (start, _) in README.match_indices(&header) {
        let lines = README[start..].lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.extend(lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()));
    }
    rows
}

/// Each row has a test that would fail if it differed, because there are as many tests as rows.
#[test]
fn every_row_of_the_readme_has_a_test() {
    let sources = [include_str!("matrix/servers.rs"), include_str!("matrix/applications.rs")];
    let tests: usize = sources.iter().map(|source| source.matches("#[test]").count()).sum();
    let rows = rows();
    let names: BTreeSet<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!((rows.len(), names.len()), (tests, tests));
    for name in names {
        let quoted = format!("\"{name}\"");
        assert!(sources.iter().any(|source| source.contains(&quoted)), "no test measures {name}");
    }
}

#[test]
fn every_cell_that_is_not_ok_has_a_footnote() {
    for row in rows() {
        assert_eq!(row.len(), CASES.len() + 2, "{row:?}");
        for cell in row[2..].iter().filter(|cell| **cell != "ok") {
            let (_word, note) = cell.split_once("[^").expect(cell);
            let definition = format!("\n[^{}: ", note);
            assert!(README.contains(&definition), "{cell} has no footnote");
        }
    }
}
