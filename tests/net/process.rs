//! Runs parts of tests in a process of their own, with its own descriptor 0, limits or environment:
//! this program with only the test `helper`.

use std::env;
use std::process::Command;

use super::{descriptor0, stale};

const TASK: &str = "FCGI_TEST_TASK";

/// The part that runs in the other process.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn helper() {
    match env::var(TASK).as_deref() {
        Ok("accept") => descriptor0::accept(),
        Ok("allow") => descriptor0::read_allow_list(),
        Ok("bind") => stale::bind_on_request(),
        #[cfg(all(target_os = "linux", not(fcgi_portable)))]
        Ok("close") => super::close::unix::close_without_descriptors(),
        _ => {}
    }
}

/// Returns a command that runs a task of `helper`.
pub(super) fn command(task: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["process::helper", "--exact", "--ignored", "--nocapture"])
        .env(TASK, task)
        .env_remove("FCGI_WEB_SERVER_ADDRS");
    command
}

/// Returns a command that runs a task of `helper` with at most `count` descriptors.
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
pub(super) fn command_with_descriptors(task: &str, count: usize) -> Command {
    let command = command(task);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("ulimit -n {count} && exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env(TASK, task);
    limited
}

/// Runs a command. Returns what it has printed between angle brackets.
#[track_caller]
pub(super) fn answer(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let (_, answer) = text.split_once('<').expect(&text);
    answer.split_once(">\n").expect(&text).0.to_owned()
}
