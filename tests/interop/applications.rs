//! The `Client` against applications made with other libraries: the kit's own, and Go's.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use fcgi::record::Role;
use fcgi::{Client, Params};

use crate::app::{example, App};
use crate::echo::{assert_same, noise};
use crate::place::Place;
use crate::process::{command, Folder, Process};

/// A file beside this one.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peers").join(name)
}

#[track_caller]
fn build(compiler: &mut Command) {
    let output = compiler.output().expect("a compiler");
    assert!(output.status.success(), "{compiler:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the application of the kit's library.
#[track_caller]
pub fn build_libfcgi(folder: &Folder) -> PathBuf {
    let program = folder.join("libfcgi");
    build(
        command("cc")
            .args(["-Wall", "-Wextra", "-O", "-o"])
            .arg(&program)
            .arg(source("libfcgi.c"))
            .arg("-lfcgi"),
    );
    program
}

/// Builds the application of Go's library.
#[track_caller]
pub fn build_go(folder: &Folder) -> PathBuf {
    let program = folder.join("go");
    // What is compiled of Go itself is kept for the next time.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut go = command("go");
    go.env("GOCACHE", cache.join("go-cache"))
        .env("GOPATH", cache.join("go-path"))
        .env("GO111MODULE", "off");
    build(go.args(["build", "-o"]).arg(&program).arg(source("go.go")));
    program
}

/// Starts a program with arguments that make it listen.
#[track_caller]
pub fn start(program: &Path, arguments: &[&str], place: Place, folder: &Folder) -> App {
    let name = program.file_name().and_then(|name| name.to_str()).expect("the name of a program");
    let mut process = Process::start(name, Command::new(program).args(arguments), folder);
    process.wait_until("it listens", || place.is_open());
    App { place, process }
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

/// Requests of every size, on connections of their own and on kept ones.
fn check(place: &Place) {
    for keep_alive in [false, true] {
        let client = Client::new(&place.to_string()).expect("an address").keep_alive(keep_alive);
        for len in [0, 1, 100 << 10, 8 << 20] {
            let body = noise(len);
            let mut expected = b"POST a=1&b=%26\n".to_vec();
            expected.extend(&body);

            // Both directions at once: it answers as it reads.
            let mut received = Vec::new();
            let outcome = client.send(&params("POST", "a=1&b=%26", len), &body[..], |response| {
                assert_eq!(response.read_head()?.status(), 200);
                response.stdout.read_to_end(&mut received)
            });
            assert_eq!(outcome.expect("an answer").1.app_status, 0);
            assert_same(&received, &expected);
        }
        for _ in 0..200 {
            let reply = client.fetch(&params("GET", "", 0), b"").expect("an answer");
            let (head, body) = reply.split_head().expect("a head");
            assert_eq!((head.status(), body), (200, &b"GET \n"[..]));
        }
        // It does not read what is sent to it.
        let reply =
            client.fetch(&params("POST", "noread", 8 << 20), &noise(8 << 20)).expect("an answer");
        assert_eq!(reply.split_head().expect("a head").1, b"POST noread\n");
        assert_eq!(
            client.fetch(&params("GET", "", 0), b"").expect("an answer").completion.app_status,
            0
        );
    }

    // It is asked to stop in the middle of a body, does or does not answer to that, and goes on.
    let client = Client::new(&place.to_string()).expect("an address");
    let mut connection = client.connect().expect("a connection");
    let exchange = connection.begin(Role::Responder, &params("POST", "", 1000)).expect("a request");
    match exchange.abort() {
        Ok(_) | Err(fcgi::Error::UnexpectedEof(_)) => {}
        Err(error) => panic!("an abort ends with {error}"),
    }
    drop(connection);
    client.fetch(&params("GET", "", 0), b"").expect("an answer behind an abort");
}

#[test]
#[ignore = "needs libfcgi-dev and cc, run by .ci/run"]
fn client_and_the_kit_on_a_unix_socket() {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let app = start(&build_libfcgi(&folder), &[&place.plain()], place, &folder);
    check(&app.place);
    check_status_and_stderr(&app.place);
}

#[test]
#[ignore = "needs libfcgi-dev and cc, run by .ci/run"]
fn client_and_the_kit_on_tcp() {
    let (folder, place) = (Folder::new(), Place::tcp());
    let app = start(&build_libfcgi(&folder), &[&place.plain()], place, &folder);
    check(&app.place);
    check_status_and_stderr(&app.place);
}

fn check_status_and_stderr(place: &Place) {
    let client = Client::new(&place.to_string()).expect("an address").keep_alive(true);
    let reply = client.fetch(&params("GET", "exit&stderr", 0), b"").expect("an answer");
    assert_eq!(reply.completion.app_status, 3);
    assert_eq!(String::from_utf8_lossy(&reply.completion.stderr), "a word for the log\n");
}

#[test]
#[ignore = "needs go, run by .ci/run"]
fn client_and_go() {
    let folder = Folder::new();
    let program = build_go(&folder);
    for (network, place) in [("unix", Place::unix(&folder)), ("tcp", Place::tcp())] {
        let app = start(&program, &[network, &place.plain()], place, &folder);
        check(&app.place);
    }
}

/// 32 requests at once on one connection, each with its own answer; and the same with one that is
/// aborted half-way.
#[test]
#[ignore = "needs go, run by .ci/run"]
fn multiplex_and_go() {
    let built = Folder::new();
    let program = build_go(&built);
    for aborted in [0, 7] {
        let folder = Folder::new();
        for (network, place) in [("unix", Place::unix(&folder)), ("tcp", Place::tcp())] {
            let app = start(&program, &[network, &place.plain()], place, &folder);
            let mut multiplex = Command::new(example("multiplex"));
            let output =
                multiplex.args([&app.place.to_string(), "32", &aborted.to_string()]).output();
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

/// The length of Go's answer to a request of `multiplex`.
fn answer_len(id: u16) -> usize {
    let head =
        "Status: 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    head.len() + format!("POST n={id}\n").len() + 100_000 + format!("\nn={id}, 32 at once\n").len()
}
