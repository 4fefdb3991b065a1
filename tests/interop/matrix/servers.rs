//! Web servers in front of the example `echo`, configured as `README.md` describes.

use std::process::Command;
use std::sync::Arc;

use super::backend::Backend;
use super::cases::Site;
use super::{check_row, package_version, Row};
use crate::app::example;
use crate::endpoint::{free_port, Endpoint};
use crate::http::is_listening;
use crate::process::{Process, TestDir};
use crate::readme::{self, Start};

/// Measures the row of a web server, which the package of this name contains.
#[track_caller]
fn check(name: &str, package: &str, start: Start) {
    let dir = Arc::new(TestDir::new());
    let endpoint = Endpoint::tcp();
    let backend = Backend::start(endpoint, &dir, || Command::new(example("echo")));
    let (port, web_server) = start(&backend.endpoint, &dir);
    let site = Site { port, path: "/app", web_server, backend, logs_aborts: true, _dir: dir };
    check_row(Row { name, version: package_version(package) }, site);
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

#[test]
#[ignore = "run by .ci/run"]
fn gateway_row() {
    check("`gateway`", "", start_gateway);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn nginx_row() {
    check("nginx", "nginx", readme::start_nginx);
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn apache_proxy_fcgi_row() {
    check("Apache, `mod_proxy_fcgi`", "apache2", readme::start_proxy_fcgi);
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn lighttpd_row() {
    check("lighttpd", "lighttpd", readme::start_lighttpd);
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn haproxy_row() {
    check("HAProxy", "haproxy", readme::start_haproxy);
}

#[test]
#[ignore = "needs caddy, run by .ci/run"]
fn caddy_row() {
    check("Caddy", "caddy", readme::start_caddy);
}

#[test]
#[ignore = "needs h2o, run by .ci/run"]
fn h2o_row() {
    check("h2o", "h2o", readme::start_h2o);
}

/// mod_fcgid starts the application itself.
#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn apache_fcgid_row() {
    let dir = Arc::new(TestDir::new());
    // The address is not used.
    let (port, web_server) = readme::start_fcgid(&Endpoint::Tcp(1), &dir);
    let backend = Backend::of_web_server(dir.join("echo"), dir.join("fcgid"));
    let site = Site { port, path: "/app", web_server, backend, logs_aborts: true, _dir: dir };
    let version = package_version("libapache2-mod-fcgid");
    check_row(Row { name: "Apache, `mod_fcgid`", version }, site);
}
