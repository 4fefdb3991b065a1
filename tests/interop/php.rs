//! PHP: php-fpm and php-cgi with the example `fetch`, and php-fpm behind HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fcgi::{Client, Params};

use crate::app::example;
use crate::echo::{assert_same, noise};
use crate::http::{is_up, Answer, Ask};
use crate::nginx::Nginx;
use crate::place::{free_port, Place};
use crate::process::{command, is_root, Folder, Process};

/// The scripts that the checks ask for.
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
        foreach (['REQUEST_METHOD', 'QUERY_STRING', 'PATH_INFO', 'SCRIPT_NAME', 'HTTP_X_ASKED'] as $name) {
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
    ("body.php", "<?php header('Content-Type: application/octet-stream'); copy('php://input', 'php://output');"),
    (
        "large.php",
        "<?php header('Content-Type: text/plain'); for ($i = 0; $i < 1000000; $i++) printf(\"%049d\\n\", $i);",
    ),
    ("fatal.php", "<?php no_such_function();"),
    ("log.php", "<?php error_log('a word for the log'); echo 'logged';"),
    ("status.php", "<?php http_response_code(418); echo 'a teapot';"),
    ("redirect.php", "<?php header('Location: /info.php?from=redirect');"),
];

/// The settings that the checks need.
const SETTINGS: &[(&str, &str)] = &[
    ("upload_max_filesize", "64M"),
    ("post_max_size", "64M"),
    ("display_errors", "0"),
    ("log_errors", "1"),
    ("cgi.fix_pathinfo", "1"),
];

/// Writes the scripts to a directory of their own, which is the document root.
pub fn write_scripts(folder: &Folder) -> PathBuf {
    let root = folder.make("root");
    for (name, text) in SCRIPTS {
        fs::write(root.join(name), text).expect("a script");
    }
    root
}

/// Starts php-fpm with a pool of its own.
#[track_caller]
pub fn start_fpm(place: &Place, folder: &Folder) -> Process {
    let user = if is_root() { "user = root\ngroup = root\n" } else { "" };
    let settings: String = SETTINGS
        .iter()
        .map(|(name, value)| format!("php_admin_value[{name}] = {value}\n"))
        .collect();
    let config = format!(
        "[global]\ndaemonize = no\nerror_log = {log}\n[www]\n{user}listen = {listen}\npm = static\npm.max_children = 4\n\
         clear_env = no\n{settings}",
        log = folder.join("php-fpm-errors.log").display(),
        listen = place.plain(),
    );
    let file = folder.write("php-fpm.conf", config);
    let mut fpm = command("php-fpm");
    fpm.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(file);
    let mut process =
        Process::start("php-fpm", &mut fpm, folder).with_log(folder.join("php-fpm-errors.log"));
    process.wait_until("it listens", || place.is_open());
    process
}

/// Starts php-cgi as a FastCGI application.
#[track_caller]
fn start_php_cgi(place: &Place, folder: &Folder) -> Process {
    let mut php = command("php-cgi");
    php.args(["-b", &place.plain()]).env("PHP_FCGI_CHILDREN", "2");
    for (name, value) in SETTINGS {
        php.args(["-d", &format!("{name}={value}")]);
    }
    let mut process = Process::start("php-cgi", &mut php, folder);
    process.wait_until("it listens", || place.is_open());
    process
}

/// Sends a request by the example `fetch`, as a web server would; what came on stderr, too.
#[track_caller]
fn fetch(place: &Place, root: &Path, folder: &Folder, ask: &Ask) -> (Answer, String) {
    let script = format!("{}{}", root.display(), ask.path());
    let mut params = vec![
        ("REQUEST_METHOD".into(), ask.method.into()),
        ("SCRIPT_FILENAME".into(), script),
        ("SCRIPT_NAME".into(), ask.path().into()),
        ("REQUEST_URI".into(), ask.target.clone()),
        ("QUERY_STRING".into(), ask.query().into()),
        ("DOCUMENT_ROOT".into(), root.display().to_string()),
        ("SERVER_PROTOCOL".into(), "HTTP/1.1".into()),
        ("GATEWAY_INTERFACE".into(), "CGI/1.1".into()),
        ("REDIRECT_STATUS".into(), "200".into()),
        ("REMOTE_ADDR".into(), "127.0.0.1".into()),
    ];
    for (name, value) in &ask.headers {
        let name = name.to_uppercase().replace('-', "_");
        let name = if name == "CONTENT_TYPE" { name } else { format!("HTTP_{name}") };
        params.push((name, value.clone()));
    }
    let mut fetch = Command::new(example("fetch"));
    fetch.arg(place.to_string());
    for (name, value) in params {
        fetch.arg("--param").arg(format!("{name}={value}"));
    }
    if let Some(body) = &ask.body {
        fetch.arg("--body").arg(folder.write("body", body));
    }
    let output = fetch.output().expect("fetch starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // PHP's own status is 0 whatever becomes of a script.
    assert_eq!(output.status.code(), Some(0), "exit status of {}; {stderr}", ask.target);
    (parse(&output.stdout), stderr)
}

/// Takes a CGI response to its parts.
#[track_caller]
fn parse(response: &[u8]) -> Answer {
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
    Answer { status, headers, body: response[end + 4..].to_vec() }
}

/// Everything that PHP is asked to do, whatever carries the request to it.
pub fn check(ask: &dyn Fn(&Ask) -> Answer) {
    let lines = |answer: Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };

    // A page, with headers and cookies both ways.
    let long = "long ".repeat(200) + "end";
    let answer = ask(&Ask::get("/info.php?a=1&b=%26")
        .header("X-Asked", &long)
        .header("Cookie", "c=3; d=4%20"));
    assert_eq!(answer.one("X-First"), "one");
    assert_eq!(answer.all("X-Second"), ["a", "b"]);
    assert_eq!(answer.all("Set-Cookie"), ["seen=yes%3B%20and%20more", "other=2"]);
    assert!(answer.one("Content-Type").starts_with("text/plain"));
    let asked = format!("HTTP_X_ASKED={long}");
    let page = [
        "REQUEST_METHOD=GET",
        "QUERY_STRING=a=1&b=%26",
        "PATH_INFO=",
        "SCRIPT_NAME=/info.php",
        &asked,
    ];
    assert_eq!(
        lines(answer),
        [&page[..], &["get a=1", "get b=&", "cookie c=3", "cookie d=4 "]].concat()
    );

    // Forms.
    let form = "application/x-www-form-urlencoded";
    assert_eq!(
        lines(ask(&Ask::post("/form.php", form, "name=ferris&word=a%26b+c"))),
        ["post name=ferris", "post word=a&b c"]
    );
    assert!(lines(ask(&Ask::post("/form.php", form, ""))).is_empty());

    // An upload of 20 MiB with its checksum.
    let file = noise(20 << 20);
    let upload = [
        b"--limit\r\nContent-Disposition: form-data; name=\"word\"\r\n\r\nhello\r\n",
        &b"--limit\r\nContent-Disposition: form-data; name=\"file\"; filename=\"noise.bin\"\r\n"[..],
        b"Content-Type: application/octet-stream\r\n\r\n",
        &file,
        b"\r\n--limit--\r\n",
    ];
    let answer =
        ask(&Ask::post("/form.php", "multipart/form-data; boundary=limit", upload.concat()));
    let told = format!("file file=noise.bin 0 {} {:016x}", file.len(), fnv1a64(&file));
    assert_eq!(lines(answer), ["post word=hello", &told]);

    // A body there and back.
    let answer = ask(&Ask::post("/body.php", "application/octet-stream", &file[..5 << 20]));
    assert_same(&answer.body, &file[..5 << 20]);

    // 50 MB of output.
    let large: String = (0..1_000_000).map(|line| format!("{line:049}\n")).collect();
    assert_same(&ask(&Ask::get("/large.php")).body, large.as_bytes());

    // Statuses.
    let answer = ask(&Ask::get("/status.php"));
    assert_eq!((answer.status, &*answer.text()), (418, "a teapot"));
    let answer = ask(&Ask::get("/redirect.php"));
    assert_eq!((answer.status, answer.one("Location")), (302, "/info.php?from=redirect"));
    let answer = ask(&Ask::head("/info.php"));
    assert_eq!((answer.status, answer.body.len(), answer.one("X-First")), (200, 0, "one"));
    assert_eq!(ask(&Ask::get("/fatal.php")).status, 500);
    assert_eq!(ask(&Ask::get("/missing.php")).status, 404);
    assert_eq!(lines(ask(&Ask::get("/index.php"))), ["the index of /index.php"]);
}

/// What a web server with PHP does besides: `port` is that of one with the scripts as its root.
pub fn check_over_http(port: u16) {
    check(&|ask| ask.send(port));
    let answer = Ask::get("/").send(port);
    assert_eq!((answer.status, &*answer.text()), (200, "the index of /index.php\n"));
    let answer = Ask::get("/info.php/more/path?x=1").send(port);
    assert_eq!(answer.status, 200);
    for line in ["PATH_INFO=/more/path", "SCRIPT_NAME=/info.php", "QUERY_STRING=x=1"] {
        assert!(answer.text().lines().any(|told| told == line), "{line} in {}", answer.text());
    }
}

/// A checksum that PHP has too.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The same, and what only the other end of FastCGI gets to see.
fn check_with_fetch(place: &Place, folder: &Folder) {
    let root = write_scripts(folder);
    check(&|ask| fetch(place, &root, folder, ask).0);
    let (_, stderr) = fetch(place, &root, folder, &Ask::get("/log.php"));
    assert!(stderr.contains("a word for the log"), "{stderr}");
    let (_, stderr) = fetch(place, &root, folder, &Ask::get("/fatal.php"));
    assert!(stderr.contains("undefined function no_such_function"), "{stderr}");
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fetch_from_fpm_on_a_unix_socket() {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let _fpm = start_fpm(&place, &folder);
    check_with_fetch(&place, &folder);
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn fetch_from_fpm_on_tcp() {
    let (folder, place) = (Folder::new(), Place::tcp());
    let _fpm = start_fpm(&place, &folder);
    check_with_fetch(&place, &folder);
}

#[test]
#[ignore = "needs php-cgi, run by .ci/run"]
fn fetch_from_php_cgi() {
    for unix in [true, false] {
        let folder = Folder::new();
        let place = if unix { Place::unix(&folder) } else { Place::tcp() };
        let _php = start_php_cgi(&place, &folder);
        check_with_fetch(&place, &folder);
    }
}

/// Eight threads with a client that keeps connections, and four children, each of which serves one
/// connection until it is closed. Two seconds of load take two seconds, and no request is lost.
#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn more_threads_than_children_are_all_served() {
    for (unix, method) in [(true, "GET"), (true, "POST"), (false, "GET")] {
        let folder = Folder::new();
        let place = if unix { Place::unix(&folder) } else { Place::tcp() };
        let _fpm = start_fpm(&place, &folder);
        let script = write_scripts(&folder).join("index.php").display().to_string();
        let pairs = [
            ("REQUEST_METHOD", method),
            ("SCRIPT_NAME", "/index.php"),
            ("SCRIPT_FILENAME", &script),
        ];
        let params = Params::from_pairs(pairs).expect("params");
        let client = Client::new(&place.to_string()).expect("an address").keep_alive(true);

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
        println!("{place}, {method}: {elapsed:?}, requests of each thread: {counts:?}");
        assert!(elapsed < Duration::from_secs(4), "two seconds of load took {elapsed:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}

/// The example `gateway` in front of php-fpm.
#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn gateway_to_fpm() {
    for (unix, options) in [(true, &[][..]), (false, &[]), (true, &["--keep"])] {
        let folder = Folder::new();
        let place = if unix { Place::unix(&folder) } else { Place::tcp() };
        let fpm = start_fpm(&place, &folder);
        let (root, port) = (write_scripts(&folder), free_port());
        let mut gateway = Command::new(example("gateway"));
        gateway.args(["--connect", &place.to_string(), "--listen", &format!("127.0.0.1:{port}")]);
        gateway.arg("--root").arg(root).args(options);
        let mut gateway = Process::start("gateway", &mut gateway, &folder);
        gateway.wait_until("it listens", || is_up(port));

        check_over_http(port);
        assert_eq!(Ask::get("/log.php").send(port).text(), "logged");
        gateway.wait_for_log("a word for the log");
        gateway.wait_for_log("undefined function no_such_function");
        drop(fpm);
        assert_eq!(Ask::get("/info.php").send(port).status, 503);
        gateway.signal("TERM");
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    }
}

/// The checks themselves, on the pair that everyone uses: what they ask of a gateway is what nginx
/// does.
#[test]
#[ignore = "needs nginx and php-fpm, run by .ci/run"]
fn the_checks_hold_for_nginx() {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let _fpm = start_fpm(&place, &folder);
    let root = write_scripts(&folder);
    let nginx = Nginx::start(
        &folder,
        "",
        &format!(
            "root {root}; index index.php;
            location ~ ^(/[a-z]+\\.php)(/.*)?$ {{
                fastcgi_pass {place};
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
