//! What a program writes becomes the response if its head is valid.

use crate::script::{run, run_with, server};
use crate::support::*;

const UNAVAILABLE: &str = "The request could not be served.\n";

fn failed(status: &str) -> String {
    format!("Status: {status}\r\nContent-Type: text/plain\r\n\r\n{UNAVAILABLE}")
}

#[test]
fn head_and_body_are_passed_on_unchanged() {
    let answer = run("printf 'Status: 404 Gone\\r\\nX-A: 1\\nContent-Type: a/b\\n\\nbody\\n\\n'");
    assert_eq!(answer.text(), "Status: 404 Gone\r\nX-A: 1\nContent-Type: a/b\n\nbody\n\n");
    assert_eq!((answer.app_status, answer.stderr.len()), (0, 0));
}

#[test]
fn head_in_pieces_is_passed_on() {
    let answer = run("printf 'Sta'; sleep 0; printf 'tus: 201\\n'; sleep 0; printf '\\nbody'");
    assert_eq!(answer.text(), "Status: 201\n\nbody");
}

#[test]
fn invalid_head_is_a_502_response() {
    let server = server();
    for (script, reason) in [
        ("echo 'It works.'", "invalid header field \"It works.\""),
        ("printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'", "invalid header field \"HTTP/1.1 200 OK"),
        ("printf 'Status: abc\\n\\n'", "invalid Status \"abc\""),
        ("printf 'Status: 200\\n X: folded\\n\\n'", "invalid header field"),
        ("printf 'Status: 200\\nContent-Type: a/b\\n'", "before the end of its head"),
        ("true", "before the end of its head"),
        ("printf 'X: '; head -c 70000 /dev/zero | tr '\\0' x; printf '\\n\\n'", "65536 bytes"),
        ("echo oops >&2; exit 3", "program ended with exit status: 3"),
        ("printf 'Status: 200\\nno field\\n'; sleep 60", "invalid header field \"no field"),
    ] {
        let answer = run_with(&server, &[], script, b"");
        assert_eq!(answer.text(), failed("502 Bad Gateway"), "{script}");
        let stderr = String::from_utf8_lossy(&answer.stderr);
        assert!(stderr.contains(reason), "{script}: {stderr}");
        assert_eq!(answer.app_status, 1, "{script}");
    }
}

#[test]
fn stderr_is_passed_on() {
    let answer = run("echo careful >&2; printf 'Status: 200\\n\\n'");
    assert_eq!(answer.stderr, b"careful\n");
    assert_eq!(answer.text(), "Status: 200\n\n");
}

#[test]
fn app_status_is_the_exit_status() {
    for status in [0, 1, 7, 255] {
        let answer = run(&format!("printf 'Status: 200\\n\\nbody'; exit {status}"));
        assert_eq!((answer.text().as_str(), answer.app_status), ("Status: 200\n\nbody", status));
    }
}

#[test]
fn signal_without_a_response_is_a_502_response() {
    let answer = run("kill -SEGV $$");
    assert_eq!(answer.text(), failed("502 Bad Gateway"));
    let stderr = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(stderr.starts_with("program ended with signal: 11"), "{stderr}");
}

#[test]
fn signal_after_a_part_of_the_response_is_a_failure() {
    let answer = run("printf 'Status: 200\\n\\npart'; sleep 0.3; kill -KILL $$");
    assert_eq!((answer.text().as_str(), answer.app_status), ("Status: 200\n\npart", 1));
    let stderr = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(stderr.starts_with("program ended with signal: 9"), "{stderr}");
}

#[test]
fn body_that_is_shorter_than_its_content_length_is_a_failure() {
    let head = "printf 'Content-Type: a/b\\nContent-Length: 5\\n\\n";
    assert_eq!(run(&format!("{head}12345'")).app_status, 0);
    let answer = run(&format!("{head}1234'"));
    let stderr = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(stderr.contains("after 4 of the 5 bytes"), "{stderr}");
    assert_eq!(answer.app_status, 1);

    // The response to HEAD has no body.
    let answer = run_with(&server(), &[("REQUEST_METHOD", "HEAD")], &format!("{head}'"), b"");
    assert_eq!((answer.app_status, answer.stderr.len()), (0, 0));
}

#[test]
fn program_that_cannot_be_started_is_a_502_response() {
    let server = TestServer::unix(fcgi::server::Config::new(), |request| {
        let command = std::process::Command::new("/nonexistent/program");
        fcgi::bridge::run_program(request, command)?;
        Ok(())
    });
    let answer = server.round_trip(1, &request(1, RESPONDER, 0, &[], b""));
    assert_eq!(answer.text(), failed("502 Bad Gateway"));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("No such file"));
}
