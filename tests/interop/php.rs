//! Proves that the examples `fetch` and `gateway` work with PHP, as php-fpm and as php-cgi.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::{Client, Params};

use crate::app::example;
use crate::echo::{assert_bytes_eq, random_bytes};
use crate::endpoint::{free_port, Endpoint};
use crate::http::{is_listening, HttpRequest, HttpResponse};
use crate::nginx::Nginx;
use crate::process::{command, is_root, Process, TestDir};

/// The scripts that the checks request.
const SCRIPTS: &[(&str, &str)] = &[
    ("index.php", "<?php echo 'the index of ', $_SERVER['SCRIPT_NAME'], \"\\n\";"),
    (
        "info.php",
        r#"<?php
        header('X-First: one');
        header('X-Second: a', false);
        header('X-Second: b', false);
        setcookie('seen', 'yes; and more');
        setcookie('other', '2');
        header('Content-Type: text/plain');
        $names = ['REQUEST_METHOD', 'QUERY_STRING', 'PATH_INFO', 'SCRIPT_NAME', 'HTTP_X_ASKED'];
        foreach ($names as $name) {
            echo $name, '=', $_SERVER[$name] ?? '', "\n";
        }
        foreach ($_GET as $name => $value) echo "get $name=$value\n";
        foreach ($_COOKIE as $name => $value) echo "cookie $name=$value\n";
        "#,
    ),
    (
        "form.php",
        r#"<?php
        header('Content-Type: text/plain');
        foreach ($_POST as $name => $value) echo "post $name=$value\n";
        foreach ($_FILES as $name => $file) {
            $sum = hash_file('fnv1a64', $file['tmp_name']);
            echo "file $name={$file['name']} {$file['error']} {$file['size']} $sum\n";
        }
        "#,
    ),
    (
        "body.php",
        "<?php
        header('Content-Type: application/octet-stream');
        copy('php://input', 'php://output');",
    ),
    (
        "large.php",
        r#"<?php
        header('Content-Type: text/plain');
        for ($i = 0; $i < 1000000; $i++) printf("%049d\n", $i);"#,
    ),
    ("fatal.php", "<?php no_such_function();"),
    ("log.php", "<?php error_log('a log message'); echo 'logged';"),
    ("status.php", "<?php http_response_code(418); echo 'a teapot';"),
    ("redirect.php", "<?php header('Location: /info.php?from=redirect');"),
];

/// The PHP settings that the checks need.
const SETTINGS: &[(&str, &str)] = &[
    ("upload_max_filesize", "64M"),
    ("post_max_size", "64M"),
    ("display_errors", "0"),
    ("log_errors", "1"),
    ("cgi.fix_pathinfo", "1"),
];

/// Writes the scripts to a new directory, and returns it. It is the document root.
pub fn write_scripts(dir: &TestDir) -> PathBuf {
    let root = dir.create_dir("root");
    for (name, text) in SCRIPTS {
        fs::write(root.join(name), text).expect("a script");
    }
    root
}

/// Starts php-fpm with one pool.
#[track_caller]
pub fn start_fpm(endpoint: &Endpoint, dir: &TestDir) -> Process {
    let user = if is_root() { "user = root\ngroup = root\n" } else { "" };
    let settings: String = SETTINGS
        .iter()
        .map(|(name, value)| format!("php_admin_value[{name}] = {value}\n"))
        .collect();
    let config = format!(
        "[global]\ndaemonize = no\nerror_log = {log}\n[www]\n{user}listen = {listen}\n\
         pm = static\npm.max_children = 4\nclear_env = no\n{settings}\
         php_admin_value[session.save_path] = {sessions}\n",
        sessions = dir.path().display(),
        log = dir.join("php-fpm-errors.log").display(),
        listen = endpoint.without_scheme(),
    );
    let file = dir.write("php-fpm.conf", config);
    let mut fpm = command("php-fpm");
    fpm.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(file);
    let mut process =
        Process::start("php-fpm", &mut fpm, dir).with_log(dir.join("php-fpm-errors.log"));
    process.wait_until("listening", || endpoint.is_listening());
    process
}

/// Starts php-cgi as a FastCGI application.
#[track_caller]
fn start_php_cgi(endpoint: &Endpoint, dir: &TestDir) -> Process {
    let mut php = command("php-cgi");
    php.args(["-b", &endpoint.without_scheme()]).env("PHP_FCGI_CHILDREN", "2");
    for (name, value) in SETTINGS {
        php.args(["-d", &format!("{name}={value}")]);
    }
    let mut process = Process::start("php-cgi", &mut php, dir);
    process.wait_until("listening", || endpoint.is_listening());
    process
}

/// Sends a request with the example `fetch`, with the params of a web server. Returns the response
/// and the output on stderr.
#[track_caller]
fn fetch(
    endpoint: &Endpoint,
    root: &Path,
    dir: &TestDir,
    request: &HttpRequest,
) -> (HttpResponse, String) {
    let script = format!("{}{}", root.display(), request.path());
    let mut params = vec![
        ("REQUEST_METHOD".into(), request.method.into()),
        ("SCRIPT_FILENAME".into(), script),
        ("SCRIPT_NAME".into(), request.path().into()),
        ("REQUEST_URI".into(), request.target.clone()),
        ("QUERY_STRING".into(), request.query().into()),
        ("DOCUMENT_ROOT".into(), root.display().to_string()),
        ("SERVER_PROTOCOL".into(), "HTTP/1.1".into()),
        ("GATEWAY_INTERFACE".into(), "CGI/1.1".into()),
        ("REDIRECT_STATUS".into(), "200".into()),
        ("REMOTE_ADDR".into(), "127.0.0.1".into()),
    ];
    for (name, value) in &request.headers {
        let name = name.to_uppercase().replace('-', "_");
        let name = if name == "CONTENT_TYPE" { name } else { format!("HTTP_{name}") };
        params.push((name, value.clone()));
    }
    let mut fetch = Command::new(example("fetch"));
    fetch.arg(endpoint.to_string());
    for (name, value) in params {
        fetch.arg("--param").arg(format!("{name}={value}"));
    }
    if let Some(body) = &request.body {
        fetch.arg("--body").arg(dir.write("body", body));
    }
    let output = fetch.output().expect("fetch starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // The app status of PHP is 0 even if a script fails.
    assert_eq!(output.status.code(), Some(0), "exit status of {}; {stderr}", request.target);
    (parse_response(&output.stdout), stderr)
}

/// Parses a CGI response.
#[track_caller]
fn parse_response(response: &[u8]) -> HttpResponse {
    let end =
        response.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of a head");
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    let mut headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let is_status = |(name, _): &(String, String)| name == "Status";
    let status = headers.iter().position(is_status).map(|index| headers.remove(index).1);
    let status = status.map_or(200, |status| status[..3].parse().expect("a status"));
    HttpResponse { status, headers, body: response[end + 4..].to_vec() }
}

/// Sends a request to PHP.
type Send<'a> = dyn Fn(&HttpRequest) -> HttpResponse + 'a;

/// Checks everything that PHP must do, however the requests reach it.
pub fn check(send: &Send) {
    check_page(send);
    check_forms(send);
    check_upload(send);
    check_large_bodies(send);
    check_statuses(send);
}

/// Returns the lines of a page.
#[track_caller]
fn lines(response: &HttpResponse) -> Vec<String> {
    assert_eq!(response.status, 200, "{}", response.text());
    response.text().lines().map(str::to_owned).collect()
}

/// Checks header fields and cookies in both directions.
fn check_page(send: &Send) {
    let long = "long ".repeat(200) + "end";
    let request = HttpRequest::get("/info.php?a=1&b=%26")
        .header("X-Asked", &long)
        .header("Cookie", "c=3; d=4%20");
    let response = send(&request);
    assert_eq!(response.header("X-First"), "one");
    assert_eq!(response.header_values("X-Second"), ["a", "b"]);
    assert_eq!(response.header_values("Set-Cookie"), ["seen=yes%3B%20and%20more", "other=2"]);
    assert!(response.header("Content-Type").starts_with("text/plain"));
    let expected = [
        "REQUEST_METHOD=GET",
        "QUERY_STRING=a=1&b=%26",
        "PATH_INFO=",
        "SCRIPT_NAME=/info.php",
        &format!("HTTP_X_ASKED={long}"),
        "get a=1",
        "get b=&",
        "cookie c=3",
        "cookie d=4 ",
    ];
    assert_eq!(lines(&response), expected);
}

fn check_forms(send: &Send) {
    let post =
        |body| send(&HttpRequest::post("/form.php", "application/x-www-form-urlencoded", body));
    let expected = ["post name=ferris", "post word=a&b c"];
    assert_eq!(lines(&post("name=ferris&word=a%26b+c")), expected);
    assert!(lines(&post("")).is_empty());
}

/// Uploads 20 MiB and compares the checksum.
fn check_upload(send: &Send) {
    let file = random_bytes(20 << 20);
    let body = [
        &b"--limit\r\nContent-Disposition: form-data; name=\"word\"\r\n\r\nhello\r\n"[..],
        b"--limit\r\n",
        b"Content-Disposition: form-data; name=\"file\"; filename=\"random.bin\"\r\n",
        b"Content-Type: application/octet-stream\r\n\r\n",
        &file,
        b"\r\n--limit--\r\n",
    ];
    let content_type = "multipart/form-data; boundary=limit";
    let response = send(&HttpRequest::post("/form.php", content_type, body.concat()));
    let expected = format!("file file=random.bin 0 {} {:016x}", file.len(), fnv1a64(&file));
    assert_eq!(lines(&response), ["post word=hello", &expected]);
}

/// Checks a body of 5 MiB, which is returned, and 50 MB of output.
fn check_large_bodies(send: &Send) {
    let body = random_bytes(5 << 20);
    let response = send(&HttpRequest::post("/body.php", "application/octet-stream", &body[..]));
    assert_bytes_eq(&response.body, &body);

    let expected: String = (0..1_000_000).map(|line| format!("{line:049}\n")).collect();
    assert_bytes_eq(&send(&HttpRequest::get("/large.php")).body, expected.as_bytes());
}

fn check_statuses(send: &Send) {
    let response = send(&HttpRequest::get("/status.php"));
    assert_eq!((response.status, &*response.text()), (418, "a teapot"));
    let response = send(&HttpRequest::get("/redirect.php"));
    assert_eq!((response.status, response.header("Location")), (302, "/info.php?from=redirect"));
    let response = send(&HttpRequest::head("/info.php"));
    assert_eq!((response.status, response.body.len(), response.header("X-First")), (200, 0, "one"));
    assert_eq!(send(&HttpRequest::get("/fatal.php")).status, 500);
    assert_eq!(send(&HttpRequest::get("/missing.php")).status, 404);
    assert_eq!(lines(&send(&HttpRequest::get("/index.php"))), ["the index of /index.php"]);
}

/// Checks PHP behind a web server whose document root contains the scripts.
pub fn check_over_http(port: u16) {
    check(&|request| request.send(port));
    let response = HttpRequest::get("/").send(port);
    assert_eq!((response.status, &*response.text()), (200, "the index of /index.php\n"));
    let response = HttpRequest::get("/info.php/more/path?x=1").send(port);
    assert_eq!(response.status, 200);
    for line in ["PATH_INFO=/more/path", "SCRIPT_NAME=/info.php", "QUERY_STRING=x=1"] {
        assert!(
            response.text().lines().any(|other| other == line),
            "{line} in {}",
            response.text()
        );
    }
}

/// Returns a checksum that PHP also implements.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Checks PHP with the example `fetch`, which also receives STDERR.
fn check_with_fetch(endpoint: &Endpoint, dir: &TestDir) {
    let root = write_scripts(dir);
    check(&|request| fetch(endpoint, &root, dir, request).0);
    let (_, stderr) = fetch(endpoint, &root, dir, &HttpRequest::get("/log.php"));
    assert!(stderr.contains("a log message"), "{stderr}");
    let (_, stderr) = fetch(endpoint, &root, dir, &HttpRequest::get("/fatal.php"));
    assert!(stderr.contains("undefined function no_such_function"), "{stderr}");
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fetch_receives_from_fpm_on_unix_socket() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let _fpm = start_fpm(&endpoint, &dir);
    check_with_fetch(&endpoint, &dir);
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fetch_receives_from_fpm_on_tcp() {
    let (dir, endpoint) = (TestDir::new(), Endpoint::tcp());
    let _fpm = start_fpm(&endpoint, &dir);
    check_with_fetch(&endpoint, &dir);
}

#[test]
#[ignore = "needs php-cgi, run by .ci/run"]
fn fetch_receives_from_php_cgi() {
    for unix in [true, false] {
        let dir = TestDir::new();
        let endpoint = if unix { Endpoint::unix(&dir) } else { Endpoint::tcp() };
        let _php = start_php_cgi(&endpoint, &dir);
        check_with_fetch(&endpoint, &dir);
    }
}

/// Eight threads with a client that keeps connections, and four children, each of which serves one
/// connection until it is closed. Two seconds of load take two seconds, and no request is lost.
#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn more_threads_than_children_are_all_served() {
    for (unix, method) in [(true, "GET"), (true, "POST"), (false, "GET")] {
        let dir = TestDir::new();
        let endpoint = if unix { Endpoint::unix(&dir) } else { Endpoint::tcp() };
        let _fpm = start_fpm(&endpoint, &dir);
        let script = write_scripts(&dir).join("index.php").display().to_string();
        let pairs = [
            ("REQUEST_METHOD", method),
            ("SCRIPT_NAME", "/index.php"),
            ("SCRIPT_FILENAME", &script),
        ];
        let params = Params::from_pairs(pairs).expect("params");
        let client = Client::new(endpoint.to_string()).expect("an address").keep_alive(true);

        let start = Instant::now();
        let send = || {
            let mut count = 0;
            while start.elapsed() < Duration::from_secs(2) {
                let reply = client.fetch(&params, b"").expect("a response");
                assert!(reply.stdout.ends_with(b"the index of /index.php\n"));
                count += 1;
            }
            count
        };
        let counts: Vec<u32> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().expect("its count")).collect()
        });
        let elapsed = start.elapsed();
        println!("{endpoint}, {method}: {elapsed:?}, requests of each thread: {counts:?}");
        assert!(elapsed < Duration::from_secs(4), "two seconds of load took {elapsed:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn gateway_serves_php_through_fpm() {
    for (unix, options) in [(true, &[][..]), (false, &[]), (true, &["--keep"])] {
        let dir = TestDir::new();
        let endpoint = if unix { Endpoint::unix(&dir) } else { Endpoint::tcp() };
        let fpm = start_fpm(&endpoint, &dir);
        let (root, port) = (write_scripts(&dir), free_port());
        let mut gateway = Command::new(example("gateway"));
        gateway.args([
            "--connect",
            &endpoint.to_string(),
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        gateway.arg("--root").arg(root).args(options);
        let mut gateway = Process::start("gateway", &mut gateway, &dir);
        gateway.wait_until("listening", || is_listening(port));

        check_over_http(port);
        assert_eq!(HttpRequest::get("/log.php").send(port).text(), "logged");
        gateway.wait_for_log("a log message");
        gateway.wait_for_log("undefined function no_such_function");
        drop(fpm);
        assert_eq!(HttpRequest::get("/info.php").send(port).status, 503);
        gateway.signal("TERM");
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    }
}

/// nginx passes the same checks as the gateway, so the checks are right.
#[test]
#[ignore = "needs nginx and php-fpm, run by .ci/run"]
fn nginx_passes_the_same_checks() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let _fpm = start_fpm(&endpoint, &dir);
    let root = write_scripts(&dir);
    let nginx = Nginx::start(
        &dir,
        "",
        &format!(
            "root {root}; index index.php;
            location ~ ^(/[a-z]+\\.php)(/.*)?$ {{
                fastcgi_pass {endpoint};
                fastcgi_split_path_info ^(/[a-z]+\\.php)(.*)$;
                fastcgi_param REQUEST_METHOD $request_method;
                fastcgi_param QUERY_STRING $query_string;
                fastcgi_param CONTENT_TYPE $content_type;
                fastcgi_param CONTENT_LENGTH $content_length;
                fastcgi_param SCRIPT_NAME $fastcgi_script_name;
                fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
                fastcgi_param PATH_INFO $fastcgi_path_info;
                fastcgi_param REDIRECT_STATUS 200;
            }}",
            root = root.display()
        ),
    );
    check_over_http(nginx.port);
}
