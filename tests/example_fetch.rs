//! The example `fetch`, run as a program: what it sends for its options, where the response goes
//! and when, and each of its exit statuses.
#![cfg(unix)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{mpsc, Mutex};
use std::time::UNIX_EPOCH;
use std::{fs, str};

use support::application::*;
use support::*;

/// The example as cargo has built it, beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test.ancestors().nth(2).expect("target/debug");
    let path = directory.join("examples").join("fetch");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// A run of the program at an application.
fn fetch(application: &Application, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(application.address.to_string()).args(args).stdin(Stdio::null());
    command
}

fn run(application: &Application, args: &[&str]) -> Output {
    fetch(application, args).output().expect("the program runs")
}

/// The program's exit status, which a signal has not.
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

/// Runs the program and returns what it sent; the answer is empty.
fn received(args: &[&str]) -> Received {
    let (tell, told) = mpsc::channel();
    let application = Application::unix(move |_, mut stream| {
        tell.send(read_request(&mut stream).expect("a request")).expect("the test");
        stream.write_all(&response(b"")).expect("the answer is taken");
    });
    let output = run(&application, args);
    assert_eq!((status(&output), str::from_utf8(&output.stderr)), (0, Ok("")));
    told.recv().expect("a request")
}

fn written(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    fs::write(&path, content).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// The response goes to stdout and STDERR to stderr, as they are, on TCP and on a Unix socket.
#[test]
fn the_response_is_printed() {
    for application in Application::both(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        let answer = [
            record(STDOUT, 1, b"Status: 404 Not Found\r\n\r\n"),
            record(STDERR, 1, b"no such\x1b file\n"),
            response(b"sorry\0\xff"),
        ];
        stream.write_all(&answer.concat()).expect("the answer is taken");
    }) {
        let output = run(&application, &[]);
        assert_eq!(
            (status(&output), &output.stdout[..]),
            (0, &b"Status: 404 Not Found\r\n\r\nsorry\0\xff"[..])
        );
        assert_eq!(output.stderr, b"no such\x1b file\n");
    }
}

/// Both are printed as they come: the application goes on only when each piece was seen.
#[test]
fn the_response_is_printed_as_it_comes() {
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let application = Application::unix(move |_, mut stream| {
        read_request(&mut stream).expect("a request");
        for piece in
            [record(STDOUT, 1, b"one"), record(STDERR, 1, b"log"), record(STDOUT, 1, b"two")]
        {
            stream.write_all(&piece).expect("a piece is taken");
            told.lock().unwrap().recv_timeout(PATIENCE).expect("the piece before was printed");
        }
        stream.write_all(&response(b"")).expect("the end is taken");
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
        tell.send(()).unwrap();
    }
    assert!(child.wait().unwrap().success());
}

/// A response of 20 MiB beside as large a body.
#[test]
fn a_large_body_is_echoed() {
    let directory = tempfile::tempdir().unwrap();
    let body = Pattern::bytes(20 << 20);
    let path = written(directory.path(), "body", &body);
    let application = Application::unix(|_, mut stream| {
        read_head(&mut stream).expect("the head of a request");
        send_body_back(&mut stream);
    });
    let output = run(&application, &["--body", &path]);
    assert_eq!(status(&output), 0);
    assert!(output.stdout == body, "{} bytes", output.stdout.len());
}

/// `--param`: as given, in order, empty and repeated ones too; without one there are none, and no
/// flag is set.
#[test]
fn params_are_sent() {
    let request =
        received(&["--param", "B=2", "--param", "A=x=y", "--param", "EMPTY=", "--param", "B=3"]);
    let expected = [("B", "2"), ("A", "x=y"), ("EMPTY", ""), ("B", "3")];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    assert_eq!(request.params, expected);
    assert_eq!((request.role, request.flags, &request.stdin[..]), (RESPONDER, 0, &b""[..]));
    assert_eq!(received(&[]).params, []);
}

/// `--body`: the file and its length, unless another was given, which bounds it.
#[test]
fn a_body_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(directory.path(), "body", b"name=ferris");
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
    let empty = written(directory.path(), "empty", b"");
    assert_eq!(received(&["--body", &empty]).param("CONTENT_LENGTH"), Some(&b"0"[..]));
}

/// `--role` and `--data`: each name, a number, and a filter's file with its length and time.
#[test]
fn roles_and_data_are_sent() {
    for (role, expected) in [("responder", 1), ("authorizer", 2), ("9", 9), ("65535", 65535)] {
        assert_eq!(received(&["--role", role]).role, expected);
    }
    let directory = tempfile::tempdir().unwrap();
    let body = written(directory.path(), "body", b"the body");
    let data = written(directory.path(), "data", &Pattern::bytes(100_000));
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

/// `--keep` sets the flag.
#[test]
fn keeping_is_asked_for() {
    assert_eq!((received(&["--keep"]).flags, received(&[]).flags), (1, 0));
}

/// The exit status is the app status where it fits, else 255.
#[test]
fn the_exit_status_is_the_app_status() {
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

/// 64: wrong usage, told with the usage, before anything is connected.
#[test]
fn wrong_usage() {
    let application = Application::unix(|_, _| panic!("nothing is connected"));
    let wrong: &[(&[&str], &str)] = &[
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
    for (args, reason) in wrong {
        let output = run(&application, args);
        assert_fails(&output, 64, reason);
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: fetch ADDRESS"));
    }
    for args in [&[][..], &["--keep"], &["nowhere"], &["127.0.0.1:99999"]] {
        let output = Command::new(program()).args(args).output().unwrap();
        assert_fails(&output, 64, "");
    }
}

/// 69: nobody listens.
#[test]
fn nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.sock");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [missing.to_str().unwrap(), &port.to_string()] {
        assert_fails(&Command::new(program()).arg(address).output().unwrap(), 69, "");
    }
}

/// 74: a file that cannot be read, told by its name, before anything is connected.
#[test]
fn a_file_that_cannot_be_read() {
    let application = Application::unix(|_, _| panic!("nothing is connected"));
    for option in ["--body", "--data"] {
        assert_fails(&run(&application, &[option, "/no/such/file"]), 74, "/no/such/file");
    }
}

/// 74 too, for one that opens and then cannot be read; the application gets no whole body.
#[test]
fn a_directory_is_no_body() {
    let directory = tempfile::tempdir().unwrap();
    let application = Application::unix(|_, mut stream| wait_for_close(&mut stream));
    assert_fails(&run(&application, &["--body", directory.path().to_str().unwrap()]), 74, "");
}

/// 75: each refusal, with its name.
#[test]
fn a_refusal() {
    for (protocol_status, reason) in
        [(1, "CANT_MPX_CONN"), (2, "OVERLOADED"), (3, "UNKNOWN_ROLE"), (77, "77")]
    {
        let output = run(&Application::answering(end(1, 0, protocol_status)), &[]);
        assert_fails(&output, 75, reason);
        assert_eq!(output.stdout, b"");
    }
}

/// 76: an answer that breaks off, at any point, or is none; what came before is printed.
#[test]
fn a_broken_answer() {
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

/// 76 too where the connection is reset.
#[test]
fn a_reset_answer() {
    let application = Application::tcp(|_, mut stream| {
        stream.read_exact(&mut [0]).expect("a byte of the request");
    });
    assert_fails(&run(&application, &[]), 76, "");
}

/// 124: `--timeout`, in seconds and parts of them, bounds the wait; what came before is printed.
#[test]
fn a_time_out() {
    let application = Application::unix(|_, mut stream| {
        read_request(&mut stream).expect("a request");
        stream.write_all(&record(STDOUT, 1, b"begun")).expect("the beginning is taken");
        wait_for_close(&mut stream);
    });
    let output = run(&application, &["--timeout", "0.9"]);
    assert_fails(&output, 124, "timed out");
    assert_eq!(output.stdout, b"begun");
}
