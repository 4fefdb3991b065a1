//! lighttpd in front of `echo`, and as the one that starts an application.

use std::fs;

use crate::app::{example, App};
use crate::echo;
use crate::http::{self, Ask};
use crate::place::{free_port, Place};
use crate::process::{command, Folder, Process};

/// Starts lighttpd with modules and settings of the test's; its port.
#[track_caller]
pub fn start(modules: &[&str], settings: &str, folder: &Folder) -> (u16, Process) {
    let port = free_port();
    let config = format!(
        "server.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.document-root = \"{root}\"\n\
         server.upload-dirs = (\"{uploads}\")\nserver.modules = {modules:?}\n{settings}\n",
        root = folder.make("lighttpd-root").display(),
        uploads = folder.make("lighttpd-uploads").display(),
    );
    let file = folder.write("lighttpd.conf", config.replace('[', "(").replace(']', ")"));
    let mut process = Process::start("lighttpd", command("lighttpd").arg("-D").arg("-f").arg(file), folder);
    process.wait_until("it listens", || http::is_up(port));
    (port, process)
}

/// The setting that sends every request to an application.
fn fastcgi_server(application: &str) -> String {
    format!("fastcgi.server = (\"/\" => (({application}, \"check-local\" => \"disable\")))\n")
}

/// Holding the request's body until it is there, and passing it on as it comes.
const STREAMING: [&str; 3] = ["0", "1", "2"];

fn check_echo(place: impl Fn(&Folder) -> Place) {
    for streaming in STREAMING {
        let folder = Folder::new();
        let app = App::start("echo", place(&folder), &folder);
        let address = match &app.place {
            Place::Tcp(port) => format!("\"host\" => \"127.0.0.1\", \"port\" => {port}"),
            Place::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        };
        let stream = format!("server.stream-request-body = {streaming}\nserver.stream-response-body = {streaming}\n");
        let (port, process) = start(&["mod_fastcgi"], &(fastcgi_server(&address) + &stream), &folder);
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn in_front_of_echo_on_a_unix_socket() {
    check_echo(Place::unix);
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn in_front_of_echo_on_tcp() {
    check_echo(|_| Place::tcp());
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn starts_hello_on_descriptor_0() {
    let folder = Folder::new();
    let application = format!(
        "\"bin-path\" => \"{}\", \"socket\" => \"{}\", \"max-procs\" => 2",
        example("hello").display(),
        folder.join("hello.sock").display()
    );
    let (port, process) = start(&["mod_fastcgi"], &fastcgi_server(&application), &folder);
    for _ in 0..10 {
        let answer = Ask::get("/").send(port);
        assert_eq!((answer.status, &*answer.text()), (200, "Hello, 127.0.0.1.\n"));
    }
    let children = process.children();
    assert_eq!(children.len(), 2, "applications of lighttpd");
    drop(process);
    for child in children {
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        assert_ne!(name.trim(), "hello", "one was left behind");
    }
}

/// An application that is asked before each request. What it adds reaches the one that answers.
#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn asks_echo_as_an_authorizer() {
    let folder = Folder::new();
    let script = "echo 'Content-Type: text/plain'; echo; env | grep -E '^(ECHO|QUERY_STRING)='";
    let settings = format!(
        "cgi.assign = (\".sh\" => \"/bin/sh\")\n{}",
        fastcgi_server(&format!(
            "\"mode\" => \"authorizer\", \"docroot\" => \"{root}\", \"bin-path\" => \"{echo}\", \
             \"socket\" => \"{socket}\", \"max-procs\" => 1",
            root = folder.join("lighttpd-root").display(),
            echo = example("echo").display(),
            socket = folder.join("echo.sock").display(),
        ))
    );
    let (port, _process) = start(&["mod_fastcgi", "mod_cgi"], &settings, &folder);
    fs::write(folder.join("lighttpd-root/show.sh"), script).expect("a script");
    let answer = Ask::get("/show.sh?a=1").send(port);
    let mut lines: Vec<_> = answer.body.split(|byte| *byte == b'\n').map(String::from_utf8_lossy).collect();
    lines.sort();
    assert_eq!((answer.status, &lines[..]), (200, &["".into(), "ECHO=yes".into(), "QUERY_STRING=a=1".into()][..]));
    let answer = Ask::get("/show.sh?deny").send(port);
    assert_eq!((answer.status, &*answer.text()), (403, "denied\n"));
}
