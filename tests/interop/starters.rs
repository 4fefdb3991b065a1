//! `hello`, unchanged, under the process managers that leave a listening socket on descriptor 0.

use crate::app::{check_hello, example};
use crate::place::Place;
use crate::process::{command, program, running, send_signal, wait_until, Folder, Process};

#[test]
#[ignore = "needs spawn-fcgi, run by .ci/run"]
fn spawn_fcgi_becomes_hello() {
    let folder = Folder::new();
    for place in [Place::unix(&folder), Place::tcp()] {
        let mut spawn = command("spawn-fcgi");
        match &place {
            Place::Tcp(port) => spawn.args(["-a", "127.0.0.1", "-p", &port.to_string()]),
            Place::Unix(path) => spawn.arg("-s").arg(path),
        };
        let mut process =
            Process::start("spawn-fcgi", spawn.arg("-n").arg("--").arg(example("hello")), &folder);
        process.wait_until("it listens", || place.is_open());
        check_hello(&place);
    }
}

#[test]
#[ignore = "needs spawn-fcgi, run by .ci/run"]
fn spawn_fcgi_leaves_several_behind() {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let hello = folder.install(&example("hello"));
    let mut spawn = command("spawn-fcgi");
    spawn.args(["-F", "3", "-s", &place.plain(), "--"]).arg(&hello);
    let mut spawn = Process::start("spawn-fcgi", &mut spawn, &folder);
    let status = spawn.wait();
    assert!(status.success(), "{status}: {}", spawn.log());
    wait_until("three run", || running(&hello) == 3);
    for _ in 0..30 {
        check_hello(&place);
    }
}

#[test]
#[ignore = "needs spawn-fcgi and multiwatch, run by .ci/run"]
fn multiwatch_keeps_several_running() {
    let folder = Folder::new();
    let place = Place::unix(&folder);
    let mut spawn = command("spawn-fcgi");
    let hello = folder.install(&example("hello"));
    spawn.args(["-n", "-s", &place.plain(), "--"]).arg(program("multiwatch"));
    let mut process =
        Process::start("multiwatch", spawn.args(["-f", "3", "--"]).arg(&hello), &folder);
    process.wait_until("three run", || running(&hello) == 3);
    check_hello(&place);

    // One that is killed is replaced; meanwhile the others serve.
    let before = process.children();
    send_signal("KILL", before[0]);
    check_hello(&place);
    wait_until("another is started", || {
        let now = process.children();
        running(&hello) == 3 && !now.contains(&before[0])
    });
    check_hello(&place);

    // It ends with its children, as it would at a reboot.
    process.signal("TERM");
    process.wait();
    wait_until("nobody listens", || !place.is_open());
}
