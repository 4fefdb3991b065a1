//! The three streams of a program flow at the same time, whichever side is slow or closes first.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use fcgi::net::Stream;
use fcgi::server::Config;

use crate::script::{run, run_script, run_with, server, servers, start, Reports};
use crate::support::*;

const LARGE: usize = 16 << 20;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn body_is_the_stdin_of_the_program() {
    for server in servers() {
        for len in [0, 1, 65_535, 65_536, 65_537, 200_000] {
            let body = pattern(len);
            let answer = run_with(&server, &[], "printf 'Status: 200\\n\\n'; cat", &body);
            assert!(answer.stdout == [b"Status: 200\n\n", &*body].concat(), "{len} bytes");
        }
    }
}

#[test]
fn body_of_unknown_length_is_the_stdin_of_the_program() {
    let script = "printf 'Status: 200\\n\\n'; cat";
    for (method, expected) in [("POST", "Status: 200\n\nbody"), ("GET", "Status: 200\n\n")] {
        let pairs = [("SCRIPT", script), ("REQUEST_METHOD", method)];
        let answer = server().round_trip(1, &request(1, RESPONDER, 0, &pairs, b"body"));
        assert_eq!(answer.text(), expected, "{method}");
    }
}

#[test]
fn large_body_and_large_response_flow_at_the_same_time() {
    for server in servers() {
        let body = pattern(LARGE);
        let script = "printf 'Status: 200\\n\\n'; head -c 16777216 /dev/zero; cat";
        let answer = run_with(&server, &[], script, &body);
        let (head, rest) = answer.stdout.split_at(13);
        assert_eq!(head, b"Status: 200\n\n");
        assert!(rest[..LARGE].iter().all(|byte| *byte == 0));
        assert!(rest[LARGE..] == body, "{} bytes", rest.len());
    }
}

#[test]
fn large_stderr_flows_beside_stdout() {
    let script = "printf 'Status: 200\\n\\n'; head -c 4000000 /dev/zero >&2 & \
                  head -c 4000000 /dev/zero; wait";
    let answer = run(script);
    assert_eq!((answer.stdout.len(), answer.stderr.len()), (4_000_013, 4_000_000));
    assert_eq!(answer.app_status, 0);
}

#[test]
fn program_may_leave_the_body_unread() {
    for server in servers() {
        for script in [
            "printf 'Status: 200\\n\\ndone'",
            "exec <&-; printf 'Status: 200\\n\\ndone'",
            "printf 'Status: 200\\n\\n'; head -c 1 >/dev/null; printf done",
        ] {
            let answer = run_with(&server, &[], script, &pattern(LARGE));
            assert_eq!(answer.text(), "Status: 200\n\ndone", "{script}");
            assert_eq!(answer.app_status, 0);
        }
    }
}

#[test]
fn web_server_that_sends_the_whole_body_first_is_not_blocked() {
    let server = server();
    let mut stream = server.connect();
    let script = "exec <&-; printf 'Status: 200\\n\\n'; head -c 4000000 /dev/zero";
    let len = LARGE.to_string();
    let pairs = [("SCRIPT", script), ("CONTENT_LENGTH", &*len)];
    stream.write_all(&request(1, RESPONDER, 0, &pairs, &pattern(LARGE))).expect("the body");
    assert_eq!(read_answer(&mut stream, 1).stdout.len(), 4_000_013);
}

#[test]
fn output_is_passed_on_while_the_program_runs() {
    let reports = Reports::new();
    reports.create_pipe("go");
    for server in servers() {
        let script = reports.script("printf 'Status: 200\\n\\nline 1\\n'; read x <DIR/go; echo 2");
        let mut stream = start(&server, &[], &script);
        let record = read_record(&mut stream).expect("a record");
        assert_eq!(record.content, b"Status: 200\n\nline 1\n");
        fs::write(reports.path("go"), "\n").expect("the script reads");
        assert_eq!(read_answer(&mut stream, 1).text(), "2\n");
    }
}

/// Sends a request up to the first line of its body of two lines.
fn start_with_one_line(server: &TestServer, pairs: &[(&str, &str)], script: &str) -> Stream {
    let mut stream = server.connect();
    let pairs = [pairs, &[("SCRIPT", script), ("CONTENT_LENGTH", "8")]].concat();
    let bytes = [begin(1, RESPONDER, 0), params(1, &pairs), record(STDIN, 1, b"one\n")].concat();
    stream.write_all(&bytes).expect("half of the body");
    stream
}

fn last_line() -> Vec<u8> {
    [record(STDIN, 1, b"two\n"), record(STDIN, 1, b"")].concat()
}

#[test]
fn body_is_passed_on_while_it_arrives() {
    let script = "printf 'Status: 200\\n\\n'; read x; echo $x; read x; echo $x";
    let server = server();
    let mut stream = start_with_one_line(&server, &[("EARLY_OUTPUT", "1")], script);
    let mut text = Vec::new();
    while !text.ends_with(b"one\n") {
        text.extend(read_record(&mut stream).expect("a record").content);
    }
    stream.write_all(&last_line()).expect("the rest of the body");
    assert_eq!(read_answer(&mut stream, 1).text(), "two\n");
}

#[test]
fn output_is_held_back_until_the_body_has_been_received() {
    let reports = Reports::new();
    let script = "printf 'Status: 200\\n\\n'; read x; echo $x; echo $$ >DIR/one; read x; echo $x";
    let server = server();
    let mut stream = start_with_one_line(&server, &[], &reports.script(script));
    reports.wait_for_process("one");
    // Nothing arrives, however long this takes.
    stream.set_timeouts(Some(Duration::from_millis(300)), Some(TEST_TIMEOUT)).expect("a timeout");
    let error = stream.read(&mut [0]).expect_err("no response yet");
    assert!(!matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof));
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("a timeout");
    stream.write_all(&last_line()).expect("the rest of the body");
    assert_eq!(read_answer(&mut stream, 1).text(), "Status: 200\n\none\ntwo\n");
}

/// The request itself ends after the next part of the body.
#[test]
fn response_is_sent_if_the_program_ends_before_the_body() {
    for (script, expected) in [
        ("printf 'Status: 200\\n\\ndone'", "Status: 200\n\ndone"),
        ("echo nonsense; sleep 60", "Status: 502 Bad Gateway\r\n"),
        ("exit 1", "Status: 502 Bad Gateway\r\n"),
    ] {
        let server = server();
        let mut stream = start_with_one_line(&server, &[], script);
        let record = read_record(&mut stream).expect("a record");
        let text = String::from_utf8_lossy(&record.content).into_owned();
        assert!(text.starts_with(expected), "{script}: {text}");
        stream.write_all(&last_line()).expect("the rest of the body");
        assert_eq!(read_answer(&mut stream, 1).stdout.len(), 0, "{script}");
    }
}

#[test]
fn program_that_closes_stdout_keeps_its_request_until_it_ends() {
    let reports = Reports::new();
    reports.create_pipe("go");
    for close in [">&-", ">&- 2>&-", ">/dev/null 2>&1"] {
        let script =
            reports.script("printf 'Status: 200\\n\\nall'; exec CLOSE; read x <DIR/go; exit 5");
        let server = server();
        let mut stream = start(&server, &[], &script.replace("CLOSE", close));
        let mut text = Vec::new();
        while !text.ends_with(b"all") {
            text.extend(read_record(&mut stream).expect("a record").content);
        }
        fs::write(reports.path("go"), "\n").expect("the script still runs");
        let answer = read_answer(&mut stream, 1);
        assert_eq!((answer.app_status, answer.stdout.len()), (5, 0), "{close}");
    }
}

#[test]
fn many_programs_run_at_the_same_time_on_kept_connections() {
    let server = TestServer::unix(Config::new().max_connections(3), run_script);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut stream = server.connect();
                for n in 0..10 {
                    let body = n.to_string().repeat(1000);
                    let script = "printf 'Status: 200\\n\\n'; cat";
                    let pairs = [("SCRIPT", script), ("CONTENT_LENGTH", "1000")];
                    let bytes = request(1, RESPONDER, 1, &pairs, body.as_bytes());
                    stream.write_all(&bytes).expect("a request");
                    let answer = read_answer(&mut stream, 1);
                    assert_eq!(answer.text(), format!("Status: 200\n\n{body}"));
                }
            });
        }
    });
    assert_eq!(server.reported_errors(), []);
}
