//! Tests of the example `cgi-fcgi`: a CGI call reaches the application and its response comes back,
//! for every form of the command line. If there is no response, the web server gets one that says
//! so.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use fcgi::net::Address;

use crate::example::{self, ExampleServer};
use crate::support::application::Application;
use crate::support::end;

const CALL: &[(&str, &str)] = &[
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("REQUEST_METHOD", "POST"),
    ("CONTENT_LENGTH", "5"),
    ("HTTP_PROXY", "http://evil/"),
    ("HOME", "/secret"),
];
const ANSWER: &str = "Content-Type: text/plain\r\n\r\n\
    CONTENT_LENGTH=5\nGATEWAY_INTERFACE=CGI/1.1\nREQUEST_METHOD=POST\n\nhello";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_output(output: &Output, status: i32, stdout: &str, stderr: &str) {
    assert_eq!(text(&output.stdout), stdout, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(stderr), "{} in {}", stderr, text(&output.stderr));
    assert_eq!(output.status.code(), Some(status));
}

#[test]
fn connect_passes_the_cgi_variables_and_the_response() {
    let echo = ExampleServer::start("echo");
    let name = echo.address.path().expect("a path").to_str().expect("in UTF-8").to_owned();
    for args in
        [&["-connect", &name][..], &["-connect", &name, "-bind"], &["-bind", "-connect", &name]]
    {
        // The input after CONTENT_LENGTH bytes does not belong to the request.
        assert_output(&example::run("cgi-fcgi", args, CALL, b"hello and more"), 0, ANSWER, "");
    }
}

#[test]
fn env_passes_the_whole_environment() {
    let echo = ExampleServer::start("echo");
    let address = echo.address.to_string();
    let output =
        example::run("cgi-fcgi", &["-env", "-connect", &address], &[("HOME", "/secret")], b"");
    assert_output(&output, 0, "Content-Type: text/plain\r\n\r\nHOME=/secret\n\n", "");
}

#[test]
fn exit_status_is_the_app_status_if_it_fits() {
    let echo = ExampleServer::start("echo");
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
fn large_body_is_echoed() {
    let echo = ExampleServer::start("echo");
    let body: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let call = [("CONTENT_LENGTH", "8000000"), ("QUERY_STRING", "stream=1")];
    let output = example::run("cgi-fcgi", &["-connect", &echo.address.to_string()], &call, &body);
    assert!(output.stdout.ends_with(&body), "{} bytes were received", output.stdout.len());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn missing_application_is_a_503_response() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = directory.path().join("nobody.sock");
    let output =
        example::run("cgi-fcgi", &["-connect", name.to_str().expect("in UTF-8")], CALL, b"hello");
    let answer = "Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\n\
         The request could not be served.\n";
    assert_output(&output, 69, answer, "nobody.sock");
}

/// Descriptor 0 is the listening socket, and 1 and 2 are closed. Rule C27.
#[test]
fn missing_application_is_started_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let report = directory.path().join("report");
    let script = directory.path().join("application");
    let program = example::path("echo");
    // Only the subshell has the report open, not the shell itself.
    let lines = format!(
        "#!/bin/sh\n(ls /proc/$$/fd > {} 2>/dev/null)\necho pid $$ >> {0}\nexec {}\n",
        report.display(),
        program.display()
    );
    example::write_script(&script, &lines);
    let name = socket.to_str().expect("in UTF-8");
    let args = ["-connect", name, script.to_str().expect("in UTF-8")];
    let first = example::run("cgi-fcgi", &args, CALL, b"hello");
    let second = example::run("cgi-fcgi", &args, CALL, b"hello");
    let report = fs::read_to_string(&report).expect("the application's report");
    let (descriptors, process) = report.split_once("pid ").expect("its process id");
    let killed = Command::new("kill").arg(process.trim()).status().expect("kill runs");
    assert_output(&first, 0, ANSWER, "");
    assert_output(&second, 0, ANSWER, "");
    assert!(killed.success(), "the application still ran, and was not started twice");
    let is_open = |descriptor| descriptors.lines().any(|line| line == descriptor);
    assert_eq!(["0", "1", "2"].map(is_open), [true, false, false], "{descriptors}");
}

/// Rule C27.
#[test]
fn start_starts_copies_that_keep_running() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let pids = directory.path().join("pids");
    let script = directory.path().join("application");
    let program = example::path("echo");
    let lines = format!("#!/bin/sh\necho $$ >> {}\nexec {}\n", pids.display(), program.display());
    example::write_script(&script, &lines);
    let name = socket.to_str().expect("in UTF-8");
    let output = example::run(
        "cgi-fcgi",
        &["-start", "-connect", name, script.to_str().expect("in UTF-8"), "3"],
        &[],
        b"",
    );
    assert_output(&output, 0, "", "");
    example::wait_until_listening(&Address::unix(&socket).expect("an address"));
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

/// A script that records its process id and becomes `echo`. Its processes are killed when this is
/// dropped.
struct RecordedEcho {
    script: PathBuf,
    pids: PathBuf,
}

impl RecordedEcho {
    fn new(directory: &Path) -> Self {
        let (script, pids) = (directory.join("application"), directory.join("pids"));
        let program = example::path("echo");
        let lines =
            format!("#!/bin/sh\necho $$ >> {}\nexec {}\n", pids.display(), program.display());
        example::write_script(&script, &lines);
        Self { script, pids }
    }

    /// Sends a CGI request to this address. Starts the application if nothing listens there.
    fn call(&self, address: &str) -> Output {
        let script = self.script.to_str().expect("in UTF-8");
        example::run("cgi-fcgi", &["-connect", address, script], CALL, b"hello")
    }
}

impl Drop for RecordedEcho {
    fn drop(&mut self) {
        for pid in fs::read_to_string(&self.pids).unwrap_or_default().lines() {
            let _ = Command::new("kill").arg(pid).status();
        }
    }
}

/// All of these calls find the file of a stale socket, and one of them replaces it.
#[test]
fn concurrent_calls_start_the_application() {
    let directory = tempfile::tempdir().expect("a directory");
    let echo = RecordedEcho::new(directory.path());
    for round in 0..60 {
        let socket = directory.path().join(format!("{round}.sock"));
        drop(UnixListener::bind(&socket).expect("a socket whose file remains"));
        let socket = socket.to_str().expect("in UTF-8");
        let outputs: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| echo.call(socket))).collect();
            calls.into_iter().map(|call| call.join().expect("an output")).collect()
        });
        for output in outputs {
            assert_output(&output, 0, ANSWER, "");
        }
    }
}

/// The address is taken, but nothing listens there yet, as while another process starts the
/// application. Here it is a link to a socket that does not exist yet.
#[test]
fn call_waits_while_another_process_starts_the_application() {
    let directory = tempfile::tempdir().expect("a directory");
    let (link, socket) = (directory.path().join("link"), directory.path().join("app.sock"));
    symlink(&socket, &link).expect("a link");
    let echo = RecordedEcho::new(directory.path());
    let (output, _started) = thread::scope(|scope| {
        let call = scope.spawn(|| echo.call(link.to_str().expect("in UTF-8")));
        thread::sleep(Duration::from_millis(300));
        let mut command = Command::new(example::path("echo"));
        let started = example::KillOnDrop(command.arg(&socket).spawn().expect("echo starts"));
        (call.join().expect("an output"), started)
    });
    assert_output(&output, 0, ANSWER, "");
    assert!(!echo.pids.exists(), "the call did not start the application");
}

/// The program does not wait for another process if there can be none.
#[test]
fn address_that_cannot_be_bound_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    for (path, reason) in
        [(file, "is not a socket"), (directory.path().join("none/app.sock"), "app.sock: ")]
    {
        let name = path.to_str().expect("in UTF-8");
        let output =
            example::run("cgi-fcgi", &["-start", "-connect", name, "/bin/true"], CALL, b"");
        assert_output(&output, 69, "", reason);
    }
}

/// Paths may contain any bytes.
#[test]
fn arguments_need_not_be_utf8() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &[u8]| directory.path().join(OsStr::from_bytes(name));
    let (socket, program, file) = (path(b"\xff.sock"), path(b"\xfe"), path(b"\xfd"));
    let echo = RecordedEcho::new(directory.path());
    fs::rename(&echo.script, &program).expect("a name that is not UTF-8");
    fs::write(&file, format!("-connect {}/no.sock -bind\n", directory.path().display()))
        .expect("a file of arguments");
    let run = |args: &[&OsStr]| {
        let mut command = Command::new(example::path("cgi-fcgi"));
        command.args(args).env_clear().envs(CALL.iter().copied());
        example::run_command(command, b"hello")
    };
    let connect = OsStr::new("-connect");
    let output = run(&[connect, socket.as_os_str(), program.as_os_str()]);
    assert_output(&output, 0, ANSWER, "");
    assert_eq!(run(&[OsStr::new("-f"), file.as_os_str()]).status.code(), Some(69));
    for (args, reason) in [
        (&[connect, OsStr::from_bytes(b"\xff:9000")][..], "\"\\xFF:9000\" is not"),
        (&[connect, socket.as_os_str(), program.as_os_str(), OsStr::from_bytes(b"\xff")], "xFF"),
        (&[OsStr::from_bytes(b"-\xff")], "unknown option \"-\u{fffd}\""),
    ] {
        assert_output(&run(args), 64, "", reason);
    }
}

/// The words of a query string follow the file.
#[test]
fn arguments_after_the_file_are_ignored() {
    let echo = ExampleServer::start("echo");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("arguments");
    fs::write(&file, format!("-connect {}\n", echo.address)).expect("a file");
    let file = file.to_str().expect("a path of text");
    for extra in [&["--help"][..], &["-start", "-connect", ":1", "/bin/true"], &["-f", "/none"]] {
        let output = example::run("cgi-fcgi", &[&["-f", file], extra].concat(), CALL, b"hello");
        assert_output(&output, 0, ANSWER, "");
    }
}

/// An option may have two dashes, and then an equals sign.
#[test]
fn two_dashes_are_accepted() {
    let echo = ExampleServer::start("echo");
    let connect = format!("--connect={}", echo.address);
    for args in [&[&*connect][..], &["--bind", &connect], &[&connect, "--bind"]] {
        assert_output(&example::run("cgi-fcgi", args, CALL, b"hello"), 0, ANSWER, "");
    }
}

#[test]
fn failure_after_connecting_has_the_common_exit_status() {
    let answers: [(&[u8], i32, &str); 3] = [
        (&end(1, 0, 2), 75, "Status: 503"),
        (&end(1, 0, 3), 75, "Status: 502"),
        (b"", 76, "Status: 502"),
    ];
    for (answer, status, line) in answers {
        let application = Application::answering(answer);
        let args = ["-connect", &application.address.to_string()];
        let output = example::run("cgi-fcgi", &args, CALL, b"hello");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stdout).starts_with(line), "{output:?}");
    }
}

#[test]
fn arguments_may_come_from_a_script_with_an_interpreter_line() {
    let echo = ExampleServer::start("echo");
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("script");
    let program = example::path("cgi-fcgi");
    let lines = format!("#!{} -f\n-connect {}\n", program.display(), echo.address);
    example::write_script(&script, &lines);
    let mut command = Command::new(&script);
    command.env_clear().envs(CALL.iter().copied());
    assert_output(&example::run_command(command, b"hello"), 0, ANSWER, "");
}

#[test]
fn invalid_argument_is_named() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "-connect NAME is missing"),
        (&["-connect"], "-connect requires a value"),
        (&["-start", "-connect", ":9000"], "-start requires the PATH"),
        (&["-connect", ":9000", "-bind", "/bin/app"], "-bind cannot be combined with a PATH"),
        (&["-connect", ":9000", "/bin/app", "none"], "\"none\" is not a number of copies"),
        (&["-connect", ":9000", "/bin/app", "0"], "\"0\" is not a number of copies"),
        (&["-connect", ":9000", "/bin/app", "1", "extra"], "unexpected argument \"extra\""),
        (&["-verbose"], "unknown option \"-verbose\""),
        (&["-connect", "host:port"], "host:port"),
    ];
    for (args, reason) in cases {
        let output = example::run("cgi-fcgi", args, &[], b"");
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
fn missing_program_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let args =
        ["-start", "-connect", socket.to_str().expect("in UTF-8"), "/nonexistent/application"];
    assert_output(&example::run("cgi-fcgi", &args, &[], b""), 69, "", "/nonexistent/application");
    assert!(!socket.exists(), "no socket file is left without an application");
}
