//! Proves that the files in the documentation of `deployment` work, with the paths of the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::app::{check_hello, example};
use crate::endpoint::{free_port, Endpoint};
use crate::http::HttpRequest;
use crate::process::{command, count_running, wait_until, Process, TestDir};
use crate::{apache, lighttpd};

const PAGE: &str = include_str!("../../src/deployment.rs");
const SOCKET: &str = "/run/app.sock";
const PROGRAM: &str = "/usr/local/bin/app";

/// A directory with a program and the address of its socket.
struct Deployment {
    dir: TestDir,
    endpoint: Endpoint,
    program: PathBuf,
}

impl Deployment {
    fn new(program: &str) -> Self {
        let dir = TestDir::new();
        let program = dir.install(&example(program));
        Self { endpoint: Endpoint::unix(&dir), program, dir }
    }

    /// Returns a file of the page, with the paths of this deployment.
    #[track_caller]
    fn file(&self, name: &str) -> String {
        let text = file(name).replace(PROGRAM, self.program.to_str().expect("in UTF-8"));
        text.replace(SOCKET, &self.endpoint.without_scheme())
    }

    /// Starts a shell script of the page, and waits until its socket exists.
    #[track_caller]
    fn start_script(&self, name: &str) -> Process {
        let mut shell = command("sh");
        shell.arg("-c").arg(self.file(name));
        let mut process = Process::start("sh", &mut shell, &self.dir);
        let Endpoint::Unix(socket) = &self.endpoint else { panic!("not a Unix socket") };
        process.wait_until("a socket", || socket.exists());
        process
    }
}

/// Returns the code block that follows the line with this name.
#[track_caller]
fn file(name: &str) -> String {
    let lines = PAGE.lines().map(|line| line.trim_start_matches("//!").trim_start_matches(' '));
    // The indentation inside of files does not matter.
    let mut lines = lines.skip_while(|line| !line.starts_with(&format!("`{name}`")));
    assert!(lines.next().is_some(), "{name} is not on the page");
    let block = lines.skip_while(|line| !line.starts_with("```")).skip(1);
    block.take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn check_hello_behind(port: u16) {
    let response = HttpRequest::get("/").send(port);
    assert_eq!((response.status, &*response.text()), (200, "Hello, 127.0.0.1.\n"));
}

/// Only `systemd-analyze` can be run without a system that systemd has started.
#[test]
#[ignore = "needs systemd, run by .ci/run"]
fn units_of_systemd_are_valid() {
    let deployment = Deployment::new("hello");
    for name in ["app.socket", "app.service"] {
        let file = deployment.file(&format!("/etc/systemd/system/{name}"));
        deployment.dir.write(name, file);
    }
    let units = ["app.socket", "app.service"].map(|name| deployment.dir.join(name));
    let output = command("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", deployment.dir.path().display()))
        .output()
        .expect("systemd-analyze");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<_> = stderr
        .lines()
        .filter(|line| line.contains("app.socket") || line.contains("app.service"))
        .collect();
    assert!(output.status.success() && complaints.is_empty(), "{stderr}");
}

/// With `--inetd`, this program passes the socket as systemd does with `StandardInput=socket`.
#[test]
#[ignore = "needs systemd-socket-activate, run by .ci/run"]
fn socket_of_systemd_is_served_on_descriptor_0() {
    let deployment = Deployment::new("hello");
    let mut activate = command("systemd-socket-activate");
    activate.arg("--inetd").arg("--listen").arg(deployment.endpoint.without_scheme());
    let mut process = Process::start(
        "systemd-socket-activate",
        activate.arg(&deployment.program),
        &deployment.dir,
    );
    let Endpoint::Unix(socket) = &deployment.endpoint else { panic!("not a Unix socket") };
    process.wait_until("a socket", || socket.exists());
    check_hello(&deployment.endpoint);
}

#[test]
#[ignore = "needs systemd-socket-activate, run by .ci/run"]
fn socket_on_descriptor_3_is_moved_to_descriptor_0() {
    let deployment = Deployment::new("hello");
    let _process = deployment.start_script("socket-activate.sh");
    check_hello(&deployment.endpoint);
}

#[test]
#[ignore = "needs systemd-socket-activate, run by .ci/run"]
fn socket_on_descriptor_3_is_named_in_the_error() {
    let deployment = Deployment::new("hello");
    let mut activate = command("systemd-socket-activate");
    activate.arg("--listen").arg(deployment.endpoint.without_scheme()).arg(&deployment.program);
    let mut process = Process::start("systemd-socket-activate", &mut activate, &deployment.dir);
    let Endpoint::Unix(socket) = &deployment.endpoint else { panic!("not a Unix socket") };
    process.wait_until("a socket", || socket.exists());
    // The connection starts the program.
    assert!(deployment.endpoint.is_listening());
    assert!(!process.wait().success());
    let log = process.log();
    assert!(log.contains("LISTEN_FDS") && log.contains("<&3"), "{log}");
}

#[test]
#[ignore = "needs spawn-fcgi, run by .ci/run"]
fn spawn_fcgi_script_works() {
    let deployment = Deployment::new("hello");
    let _process = deployment.start_script("spawn-fcgi.sh");
    check_hello(&deployment.endpoint);
}

#[test]
#[ignore = "needs spawn-fcgi and multiwatch, run by .ci/run"]
fn multiwatch_script_works() {
    let deployment = Deployment::new("hello");
    let _process = deployment.start_script("multiwatch.sh");
    wait_until("four processes", || count_running(&deployment.program) == 4);
    check_hello(&deployment.endpoint);
}

#[test]
#[ignore = "needs s6, run by .ci/run"]
fn s6_service_is_restarted() {
    let deployment = Deployment::new("hello");
    let run = deployment.dir.create_dir("app").join("run");
    fs::write(&run, deployment.file("/etc/s6/app/run")).expect("a file");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("its mode");
    let mut supervise = command("s6-supervise");
    let mut process =
        Process::start("s6-supervise", supervise.arg(deployment.dir.join("app")), &deployment.dir);
    wait_until("the application to listen", || deployment.endpoint.is_listening());
    check_hello(&deployment.endpoint);

    let [application] = process.children()[..] else { panic!("not one child") };
    crate::process::send_signal("KILL", application);
    wait_until("another process", || !process.children().contains(&application));
    wait_until("the application to listen", || deployment.endpoint.is_listening());
    check_hello(&deployment.endpoint);
    let mut stop = command("s6-svc");
    assert!(stop.arg("-dx").arg(deployment.dir.join("app")).status().expect("s6-svc").success());
    process.wait();
}

#[test]
#[ignore = "needs xinetd, run by .ci/run"]
fn xinetd_starts_the_application() {
    let deployment = Deployment::new("hello");
    let port = free_port();
    let user = if crate::process::is_root() { "root" } else { "www-data" };
    let file = deployment
        .file("/etc/xinetd.d/app")
        .replace("9000", &port.to_string())
        .replace("www-data", user);
    let config = deployment.dir.write("xinetd.conf", file);
    let mut xinetd = command("xinetd");
    xinetd.args(["-dontfork", "-f"]).arg(config).arg("-pidfile").arg(deployment.dir.join("pid"));
    let mut process = Process::start("xinetd", &mut xinetd, &deployment.dir);
    let endpoint = Endpoint::Tcp(port);
    process.wait_until("listening", || endpoint.is_listening());
    check_hello(&endpoint);
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn lighttpd_configuration_works() {
    let deployment = Deployment::new("hello");
    let settings = deployment.file("/etc/lighttpd/conf-enabled/app.conf");
    let (port, _process) = lighttpd::start(&[], &settings, &deployment.dir);
    check_hello_behind(port);
}

#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn mod_fcgid_configuration_works() {
    let deployment = Deployment::new("hello");
    let settings = deployment.file("/etc/apache2/conf-enabled/app.conf");
    let settings = apache::fcgid_settings(&deployment.dir) + &settings;
    let (port, _process) = apache::start(&["fcgid"], &settings, &deployment.dir);
    check_hello_behind(port);
}

/// No container is started: the command runs with the environment of the file.
#[test]
#[ignore = "run by .ci/run"]
fn command_of_the_dockerfile_serves_tcp_and_ends_on_sigterm() {
    let deployment = Deployment::new("echo");
    let port = free_port();
    let file = deployment.file("Dockerfile").replace("9000", &port.to_string());
    let line = |name| file.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    let (name, _address) = line("ENV ").split_once('=').expect("a variable");
    let entrypoint = line("ENTRYPOINT ").trim_matches(['[', ']']);
    let words: Vec<_> = entrypoint.split(", ").map(|word| word.trim_matches('"')).collect();
    for (allowed, is_served) in [("127.0.0.1", true), ("192.0.2.1", false)] {
        let mut command = Command::new(words[0]);
        let mut process =
            Process::start("echo", command.args(&words[1..]).env(name, allowed), &deployment.dir);
        let endpoint = Endpoint::Tcp(port);
        process.wait_until("listening", || endpoint.is_listening());
        let client = fcgi::Client::new(endpoint.to_string()).expect("an address");
        let outcome = client.fetch(&fcgi::Params::new(), b"");
        assert_eq!(outcome.is_ok(), is_served, "{allowed}: {outcome:?}");
        process.signal(line("STOPSIGNAL SIG"));
        assert!(process.wait().success());
    }
}
