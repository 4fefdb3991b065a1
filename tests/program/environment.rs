//! The environment of a program consists of the params, and of what its command sets.

use std::process::Command;

use fcgi::bridge;
use fcgi::server::Config;

use crate::support::*;

/// Prints the environment as the kernel has passed it to the shell.
const PRINT: &str = "printf 'Status: 200\\n\\n'; tr '\\0' '\\n' </proc/$$/environ";

fn environment_with(pairs: &[(&str, &str)], command: fn(&mut Command)) -> Vec<String> {
    let server = TestServer::unix(Config::new(), move |request| {
        let mut shell = Command::new("/bin/sh");
        command(shell.args(["-c", PRINT]));
        bridge::run_program(request, shell)?;
        Ok(())
    });
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, pairs, b""));
    let text = answer.text();
    let lines = text.strip_prefix("Status: 200\n\n").expect("the head").lines();
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

fn environment(pairs: &[(&str, &str)]) -> Vec<String> {
    environment_with(pairs, |_command| {})
}

#[test]
fn environment_is_the_params_alone() {
    assert!(std::env::var_os("PATH").is_some(), "this process has variables");
    assert!(environment(&[]).is_empty());
    assert_eq!(
        environment(&[("QUERY_STRING", "a=1"), ("EMPTY", ""), ("REMOTE_ADDR", "192.0.2.1")]),
        ["EMPTY=", "QUERY_STRING=a=1", "REMOTE_ADDR=192.0.2.1"]
    );
}

#[test]
fn last_of_two_params_with_the_same_name_is_used() {
    assert_eq!(environment(&[("A", "1"), ("B", "2"), ("A", "3")]), ["A=3", "B=2"]);
}

#[test]
fn proxy_header_is_left_out() {
    let pairs = [("HTTP_PROXY", "http://evil/"), ("Http_Proxy", "x"), ("http_proxy", "x")];
    assert!(environment(&pairs).is_empty());
    assert_eq!(environment(&[("HTTP_PROXY_X", "1")]), ["HTTP_PROXY_X=1"]);
}

#[test]
fn params_that_cannot_be_variables_are_left_out() {
    let pairs = [("", "1"), ("A=B", "2"), ("A\0B", "3"), ("C", "4\0"), ("D", "5=6\n")];
    // The value of D has a line break, which ends the first of these lines.
    assert_eq!(environment(&pairs), ["", "D=5=6"]);
}

#[test]
fn variables_of_the_command_are_added_and_take_precedence() {
    let pairs = [("A", "params"), ("B", "params"), ("C", "params")];
    let lines = environment_with(&pairs, |command| {
        command.env("A", "command").env("PATH", "/bin").env_remove("B");
    });
    assert_eq!(lines, ["A=command", "C=params", "PATH=/bin"]);
}
