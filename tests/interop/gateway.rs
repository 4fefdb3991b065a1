//! The example `gateway`, HTTP in front of php-fpm.

use std::process::Command;

use crate::app::example;
use crate::http::{self, Ask};
use crate::php;
use crate::place::{free_port, Place};
use crate::process::{Folder, Process};

/// Starts it in front of an application; its port.
#[track_caller]
fn start(place: &Place, options: &[&str], folder: &Folder) -> (u16, Process) {
    let port = free_port();
    let mut gateway = Command::new(example("gateway"));
    gateway.args(["--connect", &place.to_string(), "--root"]).arg(folder.join("root"));
    gateway.args(["--listen", &format!("127.0.0.1:{port}")]).args(options);
    let mut process = Process::start("gateway", &mut gateway, folder);
    process.wait_until("it listens", || http::is_up(port));
    (port, process)
}

fn check(place: &Place, options: &[&str], folder: &Folder) {
    php::write_scripts(folder);
    let fpm = php::start_fpm(place, folder);
    let (port, mut gateway) = start(place, options, folder);
    php::check_over_http(port);
    Ask::get("/fatal.php").send(port);
    gateway.wait_for_log("undefined function no_such_function");

    // An application that is gone is a reason on stderr and a 503.
    drop(fpm);
    assert_eq!(Ask::get("/info.php").send(port).status, 503);
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn serves_php_from_a_unix_socket() {
    let folder = Folder::new();
    check(&Place::unix(&folder), &[], &folder);
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn serves_php_from_tcp() {
    check(&Place::tcp(), &[], &Folder::new());
}

#[test]
#[ignore = "needs php-fpm, run by .ci/run"]
fn serves_php_on_kept_connections() {
    let folder = Folder::new();
    check(&Place::unix(&folder), &["--keep"], &folder);
}
