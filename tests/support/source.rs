//! Source files of the repository, read as text in the layout of rustfmt.
#![allow(unreachable_pub)] // A part of one test program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub struct Source {
    /// The path from the root of the repository, with slashes.
    pub path: String,
    pub text: String,
    /// The text with comments and unit tests blank, and every literal replaced by underscores.
    /// Lines keep their numbers.
    code: String,
}

/// A function of a file.
pub struct Function<'a> {
    pub file: &'a str,
    pub line: usize,
    pub name: &'a str,
    /// The lines from `fn` to the closing brace, without comments and blank lines.
    pub len: usize,
}

/// The imports of a file: the other files that it names, and the first line that names each.
pub type Imports<'a> = BTreeMap<&'a str, usize>;

impl Source {
    pub fn new(path: &str, text: String) -> Self {
        let code = without_unit_tests(mask(&text));
        Self { path: path.to_owned(), text, code }
    }

    /// Returns all lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Returns the number of lines without comments, blank lines and unit tests.
    pub fn code_len(&self) -> usize {
        code_lines(&self.code)
    }

    /// Returns the names of the module of this file, from the root of the crate.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|name| *name != "lib").collect()
    }

    /// Returns the module of the first level that this file belongs to, or `lib`.
    pub fn layer(&self) -> &str {
        self.module().first().copied().unwrap_or("lib")
    }

    /// Returns the functions that have a body.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let code = &self.code;
        let functions = words(code).filter(|(_, word)| *word == "fn");
        let named = functions.filter_map(|(at, _)| Some((at, name(code[at + 2..].trim_start())?)));
        let bodies = named.filter_map(|(at, name)| Some((at, name, body_end(code, at)?)));
        bodies
            .map(|(at, name, end)| Function {
                file: &self.path,
                line: line_at(code, at),
                name,
                len: code_lines(&code[at..end]),
            })
            .collect()
    }

    /// Returns every path that begins with `crate`, `super` or `self`, and every declaration of a
    /// module as a path, each with its line.
    fn paths(&self) -> Vec<(usize, Vec<&str>)> {
        let mut paths = Vec::new();
        for (at, word) in words(&self.code) {
            let (before, tree) = self.code.split_at(at);
            let expanded = match word {
                "mod" => vec![vec!["self", name(tree[3..].trim_start()).unwrap_or_default()]],
                "crate" | "super" | "self"
                    if tree[word.len()..].starts_with("::") && !before.ends_with("::") =>
                {
                    expand(tree, &[])
                }
                _ => continue,
            };
            paths.extend(expanded.into_iter().map(|path| (line_at(&self.code, at), path)));
        }
        paths
    }

    /// Returns a path from the root of the crate.
    fn resolve<'a>(&'a self, path: &[&'a str]) -> Vec<&'a str> {
        let mut absolute = self.module();
        for name in path {
            match *name {
                "crate" => absolute.clear(),
                "super" => drop(absolute.pop()),
                "self" => {}
                name => absolute.push(name),
            }
        }
        absolute
    }

    pub fn imports<'a>(&self, sources: &'a [Source]) -> Imports<'a> {
        let mut imports = Imports::new();
        for (line, path) in self.paths() {
            let file = file_of(&self.resolve(&path), sources);
            if file != self.path {
                imports.entry(file).or_insert(line);
            }
        }
        imports
    }
}

/// Returns the file that defines the innermost module of an absolute path.
fn file_of<'a>(path: &[&str], sources: &'a [Source]) -> &'a str {
    let files = (1..=path.len()).rev().map(|len| format!("src/{}.rs", path[..len].join("/")));
    let mut files = files.chain(["src/lib.rs".to_owned()]);
    let module = files.find_map(|file| sources.iter().find(|source| source.path == file));
    &module.expect("src/lib.rs").path
}

// The files of the repository.

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads the text files among `names`, which are files and directories of the repository.
pub fn read(names: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for name in names {
        collect_files(&root().join(name), &mut paths);
    }
    paths.sort();
    let sources = paths.iter().filter_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        let names = path.strip_prefix(root()).expect("a path of the repository").iter();
        let names: Vec<_> = names.map(|name| name.to_str().expect("a name in UTF-8")).collect();
        Some(Source::new(&names.join("/"), text))
    });
    sources.collect()
}

fn collect_files(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
    } else if !path.ends_with("target") {
        for entry in fs::read_dir(path).expect("a directory") {
            collect_files(&entry.expect("an entry").path(), files);
        }
    }
}

/// Does the same for Rust files alone.
pub fn read_rust(names: &[&str]) -> Vec<Source> {
    let mut sources = read(names);
    sources.retain(|source| Path::new(&source.path).extension().is_some_and(|end| end == "rs"));
    sources
}

// The text of a source file.

/// Replaces comments by spaces, and literals by underscores.
fn mask(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some((len, filler)) = masked_token(rest, code.ends_with(is_word_char)) else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (token, after) = rest.split_at(len);
        code.extend(token.chars().map(|c| if c == '\n' { c } else { filler }));
        rest = after;
    }
    code
}

/// Returns the length of the comment or literal that `text` begins with, and what replaces it.
fn masked_token(text: &str, is_in_word: bool) -> Option<(usize, char)> {
    if text.starts_with("//") {
        return Some((text.find('\n').unwrap_or(text.len()), ' '));
    }
    if text.starts_with("/*") {
        return Some((block_comment_len(text), ' '));
    }
    let raw = if is_in_word { None } else { raw_string_len(text) };
    Some((raw.or_else(|| quoted_len(text))?, '_'))
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[..at].ends_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let content = hashes.trim_start_matches('#').strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes.len() - content.len() - 1));
    Some(text.len() - content.len() + content.find(&end)? + end.len())
}

/// Returns the length of a string or character. Returns `None` for a lifetime.
fn quoted_len(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let content = &text[1..];
    if quote == '\'' && !content.starts_with('\\') && content.chars().nth(1) != Some('\'') {
        return None;
    }
    let mut is_escaped = false;
    let end = content.find(|c| {
        let is_end = c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })?;
    Some(end + 2)
}

/// Replaces modules of unit tests by blank lines.
fn without_unit_tests(mut code: String) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]\nmod ";
    while let Some(at) = code.find(ATTRIBUTE) {
        let end = body_end(&code, at + ATTRIBUTE.len()).expect("a module with a body");
        let blank = "\n".repeat(code[at..end].matches('\n').count());
        code.replace_range(at..end, &blank);
    }
    code
}

/// Returns the end of the item that begins at an offset. Returns `None` if it ends with a semicolon
/// instead of a body.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    let mut end_of_group = code[at..].char_indices().filter_map(|(offset, c)| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        (depth == 0 && matches!(c, '}' | ';')).then_some((at + offset + 1, c))
    });
    let (end, last) = end_of_group.next()?;
    (last == '}').then_some(end)
}

/// Returns the words of the code with their offsets.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let words = code.split(|c| !is_word_char(c)).filter(|word| !word.is_empty());
    words.map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

pub fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the name at the beginning of the code.
fn name(code: &str) -> Option<&str> {
    code.split(|c| !is_word_char(c)).next().filter(|name| !name.is_empty())
}

/// Expands a path with braces, after `prefix`. Anything but a name ends a path.
fn expand<'a>(tree: &'a str, prefix: &[&'a str]) -> Vec<Vec<&'a str>> {
    let Some(name) = name(tree) else { return vec![prefix.to_vec()] };
    let path = [prefix, &[name]].concat();
    match tree[name.len()..].strip_prefix("::") {
        Some(group) if group.starts_with('{') => {
            items(group).into_iter().flat_map(|item| expand(item, &path)).collect()
        }
        Some(rest) => expand(rest, &path),
        None => vec![path],
    }
}

/// Returns the items of the group in braces that the code begins with.
fn items(group: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 1, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            items.push(group[start..at].trim());
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn line_at(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn code_lines(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}
