//! Proves that lighttpd works with our applications: as a proxy, as a process manager, with an
//! authorizer, and with CGI programs.

use std::fs;

use crate::app::{example, App, INVALID_CREDENTIALS, VALID_CREDENTIALS};
use crate::echo;
use crate::endpoint::{free_port, Endpoint};
use crate::http::{self, HttpRequest};
use crate::process::{command, Process, TestDir};

/// Starts lighttpd with the given modules and settings. Returns its port.
#[track_caller]
pub fn start(modules: &[&str], settings: &str, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let config = format!(
        "server.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.document-root = \"{root}\"\n\
         server.upload-dirs = (\"{uploads}\")\nserver.modules = {modules:?}\n{settings}\n",
        root = dir.create_dir("lighttpd-root").display(),
        uploads = dir.create_dir("lighttpd-uploads").display(),
    );
    let file = dir.write("lighttpd.conf", config.replace('[', "(").replace(']', ")"));
    let mut process =
        Process::start("lighttpd", command("lighttpd").arg("-D").arg("-f").arg(file), dir);
    process.wait_until("listening", || http::is_listening(port));
    (port, process)
}

/// Returns the setting that sends every request to an application.
pub fn fastcgi_setting(application: &str) -> String {
    format!("fastcgi.server = (\"/\" => (({application}, \"check-local\" => \"disable\")))\n")
}

/// The values of `server.stream-request-body`: buffer the body, stream it, or stream it with small
/// buffers.
const STREAM_MODES: [&str; 3] = ["0", "1", "2"];

fn check_echo(endpoint: impl Fn(&TestDir) -> Endpoint) {
    for streaming in STREAM_MODES {
        let dir = TestDir::new();
        let app = App::start("echo", endpoint(&dir), &dir);
        let address = match &app.endpoint {
            Endpoint::Tcp(port) => format!("\"host\" => \"127.0.0.1\", \"port\" => {port}"),
            Endpoint::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        };
        let stream = format!(
            "server.stream-request-body = {streaming}\nserver.stream-response-body = {streaming}\n"
        );
        let (port, process) = start(&["mod_fastcgi"], &(fastcgi_setting(&address) + &stream), &dir);
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn proxies_to_echo_on_unix_socket() {
    check_echo(Endpoint::unix);
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn proxies_to_echo_on_tcp() {
    check_echo(|_| Endpoint::tcp());
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn starts_hello_on_descriptor_0() {
    let dir = TestDir::new();
    let application = format!(
        "\"bin-path\" => \"{}\", \"socket\" => \"{}\", \"max-procs\" => 2",
        example("hello").display(),
        dir.join("hello.sock").display()
    );
    let (port, process) = start(&["mod_fastcgi"], &fastcgi_setting(&application), &dir);
    for _ in 0..10 {
        let response = HttpRequest::get("/").send(port);
        assert_eq!((response.status, &*response.text()), (200, "Hello, 127.0.0.1.\n"));
    }
    let children = process.children();
    assert_eq!(children.len(), 2, "child processes of lighttpd");
    drop(process);
    for child in children {
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        assert_ne!(name.trim(), "hello", "a child process is still running");
    }
}

/// Starts lighttpd with an authorizer, which it starts and asks before each request. A CGI script
/// prints the variables that it receives.
fn start_authorizer(name: &str, dir: &TestDir) -> (u16, Process) {
    let script = "echo 'Content-Type: text/plain'; echo
        env | grep -E '^(ECHO|QUERY_STRING|REMOTE_USER)=' | sort";
    let application = format!(
        "\"mode\" => \"authorizer\", \"docroot\" => \"{root}\", \"bin-path\" => \"{program}\", \
         \"socket\" => \"{socket}\", \"max-procs\" => 1",
        root = dir.join("lighttpd-root").display(),
        program = example(name).display(),
        socket = dir.join("authorizer.sock").display(),
    );
    let settings =
        "cgi.assign = (\".sh\" => \"/bin/sh\")\n".to_owned() + &fastcgi_setting(&application);
    let started = start(&["mod_fastcgi", "mod_cgi"], &settings, dir);
    dir.write("lighttpd-root/show.sh", script);
    started
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn starts_echo_as_authorizer() {
    let dir = TestDir::new();
    let (port, _process) = start_authorizer("echo", &dir);
    let response = HttpRequest::get("/show.sh?a=1").send(port);
    assert_eq!((response.status, &*response.text()), (200, "ECHO=yes\nQUERY_STRING=a=1\n"));
    let response = HttpRequest::get("/show.sh?deny").send(port);
    assert_eq!((response.status, &*response.text()), (403, "denied\n"));
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn starts_authorizer() {
    let dir = TestDir::new();
    let (port, _process) = start_authorizer("authorizer", &dir);
    for _ in 0..5 {
        let response =
            HttpRequest::get("/show.sh").header("Authorization", VALID_CREDENTIALS).send(port);
        assert_eq!(
            (response.status, &*response.text()),
            (200, "QUERY_STRING=\nREMOTE_USER=ferris\n")
        );
        for response in [
            HttpRequest::get("/show.sh"),
            HttpRequest::get("/show.sh").header("Authorization", INVALID_CREDENTIALS),
        ]
        .map(|request| request.send(port))
        {
            assert_eq!(
                (response.status, response.header("WWW-Authenticate")),
                (401, "Basic realm=\"cave\"")
            );
        }
    }
}

/// `hello` is also a CGI program, which is started for each request.
#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn runs_hello_as_cgi_program() {
    let dir = TestDir::new();
    let (port, process) = start(&["mod_cgi"], "cgi.assign = (\"/hello\" => \"\")\n", &dir);
    fs::copy(example("hello"), dir.join("lighttpd-root/hello")).expect("a copy of a program");
    for request in
        [HttpRequest::get("/hello"), HttpRequest::post("/hello", "text/plain", "not read")]
    {
        let response = request.send(port);
        assert_eq!(
            (response.status, response.header("Content-Type"), &*response.text()),
            (200, "text/plain", "Hello, 127.0.0.1.\n")
        );
    }
    drop(process);
}
