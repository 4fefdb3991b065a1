//! Tests that no example panics because of an argument that is not UTF-8.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

use fcgi::net::Address;

use crate::example::{self, ExampleServer, KillOnDrop};

fn run(name: &str, args: &[&[u8]]) -> Output {
    let mut command = Command::new(example::path(name));
    command.args(args.iter().map(|arg| OsStr::from_bytes(arg)));
    command.stdin(Stdio::null()).env_clear().output().expect("the example ends")
}

#[test]
fn invalid_argument_is_named() {
    let cases: &[(&str, i32, &[&[u8]])] = &[
        ("authorizer", 64, &[b"\xff"]),
        ("cgi-fcgi", 64, &[b"-\xff"]),
        ("echo", 64, &[b"\xff"]),
        ("fetch", 64, &[b"\xff"]),
        ("fetch", 64, &[b":1", b"\xff"]),
        ("fetch", 64, &[b":1", b"--param", b"\xff"]),
        ("fetch", 64, &[b":1", b"--role", b"\xff"]),
        ("fetch", 64, &[b":1", b"--timeout", b"\xff"]),
        ("filter", 64, &[b"\xff"]),
        ("gateway", 64, &[b"\xff"]),
        ("gateway", 64, &[b"--listen", b"\xff"]),
        ("gateway", 64, &[b"--index", b"\xff"]),
        ("gateway", 64, &[b"--max-body", b"\xff"]),
        ("gateway", 64, &[b"--connect", b"\xff", b"--root", b"/"]),
        ("dump", 64, &[b"--listen", b"\xff", b":1"]),
        ("dump", 74, &[b"/nonexistent/\xff"]),
        ("fpm", 3, &[b"\xff"]),
        ("fpm", 3, &[b":1", b"--max-slow", b"\xff"]),
        ("fpm", 3, &[b":1", b"--ping=\xff"]),
        ("multiplex", 64, &[b"\xff"]),
        ("multiplex", 64, &[b":1", b"\xff"]),
        ("probe", 64, &[b"\xff"]),
        ("probe", 64, &[b":1", b"--timeout=\xff"]),
    ];
    for (name, status, args) in cases {
        let output = run(name, args);
        let reason = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{name} {args:?}: {reason}");
        let is_named = reason.contains("\\xFF") || reason.contains('\u{fffd}');
        assert!(is_named, "{name} {args:?}: {reason}");
    }
}

#[test]
fn path_of_a_socket_need_not_be_utf8() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(OsStr::from_bytes(b"\xff.sock"));
    let mut echo = Command::new(example::path("echo"));
    let _echo = KillOnDrop(echo.arg(&path).spawn().expect("echo starts"));
    example::wait_until_listening(&Address::unix(&path).expect("an address"));
    let path = path.as_os_str().as_bytes();
    for address in [path, &[b"unix:", path].concat()] {
        for name in ["fetch", "fpm", "multiplex", "probe"] {
            let output = run(name, &[address]);
            assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        }
    }
}

/// The values of params and the names of files may be any bytes.
#[test]
fn arguments_of_fetch_need_not_be_utf8() {
    let echo = ExampleServer::start("echo");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(OsStr::from_bytes(b"\xff"));
    fs::write(&file, "body").expect("a file");
    let address = echo.address.to_string();
    let args: [&[u8]; 5] =
        [address.as_bytes(), b"--param", b"A=\xff=", b"--body", file.as_os_str().as_bytes()];
    let output = run("fetch", &args);
    assert_eq!(
        output.stdout,
        b"Content-Type: text/plain\r\n\r\nA=\xff=\nCONTENT_LENGTH=4\nREQUEST_METHOD=POST\n\nbody"
    );
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
