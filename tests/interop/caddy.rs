//! Starts Caddy.

use crate::endpoint::{free_port, Endpoint};
use crate::http;
use crate::process::{command, Process, TestDir};

/// Starts Caddy, which forwards every request to the application at once. Returns its port.
#[track_caller]
pub fn start(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let address = match app {
        Endpoint::Tcp(port) => format!("127.0.0.1:{port}"),
        Endpoint::Unix(path) => format!("unix/{}", path.display()),
    };
    let config = format!(
        "{{\n admin off\n auto_https off\n}}\n\
         http://127.0.0.1:{port}, http://localhost:{port} {{\n \
         reverse_proxy {address} {{\n flush_interval -1\n transport fastcgi\n }}\n}}\n"
    );
    let file = dir.write("Caddyfile", config);
    let mut caddy = command("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    let home = dir.create_dir("caddy");
    let mut process =
        Process::start("caddy", caddy.env("HOME", &home).env("XDG_DATA_HOME", &home), dir);
    process.wait_until("listening", || http::is_listening(port));
    (port, process)
}
