//! Proves that `Client` works with applications that use other libraries: libfcgi of the FastCGI
//! Developer's Kit, and Go's `net/http/fcgi`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use fcgi::record::Role;
use fcgi::{Client, Params};

use crate::app::{example, App};
use crate::echo::{assert_bytes_eq, random_bytes};
use crate::endpoint::{free_port, Endpoint};
use crate::http::{is_listening, HttpRequest};
use crate::process::{command, Process, TestDir};

/// Returns the path of an application's source.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peers").join(name)
}

#[track_caller]
fn build(compiler: &mut Command) {
    let output = compiler.output().expect("a compiler");
    assert!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds an application that uses libfcgi.
#[track_caller]
pub fn build_libfcgi(name: &str, dir: &TestDir) -> PathBuf {
    let program = dir.join("libfcgi");
    build(
        command("cc")
            .args(["-Wall", "-Wextra", "-O", "-o"])
            .arg(&program)
            .arg(source(name))
            .arg("-lfcgi"),
    );
    program
}

/// Builds an application that uses `net/http/fcgi`.
#[track_caller]
pub fn build_go(name: &str, dir: &TestDir) -> PathBuf {
    let program = dir.join("go");
    // The cache keeps Go's compiled standard library for the next run.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut go = command("go");
    go.env("GOCACHE", cache.join("go-cache"))
        .env("GOPATH", cache.join("go-path"))
        .env("GO111MODULE", "off");
    build(go.args(["build", "-o"]).arg(&program).arg(source(name)));
    program
}

/// Starts a program and waits until it listens on `endpoint`, which its arguments name.
#[track_caller]
pub fn start(program: &Path, arguments: &[&str], endpoint: Endpoint, dir: &TestDir) -> App {
    let name = program.file_name().and_then(|name| name.to_str()).expect("the name of a program");
    let mut process = Process::start(name, Command::new(program).args(arguments), dir);
    process.wait_until("listening", || endpoint.is_listening());
    App { endpoint, process }
}

fn params(method: &str, query: &str, len: usize) -> Params {
    Params::from_pairs([
        ("REQUEST_METHOD", method),
        ("QUERY_STRING", query),
        ("REQUEST_URI", &format!("/?{query}")),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTP_HOST", "localhost"),
        ("CONTENT_LENGTH", &len.to_string()),
        ("EMPTY", ""),
        ("LONG", &"x".repeat(10_000)),
    ])
    .expect("params")
}

/// Checks requests of several sizes, on new and on kept connections, and an abort.
fn check(endpoint: &Endpoint) {
    for keep_alive in [false, true] {
        let client = Client::new(endpoint.to_string()).expect("an address").keep_alive(keep_alive);
        for len in [0, 1, 100 << 10, 8 << 20] {
            check_send(&client, len);
        }
        for _ in 0..200 {
            assert_eq!(fetch(&client, &params("GET", "", 0), b""), b"GET \n");
        }
        // The application does not read this body.
        let body = random_bytes(8 << 20);
        let response = fetch(&client, &params("POST", "noread", body.len()), &body);
        assert_eq!(response, b"POST noread\n");
        assert_eq!(fetch(&client, &params("GET", "", 0), b""), b"GET \n");
    }
    check_abort(endpoint);
}

/// Sends a body and reads the response at the same time: the application answers while it reads.
fn check_send(client: &Client, len: usize) {
    let body = random_bytes(len);
    let mut received = Vec::new();
    let outcome = client.send(&params("POST", "a=1&b=%26", len), &body[..], |response| {
        assert_eq!(response.read_head()?.status(), 200);
        response.stdout.read_to_end(&mut received)
    });
    assert_eq!(outcome.expect("a response").1.app_status, 0);
    assert_bytes_eq(&received, &[b"POST a=1&b=%26\n", &body[..]].concat());
}

/// Returns the body of a response.
#[track_caller]
fn fetch(client: &Client, params: &Params, body: &[u8]) -> Vec<u8> {
    let reply = client.fetch(params, body).expect("a response");
    let (head, body) = reply.split_head().expect("a head");
    assert_eq!((head.status(), reply.completion.app_status), (200, 0));
    body.to_vec()
}

/// Aborts a request after a part of its body. The application may ignore that, but must serve the
/// next request.
fn check_abort(endpoint: &Endpoint) {
    let client = Client::new(endpoint.to_string()).expect("an address");
    let mut connection = client.connect().expect("a connection");
    let exchange = connection.begin(Role::Responder, &params("POST", "", 1000)).expect("a request");
    match exchange.abort() {
        Ok(_) | Err(fcgi::Error::UnexpectedEof(_)) => {}
        Err(error) => panic!("the abort failed: {error}"),
    }
    drop(connection);
    client.fetch(&params("GET", "", 0), b"").expect("a response after the abort");
}

#[test]
#[ignore = "needs libfcgi-dev and cc, run by .ci/run"]
fn client_works_with_libfcgi_on_unix_socket() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let app =
        start(&build_libfcgi("libfcgi.c", &dir), &[&endpoint.without_scheme()], endpoint, &dir);
    check(&app.endpoint);
    check_status_and_stderr(&app.endpoint);
}

#[test]
#[ignore = "needs libfcgi-dev and cc, run by .ci/run"]
fn client_works_with_libfcgi_on_tcp() {
    let (dir, endpoint) = (TestDir::new(), Endpoint::tcp());
    let app =
        start(&build_libfcgi("libfcgi.c", &dir), &[&endpoint.without_scheme()], endpoint, &dir);
    check(&app.endpoint);
    check_status_and_stderr(&app.endpoint);
}

fn check_status_and_stderr(endpoint: &Endpoint) {
    let client = Client::new(endpoint.to_string()).expect("an address").keep_alive(true);
    let reply = client.fetch(&params("GET", "exit&stderr", 0), b"").expect("a response");
    assert_eq!(reply.completion.app_status, 3);
    assert_eq!(String::from_utf8_lossy(&reply.completion.stderr), "a log message\n");
}

#[test]
#[ignore = "needs go, run by .ci/run"]
fn client_works_with_go() {
    let dir = TestDir::new();
    let program = build_go("go.go", &dir);
    for (network, endpoint) in [("unix", Endpoint::unix(&dir)), ("tcp", Endpoint::tcp())] {
        let app = start(&program, &[network, &endpoint.without_scheme()], endpoint, &dir);
        check(&app.endpoint);
    }
}

/// Sends 32 requests at once on one connection. Each receives its own response, also if one of them
/// is aborted.
#[test]
#[ignore = "needs go, run by .ci/run"]
fn multiplex_works_with_go() {
    let built = TestDir::new();
    let program = build_go("go.go", &built);
    for aborted in [0, 7] {
        let dir = TestDir::new();
        for (network, endpoint) in [("unix", Endpoint::unix(&dir)), ("tcp", Endpoint::tcp())] {
            let app = start(&program, &[network, &endpoint.without_scheme()], endpoint, &dir);
            let mut multiplex = Command::new(example("multiplex"));
            let output =
                multiplex.args([&app.endpoint.to_string(), "32", &aborted.to_string()]).output();
            let output = output.expect("multiplex starts");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && stderr.is_empty(), "{}: {stderr}", output.status);
            let expected = (1..=32).map(|id| match id {
                id if id == aborted => format!("{id}: 0 bytes, app status 0, aborted: "),
                _ => format!("{id}: {} bytes, app status 0: n={id}, 32 at once", answer_len(id)),
            });
            let lines: Vec<_> =
                String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            assert_eq!(lines, expected.collect::<Vec<_>>());
        }
    }
}

/// Returns the length of Go's response to a request of `multiplex`.
fn answer_len(id: u16) -> usize {
    let head =
        "Status: 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    head.len() + format!("POST n={id}\n").len() + 100_000 + format!("\nn={id}, 32 at once\n").len()
}

/// MapServer is a CGI program that serves FastCGI if descriptor 0 is a listening socket.
#[test]
#[ignore = "needs cgi-mapserver, run by .ci/run"]
fn gateway_serves_maps_of_mapserver() {
    let (dir, port) = (TestDir::new(), free_port());
    let map = "MAP SIZE 40 20 EXTENT 0 0 40 20 IMAGETYPE png
        LAYER NAME \"a\" TYPE POLYGON STATUS DEFAULT
            FEATURE POINTS 0 0 20 0 20 20 0 20 0 0 END END
            CLASS STYLE COLOR 255 0 0 END END
        END
    END";
    let map = dir.write("a.map", map);
    let config = format!("CONFIG MAPS A \"{}\" END END", map.display());
    let endpoint = Endpoint::unix(&dir);
    let mut mapserver = Command::new("/usr/lib/cgi-bin/mapserv");
    mapserver.env("MAPSERVER_CONFIG_FILE", dir.write("mapserver.conf", config));
    let _mapserver = Process::start("mapserv", mapserver.stdin(endpoint.listen()), &dir);
    let mut gateway = Command::new(example("gateway"));
    gateway.args(["--listen", &format!("127.0.0.1:{port}"), "--connect", &endpoint.to_string()]);
    let mut gateway = Process::start("gateway", &mut gateway, &dir);
    gateway.wait_until("listening", || is_listening(port));
    for _ in 0..3 {
        let response = HttpRequest::get("/?map=A&mode=map").send(port);
        assert_eq!((response.status, response.header("Content-Type")), (200, "image/png"));
        assert!(
            response.body.starts_with(b"\x89PNG") && response.body.ends_with(b"IEND\xaeB`\x82")
        );
        // MapServer reports a request without a map in a page.
        assert!(HttpRequest::get("/").send(port).text().contains("QUERY_STRING"));
    }
}
