//! The example `cgi-fcgi`: a CGI call reaches the application and its answer comes back, whatever
//! the words; and where there is no answer, the web server gets one that says so (rules A1, A2,
//! C27, R3.1).
#![cfg(unix)]

#[path = "support/example.rs"]
mod example;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use example::Application;
use fcgi::net::Address;

const CALL: &[(&str, &str)] = &[
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("REQUEST_METHOD", "POST"),
    ("CONTENT_LENGTH", "5"),
    ("HTTP_PROXY", "http://evil/"),
    ("HOME", "/secret"),
];
const ANSWER: &str =
    "Content-Type: text/plain\r\n\r\nCONTENT_LENGTH=5\nGATEWAY_INTERFACE=CGI/1.1\nREQUEST_METHOD=POST\n\nhello";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_output(output: &Output, status: i32, stdout: &str, stderr: &str) {
    assert_eq!(text(&output.stdout), stdout);
    assert!(text(&output.stderr).contains(stderr), "{} in {}", stderr, text(&output.stderr));
    assert_eq!(output.status.code(), Some(status));
}

#[test]
fn connect_sends_what_cgi_defines_and_gives_the_answer() {
    let echo = Application::start("echo");
    let name = echo.address.path().expect("a path").to_str().expect("in UTF-8").to_owned();
    for words in
        [&["-connect", &name][..], &["-connect", &name, "-bind"], &["-bind", "-connect", &name]]
    {
        // Behind CONTENT_LENGTH bytes the input is somebody else's.
        assert_output(&example::run("cgi-fcgi", words, CALL, b"hello and more"), 0, ANSWER, "");
    }
}

#[test]
fn env_sends_all_of_the_environment() {
    let echo = Application::start("echo");
    let address = echo.address.to_string();
    let output =
        example::run("cgi-fcgi", &["-env", "-connect", &address], &[("HOME", "/secret")], b"");
    assert_output(&output, 0, "Content-Type: text/plain\r\n\r\nHOME=/secret\n\n", "");
}

#[test]
fn the_exit_status_is_the_applications_where_it_fits() {
    let echo = Application::start("echo");
    let address = echo.address.to_string();
    for (query, status) in [
        ("bytes=0&exit=0", 0),
        ("bytes=0&exit=7", 7),
        ("bytes=0&exit=255", 255),
        ("bytes=0&exit=256", 255),
    ] {
        let call = [("QUERY_STRING", query)];
        let output = example::run("cgi-fcgi", &["-connect", &address], &call, b"");
        assert_output(&output, status, "Content-Type: text/plain\r\n\r\n", "");
    }
    let call = [("QUERY_STRING", "bytes=1&stderr=careful")];
    let output = example::run("cgi-fcgi", &["-connect", &address], &call, b"");
    assert_output(&output, 0, "Content-Type: text/plain\r\n\r\nx", "careful");
}

#[test]
fn a_large_body_flows_both_ways() {
    let echo = Application::start("echo");
    let body: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let call = [("CONTENT_LENGTH", "8000000"), ("QUERY_STRING", "stream=1")];
    let output = example::run("cgi-fcgi", &["-connect", &echo.address.to_string()], &call, &body);
    assert!(output.stdout.ends_with(&body), "{} bytes came back", output.stdout.len());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn without_an_application_the_web_server_gets_an_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = directory.path().join("nobody.sock");
    let output =
        example::run("cgi-fcgi", &["-connect", name.to_str().expect("in UTF-8")], CALL, b"hello");
    let answer = "Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nThe application gave no answer.\n";
    assert_output(&output, 69, answer, "nobody.sock");
}

/// Descriptor 0 is the listening socket, 1 and 2 are closed (C27), and an application that dies is
/// noticed.
#[test]
fn an_application_is_started_where_nobody_listens() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let report = directory.path().join("report");
    let script = directory.path().join("application");
    let program = example::path("echo");
    // The subshell has the report open, the shell itself has not.
    let lines = format!(
        "#!/bin/sh\n(ls /proc/$$/fd > {} 2>/dev/null)\necho pid $$ >> {0}\nexec {}\n",
        report.display(),
        program.display()
    );
    fs::write(&script, lines).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
    let name = socket.to_str().expect("in UTF-8");
    let words = ["-connect", name, script.to_str().expect("in UTF-8")];
    let first = example::run("cgi-fcgi", &words, CALL, b"hello");
    let second = example::run("cgi-fcgi", &words, CALL, b"hello");
    let report = fs::read_to_string(&report).expect("the application's report");
    let (descriptors, process) = report.split_once("pid ").expect("its process id");
    let killed = Command::new("kill").arg(process.trim()).status().expect("kill runs");
    assert_output(&first, 0, ANSWER, "");
    assert_output(&second, 0, ANSWER, "");
    assert!(killed.success(), "the application still ran, and was not started twice");
    let is_open = |descriptor| descriptors.lines().any(|line| line == descriptor);
    assert_eq!(["0", "1", "2"].map(is_open), [true, false, false], "{descriptors}");
}

#[test]
fn start_starts_copies_and_leaves_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let pids = directory.path().join("pids");
    let script = directory.path().join("application");
    let program = example::path("echo");
    fs::write(
        &script,
        format!("#!/bin/sh\necho $$ >> {}\nexec {}\n", pids.display(), program.display()),
    )
    .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
    let name = socket.to_str().expect("in UTF-8");
    let output = example::run(
        "cgi-fcgi",
        &["-start", "-connect", name, script.to_str().expect("in UTF-8"), "3"],
        &[],
        b"",
    );
    assert_output(&output, 0, "", "");
    example::wait_for(&Address::unix(&socket).expect("an address"));
    let answer = example::run("cgi-fcgi", &["-connect", name], CALL, b"hello");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut started = Vec::new();
    while started.len() < 3 && std::time::Instant::now() < deadline {
        started =
            fs::read_to_string(&pids).unwrap_or_default().lines().map(str::to_owned).collect();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let ended = Command::new("kill").args(&started).status().expect("kill runs");
    assert_output(&answer, 0, ANSWER, "");
    assert_eq!(started.len(), 3);
    assert!(ended.success(), "all copies still ran");
}

#[test]
fn words_come_from_a_file_behind_a_hash_bang() {
    let echo = Application::start("echo");
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("script");
    let program = example::path("cgi-fcgi");
    fs::write(&script, format!("#!{} -f\n-connect {}\n", program.display(), echo.address))
        .expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
    let mut command = Command::new(&script);
    command.env_clear().envs(CALL.iter().copied());
    assert_output(&example::run_command(command, b"hello"), 0, ANSWER, "");
}

#[test]
fn wrong_words_are_named() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "-connect NAME is missing"),
        (&["-connect"], "-connect requires a NAME"),
        (&["-start", "-connect", ":9000"], "-start requires the PATH"),
        (&["-connect", ":9000", "-bind", "/bin/app"], "-bind cannot be combined with a PATH"),
        (&["-connect", ":9000", "/bin/app", "none"], "\"none\" is not a number of copies"),
        (&["-connect", ":9000", "/bin/app", "0"], "\"0\" is not a number of copies"),
        (&["-connect", ":9000", "/bin/app", "1", "extra"], "unexpected argument \"extra\""),
        (&["-verbose"], "unknown option \"-verbose\""),
        (&["-connect", "host:port"], "host:port"),
    ];
    for (words, reason) in cases {
        let output = example::run("cgi-fcgi", words, &[], b"");
        assert_output(&output, 64, "", reason);
    }
    assert_output(
        &example::run("cgi-fcgi", &["-f", "/nonexistent/file"], &[], b""),
        64,
        "",
        "/nonexistent/file",
    );
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let words =
        ["-start", "-connect", socket.to_str().expect("in UTF-8"), "/nonexistent/application"];
    assert_output(&example::run("cgi-fcgi", &words, &[], b""), 69, "", "/nonexistent/application");
    assert!(!socket.exists(), "no socket is left without an application");
}
