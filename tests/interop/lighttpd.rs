//! lighttpd in front of `echo`, and as the one that starts an application.

use std::fs;

use crate::app::{example, App, FERRIS, MALLORY};
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
    let mut process =
        Process::start("lighttpd", command("lighttpd").arg("-D").arg("-f").arg(file), folder);
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
        let stream = format!(
            "server.stream-request-body = {streaming}\nserver.stream-response-body = {streaming}\n"
        );
        let (port, process) =
            start(&["mod_fastcgi"], &(fastcgi_server(&address) + &stream), &folder);
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

/// lighttpd with an application that it starts and asks before each request. What that adds reaches
/// a script, which shows its variables.
fn start_authorizer(name: &str, folder: &Folder) -> (u16, Process) {
    let script = "echo 'Content-Type: text/plain'; echo; env | grep -E '^(ECHO|QUERY_STRING|REMOTE_USER)=' | sort";
    let application = format!(
        "\"mode\" => \"authorizer\", \"docroot\" => \"{root}\", \"bin-path\" => \"{program}\", \
         \"socket\" => \"{socket}\", \"max-procs\" => 1",
        root = folder.join("lighttpd-root").display(),
        program = example(name).display(),
        socket = folder.join("authorizer.sock").display(),
    );
    let settings =
        "cgi.assign = (\".sh\" => \"/bin/sh\")\n".to_owned() + &fastcgi_server(&application);
    let started = start(&["mod_fastcgi", "mod_cgi"], &settings, folder);
    folder.write("lighttpd-root/show.sh", script);
    started
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn starts_echo_as_an_authorizer() {
    let folder = Folder::new();
    let (port, _process) = start_authorizer("echo", &folder);
    let answer = Ask::get("/show.sh?a=1").send(port);
    assert_eq!((answer.status, &*answer.text()), (200, "ECHO=yes\nQUERY_STRING=a=1\n"));
    let answer = Ask::get("/show.sh?deny").send(port);
    assert_eq!((answer.status, &*answer.text()), (403, "denied\n"));
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn starts_the_authorizer() {
    let folder = Folder::new();
    let (port, _process) = start_authorizer("authorizer", &folder);
    for _ in 0..5 {
        let answer = Ask::get("/show.sh").header("Authorization", FERRIS).send(port);
        assert_eq!((answer.status, &*answer.text()), (200, "QUERY_STRING=\nREMOTE_USER=ferris\n"));
        for answer in [Ask::get("/show.sh"), Ask::get("/show.sh").header("Authorization", MALLORY)]
            .map(|ask| ask.send(port))
        {
            assert_eq!(
                (answer.status, answer.one("WWW-Authenticate")),
                (401, "Basic realm=\"cave\"")
            );
        }
    }
}

/// The same program, started for each request.
#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn runs_hello_as_a_cgi_program() {
    let folder = Folder::new();
    let (port, process) = start(&["mod_cgi"], "cgi.assign = (\"/hello\" => \"\")\n", &folder);
    fs::copy(example("hello"), folder.join("lighttpd-root/hello")).expect("a copy of a program");
    for ask in [Ask::get("/hello"), Ask::post("/hello", "text/plain", "not read")] {
        let answer = ask.send(port);
        assert_eq!(
            (answer.status, answer.one("Content-Type"), &*answer.text()),
            (200, "text/plain", "Hello, 127.0.0.1.\n")
        );
    }
    drop(process);
}
