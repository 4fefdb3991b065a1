//! Proves that `RULES.md` and the tests agree: every rule names a test that exists and cites the
//! rule, and no test cites a rule that does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A row of `RULES.md`.
struct Rule {
    number: String,
    /// The names of its tests, or a sentence that begins with "none: ".
    tests: String,
}

/// The rules that each test cites, by the name of the test.
type Citations = BTreeMap<String, BTreeSet<String>>;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Reads the rows of all tables.
fn read_rules() -> Vec<Rule> {
    let text = fs::read_to_string(directory().join("RULES.md")).expect("RULES.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.filter_map(parse_row).collect()
}

/// Parses a row. Returns `None` for the head of a table.
fn parse_row(line: &str) -> Option<Rule> {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [number, source, requirement, tests] = cells[..] else { panic!("not four cells: {line}") };
    if !is_rule_number(number) {
        assert!(["Rule", "---"].contains(&number), "not the number of a rule: {line}");
        return None;
    }
    assert!(!source.is_empty() && requirement.ends_with('.'), "incomplete: {line}");
    Some(Rule { number: number.to_owned(), tests: tests.to_owned() })
}

/// Returns whether a word is a capital letter and a number, such as `A19`.
fn is_rule_number(word: &str) -> bool {
    let number = word.strip_prefix(|letter: char| letter.is_ascii_uppercase());
    number.is_some_and(|number| {
        !number.is_empty() && number.chars().all(|digit| digit.is_ascii_digit())
    })
}

/// Reads the citations of all tests of a directory and its subdirectories. Skips the packages of
/// their own.
fn read_citations(directory: &Path, names: &[&str], citations: &mut Citations) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("a name in UTF-8");
        if path.is_dir() && !["fuzz", "benches"].contains(&name) {
            read_citations(&path, &[names, &[name]].concat(), citations);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let own: &[&str] = if name == "main" { &[] } else { &[name] };
            parse_citations(&text, &[names, own].concat(), citations);
        }
    }
}

/// Collects the tests of a source file and the rules in their doc comments. Relies on the layout of
/// rustfmt: a module ends with a brace in the column in which it began.
fn parse_citations(text: &str, file: &[&str], citations: &mut Citations) {
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut doc = String::new();
    let mut is_test = false;
    for line in text.lines() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if let Some(comment) = code.strip_prefix("///") {
            doc += comment;
            continue;
        } else if code.starts_with("#[") {
            is_test |= code == "#[test]";
            continue;
        } else if code == "}" {
            modules.retain(|(start, _)| *start != indent);
        } else if let Some(name) =
            code.strip_suffix(" {").and_then(|code| code.strip_prefix("mod "))
        {
            modules.push((indent, name));
        } else if let Some(name) = code.strip_prefix("fn ").filter(|_| is_test) {
            let name = name.split('(').next().unwrap_or_default();
            let modules = modules.iter().map(|(_, name)| *name);
            let path: Vec<_> = file.iter().copied().chain(modules).chain([name]).collect();
            let words = doc.split(|letter: char| !letter.is_ascii_alphanumeric());
            let rules = words.filter(|word| is_rule_number(word)).map(str::to_owned).collect();
            assert!(citations.insert(path.join("::"), rules).is_none(), "{path:?} exists twice");
        }
        doc.clear();
        is_test = false;
    }
}

fn citations() -> Citations {
    let mut citations = Citations::new();
    read_citations(&directory(), &[], &mut citations);
    citations
}

#[test]
fn rule_numbers_are_unique() {
    let mut seen = BTreeSet::new();
    for rule in read_rules() {
        assert!(seen.insert(rule.number.clone()), "rule {} is in RULES.md twice", rule.number);
    }
    assert!(seen.contains("K1") && seen.contains("S12"), "the first and the last rule");
}

#[test]
fn every_rule_names_a_test_that_cites_it() {
    let citations = citations();
    for Rule { number, tests } in read_rules() {
        if tests.starts_with("none: ") {
            let citing = citations.iter().find(|(_, rules)| rules.contains(&number));
            assert!(citing.is_none(), "rule {number} has a test: {citing:?}");
            continue;
        }
        for name in tests.split(", ") {
            let name = name.trim_matches('`');
            let rules = citations.get(name);
            let rules = rules.unwrap_or_else(|| panic!("rule {number}: no test is named {name:?}"));
            assert!(rules.contains(&number), "rule {number}: {name} does not cite it");
        }
    }
}

#[test]
fn every_cited_rule_exists() {
    let known: BTreeSet<_> = read_rules().into_iter().map(|rule| rule.number).collect();
    for (name, rules) in citations() {
        let unknown: Vec<_> = rules.difference(&known).collect();
        assert!(unknown.is_empty(), "{name} cites rules that are not in RULES.md: {unknown:?}");
    }
}
