//! Applications that use other libraries, behind the example `gateway`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::backend::Backend;
use super::cases::Site;
use super::servers::start_gateway;
use super::{measure_row, package_version, Row};
use crate::app::example;
use crate::endpoint::{free_port, Endpoint};
use crate::http::is_listening;
use crate::other_libraries::{build_go, build_libfcgi, source};
use crate::process::{command, find_program, is_root, Process, TestDir};

/// The rows, in the order of the table.
pub const ROWS: &[fn() -> String] =
    &[php_fpm, php_cgi, libfcgi, go, plack, mojolicious, ruby, flup, cgi_wrap, fcgiwrap];

/// Measures the row of an application that is started with its listening socket on descriptor 0.
fn measure(name: &str, version: String, command: impl Fn(&TestDir) -> Command + 'static) -> String {
    let dir = Arc::new(TestDir::new());
    let files = Arc::clone(&dir);
    let backend = Backend::start(Endpoint::unix(&dir), &dir, move || command(&files));
    let (port, web_server) = start_gateway(&backend.endpoint, &dir);
    let site = Site { port, path: "/app", web_server, backend, logs_aborts: false, _dir: dir };
    measure_row(&Row { name, version }, site)
}

/// Starts a gateway for the directory of the test, which contains the script or program `app.php`.
fn start_gateway_for_directory(endpoint: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let mut gateway = Command::new(example("gateway"));
    gateway.args(["--listen", &format!("127.0.0.1:{port}"), "--connect", &endpoint.to_string()]);
    gateway.args(["--keep", "--root"]).arg(dir.path());
    let mut process = Process::start("gateway", &mut gateway, dir);
    process.wait_until("listening", || is_listening(port));
    (port, process)
}

/// Copies the script or program of the matrix.
fn install(name: &str, dir: &TestDir) {
    dir.write_program("app.php", fs::read(source(name)).expect("a source"));
}

/// Measures the row of an application behind a gateway for a directory.
fn measure_directory(row: &Row<'_>, backend: Backend, dir: Arc<TestDir>) -> String {
    let (port, web_server) = start_gateway_for_directory(&backend.endpoint, &dir);
    let site = Site { port, path: "/app.php", web_server, backend, logs_aborts: false, _dir: dir };
    measure_row(row, site)
}

/// A running child ends its request after the signal within `process_control_timeout`, which is not
/// set by default.
fn php_fpm() -> String {
    let dir = Arc::new(TestDir::new());
    install("matrix.php", &dir);
    let endpoint = Endpoint::unix(&dir);
    let user = if is_root() { "user = root\ngroup = root\n" } else { "" };
    let config = format!(
        "[global]\ndaemonize = no\nerror_log = {log}\nprocess_control_timeout = 10s\n[www]\n{user}\
         listen = {listen}\npm = static\npm.max_children = 8\n\
         php_admin_value[post_max_size] = 64M\n",
        log = dir.join("php-fpm-errors.log").display(),
        listen = endpoint.without_scheme(),
    );
    let config = dir.write("php-fpm.conf", config);
    let mut fpm = command("php-fpm");
    fpm.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(config);
    let mut fpm = Process::start("php-fpm", &mut fpm, &dir);
    fpm.wait_until("listening", || endpoint.is_listening());
    let row = Row { name: "php-fpm", version: package_version("php-fpm") };
    measure_directory(&row, Backend::managed(endpoint, fpm), dir)
}

fn php_cgi() -> String {
    let dir = Arc::new(TestDir::new());
    install("matrix.php", &dir);
    let backend = Backend::start(Endpoint::unix(&dir), &dir, || {
        let mut php = command("php-cgi");
        php.args(["-d", "log_errors=1", "-d", "post_max_size=64M"]).env("PHP_FCGI_CHILDREN", "8");
        php
    });
    let row = Row { name: "php-cgi", version: package_version("php-cgi") };
    measure_directory(&row, backend, dir)
}

fn libfcgi() -> String {
    let built = TestDir::new();
    let program = build_libfcgi("matrix.c", &built);
    measure("libfcgi, C", package_version("libfcgi-dev"), move |_| Command::new(&program))
}

fn go() -> String {
    let built = TestDir::new();
    let program = build_go("matrix.go", &built);
    measure("net/http/fcgi, Go", package_version("golang-go"), move |_| Command::new(&program))
}

/// Returns a command that runs a Perl application.
fn plackup(file: &str) -> Command {
    let mut plackup = command("plackup");
    plackup.args(["--server", "FCGI", "--env", "deployment", "--nproc", "4"]).arg(source(file));
    plackup
}

fn plack() -> String {
    measure("Plack, Perl", package_version("libplack-perl"), |_| plackup("matrix.psgi"))
}

fn mojolicious() -> String {
    let version = package_version("libmojolicious-perl");
    measure("Mojolicious, Perl", version, |_| plackup("matrix.mojo"))
}

fn ruby() -> String {
    measure("fcgi, Ruby", package_version("ruby-fcgi"), |_| {
        let mut ruby = command("ruby");
        ruby.arg(source("matrix.rb"));
        ruby
    })
}

/// `.ci/run` downloads flup, because Debian has no package of it.
fn flup() -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let has_version = |version| directory.join(format!("flup-{version}.dist-info")).is_dir();
    assert!(has_version("1.0.3"), "flup is not installed; .ci/run installs it");
    measure("flup, Python", "1.0".into(), move |_| {
        let mut python = Command::new("/usr/bin/python3");
        python.arg(source("matrix.py")).arg(&directory);
        python
    })
}

fn cgi_wrap() -> String {
    measure_wrapper("`cgi-wrap`, CGI", String::new(), example("cgi-wrap"), &[])
}

fn fcgiwrap() -> String {
    let fcgiwrap = find_program("fcgiwrap");
    measure_wrapper("fcgiwrap, CGI", package_version("fcgiwrap"), fcgiwrap, &["-f", "-c", "8"])
}

/// Measures a program that runs CGI programs.
fn measure_wrapper(
    name: &str,
    version: String,
    wrapper: PathBuf,
    args: &'static [&'static str],
) -> String {
    let dir = Arc::new(TestDir::new());
    install("matrix.cgi", &dir);
    let backend = Backend::start(Endpoint::unix(&dir), &dir, move || {
        let mut command = Command::new(&wrapper);
        command.args(args);
        command
    });
    measure_directory(&Row { name, version }, backend, dir)
}
