//! `cgi-fcgi`, from CGI to FastCGI: Debian's, which is the kit's own, in front of our applications.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::app::{check_hello, example, App};
use crate::applications::build_libfcgi;
use crate::echo::{self, assert_same, noise, Echoed};
use crate::http::Ask;
use crate::lighttpd;
use crate::php;
use crate::place::Place;
use crate::process::{program, running, wait_until, Folder, Process};

/// Runs a CGI program with an environment and a body.
#[track_caller]
fn run_cgi(command: &mut Command, variables: &[(&str, &str)], body: &[u8]) -> Output {
    command.env_clear().envs(variables.iter().copied());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a start");
    let mut stdin = child.stdin.take().expect("its stdin");
    thread::scope(|scope| {
        // It may have ended without reading the body; its output tells what matters.
        scope.spawn(move || drop(stdin.write_all(body)));
        child.wait_with_output().expect("its output")
    })
}

/// `cgi-fcgi -bind -connect` in front of `echo`.
fn check_bind(cgi_fcgi: &Path, place: Place, folder: &Folder) {
    let app = App::start("echo", place, folder);
    let run = |method: &str, query: &str, body: &[u8]| {
        let len = body.len().to_string();
        let variables = [
            ("CONTENT_LENGTH", if method == "GET" { "" } else { &len }),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("HTTP_EMPTY", ""),
            ("QUERY_STRING", query),
            ("REQUEST_METHOD", method),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
        ];
        let mut command = Command::new(cgi_fcgi);
        let output =
            run_cgi(command.args(["-bind", "-connect", &app.place.plain()]), &variables, body);
        let lines: String =
            variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let expected =
            [b"Content-Type: text/plain\r\n\r\n", lines.as_bytes(), b"\n", body].concat();
        (output, expected)
    };
    for (method, len) in
        [("GET", 0), ("POST", 0), ("POST", 5), ("POST", 100 << 10), ("POST", 64 << 20)]
    {
        let (output, expected) = run(method, "a=1&b=%26", &noise(len));
        assert_eq!(
            (output.status.code(), &*String::from_utf8_lossy(&output.stderr)),
            (Some(0), ""),
            "{method} {len}"
        );
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
    assert_same(
        &output.stdout,
        &[&b"Content-Type: text/plain\r\n\r\n"[..], &b"x".repeat(20_000_000)].concat(),
    );
    app.stop();
}

/// `cgi-fcgi -start`: copies of an application that it leaves behind, with the socket on descriptor
/// 0.
fn check_start(cgi_fcgi: &Path) {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let hello = folder.install(&example("hello"));
    let mut command = Command::new(cgi_fcgi);
    command.args(["-start", "-connect", &place.plain()]).arg(&hello).arg("3").stdin(Stdio::null());
    let mut process = Process::start("cgi-fcgi", &mut command, &folder);
    assert!(process.wait().success(), "{}", process.log());
    wait_until("it listens", || place.is_open());
    wait_until("three run", || running(&hello) == 3);
    check_hello(&place);
}

/// `cgi-fcgi -connect` with a program: it starts that if nobody listens, and is a CGI program then.
fn check_connect(cgi_fcgi: &Path) {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let hello = folder.install(&example("hello"));
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut command = Command::new(cgi_fcgi);
        command
            .args(["-connect", &place.plain()])
            .arg(&hello)
            .arg("1")
            .stdin(Stdio::null())
            .env_clear();
        command.env("REMOTE_ADDR", "192.0.2.1").env("REQUEST_METHOD", "GET");
        let mut process = Process::start("cgi-fcgi", &mut command, &folder);
        assert!(process.wait().success(), "{}", process.log());
        kept.push(process);
    }
    // Their common log.
    assert_eq!(kept[0].log(), "Content-Type: text/plain\r\n\r\nHello, 192.0.2.1.\n".repeat(3));
    assert_eq!(running(&hello), 1);
}

/// `cgi-fcgi -f`, as the interpreter of a script that a web server runs for each request.
fn check_as_cgi(cgi_fcgi: &Path) {
    let folder = Folder::new();
    let app = App::start("echo", Place::unix(&folder), &folder);
    let settings =
        "cgi.assign = (\".fcgi\" => \"\")\nurl.rewrite-once = (\"^/(.*)$\" => \"/app.fcgi/$1\")\n";
    let (port, process) = lighttpd::start(&["mod_cgi", "mod_rewrite"], settings, &folder);
    let script = format!(
        "#!{} -f\n# The application runs already.\n-bind -connect {}\n",
        cgi_fcgi.display(),
        app.place.plain()
    );
    folder.write_program("lighttpd-root/app.fcgi", script);
    echo::check(port, &process);
    drop(process);
    app.stop();
}

/// In front of an application of the kit's library, which it starts with the first request.
fn check_the_kits_application(cgi_fcgi: &Path) {
    let folder = Folder::new();
    let application = build_libfcgi(&folder);
    let settings = "cgi.assign = (\".fcgi\" => \"\")\n";
    let (port, process) = lighttpd::start(&["mod_cgi"], settings, &folder);
    let (socket, cgi_fcgi) = (folder.join("kit.sock"), cgi_fcgi.display());
    let script =
        format!("#!{cgi_fcgi} -f\n-connect {} {} 1\n", socket.display(), application.display());
    folder.write_program("lighttpd-root/app.fcgi", script);
    for len in [0, 100 << 10, 8 << 20] {
        let body = noise(len);
        let answer = Ask::post("/app.fcgi?a=1", "application/octet-stream", &body[..]).send(port);
        assert_eq!((answer.status, answer.one("Content-Type")), (200, "text/plain"));
        assert_same(&answer.body, &[b"POST a=1\n", &body[..]].concat());
    }
    assert_eq!(
        Ask::post("/app.fcgi?noread", "text/plain", "not read").send(port).text(),
        "POST noread\n"
    );
    Ask::get("/app.fcgi?stderr").send(port);
    process.wait_for_log("a word for the log");
    assert_eq!(running(&application), 1);
}

/// In front of php-fpm, in the place of php-cgi.
fn check_php(cgi_fcgi: &Path) {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let _fpm = php::start_fpm(&place, &folder);
    let wrapper =
        format!("#!/bin/sh\nexec {} -bind -connect {}\n", cgi_fcgi.display(), place.plain());
    let wrapper = folder.write_program("php", wrapper);
    let root = php::write_scripts(&folder);
    let settings = format!(
        "cgi.assign = (\".php\" => \"{}\")\nindex-file.names = (\"index.php\")\nserver.document-root := \"{}\"\n",
        wrapper.display(),
        root.display()
    );
    let (port, _process) = lighttpd::start(&["mod_indexfile", "mod_cgi"], &settings, &folder);
    php::check_over_http(port);
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn debians_connects_to_echo_on_a_unix_socket() {
    let folder = Folder::new();
    check_bind(&program("cgi-fcgi"), Place::unix(&folder), &folder);
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn debians_connects_to_echo_on_tcp() {
    check_bind(&program("cgi-fcgi"), Place::tcp(), &Folder::new());
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn debians_starts_hello() {
    check_start(&program("cgi-fcgi"));
    check_connect(&program("cgi-fcgi"));
}

#[test]
#[ignore = "needs cgi-fcgi and lighttpd, run by .ci/run"]
fn debians_is_a_cgi_program_of_lighttpd() {
    check_as_cgi(&program("cgi-fcgi"));
}

#[test]
#[ignore = "needs cgi-fcgi and php-fpm, run by .ci/run"]
fn debians_serves_php_to_lighttpd() {
    check_php(&program("cgi-fcgi"));
}

#[test]
#[ignore = "needs cgi-fcgi and libfcgi-dev, run by .ci/run"]
fn debians_serves_the_kits_application_to_lighttpd() {
    check_the_kits_application(&program("cgi-fcgi"));
}

#[test]
#[ignore = "needs no other program, but is one of a pair; run by .ci/run"]
fn ours_connects_to_echo_on_a_unix_socket() {
    let folder = Folder::new();
    check_bind(&example("cgi-fcgi"), Place::unix(&folder), &folder);
}

#[test]
#[ignore = "needs no other program, but is one of a pair; run by .ci/run"]
fn ours_connects_to_echo_on_tcp() {
    check_bind(&example("cgi-fcgi"), Place::tcp(), &Folder::new());
}

#[test]
#[ignore = "needs no other program, but is one of a pair; run by .ci/run"]
fn ours_starts_hello() {
    check_start(&example("cgi-fcgi"));
    check_connect(&example("cgi-fcgi"));
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn ours_is_a_cgi_program_of_lighttpd() {
    check_as_cgi(&example("cgi-fcgi"));
}

#[test]
#[ignore = "needs lighttpd and libfcgi-dev, run by .ci/run"]
fn ours_serves_the_kits_application_to_lighttpd() {
    check_the_kits_application(&example("cgi-fcgi"));
}

#[test]
#[ignore = "needs lighttpd and php-fpm, run by .ci/run"]
fn ours_serves_php_to_lighttpd() {
    check_php(&example("cgi-fcgi"));
}
