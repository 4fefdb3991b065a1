//! Every program ends and is waited for, and takes with it what it has started, unless it has ended
//! normally.

use std::fs;
use std::io::Write;
use std::time::Duration;

use fcgi::net::Stream;
use fcgi::server::Config;

use crate::script::{
    exists, is_running, kill, run_script, run_with, server, servers, start, Reports,
};
use crate::support::*;

/// Reports the process id of the shell and of a process that it has started, then waits for that.
const WAIT: &str = "sleep 60 & echo $! >DIR/grandchild; echo $$ >DIR/child; wait";

/// Waits until `WAIT` runs, calls a function, and asserts that both processes end after that.
#[track_caller]
fn assert_ended(reports: &Reports, cause: impl FnOnce()) {
    let [child, grandchild] = ["child", "grandchild"].map(|name| reports.wait_for_process(name));
    assert!(is_running(child) && is_running(grandchild));
    cause();
    wait_until("the program is waited for", || !exists(child));
    wait_until("what the program has started ends", || !is_running(grandchild));
}

#[test]
fn program_is_waited_for_before_the_request_ends() {
    let answer = run_with(&server(), &[], "printf 'Status: 200\\n\\n'; echo $$", b"");
    let child = answer.text().lines().last().and_then(|line| line.parse().ok());
    assert!(!exists(child.expect("a process id")));
}

#[test]
fn timeout_ends_the_program_and_what_it_has_started() {
    for (name, program) in [("TIMEOUT", "program"), ("IDLE_TIMEOUT", "idle program")] {
        let reports = Reports::new();
        let server = server();
        let mut stream = start(&server, &[(name, "500")], &reports.script(WAIT));
        assert_ended(&reports, || {
            let answer = read_answer(&mut stream, 1);
            assert!(answer.text().starts_with("Status: 504 Gateway Timeout\r\n"), "{answer:?}");
            let reason = format!("{program} timed out after 500 ms\n");
            assert_eq!(String::from_utf8_lossy(&answer.stderr), reason);
            assert_eq!(answer.app_status, 1);
        });
    }
}

#[test]
fn timeout_after_a_part_of_the_response_is_a_failure() {
    let script = "printf 'Status: 200\\n\\npart'; while true; do echo x; sleep 0.05; done";
    let answer = run_with(&server(), &[("TIMEOUT", "400")], script, b"");
    assert!(answer.text().starts_with("Status: 200\n\npart"), "{}", answer.text());
    assert_eq!(String::from_utf8_lossy(&answer.stderr), "program timed out after 400 ms\n");
    assert_eq!(answer.app_status, 1);
}

#[test]
fn output_postpones_the_idle_timeout() {
    let script = "printf 'Status: 200\\n\\n'; for n in 1 2 3 4 5 6; do echo $n; sleep 0.3; done";
    let answer = run_with(&server(), &[("IDLE_TIMEOUT", "1500")], script, b"");
    assert_eq!((answer.text().lines().last(), answer.app_status), (Some("6"), 0));
}

/// The response fits neither the pipe nor the buffers of the connection, so the program is blocked.
#[test]
fn client_that_does_not_read_does_not_make_the_program_idle() {
    let server = server();
    let script = "printf 'Status: 200\\n\\n'; head -c 4000000 /dev/zero";
    let mut stream = start(&server, &[("IDLE_TIMEOUT", "500")], script);
    std::thread::sleep(Duration::from_secs(1));
    let answer = read_answer(&mut stream, 1);
    assert_eq!(String::from_utf8_lossy(&answer.stderr), "");
    assert_eq!((answer.stdout.len(), answer.app_status), (4_000_000 + 13, 0));
}

#[test]
fn program_that_ignores_sigterm_is_killed() {
    let reports = Reports::new();
    let script = reports.script(&format!("trap '' TERM; {WAIT}"));
    let server = server();
    let stream = start(&server, &[("KILL_TIMEOUT", "200")], &script);
    assert_ended(&reports, || drop(stream));
}

#[test]
fn program_can_clean_up_after_sigterm() {
    for kill_timeout in ["20000", "max"] {
        for redirection in ["", "exec >&- 2>&-"] {
            let reports = Reports::new();
            let trap = "trap 'sleep 0.3; echo bye >DIR/bye; exit' TERM";
            let script = reports.script(&format!("{redirection}\n{trap}; {WAIT}"));
            let server = server();
            let stream = start(&server, &[("KILL_TIMEOUT", kill_timeout)], &script);
            assert_ended(&reports, || drop(stream));
            assert!(reports.exists("bye"), "{kill_timeout} {redirection}");
        }
    }
}

/// The program itself ends at SIGTERM.
#[test]
fn process_that_ignores_sigterm_is_killed_with_the_program_that_has_started_it() {
    let reports = Reports::new();
    let wait = WAIT.replace("echo $$", "trap - TERM; echo $$");
    let script = reports.script(&format!("exec >&- 2>&-; trap '' TERM; {wait}"));
    let server = server();
    let stream = start(&server, &[("KILL_TIMEOUT", "max")], &script);
    assert_ended(&reports, || drop(stream));
}

#[test]
fn closed_connection_ends_the_program() {
    for server in servers() {
        let reports = Reports::new();
        let stream = start(&server, &[], &reports.script(WAIT));
        assert_ended(&reports, || drop(stream));
    }
}

#[test]
fn closed_connection_or_abort_ends_a_program_whose_request_has_no_body() {
    for server in servers() {
        for last_record in [&[][..], &record(ABORT, 1, b"")] {
            let reports = Reports::new();
            let pairs = [("REQUEST_METHOD", "GET")];
            let mut stream = start(&server, &pairs, &reports.script(WAIT));
            let mut kept = None;
            assert_ended(&reports, || {
                stream.write_all(last_record).expect("the last record");
                kept = Some(stream).filter(|_| !last_record.is_empty());
            });
        }
    }
}

#[test]
fn closed_connection_ends_a_program_that_writes() {
    for server in servers() {
        let reports = Reports::new();
        let script = "printf 'Status: 200\\n\\n'; yes & echo $! >DIR/grandchild; \
                      echo $$ >DIR/child; wait";
        let stream = start(&server, &[], &reports.script(script));
        assert_ended(&reports, || drop(stream));
    }
}

#[test]
fn abort_request_ends_the_program() {
    for server in servers() {
        let reports = Reports::new();
        let mut stream = start(&server, &[], &reports.script(WAIT));
        assert_ended(&reports, || {
            stream.write_all(&record(ABORT, 1, b"")).expect("the abort is sent");
        });
        assert_eq!(read_answer(&mut stream, 1).app_status, 1);
    }
}

/// Sends a request with 10 of the 20 bytes of its body.
fn start_with_half_a_body(server: &TestServer, script: &str) -> Stream {
    let mut stream = server.connect();
    let pairs = [("SCRIPT", script), ("CONTENT_LENGTH", "20")];
    let bytes = [begin(1, RESPONDER, 0), params(1, &pairs), record(STDIN, 1, b"0123456789")];
    stream.write_all(&bytes.concat()).expect("half a request");
    stream
}

#[test]
fn abort_during_the_body_ends_the_program_before_its_stdin() {
    let abort = record(ABORT, 1, b"");
    let end = record(STDIN, 1, b"");
    for server in servers() {
        for last_record in [&[][..], &abort, &end] {
            let reports = Reports::new();
            let script = "sleep 60 & echo $! >DIR/grandchild; echo $$ >DIR/child; \
                          cat >/dev/null; echo >DIR/saw-end";
            let mut stream = start_with_half_a_body(&server, &reports.script(script));
            assert_ended(&reports, || {
                stream.write_all(last_record).expect("the last record");
                drop(stream);
            });
            assert!(!reports.exists("saw-end"), "after {last_record:?}");
        }
    }
}

/// The rest of the body hides the end of a TCP connection.
#[test]
fn closed_connection_ends_a_program_that_leaves_the_body_unread() {
    let reports = Reports::new();
    let server = server();
    let stream = server.connect();
    let script = reports.script(WAIT);
    let pairs = [("SCRIPT", &*script), ("CONTENT_LENGTH", "1000000")];
    let bytes = [begin(1, RESPONDER, 0), params(1, &pairs), stream_of_zeros(300_000)];
    // A Unix socket does not hold as much as TCP, so another thread sends it.
    std::thread::scope(|scope| {
        let mut sending = stream.clone();
        scope.spawn(move || drop(sending.write_all(&bytes.concat())));
        assert_ended(&reports, || {
            stream.shutdown(std::net::Shutdown::Both).expect("an open connection");
        });
    });
}

fn stream_of_zeros(len: usize) -> Vec<u8> {
    crate::support::stream(STDIN, 1, &vec![0; len])
}

#[test]
fn process_that_keeps_the_pipes_open_does_not_keep_the_request() {
    for redirection in ["", ">/dev/null", "2>/dev/null", "<&0"] {
        let reports = Reports::new();
        let script = format!(
            "printf 'Status: 202\\n\\nstarted'; sleep 60 {redirection} & echo $! >DIR/grandchild"
        );
        let answer = run_with(&server(), &[], &reports.script(&script), &[0; 1_000_000]);
        assert_eq!((answer.text().as_str(), answer.app_status), ("Status: 202\n\nstarted", 0));
        let grandchild = reports.wait_for_process("grandchild");
        assert!(is_running(grandchild), "a job in the background continues");
        kill(grandchild);
    }
}

#[test]
fn output_of_a_process_that_outlives_the_program_is_passed_on() {
    let script = "printf 'Status: 200\\n\\n'; \
                  (for n in 1 2 3 4 5 6; do sleep 0.1; echo $n; done) &";
    let answer = run_with(&server(), &[], script, b"");
    assert_eq!(answer.text(), "Status: 200\n\n1\n2\n3\n4\n5\n6\n");
}

#[test]
fn invalid_head_ends_the_program() {
    let reports = Reports::new();
    reports.create_pipe("go");
    let server = server();
    let script = WAIT.replace("wait", "read x <DIR/go; echo nonsense; wait");
    let mut stream = start(&server, &[], &reports.script(&script));
    assert_ended(&reports, || {
        fs::write(reports.path("go"), "\n").expect("the script reads");
        let answer = read_answer(&mut stream, 1);
        assert!(answer.text().starts_with("Status: 502 Bad Gateway\r\n"), "{answer:?}");
    });
}

#[test]
fn shutdown_ends_the_programs_that_do_not_end_in_time() {
    let config = Config::new().shutdown_timeout(std::time::Duration::from_millis(100));
    for server in TestServer::tcp_and_unix(&config, run_script) {
        let reports = Reports::new();
        let _stream = start(&server, &[], &reports.script(WAIT));
        assert_ended(&reports, || server.handle.shutdown());
    }
}

#[test]
fn no_more_programs_run_than_connections_are_served() {
    let reports = Reports::new();
    let server = TestServer::unix(Config::new().max_connections(2), run_script);
    let script = reports.script(
        "mkdir DIR/running.$$; until [ -e DIR/go ]; do sleep 0.01; done; \
         printf 'Status: 200\\n\\n'; ls -d DIR/running.* | wc -l; rmdir DIR/running.$$",
    );
    let mut streams: Vec<_> = (0..6).map(|_| start(&server, &[], &script)).collect();
    wait_until("two programs run", || reports.count("running.") >= 2);
    fs::write(reports.path("go"), "").expect("a file");
    for stream in &mut streams {
        let answer = read_answer(stream, 1);
        let running = answer.text().lines().last().and_then(|line| line.parse::<u32>().ok());
        assert!(running.expect("a number") <= 2, "{}", answer.text());
    }
}
