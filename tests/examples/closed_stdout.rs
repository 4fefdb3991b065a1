//! Tests of the examples when the reader of their stdout has closed it: they end quietly, with exit
//! status 0.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use crate::example::{self, ExampleServer, KillOnDrop};
use crate::support::{record, wait_until, STDIN};

/// Returns a stdout whose reader has closed it.
fn closed_stdout() -> Stdio {
    let (stdout, _reader) = UnixStream::pair().expect("a pair of sockets");
    OwnedFd::from(stdout).into()
}

fn command(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(example::path(name));
    command.args(args).env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn assert_quiet(output: &Output) {
    let reason = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*reason), (Some(0), ""));
}

fn run_closed(mut command: Command) -> Output {
    command.stdout(closed_stdout()).output().expect("the example ends")
}

#[test]
fn fetch_ends_quietly() {
    let echo = ExampleServer::start("echo");
    let address = echo.address.to_string();
    for query in ["", "exit=7", "bytes=20000000", "bytes=20000000&exit=7"] {
        let query = format!("QUERY_STRING={query}");
        assert_quiet(&run_closed(command("fetch", &[&address, "--param", &query])));
    }
}

/// Like `fetch … | head -1`.
#[test]
fn fetch_ends_quietly_in_the_middle_of_a_response() {
    let echo = ExampleServer::start("echo");
    let address = echo.address.to_string();
    let mut command = command("fetch", &[&address, "--param", "QUERY_STRING=bytes=20000000"]);
    let mut fetch = command.stdout(Stdio::piped()).spawn().expect("fetch starts");
    let mut line = String::new();
    BufReader::new(fetch.stdout.take().expect("its stdout")).read_line(&mut line).expect("a line");
    assert_eq!(line, "Content-Type: text/plain\r\n");
    assert_quiet(&fetch.wait_with_output().expect("its end"));
}

/// Like `fetch … 2>&1 | head -1`.
#[test]
fn fetch_ends_quietly_without_stderr() {
    let echo = ExampleServer::start("echo");
    let address = echo.address.to_string();
    for query in ["stderr=text", "stderr=text&bytes=20000000"] {
        let query = format!("QUERY_STRING={query}");
        let mut command = command("fetch", &[&address, "--param", &query]);
        assert_quiet(&run_closed({
            command.stderr(closed_stdout());
            command
        }));
    }
}

/// Every other error of stdout is reported.
#[cfg(target_os = "linux")]
#[test]
fn fetch_reports_a_full_disk() {
    let echo = ExampleServer::start("echo");
    let mut command = command("fetch", &[&echo.address.to_string()]);
    let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = command.stdout(full).output().expect("fetch ends");
    assert_eq!(output.status.code(), Some(74), "{output:?}");
}

#[test]
fn cgi_fcgi_ends_quietly() {
    let echo = ExampleServer::start("echo");
    let address = echo.address.to_string();
    for query in ["", "exit=7", "bytes=20000000", "stderr=text"] {
        let mut command = command("cgi-fcgi", &["-connect", &address]);
        let output = run_closed({
            command.env("QUERY_STRING", query);
            command
        });
        assert_eq!(output.status.code(), Some(0), "{query}: {output:?}");
        assert!(output.stderr.is_empty() || output.stderr == b"text\n", "{query}: {output:?}");
    }
}

#[test]
fn hello_ends_quietly() {
    let mut command = command("hello", &[]);
    command.env("GATEWAY_INTERFACE", "CGI/1.1");
    assert_quiet(&run_closed(command));
}

#[test]
fn probe_ends_quietly() {
    let echo = ExampleServer::start("echo");
    assert_quiet(&run_closed(command("probe", &[&echo.address.to_string()])));
}

#[test]
fn fpm_and_dump_end_quietly() {
    let echo = ExampleServer::start("echo");
    assert_quiet(&run_closed(command("fpm", &[&echo.address.to_string()])));
    let directory = tempfile::tempdir().expect("a directory");
    let capture = directory.path().join("capture");
    fs::write(&capture, record(STDIN, 1, b"")).expect("a file");
    assert_quiet(&run_closed(command("dump", &[capture.to_str().expect("a path of text")])));
}

#[test]
fn help_and_version_end_quietly() {
    for name in ["cgi-fcgi", "echo", "fetch", "fpm"] {
        for option in ["--help", "--version"] {
            assert_quiet(&run_closed(command(name, &[option])));
        }
    }
}

#[test]
fn fetch_ends_quietly_with_timing() {
    let echo = ExampleServer::start("echo");
    let mut command = command("fetch", &[&echo.address.to_string(), "--timing", "--verbose"]);
    command.stderr(closed_stdout());
    assert_quiet(&run_closed(command));
}

#[test]
fn multiplex_ends_quietly() {
    let echo = ExampleServer::start("echo");
    let output = run_closed(command("multiplex", &[&echo.address.to_string(), "3"]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = String::from_utf8_lossy(&output.stderr).lines().count();
    assert_eq!(lines, 1, "only that the application does not multiplex: {output:?}");
}

/// A server does not need a reader of the line that it prints.
#[test]
fn gateway_continues() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address").to_string();
    drop(listener);
    let mut command = command("gateway", &["--listen", &address]);
    let gateway = command.stdout(closed_stdout()).spawn().expect("the gateway starts");
    let mut gateway = KillOnDrop(gateway);
    wait_until("the gateway listens", || TcpStream::connect(&address).is_ok());
    // It receives the signal after it has printed the line.
    let killed = Command::new("kill").arg(gateway.0.id().to_string()).status();
    assert!(killed.expect("kill runs").success());
    assert!(gateway.0.wait().expect("its status").success(), "the gateway has failed");
}
