//! Debian's `cgi-fcgi`, the kit's own program, against `echo`.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::app::App;
use crate::echo::{assert_same, noise, Echoed};
use crate::place::Place;
use crate::process::{command, Folder};

/// Runs a CGI program with an environment and a body.
#[track_caller]
pub fn run_cgi(command: &mut Command, variables: &[(&str, &str)], body: &[u8]) -> Output {
    command.env_clear().envs(variables.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a start");
    let mut stdin = child.stdin.take().expect("its stdin");
    thread::scope(|scope| {
        // It may have ended without reading the body; its output tells what matters.
        scope.spawn(move || drop(stdin.write_all(body)));
        child.wait_with_output().expect("its output")
    })
}

fn check(place: Place, folder: &Folder) {
    let app = App::start("echo", place, folder);
    let run = |method: &str, query: &str, body: &[u8]| {
        let len = body.len().to_string();
        let variables = [
            ("REQUEST_METHOD", method),
            ("QUERY_STRING", query),
            ("CONTENT_LENGTH", if method == "GET" { "" } else { &len }),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("X_EMPTY", ""),
        ];
        let mut cgi_fcgi = command("cgi-fcgi");
        let output = run_cgi(cgi_fcgi.args(["-bind", "-connect", &app.place.plain()]), &variables, body);
        let mut lines: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        lines.sort();
        let expected = [b"Content-Type: text/plain\r\n\r\n", lines.concat().as_bytes(), b"\n", body].concat();
        (output, expected)
    };
    for (method, len) in [("GET", 0), ("POST", 0), ("POST", 5), ("POST", 100 << 10), ("POST", 64 << 20)] {
        let (output, expected) = run(method, "a=1&b=%26", &noise(len));
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""), "{method} {len}");
        assert_same(&output.stdout, &expected);
    }
    for status in [0, 3, 255] {
        assert_eq!(run("GET", &format!("exit={status}"), b"").0.status.code(), Some(status));
    }
    let (output, _) = run("GET", "stderr=a-word-for-the-log&status=404", b"");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "a-word-for-the-log\n");
    let head = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\n";
    assert!(output.stdout.starts_with(head), "{:?}", String::from_utf8_lossy(&output.stdout));
    Echoed::parse(&output.stdout[head.len()..]).has(&[("REQUEST_METHOD", "GET")]);
    let (output, _) = run("GET", "bytes=20000000", b"");
    assert_same(&output.stdout, &[&b"Content-Type: text/plain\r\n\r\n"[..], &b"x".repeat(20_000_000)].concat());
    app.stop();
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn against_echo_on_a_unix_socket() {
    let folder = Folder::new();
    check(Place::unix(&folder), &folder);
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn against_echo_on_tcp() {
    check(Place::tcp(), &Folder::new());
}
