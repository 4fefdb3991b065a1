//! Tests of the example `fpm` with scripted applications. `tests/interop/fpm.rs` runs it with
//! php-fpm.
#![cfg(unix)]

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::example;
use crate::support::application::*;
use crate::support::*;

/// Runs the example. Returns its exit status and its only line.
#[track_caller]
fn run(address: &str, args: &[&str]) -> (i32, String) {
    let output = example::run("fpm", &[&[address], args].concat(), &[], b"");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().expect("an exit status"), text.trim_end().to_owned())
}

#[track_caller]
fn assert_verdict(address: &str, args: &[&str], status: i32, words: &[&str]) {
    let (code, line) = run(address, args);
    assert_eq!(code, status, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} in {line:?}");
    }
}

/// Answers a ping, and a request for the status with this page.
fn pool(status: Value) -> Application {
    Application::tcp(move |_, mut stream| {
        let Some(request) = read_request(&mut stream) else { return };
        let is_ping = request.param("SCRIPT_NAME") == Some(b"/ping");
        let page = if is_ping { "pong".into() } else { status.to_string() };
        let page = format!("Content-type: text/plain\r\n\r\n{page}");
        stream.write_all(&response(page.as_bytes())).expect("the response is sent");
    })
}

/// The status page of a pool whose status was requested on its own socket.
fn status(manager: &str, active: u64, idle: u64, queue: u64, slow: u64) -> Value {
    json!({
        "pool": "www", "process manager": manager, "accepted conn": 5, "listen queue": queue,
        "idle processes": idle, "active processes": active, "total processes": active + idle,
        "max children reached": 0, "slow requests": slow,
    })
}

#[test]
fn pool_that_answers_is_up() {
    let pool = pool(status("static", 3, 2, 0, 0));
    let address = pool.address.to_string();
    assert_verdict(&address, &[], 0, &["UP: ", "ping answered in", "| time=0."]);
    // The process that serves the status page is not counted as active.
    let words = ["pool www: 2 of 5 processes active", "active=2 idle=3 slow=0 queue=0"];
    assert_verdict(&address, &["--status"], 0, &["status answered in", words[0], words[1]]);
    assert_verdict(&address, &["--ping", "--status"], 0, &["ping answered in", words[0]]);
}

#[test]
fn threshold_is_the_last_value_that_is_not_busy() {
    let pool = pool(status("dynamic", 4, 1, 7, 9));
    let address = pool.address.to_string();
    for (option, value, what) in [
        ("--max-active", 3, "active processes"),
        ("--max-queue", 7, "waiting connections"),
        ("--max-slow", 9, "slow requests"),
    ] {
        assert_verdict(&address, &[option, &value.to_string()], 0, &["UP: "]);
        let below = value - 1;
        let reason = format!("BUSY: {address}: {value} {what}, more than {below}");
        assert_verdict(&address, &[option, &below.to_string()], 1, &[&reason]);
    }
}

/// A pool that starts processes on demand has none that are free.
#[test]
fn static_pool_without_a_free_process_is_busy() {
    let main = pool(json!({}));
    for (manager, code) in [("static", 1), ("dynamic", 0), ("ondemand", 0)] {
        let other = pool(status(manager, 2, 0, 0, 0));
        let option = format!("--status-address={}", other.address);
        assert_verdict(&main.address.to_string(), &[&option], code, &["2 of 2 processes active"]);
    }
}

/// Its own socket does not answer, but the other one does.
#[test]
fn pool_whose_status_can_be_read_is_not_down() {
    let silent = Application::tcp(|_, mut stream| wait_for_close(&mut stream));
    let other = pool(status("dynamic", 2, 0, 0, 0));
    let option = format!("--status-address={}", other.address);
    let args = ["--timeout=0.3", &option];
    assert_verdict(&silent.address.to_string(), &args, 1, &["BUSY: ", "no answer within"]);
}

/// Its own socket answers, but the other one does not.
#[test]
fn pool_that_answers_the_ping_is_not_down() {
    let pool = pool(json!({}));
    let silent = Application::tcp(|_, mut stream| wait_for_close(&mut stream));
    let broken = Application::answering(b"");
    for (other, reason) in [(silent, "no answer within"), (broken, "ended")] {
        let option = format!("--status-address={}", other.address);
        let args = ["--timeout=0.4", &option];
        let words = ["UNKNOWN: ", "the status cannot be read", reason];
        assert_verdict(&pool.address.to_string(), &args, 3, &words);
    }
}

#[test]
fn pool_without_an_answer_is_down_when_the_timeout_expires() {
    let silent = Application::tcp(|_, mut stream| wait_for_close(&mut stream));
    let address = silent.address.to_string();
    let other = format!("--status-address={address}");
    for args in [&[][..], &["--status"], &["--ping", "--status"], &[&other]] {
        let start = Instant::now();
        let args = [&["--timeout", "0.4"], args].concat();
        assert_verdict(&address, &args, 2, &["DOWN: ", "no answer within "]);
        assert!(start.elapsed() >= Duration::from_millis(400));
    }
}

/// A client cannot limit the time of each byte, but the check is limited as a whole.
#[test]
fn slow_answer_does_not_extend_the_timeout() {
    let slow = Application::tcp(|_, mut stream| {
        read_request(&mut stream);
        let bytes = stream_of_letters();
        while bytes.iter().all(|byte| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&[*byte]).is_ok()
        }) {}
    });
    let (status, line) = run(&slow.address.to_string(), &["--timeout=0.4"]);
    assert!(status == 2 && line.contains("no answer within 4"), "{line}");
}

fn stream_of_letters() -> Vec<u8> {
    record(STDOUT, 1, &[b'A'; 100])
}

#[cfg(target_os = "linux")]
#[test]
fn timeout_limits_connecting() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a listening socket");
    fill_backlog(&path);
    let address = path.to_str().expect("a path of text");
    assert_verdict(address, &["--timeout=0.3"], 2, &["DOWN: ", "no answer within", "waiting"]);
}

#[test]
fn address_at_which_nothing_listens_is_down() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing.sock");
    for address in [&*port, missing.to_str().expect("a path of text")] {
        for args in [&[][..], &["--status"], &["--max-queue=1"]] {
            assert_verdict(address, args, 2, &["DOWN: "]);
        }
    }
}

#[test]
fn other_answers_have_their_own_verdict() {
    let page = |head: &str| response(format!("{head}\r\n\r\n").as_bytes());
    let cases = [
        (end(1, 0, 2), 1, "OVERLOADED"),
        (b"".to_vec(), 2, "ended"),
        (record(STDOUT, 1, b"half"), 2, "ended"),
        (page("Status: 500 Internal Server Error"), 2, "/ping has the status 500"),
        (page("Status: 404 Not Found"), 3, "the pool has no page /ping"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), 3, "version 72"),
        (end(1, 0, 3), 3, "UNKNOWN_ROLE"),
        (response(b"no head"), 3, "head"),
    ];
    for (answer, status, reason) in cases {
        let application = Application::answering(answer);
        assert_verdict(&application.address.to_string(), &[], status, &[reason]);
    }
    let other = pool(json!({ "pool": "www" }));
    let reason = "/status is not a status page of php-fpm";
    assert_verdict(&other.address.to_string(), &["--status"], 3, &["UNKNOWN: ", reason]);
}

#[test]
fn line_has_no_control_characters() {
    let mut page = status("static", 1, 1, 0, 0);
    page["pool"] = "a\nb\u{1b}[31m".into();
    let pool = pool(page);
    assert_verdict(&pool.address.to_string(), &["--status"], 0, &["pool a b [31m: "]);
}

#[test]
fn json_has_the_verdict_and_the_numbers() {
    let pool = pool(status("static", 3, 2, 4, 1));
    let address = pool.address.to_string();
    let (code, line) = run(&address, &["--json", "--ping", "--max-slow=0"]);
    let mut report: Value = serde_json::from_str(&line).expect("JSON");
    assert!(report["seconds"].take().as_f64().expect("a number") > 0.0);
    let expected = json!({
        "state": "busy", "exit_status": 1, "reason": "1 slow requests, more than 0",
        "address": address, "seconds": null, "waiting": 4,
        "pool": {
            "name": "www", "active": 2, "idle": 3, "total": 5, "slow": 1,
            "max_children_reached": 0,
        },
    });
    assert_eq!((code, report), (1, expected));
    let (code, line) = run("127.0.0.1:1", &["--json"]);
    let report: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((code, &report["state"], &report["pool"]), (2, &json!("down"), &json!(null)));
}

#[test]
fn paths_of_the_pages_can_be_chosen() {
    let application = Application::tcp(|_, mut stream| {
        let Some(request) = read_request(&mut stream) else { return };
        let path = String::from_utf8_lossy(request.param("SCRIPT_NAME").expect("a path"));
        let page = format!("Status: 404\r\nX: {path}\r\n\r\n");
        stream.write_all(&response(page.as_bytes())).expect("the response is sent");
    });
    let address = application.address.to_string();
    for args in [["--ping=/alive"], ["--status=/alive"]] {
        assert_verdict(&address, &args, 3, &["the pool has no page /alive"]);
    }
}
