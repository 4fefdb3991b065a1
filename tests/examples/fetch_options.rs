//! Tests of what `fetch` reads from stdin and what it prints beside the response.
#![cfg(unix)]

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use crate::example::{self, ExampleServer};
use crate::support::application::*;
use crate::support::*;

fn run(args: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = example::run("fetch", args, &[], input);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn method_is_get_or_post_with_a_body() {
    let echo = ExampleServer::start("echo");
    let address = echo.address.to_string();
    let cases: [(&[&str], &str); 4] = [
        (&[], "REQUEST_METHOD=GET\n\n"),
        (&["--body=-"], "CONTENT_LENGTH=2\nREQUEST_METHOD=POST\n\nhi"),
        (&["--body=/dev/null"], "REQUEST_METHOD=POST\n\n"),
        (&["--param=REQUEST_METHOD=PUT", "--body=-"], "CONTENT_LENGTH=2\nREQUEST_METHOD=PUT\n\nhi"),
    ];
    for (args, answer) in cases {
        let (status, stdout, stderr) = run(&[&[&*address, "--no-include"], args].concat(), b"hi");
        assert_eq!((status, &*stdout, &*stderr), (Some(0), answer, ""), "{args:?}");
    }
}

/// Its length is known because it was read to its end first.
#[test]
fn large_stdin_is_sent_with_its_length() {
    let echo = ExampleServer::start("echo");
    let body = Pattern::bytes(3 << 20);
    let args = [&*echo.address.to_string(), "--no-include", "--body", "-"];
    let output = example::run("fetch", &args, &[], &body);
    let params = format!("CONTENT_LENGTH={}\nREQUEST_METHOD=POST\n\n", body.len());
    assert!(output.stdout == [params.as_bytes(), &body].concat(), "{}", output.stdout.len());
}

#[test]
fn data_of_a_filter_is_read_from_stdin() {
    let filter = ExampleServer::start("filter");
    let address = &*filter.address.to_string();
    for length in [&[][..], &["--param=FCGI_DATA_LENGTH=8"]] {
        let args = [&[address, "--role=filter", "--data=-", "--no-include"], length].concat();
        let expected = (Some(0), "     1  one\n     2  two\n".into(), String::new());
        assert_eq!(run(&args, b"one\ntwo\n"), expected);
    }
}

/// With a given length, each piece is sent before the next one is read.
#[test]
fn stdin_of_given_length_is_sent_as_it_arrives() {
    let echo = ExampleServer::start("echo");
    let mut command = Command::new(example::path("fetch"));
    command.arg(echo.address.to_string()).args(["--no-include", "--body=-"]);
    command.args(["--param=CONTENT_LENGTH=6", "--param=QUERY_STRING=stream=1"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("fetch starts");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut piece = [0; 3];
    for expected in [b"one", b"two"] {
        stdin.write_all(expected).expect("a piece is written");
        stdout.read_exact(&mut piece).expect("a piece is printed");
        assert_eq!(&piece, expected);
    }
    assert!(child.wait().expect("its status").success());
}

#[test]
fn verbose_prints_each_record_as_it_passes() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        let answer = [
            padded_record(STDOUT, 1, b"Status: 200\r\n\r\nhello", 11),
            record(STDERR, 1, b"log\n"),
            padded_record(STDOUT, 1, b"", 8),
            end(1, 3, 0),
        ];
        stream.write_all(&answer.concat()).expect("the response is sent");
    });
    let address = application.address.to_string();
    let (status, stdout, stderr) = run(&["--verbose", &address, "--body=-"], b"body!");
    assert_eq!((status, &*stdout), (Some(3), "Status: 200\r\n\r\nhello"));
    // The application's own text may come before the last lines.
    let lines: Vec<_> = stderr.lines().filter(|line| *line != "log").collect();
    let expected = [
        "> BEGIN_REQUEST id=1 length=8 padding=0",
        "> PARAMS id=1 length=37 padding=3",
        "> PARAMS id=1 length=0 padding=0",
        "> STDIN id=1 length=5 padding=3",
        "> STDIN id=1 length=0 padding=0",
        "< STDOUT id=1 length=20 padding=11",
        "< STDERR id=1 length=4 padding=0",
        "< STDOUT id=1 length=0 padding=8",
        "< END_REQUEST id=1 length=8 padding=0",
    ];
    assert_eq!(lines, expected);
}

/// The bytes pass unchanged: the response ends as without `--verbose`.
#[test]
fn verbose_changes_no_exit_status() {
    let whole = [record(STDOUT, 1, b"half"), record(STDOUT, 1, b""), end(1, 7, 0)].concat();
    let answers: [(&[u8], i32, &str); 6] = [
        (&whole, 7, "half"),
        (&whole[..10], 76, "ha"),
        (&whole[..15], 76, "half"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 76, ""),
        (&end(1, 0, 2), 75, ""),
        (b"", 76, ""),
    ];
    for (answer, status, stdout) in answers {
        let application = Application::answering(answer);
        let address = application.address.to_string();
        let plain = run(&[&address], b"");
        let verbose = run(&[&address, "--verbose"], b"");
        assert_eq!((plain.0, &*plain.1), (Some(status), stdout));
        assert_eq!((verbose.0, &*verbose.1), (plain.0, stdout));
        assert!(verbose.2.ends_with(&plain.2), "{:?} after {:?}", plain.2, verbose.2);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("app.sock");
    let missing = run(&["--verbose", missing.to_str().expect("a path of text")], b"");
    assert_eq!(missing.0, Some(69), "{}", missing.2);
}

#[cfg(target_os = "linux")]
#[test]
fn verbose_times_out_if_the_backlog_is_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a listening socket");
    fill_backlog(&path);
    let address = path.to_str().expect("a path of text");
    let (status, _, stderr) = run(&[address, "--verbose", "--timeout=0.2"], b"");
    let reason = format!("fetch: cannot connect to {address}: connect timed out after 200 ms\n");
    assert_eq!((status, stderr), (Some(124), reason));
}

#[test]
fn large_data_passes_both_ways_with_verbose() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("body");
    let body = Pattern::bytes(20 << 20);
    std::fs::write(&path, &body).expect("a file");
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    });
    let body_option = format!("--body={}", path.display());
    let args = [&*application.address.to_string(), "--verbose", &body_option];
    let output = example::run("fetch", &args, &[], b"");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == body, "{} bytes", output.stdout.len());
}

#[test]
fn timing_is_printed_at_the_end() {
    let application = Application::answering(response(b"Status: 200\r\n\r\nhello"));
    let address = application.address.to_string();
    let (status, stdout, stderr) = run(&["--timing", "--no-include", &address], b"");
    assert_eq!((status, &*stdout), (Some(0), "hello"));
    assert!(stderr.starts_with("timing: first byte ") && stderr.ends_with(", 5 bytes\n"));
    let silent = Application::answering(b"");
    let (status, _, stderr) = run(&["--timing", &silent.address.to_string()], b"");
    assert_eq!(status, Some(76));
    assert!(stderr.starts_with("timing: first byte none, total "), "{stderr}");
}

/// The `Content-Length` is that of the response to GET.
#[test]
fn response_without_a_body_is_not_compared_with_its_length() {
    for (method, head) in [
        ("HEAD", &b"Status: 200\nContent-Length: 9\n\n"[..]),
        ("GET", b"Status: 304\nContent-Length: 9\n\n"),
    ] {
        let application = Application::answering(response(head));
        let address = application.address.to_string();
        let method = format!("REQUEST_METHOD={method}");
        let output = run(&[&address, "--no-include", "--param", &method], b"");
        assert_eq!(output, (Some(0), String::new(), String::new()), "{method}");
    }
}

#[test]
fn body_alone_requires_a_valid_head() {
    let cases: [(&[u8], i32, &str, &str); 4] = [
        (b"Content-Type: text/plain\n\nbody", 0, "body", ""),
        (b"Content-Type: text/plain\nContent-Length: 9\n\nbody", 76, "body", "Content-Length"),
        (b"no head", 76, "", "head"),
        (b"", 76, "", "head"),
    ];
    for (answer, status, body, reason) in cases {
        let application = Application::answering(response(answer));
        let (code, stdout, stderr) = run(&["--no-include", &application.address.to_string()], b"");
        assert_eq!((code, &*stdout), (Some(status), body), "{stderr}");
        assert!(stderr.contains(reason), "{reason} in {stderr}");
    }
}
