//! Proves that our applications work with Debian's `cgi-fcgi`, which is that of the FastCGI
//! Developer's Kit, and that the example of the same name passes the same checks.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::app::{check_hello, example, App};
use crate::echo::{self, assert_bytes_eq, random_bytes, EchoResponse};
use crate::endpoint::Endpoint;
use crate::http::HttpRequest;
use crate::lighttpd;
use crate::other_libraries::build_libfcgi;
use crate::php;
use crate::process::{count_running, find_program, wait_until, Process, TestDir};

/// Runs a CGI program with an environment and a body. Returns its output.
#[track_caller]
fn run_cgi(command: &mut Command, variables: &[(&str, &str)], body: &[u8]) -> Output {
    command.env_clear().envs(variables.iter().copied());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("its stdin");
    thread::scope(|scope| {
        // Errors are ignored: the program may exit without reading the body.
        scope.spawn(move || drop(stdin.write_all(body)));
        child.wait_with_output().expect("its output")
    })
}

/// Checks `cgi-fcgi -bind -connect` with `echo`.
fn check_bind(cgi_fcgi: &Path, endpoint: Endpoint, dir: &TestDir) {
    let app = App::start("echo", endpoint, dir);
    let run = |variables: &[(&str, &str)], body: &[u8]| {
        let mut command = Command::new(cgi_fcgi);
        command.args(["-bind", "-connect", &app.endpoint.without_scheme()]);
        run_cgi(&mut command, variables, body)
    };
    check_bodies(run);
    let get = |query: &str| run(&cgi_variables("GET", query, ""), b"");
    for status in [0, 3, 255] {
        assert_eq!(get(&format!("exit={status}")).status.code(), Some(status));
    }
    let output = get("stderr=a-log-message&status=404");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "a-log-message\n");
    let head = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\n";
    assert!(output.stdout.starts_with(head), "{:?}", String::from_utf8_lossy(&output.stdout));
    EchoResponse::parse(&output.stdout[head.len()..]).assert_params(&[("REQUEST_METHOD", "GET")]);
    let output = get("bytes=20000000");
    assert_bytes_eq(&output.stdout, &[HEAD, &b"x".repeat(20_000_000)].concat());
    app.stop();
}

/// The head of a response from `echo`.
const HEAD: &[u8] = b"Content-Type: text/plain\r\n\r\n";

/// Returns the environment of a CGI request, sorted by name.
fn cgi_variables<'a>(method: &'a str, query: &'a str, len: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("CONTENT_LENGTH", len),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_EMPTY", ""),
        ("QUERY_STRING", query),
        ("REQUEST_METHOD", method),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ]
}

fn check_bodies(run: impl Fn(&[(&str, &str)], &[u8]) -> Output) {
    for (method, len) in
        [("GET", 0), ("POST", 0), ("POST", 5), ("POST", 100 << 10), ("POST", 64 << 20)]
    {
        let body = random_bytes(len);
        let len = if method == "GET" { String::new() } else { len.to_string() };
        let variables = cgi_variables(method, "a=1&b=%26", &len);
        let output = run(&variables, &body);
        assert_eq!(
            (output.status.code(), &*String::from_utf8_lossy(&output.stderr)),
            (Some(0), ""),
            "{method} {len}"
        );
        let lines: String =
            variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        assert_bytes_eq(&output.stdout, &[HEAD, lines.as_bytes(), b"\n", &body].concat());
    }
}

/// Checks `cgi-fcgi -start`, which starts copies of an application with the socket on descriptor 0
/// and exits.
fn check_start(cgi_fcgi: &Path) {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let hello = dir.install(&example("hello"));
    let mut command = Command::new(cgi_fcgi);
    command
        .args(["-start", "-connect", &endpoint.without_scheme()])
        .arg(&hello)
        .arg("3")
        .stdin(Stdio::null());
    let mut process = Process::start("cgi-fcgi", &mut command, &dir);
    assert!(process.wait().success(), "{}", process.log());
    wait_until("listening", || endpoint.is_listening());
    wait_until("three running processes", || count_running(&hello) == 3);
    check_hello(&endpoint);
}

/// Checks `cgi-fcgi -connect` with the path of an application, which it starts if nothing listens.
fn check_connect(cgi_fcgi: &Path) {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let hello = dir.install(&example("hello"));
    let mut processes = Vec::new();
    for _ in 0..3 {
        let mut command = Command::new(cgi_fcgi);
        command
            .args(["-connect", &endpoint.without_scheme()])
            .arg(&hello)
            .arg("1")
            .stdin(Stdio::null())
            .env_clear();
        command.env("REMOTE_ADDR", "192.0.2.1").env("REQUEST_METHOD", "GET");
        let mut process = Process::start("cgi-fcgi", &mut command, &dir);
        assert!(process.wait().success(), "{}", process.log());
        processes.push(process);
    }
    // The processes share a log.
    assert_eq!(processes[0].log(), "Content-Type: text/plain\r\n\r\nHello, 192.0.2.1.\n".repeat(3));
    assert_eq!(count_running(&hello), 1);
}

/// Checks `cgi-fcgi -f` as the interpreter of a script that a web server runs for each request.
fn check_as_cgi(cgi_fcgi: &Path) {
    let dir = TestDir::new();
    let app = App::start("echo", Endpoint::unix(&dir), &dir);
    let settings =
        "cgi.assign = (\".fcgi\" => \"\")\nurl.rewrite-once = (\"^/(.*)$\" => \"/app.fcgi/$1\")\n";
    let (port, process) = lighttpd::start(&["mod_cgi", "mod_rewrite"], settings, &dir);
    let script = format!(
        "#!{} -f\n# The application is already running.\n-bind -connect {}\n",
        cgi_fcgi.display(),
        app.endpoint.without_scheme()
    );
    dir.write_program("lighttpd-root/app.fcgi", script);
    echo::check(port, &process);
    drop(process);
    app.stop();
}

/// Checks `cgi-fcgi` with an application that uses libfcgi. The first request starts it.
fn check_libfcgi(cgi_fcgi: &Path) {
    let dir = TestDir::new();
    let application = build_libfcgi("libfcgi.c", &dir);
    let settings = "cgi.assign = (\".fcgi\" => \"\")\n";
    let (port, process) = lighttpd::start(&["mod_cgi"], settings, &dir);
    let (socket, cgi_fcgi) = (dir.join("app.sock"), cgi_fcgi.display());
    let script =
        format!("#!{cgi_fcgi} -f\n-connect {} {} 1\n", socket.display(), application.display());
    dir.write_program("lighttpd-root/app.fcgi", script);
    for len in [0, 100 << 10, 8 << 20] {
        let body = random_bytes(len);
        let response =
            HttpRequest::post("/app.fcgi?a=1", "application/octet-stream", &body[..]).send(port);
        assert_eq!((response.status, response.header("Content-Type")), (200, "text/plain"));
        assert_bytes_eq(&response.body, &[b"POST a=1\n", &body[..]].concat());
    }
    assert_eq!(
        HttpRequest::post("/app.fcgi?noread", "text/plain", "not read").send(port).text(),
        "POST noread\n"
    );
    HttpRequest::get("/app.fcgi?stderr").send(port);
    process.wait_for_log("a log message");
    assert_eq!(count_running(&application), 1);
}

/// Checks `cgi-fcgi` with php-fpm, as a replacement for php-cgi.
fn check_php(cgi_fcgi: &Path) {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let _fpm = php::start_fpm(&endpoint, &dir);
    let wrapper = format!(
        "#!/bin/sh\nexec {} -bind -connect {}\n",
        cgi_fcgi.display(),
        endpoint.without_scheme()
    );
    let wrapper = dir.write_program("php", wrapper);
    let root = php::write_scripts(&dir);
    let settings = format!(
        "cgi.assign = (\".php\" => \"{}\")\nindex-file.names = (\"index.php\")\n\
         server.document-root := \"{}\"\n",
        wrapper.display(),
        root.display()
    );
    let (port, _process) = lighttpd::start(&["mod_indexfile", "mod_cgi"], &settings, &dir);
    php::check_over_http(port);
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn debian_connects_to_echo_on_unix_socket() {
    let dir = TestDir::new();
    check_bind(&find_program("cgi-fcgi"), Endpoint::unix(&dir), &dir);
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn debian_connects_to_echo_on_tcp() {
    check_bind(&find_program("cgi-fcgi"), Endpoint::tcp(), &TestDir::new());
}

#[test]
#[ignore = "needs cgi-fcgi, run by .ci/run"]
fn debian_starts_hello() {
    check_start(&find_program("cgi-fcgi"));
    check_connect(&find_program("cgi-fcgi"));
}

#[test]
#[ignore = "needs cgi-fcgi and lighttpd, run by .ci/run"]
fn debian_runs_as_cgi_program_of_lighttpd() {
    check_as_cgi(&find_program("cgi-fcgi"));
}

#[test]
#[ignore = "needs cgi-fcgi and php-fpm, run by .ci/run"]
fn debian_serves_php_to_lighttpd() {
    check_php(&find_program("cgi-fcgi"));
}

#[test]
#[ignore = "needs cgi-fcgi and libfcgi-dev, run by .ci/run"]
fn debian_serves_libfcgi_to_lighttpd() {
    check_libfcgi(&find_program("cgi-fcgi"));
}

#[test]
#[ignore = "counterpart of a test that needs cgi-fcgi; run by .ci/run"]
fn example_connects_to_echo_on_unix_socket() {
    let dir = TestDir::new();
    check_bind(&example("cgi-fcgi"), Endpoint::unix(&dir), &dir);
}

#[test]
#[ignore = "counterpart of a test that needs cgi-fcgi; run by .ci/run"]
fn example_connects_to_echo_on_tcp() {
    check_bind(&example("cgi-fcgi"), Endpoint::tcp(), &TestDir::new());
}

#[test]
#[ignore = "counterpart of a test that needs cgi-fcgi; run by .ci/run"]
fn example_starts_hello() {
    check_start(&example("cgi-fcgi"));
    check_connect(&example("cgi-fcgi"));
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn example_runs_as_cgi_program_of_lighttpd() {
    check_as_cgi(&example("cgi-fcgi"));
}

#[test]
#[ignore = "needs lighttpd and libfcgi-dev, run by .ci/run"]
fn example_serves_libfcgi_to_lighttpd() {
    check_libfcgi(&example("cgi-fcgi"));
}

#[test]
#[ignore = "needs lighttpd and php-fpm, run by .ci/run"]
fn example_serves_php_to_lighttpd() {
    check_php(&example("cgi-fcgi"));
}
