//! Measures what web servers and applications do in the cases of the matrix, and compares that with
//! the tables of `README.md`, section "Tested with".
//!
//! The tests print each table, and fail if the README has another one. A cell is `ok`, or a word
//! with a footnote that says why. The other tables name tests.

mod applications;
pub mod backend;
mod cases;
mod servers;

use std::fs;
use std::iter;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use self::cases::{Site, CASES};
use crate::process::command;

const README: &str = include_str!("../../README.md");

/// The cases in which the moment decides at which a process ends. Where the table has a footnote,
/// it names the worst that was measured, so any other result is accepted.
const RACES: [&str; 2] = ["restart", "kill"];
/// A case whose result is not that of the table is measured as often as this. On a busy machine, an
/// event may be noticed too late.
const ATTEMPTS: usize = 3;

/// The first two cells of a row.
struct Row<'a> {
    name: &'a str,
    version: String,
}

/// The number of rows that are measured at a time. Most of the time is spent in waiting.
const THREADS: usize = 3;

/// Measures a table, and compares it with the README.
#[track_caller]
fn check_table(rows: &[fn() -> String]) {
    let next = AtomicUsize::new(0);
    let mut measured: Vec<(usize, String)> = thread::scope(|scope| {
        let measure = || {
            let indexes = iter::repeat_with(|| next.fetch_add(1, SeqCst));
            let indexes = indexes.take_while(|index| *index < rows.len());
            indexes.map(|index| (index, rows[index]())).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(measure)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("rows")).collect()
    });
    measured.sort();
    let header = format!("| | Version | {} |\n", CASES.map(|(name, _)| name).join(" | "));
    let rows: String = measured.into_iter().map(|(_, row)| row).collect();
    let table = format!("{header}| --- | --- |{}\n{rows}\n", " --- |".repeat(CASES.len()));
    println!("{table}");
    assert!(README.contains(&table), "the README should contain:\n{table}");
}

#[test]
#[ignore = "needs every web server, run by .ci/run"]
fn readme_shows_what_web_servers_do_with_echo() {
    check_table(servers::ROWS);
}

#[test]
#[ignore = "needs applications with other libraries, run by .ci/run"]
fn readme_shows_what_applications_do_behind_the_gateway() {
    check_table(applications::ROWS);
}

/// Measures a row of a table.
fn measure_row(row: &Row<'_>, mut site: Site) -> String {
    let cells = CASES.map(|(case, check)| {
        let expected = readme_word(row.name, case);
        let mut word = String::new();
        for _ in 0..ATTEMPTS {
            word = check(&mut site).err().unwrap_or("ok".to_owned());
            println!("{}, {case}: {word}", row.name);
            if is_as_expected(case, &word, expected) {
                return cell(expected);
            }
        }
        cell(&word)
    });
    format!("| {} | {} | {} |\n", row.name, row.version, cells.join(" | "))
}

/// Returns whether the table may have the word `expected` where `word` was measured.
fn is_as_expected(case: &str, word: &str, expected: &str) -> bool {
    word == expected || (RACES.contains(&case) && expected != "ok")
}

/// Returns the text of a cell.
fn cell(word: &str) -> String {
    match word {
        "ok" => "ok".into(),
        word => format!("{word}[^{}]", word.replace(' ', "-")),
    }
}

/// Returns the word in a cell of the README, or an empty string if it has no such row.
fn readme_word(name: &str, case: &str) -> &'static str {
    let column = CASES.iter().position(|(name, _)| *name == case).expect("a case") + 2;
    let row = rows().into_iter().find(|row| row[0] == name);
    row.map_or("", |row| row[column].split("[^").next().expect("a word"))
}

/// Returns the first two numbers of the version of a Debian package. Those that follow change with
/// security updates. A package whose releases are dates has the version `0.0.DATE`, and this
/// returns the date.
#[track_caller]
fn package_version(package: &str) -> String {
    if package.is_empty() {
        return String::new();
    }
    let mut query = command("dpkg-query");
    let output = query.args(["--show", "--showformat", "${Version}", package]).output();
    let version = String::from_utf8(output.expect("dpkg-query").stdout).expect("text");
    let version = version.split_once(':').map_or(&*version, |(_epoch, version)| version);
    if let Some(date) = version.strip_prefix("0.0.") {
        return date.chars().take_while(char::is_ascii_digit).collect();
    }
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

#[test]
fn every_cell_that_is_not_ok_has_a_footnote() {
    for row in rows() {
        assert_eq!(row.len(), CASES.len() + 2, "{row:?}");
        for cell in row[2..].iter().filter(|cell| **cell != "ok") {
            let (_word, note) = cell.split_once("[^").expect(cell);
            let definition = format!("\n[^{note}: ");
            assert!(README.contains(&definition), "{cell} has no footnote");
        }
    }
}

/// Returns the cells of the table of web applications: name, version and test.
fn web_applications() -> Vec<Vec<&'static str>> {
    let start = README.find("| Web application | Version | Test |").expect("the table");
    let lines = README[start..].lines().skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Returns the text of every source below a directory.
fn read_sources(directory: &Path) -> String {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let texts = entries.map(|entry| match entry.path() {
        path if path.is_dir() && !path.ends_with("target") => read_sources(&path),
        path if path.extension().is_some_and(|extension| extension == "rs") => {
            fs::read_to_string(path).expect("a source")
        }
        _ => String::new(),
    });
    texts.collect()
}

#[test]
fn tests_that_the_readme_names_exist() {
    let sources = read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let start = README.find("| Web application |").expect("the tables of tests");
    let rows = README[start..].lines().take_while(|line| !line.starts_with("The guide"));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let names: Vec<_> = words.filter(|word| word.contains('_')).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}()")), "no test {name}");
    }
}

/// The web applications of the README, and the Debian packages that contain them.
const PACKAGES: [(&str, &str); 8] = [
    ("WordPress", "wordpress"),
    ("DokuWiki", "dokuwiki"),
    ("phpMyAdmin", "phpmyadmin"),
    ("Adminer", "adminer"),
    ("gitweb", "gitweb"),
    ("cgit", "cgit"),
    ("git-http-backend", "git"),
    ("MapServer", "cgi-mapserver"),
];

#[test]
#[ignore = "needs the packages that .ci/run installs"]
fn versions_of_web_applications_are_those_of_the_readme() {
    let applications = web_applications();
    assert_eq!(applications.len(), PACKAGES.len());
    for (cells, (name, package)) in applications.iter().zip(PACKAGES) {
        assert_eq!((cells[0], cells[1]), (name, &*package_version(package)));
    }
}
