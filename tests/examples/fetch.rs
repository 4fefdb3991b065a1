//! Tests of the example `fetch`: what it sends for its options, where and when it prints the
//! response, and each of its exit statuses.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{mpsc, Mutex};
use std::time::UNIX_EPOCH;
use std::{fs, str};

use crate::support::application::*;
use crate::support::*;

/// Returns the path of the built example.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test.ancestors().nth(2).expect("target/debug");
    let path = directory.join("examples").join("fetch");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// Returns a command that runs the program with the address of an application.
fn fetch(application: &Application, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(application.address.to_string()).args(args).stdin(Stdio::null());
    command
}

fn run(application: &Application, args: &[&str]) -> Output {
    fetch(application, args).output().expect("the program runs")
}

/// Returns the exit status. Panics if a signal ended the program.
fn status(output: &Output) -> i32 {
    output.status.code().expect("an exit status")
}

#[track_caller]
fn assert_fails(output: &Output, expected: i32, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(status(output), expected, "{stderr}");
    assert!(
        stderr.starts_with("fetch: ") && stderr.contains(reason),
        "{stderr:?} without {reason:?}"
    );
}

/// Runs the program with an application that sends an empty response. Returns the request.
fn received(args: &[&str]) -> ReceivedRequest {
    let (report, reports) = mpsc::channel();
    let application = Application::unix(move |_, mut stream| {
        report.send(read_request(&mut stream).expect("a request")).expect("the test waits");
        stream.write_all(&response(b"")).expect("the response is sent");
    });
    let output = run(&application, args);
    assert_eq!((status(&output), str::from_utf8(&output.stderr)), (0, Ok("")));
    reports.recv().expect("a request")
}

fn write_file(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    fs::write(&path, content).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn stdout_and_stderr_are_printed_unchanged() {
    for application in Application::tcp_and_unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        let answer = [
            record(STDOUT, 1, b"Status: 404 Not Found\r\n\r\n"),
            record(STDERR, 1, b"no such\x1b file\n"),
            response(b"sorry\0\xff"),
        ];
        stream.write_all(&answer.concat()).expect("the response is sent");
    }) {
        let output = run(&application, &[]);
        assert_eq!(
            (status(&output), &output.stdout[..]),
            (0, &b"Status: 404 Not Found\r\n\r\nsorry\0\xff"[..])
        );
        assert_eq!(output.stderr, b"no such\x1b file\n");
    }
}

/// The application sends a piece only after the one before it was printed.
#[test]
fn response_is_printed_as_it_arrives() {
    let (report, reports) = mpsc::channel();
    let reports = Mutex::new(reports);
    let application = Application::unix(move |_, mut stream| {
        read_request(&mut stream).expect("a request");
        for piece in
            [record(STDOUT, 1, b"one"), record(STDERR, 1, b"log"), record(STDOUT, 1, b"two")]
        {
            stream.write_all(&piece).expect("the bytes are sent");
            reports
                .lock()
                .unwrap()
                .recv_timeout(TEST_TIMEOUT)
                .expect("the piece before was printed");
        }
        stream.write_all(&response(b"")).expect("the end is sent");
    });
    let mut child = fetch(&application, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut piece = [0; 3];
    for expected in [b"one", b"log", b"two"] {
        let pipe: &mut dyn Read = if expected == b"log" { &mut stderr } else { &mut stdout };
        pipe.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, expected);
        report.send(()).unwrap();
    }
    assert!(child.wait().unwrap().success());
}

/// Rule C7.
#[test]
fn large_body_is_echoed() {
    let directory = tempfile::tempdir().unwrap();
    let body = Pattern::bytes(20 << 20);
    let path = write_file(directory.path(), "body", &body);
    let application = Application::unix(|_, mut stream| {
        read_begin_and_params(&mut stream).expect("the start of a request");
        echo_stdin(&mut stream);
    });
    let output = run(&application, &["--body", &path]);
    assert_eq!(status(&output), 0);
    assert!(output.stdout == body, "{} bytes", output.stdout.len());
}

/// `--param` may be empty or repeated. Rule C32.
#[test]
fn params_are_sent_in_their_order() {
    let request =
        received(&["--param", "B=2", "--param", "A=x=y", "--param", "EMPTY=", "--param", "B=3"]);
    let get = ("REQUEST_METHOD", "GET");
    let expected = [("B", "2"), ("A", "x=y"), ("EMPTY", ""), ("B", "3"), get];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    assert_eq!(request.params, expected);
    assert_eq!((request.role, request.flags, &request.stdin[..]), (RESPONDER, 0, &b""[..]));
}

/// A `CONTENT_LENGTH` given with `--param` limits the body. Rule C6.
#[test]
fn body_is_sent_with_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = write_file(directory.path(), "body", b"name=ferris");
    let request = received(&["--body", &path]);
    assert_eq!(
        (request.param("CONTENT_LENGTH"), &request.stdin[..]),
        (Some(&b"11"[..]), &b"name=ferris"[..])
    );
    let request = received(&["--body", &path, "--param", "CONTENT_LENGTH=4"]);
    assert_eq!(
        (request.param("CONTENT_LENGTH"), &request.stdin[..]),
        (Some(&b"4"[..]), &b"name"[..])
    );
    let empty = write_file(directory.path(), "empty", b"");
    assert_eq!(received(&["--body", &empty]).param("CONTENT_LENGTH"), Some(&b"0"[..]));
}

/// The role is a name or a number. For a filter the length and the time of the file are sent, too.
/// Rule C26.
#[test]
fn role_and_data_are_sent() {
    for (role, expected) in [("responder", 1), ("authorizer", 2), ("9", 9), ("65535", 65535)] {
        assert_eq!(received(&["--role", role]).role, expected);
    }
    let directory = tempfile::tempdir().unwrap();
    let body = write_file(directory.path(), "body", b"the body");
    let data = write_file(directory.path(), "data", &Pattern::bytes(100_000));
    let since = fs::metadata(&data)
        .unwrap()
        .modified()
        .unwrap()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for role in ["filter", "3"] {
        let request = received(&["--role", role, "--body", &body, "--data", &data]);
        assert_eq!((request.role, &request.stdin[..]), (FILTER, &b"the body"[..]));
        assert!(request.data == Pattern::bytes(100_000));
        assert_eq!(request.param("FCGI_DATA_LENGTH"), Some(&b"100000"[..]));
        assert_eq!(request.param("FCGI_DATA_LAST_MOD"), Some(since.to_string().as_bytes()));
    }
}

/// Rule C3.
#[test]
fn keep_sets_the_keep_conn_flag() {
    assert_eq!((received(&["--keep"]).flags, received(&[]).flags), (1, 0));
}

/// It is 255 otherwise. Rule C10.
#[test]
fn exit_status_is_the_app_status_if_it_fits() {
    for (app_status, expected) in
        [(0, 0), (1, 1), (42, 42), (255, 255), (256, 255), (u32::MAX, 255)]
    {
        let application =
            Application::answering([record(STDOUT, 1, b"out"), end(1, app_status, 0)].concat());
        let output = run(&application, &[]);
        assert_eq!(
            (status(&output), &output.stdout[..], &output.stderr[..]),
            (expected, &b"out"[..], &b""[..])
        );
    }
}

/// The usage is printed, and no connection is opened.
#[test]
fn invalid_argument_exits_with_64() {
    let application = Application::unix(|_, _| panic!("a connection was opened"));
    let invalid: &[(&[&str], &str)] = &[
        (&["--param"], "--param requires a value"),
        (&["--param", "NOVALUE"], "NOVALUE"),
        (&["--timeout", "soon"], "soon"),
        (&["--timeout", "0"], "seconds"),
        (&["--timeout", "-1"], "seconds"),
        (&["--role", "actor"], "actor"),
        (&["--role", "65536"], "65536"),
        (&["--what"], "--what"),
        (&["more"], "more"),
        (&["--body"], "--body requires a value"),
        (&["--data"], "--data requires a value"),
    ];
    for (args, reason) in invalid {
        let output = run(&application, args);
        assert_fails(&output, 64, reason);
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: fetch ADDRESS"));
    }
    for args in [&[][..], &["--keep"], &["nowhere"], &["127.0.0.1:99999"]] {
        let output = Command::new(program()).args(args).output().unwrap();
        assert_fails(&output, 64, "");
    }
}

/// Rule C31.
#[test]
fn missing_application_exits_with_69() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.sock");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [missing.to_str().unwrap(), &port.to_string()] {
        assert_fails(&Command::new(program()).arg(address).output().unwrap(), 69, "");
    }
}

/// The file is named, and no connection is opened.
#[test]
fn missing_file_exits_with_74() {
    let application = Application::unix(|_, _| panic!("a connection was opened"));
    for option in ["--body", "--data"] {
        assert_fails(&run(&application, &[option, "/no/such/file"]), 74, "/no/such/file");
    }
}

/// A directory can be opened but not read. The body is not ended as if it were complete.
#[test]
fn unreadable_body_exits_with_74() {
    let directory = tempfile::tempdir().unwrap();
    let application = Application::unix(|_, mut stream| wait_for_close(&mut stream));
    assert_fails(&run(&application, &["--body", directory.path().to_str().unwrap()]), 74, "");
}

/// The status is named. Rule C9.
#[test]
fn refusal_exits_with_75() {
    for (protocol_status, reason) in
        [(1, "CANT_MPX_CONN"), (2, "OVERLOADED"), (3, "UNKNOWN_ROLE"), (77, "77")]
    {
        let output = run(&Application::answering(end(1, 0, protocol_status)), &[]);
        assert_fails(&output, 75, reason);
        assert_eq!(output.stdout, b"");
    }
}

/// The data before the error is printed. Rule C11.
#[test]
fn truncated_or_invalid_response_exits_with_76() {
    let whole = [record(STDOUT, 1, b"half"), record(STDOUT, 1, b""), end(1, 0, 0)].concat();
    for cut in [0, 3, 8, 10, 12, 15, 20, 27, 35] {
        let output = run(&Application::answering(&whole[..cut]), &[]);
        assert_fails(&output, 76, "ended");
        assert_eq!(output.stdout, &b"half"[..cut.saturating_sub(8).min(4)], "cut at {cut}");
    }
    let answers = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "version 72"),
        (record(STDOUT, 2, b"x"), "request 2"),
        (record(END, 1, b"short"), "5 bytes"),
    ];
    for (answer, reason) in answers {
        assert_fails(&run(&Application::answering(answer), &[]), 76, reason);
    }
}

/// Rule C11.
#[test]
fn reset_exits_with_76() {
    let application = Application::tcp(|_, mut stream| {
        stream.read_exact(&mut [0]).expect("a byte of the request");
    });
    assert_fails(&run(&application, &[]), 76, "");
}

/// The data before it is printed. Rule C29.
#[test]
fn timeout_exits_with_124() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&record(STDOUT, 1, b"start")).expect("the bytes are sent");
        wait_for_close(&mut stream);
    });
    let output = run(&application, &["--timeout", "0.9"]);
    assert_fails(&output, 124, "timed out");
    assert_eq!(output.stdout, b"start");
}
