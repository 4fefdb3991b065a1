//! Web servers in front of the example `echo`, configured as `README.md` describes.

use std::process::Command;
use std::sync::Arc;

use super::backend::Backend;
use super::cases::Site;
use super::{measure_row, package_version, Row};
use crate::app::example;
use crate::endpoint::{free_port, Endpoint};
use crate::http::is_listening;
use crate::process::{Process, TestDir};
use crate::readme::{self, Start};

/// The rows, in the order of the table.
pub const ROWS: &[fn() -> String] =
    &[nginx, apache_proxy_fcgi, apache_fcgid, lighttpd, haproxy, caddy, h2o, gateway];

/// Measures the row of a web server, which the package of this name contains.
fn measure(name: &str, package: &str, start: Start) -> String {
    let dir = Arc::new(TestDir::new());
    let endpoint = Endpoint::tcp();
    let backend = Backend::start(endpoint, &dir, || Command::new(example("echo")));
    let (port, web_server) = start(&backend.endpoint, &dir);
    let site = Site { port, path: "/app", web_server, backend, logs_aborts: true, _dir: dir };
    measure_row(&Row { name, version: package_version(package) }, site)
}

/// Starts the example `gateway` in front of an application that answers for everything.
pub fn start_gateway(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let mut gateway = Command::new(example("gateway"));
    gateway.args(["--listen", &format!("127.0.0.1:{port}"), "--connect", &app.to_string()]);
    let mut process = Process::start("gateway", gateway.arg("--keep"), dir);
    process.wait_until("listening", || is_listening(port));
    (port, process)
}

fn gateway() -> String {
    measure("`gateway`", "", start_gateway)
}

fn nginx() -> String {
    measure("nginx", "nginx", readme::start_nginx)
}

fn apache_proxy_fcgi() -> String {
    measure("Apache, `mod_proxy_fcgi`", "apache2", readme::start_proxy_fcgi)
}

fn lighttpd() -> String {
    measure("lighttpd", "lighttpd", readme::start_lighttpd)
}

fn haproxy() -> String {
    measure("HAProxy", "haproxy", readme::start_haproxy)
}

fn caddy() -> String {
    measure("Caddy", "caddy", readme::start_caddy)
}

fn h2o() -> String {
    measure("h2o", "h2o", readme::start_h2o)
}

/// mod_fcgid starts the application itself.
fn apache_fcgid() -> String {
    let dir = Arc::new(TestDir::new());
    // The address is not used.
    let (port, web_server) = readme::start_fcgid(&Endpoint::Tcp(1), &dir);
    let backend = Backend::of_web_server(dir.join("echo"), dir.join("fcgid"));
    let site = Site { port, path: "/app", web_server, backend, logs_aborts: true, _dir: dir };
    let version = package_version("libapache2-mod-fcgid");
    measure_row(&Row { name: "Apache, `mod_fcgid`", version }, site)
}
