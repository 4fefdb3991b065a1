//! Proves that the source code keeps the structure that `.github/CONTRIBUTING.md` describes:
//! imports run down the layers, files and functions are short, and the words that the style rules
//! out do not occur.
//!
//! `cargo test --test structure -- --nocapture` also prints the sizes. The code is read as text, in
//! the layout of rustfmt.

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use source::{is_word_char, read, read_rust, root, Function, Imports, Source};

/// The layers of `src`, from top to bottom. A file imports only from layers below its own and from
/// its own module. Modules of one layer do not import each other.
const LAYERS: [&[&str]; 10] = [
    &["lib"],
    &["bridge"],
    &["server", "client"],
    &["net"],
    &["cgi"],
    &["stream"],
    &["params"],
    &["record"],
    &["error"],
    &["protocol", "vectored", "deployment", "guide"],
];
/// A module that imports less than its layer allows, and all that it imports.
const TRANSPORT: (&str, &str) = ("net", "error");

const MAX_FILE: usize = 400;
const MAX_FUNCTION: usize = 40;
const MAX_MEDIAN: usize = 6;
const MAX_COLUMNS: usize = 100;

/// Texts that the style rules out, in lower case. A `|` is the beginning or the end of a word.
const FORBIDDEN: [&str; 12] = [
    "whoever",
    ", be it ",
    "for ever|",
    "of no use|",
    "of no more use|",
    "|in vain|",
    "|deaf",
    "patient",
    "patience",
    "what was said",
    "who wants to",
    "sees to it",
];
/// Lines that may contain such a text because they quote it: the file, and a part of the line.
const QUOTATIONS: [(&str, &str); 0] = [];

// The checks. Each returns its violations, one message each.

fn upward_imports(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        for (file, line) in source.imports(sources) {
            let target = sources.iter().find(|other| other.path == file).map_or("", Source::layer);
            if !may_import(source.layer(), target) {
                violations.push(format!(
                    "{}:{line}: `{}` must not import {file}",
                    source.path,
                    source.layer()
                ));
            }
        }
    }
    violations
}

fn may_import(layer: &str, target: &str) -> bool {
    let row = |name| LAYERS.iter().position(|row| row.contains(&name));
    let (Some(own), Some(other)) = (row(layer), row(target)) else { return false };
    layer == target || own < other && (layer != TRANSPORT.0 || target == TRANSPORT.1)
}

/// Finds files of one module that import each other, directly or through others.
fn circles(sources: &[Source]) -> Vec<String> {
    let layers: BTreeMap<_, _> =
        sources.iter().map(|source| (&*source.path, source.layer())).collect();
    let imports = sources.iter().map(|source| {
        let mut imports = source.imports(sources);
        imports.retain(|file, _| layers[file] == source.layer());
        (&*source.path, imports)
    });
    let imports = imports.collect();
    let pairs = mutual_imports(&imports);
    if pairs.is_empty() {
        longer_circles(&imports)
    } else {
        pairs
    }
}

fn mutual_imports(imports: &BTreeMap<&str, Imports<'_>>) -> Vec<String> {
    let mut pairs = Vec::new();
    for (file, own) in imports {
        for (other, line) in own.iter().filter(|(other, _)| *other > file) {
            if let Some(back) = imports[other].get(file) {
                pairs.push(format!("{file}:{line} and {other}:{back} import each other"));
            }
        }
    }
    pairs
}

fn longer_circles(imports: &BTreeMap<&str, Imports<'_>>) -> Vec<String> {
    let (mut done, mut violations) = (BTreeSet::new(), Vec::new());
    for file in imports.keys() {
        follow(file, imports, &mut Vec::new(), &mut done, &mut violations);
    }
    violations
}

/// Follows the imports of a file, and reports those that lead back to a file of `path`.
fn follow<'a>(
    file: &'a str,
    imports: &BTreeMap<&'a str, Imports<'a>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    violations: &mut Vec<String>,
) {
    path.push(file);
    for &target in imports[file].keys() {
        if let Some(start) = path.iter().position(|file| *file == target) {
            let steps = path[start..].iter().zip(path[start + 1..].iter().chain([&target]));
            let steps =
                steps.map(|(from, to)| format!("{from}:{} imports {to}", imports[from][to]));
            violations.push(steps.collect::<Vec<_>>().join(", and "));
        } else if !done.contains(target) {
            follow(target, imports, path, done, violations);
        }
    }
    path.pop();
    done.insert(file);
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.code_len() > MAX_FILE);
    long.map(|file| format!("{}: {} lines of code", file.path, file.code_len())).collect()
}

/// Returns the functions of all files, the shortest first.
fn functions_by_len(sources: &[Source]) -> Vec<Function<'_>> {
    let mut functions: Vec<_> = sources.iter().flat_map(Source::functions).collect();
    functions.sort_by_key(|function| function.len);
    functions
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let functions = functions_by_len(sources);
    let describe = |Function { file, line, name, len }: &Function<'_>| {
        format!("{file}:{line}: function `{name}` has {len} lines")
    };
    let long = functions.iter().filter(|function| function.len > MAX_FUNCTION);
    let mut violations: Vec<_> = long.map(describe).collect();
    let median = functions.get(functions.len() / 2).filter(|median| median.len > MAX_MEDIAN);
    violations.extend(median.map(|median| format!("the median: {}", describe(median))));
    violations
}

fn long_lines(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let lens = source.lines().map(|(number, line)| (number, line.chars().count()));
        let long = lens.filter(|(_, len)| *len > MAX_COLUMNS);
        violations.extend(long.map(|(line, len)| format!("{}:{line}: {len} columns", source.path)));
    }
    violations
}

fn forbidden_words(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        for (number, line) in source.lines() {
            let is_quotation =
                QUOTATIONS.iter().any(|(path, part)| *path == source.path && line.contains(part));
            let found = FORBIDDEN.iter().find(|text| contains_text(line, text));
            if let Some(text) = found.filter(|_| !is_quotation) {
                let text = text.replace('|', "");
                violations.push(format!("{}:{number}: {text:?} in {line:?}", source.path));
            }
        }
    }
    violations
}

/// Returns whether a line contains a text of [`FORBIDDEN`].
fn contains_text(line: &str, text: &str) -> bool {
    let line = line.to_lowercase();
    let wanted = text.trim_matches('|');
    line.match_indices(wanted).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + wanted.len()..]);
        !(text.starts_with('|') && before.ends_with(is_word_char)
            || text.ends_with('|') && after.starts_with(is_word_char))
    })
}

/// Compares the files of `src` with the map in `CONTRIBUTING.md`, where each is in a table row that
/// begins with its path, after the files that it imports.
fn errors_of_map(sources: &[Source], map: &str) -> Vec<String> {
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `src/")?.split('`').next());
    let rows: Vec<_> = rows.map(|path| format!("src/{path}")).collect();
    let position = |path: &str| rows.iter().position(|row| row == path);
    let mut violations = Vec::new();
    for row in &rows {
        if sources.iter().all(|source| source.path != *row) {
            violations.push(format!("the map lists {row}, which does not exist"));
        }
    }
    for source in sources {
        let Some(own) = position(&source.path) else {
            violations.push(format!("the map does not list {}", source.path));
            continue;
        };
        let later =
            source.imports(sources).into_iter().filter(|(file, _)| position(file) > Some(own));
        violations.extend(later.map(|(file, line)| {
            format!("{}:{line} imports {file}, which the map lists later", source.path)
        }));
    }
    violations
}

/// Finds the variants of an enum to which a text has no link.
fn missing_variants(source: &str, name: &str, text: &str) -> Vec<String> {
    let body = source.split(&format!("pub enum {name} {{\n")).nth(1).unwrap_or_default();
    let lines = body.lines().take_while(|line| *line != "}");
    let variants = lines.filter_map(|line| {
        let variant = line.strip_prefix("    ")?;
        let end = variant.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(variant.len());
        Some(&variant[..end]).filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    let missing = variants.filter(|variant| !text.contains(&format!("::{name}::{variant})")));
    missing.map(|variant| format!("{name}::{variant} is missing")).collect()
}

#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn imports_run_down_the_layers() {
    assert_none(&upward_imports(&read_rust(&["src"])));
}

#[test]
fn no_files_import_each_other() {
    assert_none(&circles(&read_rust(&["src"])));
}

#[test]
fn files_have_at_most_400_lines_of_code() {
    let sources = read_rust(&["src"]);
    println!("lines of code in src: {}", sources.iter().map(Source::code_len).sum::<usize>());
    let longest = sources.iter().max_by_key(|source| source.code_len()).expect("a file");
    println!("longest file: {}, {} lines", longest.path, longest.code_len());
    assert_none(&long_files(&sources));
}

#[test]
fn functions_have_at_most_40_lines_and_a_median_of_6() {
    let sources = read_rust(&["src"]);
    let functions = functions_by_len(&sources);
    let (median, longest) = (&functions[functions.len() / 2], functions.last().expect("functions"));
    println!("{} functions, median {} lines", functions.len(), median.len);
    println!("longest: {} in {}, {} lines", longest.name, longest.file, longest.len);
    assert_none(&long_functions(&sources));
}

#[test]
fn lines_have_at_most_100_columns() {
    assert_none(&long_lines(&read_rust(&["src", "examples", "tests"])));
}

#[test]
fn forbidden_words_occur_only_in_quotations() {
    let sources = read(&["src", "examples", "README.md"]);
    for (path, part) in QUOTATIONS {
        let is_used = sources.iter().any(|file| file.path == path && file.text.contains(part));
        assert!(is_used, "the quotation {part:?} is no longer in {path}");
    }
    assert_none(&forbidden_words(&sources));
}

#[test]
fn map_lists_every_file_after_those_that_it_imports() {
    let directory = root().join(".github");
    // The published package has no such directory.
    if directory.exists() {
        let map = fs::read_to_string(directory.join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
        assert_none(&errors_of_map(&read_rust(&["src"]), &map));
    }
}

#[test]
fn troubleshooting_guide_explains_every_error() {
    let read = |path| fs::read_to_string(root().join(path)).expect(path);
    let (source, guide) = (read("src/error.rs"), read("src/guide/troubleshooting.md"));
    assert_none(&missing_variants(&source, "Error", &guide));
}

// The checks themselves, with sources that violate them.

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, (*text).to_owned())).collect()
}

#[test]
fn upward_import_is_found_in_every_form() {
    let files = |path, text| {
        sources(&[
            ("src/lib.rs", "mod client;\nmod error;\nmod net;\nmod record;\nmod server;"),
            ("src/client.rs", ""),
            ("src/error.rs", ""),
            ("src/net.rs", ""),
            ("src/record.rs", ""),
            ("src/server.rs", "mod pool;"),
            (path, text),
        ])
    };
    for (path, text, target) in [
        ("src/error/kind.rs", "\nuse crate::record::Header;", Some("record.rs")),
        ("src/error/kind.rs", "\nuse super::super::{net::Stream};", Some("net.rs")),
        ("src/error/kind.rs", "\nfn f() { crate::Error::Io }", Some("lib.rs")),
        (
            "src/net/stream.rs",
            "\nuse crate::{error::Error, record::{self, Header}};",
            Some("record.rs"),
        ),
        ("src/net/stream.rs", "// crate::server\nuse crate::error::Error; // crate::server", None),
        ("src/net/stream.rs", "\nconst PATH: &str = \"crate::server\";", None),
        ("src/net/stream.rs", "\n#[cfg(test)]\nmod tests {\n    use crate::server;\n}", None),
        ("src/server/pool.rs", "\nuse crate::client::Client;", Some("client.rs")),
        ("src/server/pool.rs", "\nuse crate::record::Header;", None),
        ("src/other.rs", "\nuse crate::error::Error;", Some("error.rs")),
    ] {
        let violations = upward_imports(&files(path, text));
        let layer = path.split(['/', '.']).nth(1).unwrap();
        let expected = target.map(|file| format!("{path}:2: `{layer}` must not import src/{file}"));
        assert_eq!(violations, Vec::from_iter(expected), "{text}");
    }
}

#[test]
fn circle_of_imports_is_found() {
    let [ab, back] = ["use super::b::B;", "\nuse crate::net::a::A;"];
    for (a, b, c, expected) in [
        (ab, "", "use super::{a::A, b::B};", ""),
        (ab, back, "", "src/net/a.rs:1 and src/net/b.rs:2 import each other"),
        ("", "", "use super::A;", "src/net.rs:3 and src/net/c.rs:1 import each other"),
        (
            ab,
            "use super::{c::C};",
            "fn f() { super::a::A }",
            "src/net/a.rs:1 imports src/net/b.rs, and src/net/b.rs:1 imports src/net/c.rs, \
             and src/net/c.rs:1 imports src/net/a.rs",
        ),
    ] {
        let files = [
            ("src/lib.rs", "mod net;"),
            ("src/net.rs", "mod a;\nmod b;\nmod c;\npub use self::a::A;"),
            ("src/net/a.rs", a),
            ("src/net/b.rs", b),
            ("src/net/c.rs", c),
        ];
        assert_eq!(circles(&sources(&files)).join("\n"), expected);
    }
}

#[test]
fn code_is_counted_without_comments_and_unit_tests() {
    let text = r##"//! Docs.

/* fn a() {
/* } */ */
fn f<'a>(c: &'a str, x: [u8; 2]) -> char {
    // fn b() {}
    let s = "} fn c() { \" //";
    let r = br#"}" fn d() {"#;

    ['{', '\'', '}'][1]
}
trait T {
    fn e();
}
#[cfg(test)]
mod tests {
    fn g() {}
}
fn h() {}
"##;
    let files = sources(&[("src/lib.rs", text)]);
    let functions = files[0].functions().into_iter();
    let found: Vec<_> =
        functions.map(|function| (function.name, function.line, function.len)).collect();
    assert_eq!(found, [("f", 5, 5), ("h", 19, 1)]);
    assert_eq!(files[0].code_len(), 9);
}

#[test]
fn long_file_function_and_line_are_found() {
    let statements = |count| "    f();\n".repeat(count);
    let function = |count| format!("fn long() {{\n{}}}\n", statements(count));
    let check = |check: fn(&[Source]) -> Vec<String>, text: &str| {
        check(&sources(&[("src/lib.rs", text)])).join("\n")
    };
    assert_eq!(check(long_files, &function(398)), "");
    assert_eq!(check(long_files, &function(399)), "src/lib.rs: 401 lines of code");

    let short = "fn a() {}\n".repeat(2);
    assert_eq!(check(long_functions, &(short.clone() + &function(38))), "");
    assert_eq!(
        check(long_functions, &(short + &function(39))),
        "src/lib.rs:3: function `long` has 41 lines"
    );
    assert_eq!(check(long_functions, &function(4)), "");
    assert_eq!(
        check(long_functions, &function(5)),
        "the median: src/lib.rs:1: function `long` has 7 lines"
    );

    assert_eq!(check(long_lines, &"ä".repeat(100)), "");
    assert_eq!(check(long_lines, &format!("\n// {}", "ä".repeat(98))), "src/lib.rs:2: 101 columns");
}

#[test]
fn forbidden_word_is_found_in_any_case() {
    for (line, expected) in [
        ("Whoever", true),
        ("a length, be it 0,", true),
        ("for ever.", true),
        ("for every", false),
        ("of no more use", true),
        ("of no user", false),
        ("in vain", true),
        ("in vainest, pain vain", false),
        ("is_deaf and Deaf", true),
        ("undeaf", false),
        ("impatience", true),
    ] {
        let found = forbidden_words(&sources(&[("README.md", line)]));
        assert_eq!(!found.is_empty(), expected, "{line}: {found:?}");
    }
}

#[test]
fn wrong_map_is_found() {
    let files = sources(&[("src/lib.rs", "mod error;"), ("src/error.rs", "")]);
    let row = |name| format!("| `src/{name}.rs` | text |\n");
    for (names, expected) in [
        (&["error", "lib"][..], ""),
        (&["lib", "error"], "src/lib.rs:1 imports src/error.rs, which the map lists later"),
        (&["error"], "the map does not list src/lib.rs"),
        (&["error", "gone", "lib"], "the map lists src/gone.rs, which does not exist"),
    ] {
        let map: String = names.iter().map(row).collect();
        assert_eq!(errors_of_map(&files, &map).join("\n"), expected);
    }
}

#[test]
fn missing_variant_is_found() {
    let source = "pub enum E {\n    ///\n    A(u8),\n    B {\n        d: u8,\n    },\n    C,\n}\n";
    let missing = |text| missing_variants(source, "E", text).join("\n");
    assert_eq!(missing("[`A`](crate::E::A) [`B`](crate::E::B) [`C`](crate::E::C)"), "");
    assert_eq!(missing("(crate::E::A) (crate::E::BC)"), "E::B is missing\nE::C is missing");
}
