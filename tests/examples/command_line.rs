//! Tests of what the command lines of all examples have in common.
#![cfg(unix)]

use std::fs::File;
use std::process::{Command, Output, Stdio};

use crate::example::{self, ExampleServer};

/// The examples that share the parser, and their exit status after invalid arguments.
const EXAMPLES: [(&str, i32); 11] = [
    ("authorizer", 64),
    ("cgi-fcgi", 64),
    ("cgi-wrap", 64),
    ("dump", 64),
    ("echo", 64),
    ("fetch", 64),
    ("filter", 64),
    ("fpm", 3),
    ("gateway", 64),
    ("multiplex", 64),
    ("probe", 64),
];

fn run(name: &str, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = example::run(name, args, &[], b"");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("an exit status"), text(stdout), text(stderr))
}

#[track_caller]
fn assert_usage_error(name: &str, status: i32, args: &[&str], reason: &str) {
    let (code, stdout, stderr) = run(name, args);
    assert_eq!((code, &*stdout), (status, ""), "{name} {args:?}: {stderr}");
    let first = stderr.lines().next().expect("a reason");
    assert!(first.starts_with(&format!("{name}: ")) && first.contains(reason), "{first}");
    assert!(stderr.contains(&format!("\nusage: {name} ")), "{stderr}");
    assert!(stderr.ends_with(&format!("Try `{name} --help`.\n")), "{stderr}");
}

#[test]
fn help_has_usage_example_and_exit_statuses() {
    for (name, usage_status) in EXAMPLES {
        for args in [&["--help"][..], &["-h"], &["--help", "--what"]] {
            let (status, help, stderr) = run(name, args);
            assert_eq!((status, &*stderr), (0, ""), "{name} {args:?}");
            assert!(help.starts_with(&format!("usage: {name} ")), "{help}");
            assert!(help.contains("\nExample"), "{help}");
            assert!(help.contains(&format!("\n  {usage_status:<2} ")), "{help}");
            assert!(help.contains("invalid arguments"), "{help}");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
    }
}

#[test]
fn version_is_that_of_the_crate() {
    for (name, _) in EXAMPLES {
        let expected = format!("{name} (fcgi) {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(run(name, &["--version"]), (0, expected, String::new()));
    }
}

/// Each of these is rejected before anything else is done.
#[test]
fn invalid_arguments_print_the_usage() {
    for (name, status) in EXAMPLES {
        assert_usage_error(name, status, &["--what"], "unknown option \"--what\"");
        assert_usage_error(name, status, &["-what"], "unknown option \"-what\"");
    }
    for name in ["authorizer", "cgi-wrap", "echo", "filter", "fetch", "probe"] {
        assert_usage_error(name, 64, &[":1", ":2"], "unexpected argument \":2\"");
        assert_usage_error(name, 64, &["nowhere"], "invalid address \"nowhere\"");
    }
    for name in ["fetch", "probe", "multiplex"] {
        assert_usage_error(name, 64, &[], "ADDRESS is missing");
    }
    assert_usage_error("fpm", 3, &[], "ADDRESS is missing");
    assert_usage_error("dump", 64, &[], "FILE is missing");
    assert_usage_error("multiplex", 64, &[":1", "2", "3", "4"], "unexpected argument \"4\"");
    assert_usage_error("echo", 64, &["--take-over"], "--take-over requires an ADDRESS");
    assert_usage_error("fetch", 64, &[":1", "--keep=yes"], "--keep takes no value");
    assert_usage_error("fetch", 64, &[":1", "--timeout="], "\"\" is not a positive number");
    assert_usage_error("fetch", 64, &[":1", "--data=-", "--body=-"], "both be read from stdin");
}

#[test]
fn options_may_precede_or_follow_the_address() {
    let echo = ExampleServer::start("echo");
    let address = &*echo.address.to_string();
    let command_lines: [&[&str]; 6] = [
        &[address, "--param", "A=--keep", "--keep"],
        &["--keep", "--param", "A=--keep", address],
        &["--param=A=--keep", address, "--keep"],
        &["--keep", "--param=A=--keep", "--", address],
        &["--param=A=--keep", "--no-include", address, "--include"],
        &["--timeout=20", address, "--param=A=--keep", "--max-time", "20"],
    ];
    let answer = "Content-Type: text/plain\r\n\r\nA=--keep\nREQUEST_METHOD=GET\n\n";
    for args in command_lines {
        assert_eq!(run("fetch", args), (0, answer.into(), String::new()), "{args:?}");
    }
    for args in [[address, "--timeout=1"], ["--timeout=1", address]] {
        assert_eq!(run("probe", &args).0, 0);
        assert_eq!(run("fpm", &args).0, 0);
    }
}

/// A value may begin with dashes.
#[test]
fn value_of_an_option_is_never_an_option() {
    let (status, _, stderr) = run("fetch", &[":1", "--body", "--keep"]);
    assert_eq!((status, &*stderr), (74, "fetch: --keep: No such file or directory (os error 2)\n"));
}

/// `-` is the socket on descriptor 0, like no address. Here it is not a socket.
#[test]
fn dash_is_the_socket_on_descriptor_0() {
    for name in ["authorizer", "cgi-wrap", "echo", "filter"] {
        let (status, _, stderr) = run(name, &["-"]);
        assert_eq!((status, run(name, &[])), (69, (69, String::new(), stderr.clone())));
        assert!(stderr.contains("descriptor 0") && stderr.lines().count() == 1, "{stderr}");
    }
}

/// The exit status is the same in all programs, and no usage is printed.
#[test]
fn address_that_cannot_be_used_exits_with_69() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("none/app.sock");
    let address = missing.to_str().expect("a path of text");
    for name in ["authorizer", "cgi-wrap", "echo", "fetch", "filter", "multiplex", "probe"] {
        let (status, stdout, stderr) = run(name, &[address]);
        assert_eq!((status, &*stdout), (69, ""), "{name}: {stderr}");
        assert!(stderr.lines().all(|line| line.starts_with(&format!("{name}: "))), "{stderr}");
    }
    for args in [&["-connect", address][..], &["-start", "-connect", address, "/bin/true"]] {
        assert_eq!(run("cgi-fcgi", args).0, 69, "{args:?}");
    }
    assert_eq!(run("dump", &["--listen", address, ":1"]).0, 69);
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_exits_with_74() {
    for (name, _) in EXAMPLES {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = Command::new(example::path(name));
        let output = command.arg("--help").stdout(full).stderr(Stdio::piped()).output();
        assert_eq!(output.expect("its end").status.code(), Some(74), "{name}");
    }
}
