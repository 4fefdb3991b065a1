//! Measures static programs for the tables of `src/guide/small_systems.md`:
//! `small-systems DIRECTORY`, with the directory of the programs, which have symbols.
//!
//! Prints the rows of the tables. Fails if the guide has no such row, or if a figure there differs
//! from the measured one by more than a tenth.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use fcgi_benches::net::Socket;
use fcgi_benches::wire::{self, Scanner};
use fcgi_benches::Workload;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/guide/small_systems.md");

/// How long the memory of a process must stay the same until it is measured.
const PAUSE: Duration = Duration::from_millis(100);

/// The crates that belong to the standard library, as their symbols begin.
const STD: [&str; 12] = [
    "std",
    "core",
    "alloc",
    "addr2line",
    "gimli",
    "hashbrown",
    "miniz_oxide",
    "object",
    "panic_abort",
    "rustc_demangle",
    "compiler_builtins",
    "__rustc",
];

fn main() -> io::Result<ExitCode> {
    let directory = PathBuf::from(std::env::args_os().nth(1).expect("a directory"));
    let hello = directory.join("hello");
    let mut rows = shares(&hello)?;
    for name in ["nothing", "records", "health_check", "hello"] {
        rows.push(row(&format!("`{name}`"), &[stripped_size(&directory.join(name))?]));
    }
    rows.push(row("`health_check`, waiting", &client_memory(&directory.join("health_check"))?));
    rows.extend(server_memory(&hello, "`hello`", &[0, 10, 100], None)?);
    rows.extend(server_memory(&hello, "`hello`, stacks of 64 KiB", &[100], Some("65536"))?);
    println!("{}", rows.join("\n"));

    let guide = std::fs::read_to_string(GUIDE)?;
    let wrong: Vec<_> =
        rows.iter().filter(|row| !guide.lines().any(|line| is_near(line, row))).collect();
    for row in &wrong {
        eprintln!("{GUIDE} says otherwise: {row}");
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns a row of a table.
fn row(label: &str, figures: &[u64]) -> String {
    figures.iter().fold(format!("| {label} |"), |row, figure| format!("{row} {figure} |"))
}

/// Returns whether a line of the guide begins with the cells of a row. A figure may differ by a
/// tenth.
fn is_near(line: &str, row: &str) -> bool {
    let mut cells = line.split('|').map(str::trim);
    row.trim_end_matches('|').split('|').map(str::trim).all(|measured| {
        cells.next().is_some_and(|cell| match (cell.parse::<u64>(), measured.parse::<u64>()) {
            (Ok(cell), Ok(measured)) => cell.abs_diff(measured) * 10 <= measured.max(10),
            _ => cell == measured,
        })
    })
}

/// Returns rows with the size of the code of each part of a program, in KiB.
fn shares(program: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("nm").args(["-C", "-S", "-t", "d"]).arg(program).output()?;
    let parts = ["the standard library", "`fcgi`", "`memchr`", "the C library and the program"];
    let mut bytes = [0; 4];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.splitn(4, ' ');
        let (_, Some(size), Some("t" | "T" | "w" | "W"), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        bytes[part(name)] += size.parse().unwrap_or(0);
    }
    Ok(parts.iter().zip(bytes).map(|(part, bytes)| row(part, &[kib(bytes)])).collect())
}

/// Returns which part a symbol belongs to.
fn part(symbol: &str) -> usize {
    let symbol = symbol.trim_start_matches(['<', '&', '[', '(']);
    let symbol = symbol.trim_start_matches("dyn ").trim_start_matches("mut ");
    match symbol.split("::").next() {
        Some(name) if STD.contains(&name) || name.starts_with("__rust") => 0,
        Some("fcgi") => 1,
        Some("memchr") => 2,
        _ => 3,
    }
}

/// Returns the size of a program without its symbols, in KiB.
fn stripped_size(program: &Path) -> io::Result<u64> {
    let stripped = program.with_extension("stripped");
    let status = Command::new("strip").arg("-o").args([&stripped, program]).status()?;
    assert!(status.success(), "strip fails");
    Ok(kib(stripped.metadata()?.len()))
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}

/// Returns a row for each number of kept connections, which have served a small request each.
fn server_memory(
    program: &Path,
    label: &str,
    counts: &[usize],
    stack: Option<&str>,
) -> io::Result<Vec<String>> {
    let (socket, listener) = listen()?;
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::from(OwnedFd::from(listener)));
    command.envs(stack.map(|stack| ("RUST_MIN_STACK", stack)));
    let server = KillOnDrop(command.spawn()?);
    let mut connections = Vec::new();
    let mut rows = Vec::new();
    for count in counts {
        while connections.len() < *count {
            connections.push(small_request(&socket)?);
        }
        rows.push(row(&format!("{label}, {count} connections"), &server.memory()?));
    }
    Ok(rows)
}

/// Returns the memory of a client that waits for a response.
fn client_memory(program: &Path) -> io::Result<[u64; 2]> {
    let (socket, listener) = listen()?;
    let client = KillOnDrop(Command::new(program).arg(format!("unix:{socket}")).spawn()?);
    let _connection = listener.accept()?;
    client.memory()
}

/// Listens on a socket whose file is removed when the next one is created.
fn listen() -> io::Result<(String, UnixListener)> {
    let path = std::env::temp_dir().join(format!("fcgi-small-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    Ok((path.to_str().expect("a path in UTF-8").to_owned(), listener))
}

fn small_request(socket: &str) -> io::Result<Socket> {
    let mut connection = Socket::connect_first(socket)?;
    connection.write_all(&wire::request(Workload::Small, true))?;
    Scanner::default().read(&mut connection, &mut vec![0; 8192], |_| {})?;
    Ok(connection)
}

struct KillOnDrop(Child);

impl KillOnDrop {
    /// Returns the resident memory of the process and its address space, in KiB, as soon as both
    /// stay the same.
    fn memory(&self) -> io::Result<[u64; 2]> {
        let mut last = [0; 2];
        loop {
            thread::sleep(PAUSE);
            let now = [self.status("VmRSS:")?, self.status("VmSize:")?];
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }

    fn status(&self, field: &str) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        Ok(value.trim().trim_end_matches(" kB").parse().expect("a number"))
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
