//! HAProxy in front of `echo`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;

use crate::app::App;
use crate::echo;
use crate::http::{self, Ask};
use crate::place::{free_port, Place};
use crate::process::{command, wait_until, Folder, Process};

/// Starts HAProxy with the server lines of one backend, and the options of its application; its
/// port.
#[track_caller]
fn start(servers: &str, options: &str, folder: &Folder) -> (u16, Process) {
    let port = free_port();
    let config = format!(
        "global\n log stderr format raw daemon\n\
         defaults\n mode http\n log global\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n\
         frontend web\n bind 127.0.0.1:{port}\n default_backend apps\n\
         backend apps\n use-fcgi-app echo\n{servers}\
         fcgi-app echo\n docroot /\n log-stderr global\n{options}"
    );
    let file = folder.write("haproxy.cfg", config);
    let mut process =
        Process::start("haproxy", command("haproxy").arg("-db").arg("-f").arg(file), folder);
    process.wait_until("it listens", || http::is_up(port));
    (port, process)
}

/// With every setting of its three options.
fn check_echo(place: impl Fn(&Folder) -> Place) {
    for number in 0..8 {
        let word = |bit: u8| if number & bit == 0 { " no" } else { "" };
        let (keep, get, mpxs) = (word(1), word(2), word(4));
        let options =
            format!("{keep} option keep-conn\n{get} option get-values\n{mpxs} option mpxs-conns\n");
        println!("{options}");
        let folder = Folder::new();
        let app = App::start("echo", place(&folder), &folder);
        let (port, process) =
            start(&format!(" server echo {} proto fcgi\n", app.place.plain()), &options, &folder);
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn in_front_of_echo_on_a_unix_socket() {
    check_echo(Place::unix);
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn in_front_of_echo_on_tcp() {
    check_echo(|_| Place::tcp());
}

/// Requests spread over three applications, of which one is stopped and another killed under load.
/// Those that had not begun are answered by the others; only what the killed one had in its hands
/// may be lost.
#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn spreads_load_over_three_applications() {
    const CLIENTS: usize = 16;
    let folder = Folder::new();
    let mut apps: Vec<_> =
        ["a", "b", "c"].map(|name| (name, App::start("echo", Place::tcp(), &folder))).into();
    let servers: String = apps
        .iter()
        .map(|(name, app)| format!(" server {name} {} proto fcgi\n", app.place.plain()))
        .collect();
    // A request that nobody takes is sent to another application, and the one that failed is left
    // alone until it answers.
    let retries = " balance roundrobin\n retries 3\n option redispatch 1\n retry-on conn-failure empty-response\n \
                   http-response set-header X-Server %s\n \
                   default-server check observe layer4 error-limit 1 on-error mark-down\n";
    let (port, _haproxy) =
        start(&(retries.to_owned() + &servers), " option keep-conn\n option get-values\n", &folder);

    let tally = Tally::default();
    tally.begin("at first");
    thread::scope(|scope| {
        let _end = End(&tally.is_over);
        for _ in 0..CLIENTS {
            scope.spawn(|| tally.ask_until_stopped(port));
        }
        tally.wait_for("each has answered", |phase| phase.answered_by.len() == 3);
        tally.begin("all three");
        tally.wait_for("they have answered", |phase| phase.answered() > 1000);
        tally.begin("a is stopped");
        apps.remove(0).1.stop();
        tally.wait_for("the others answer", |phase| phase.answered() > 1000);
        tally.begin("b is killed");
        let (_, mut killed) = apps.remove(0);
        killed.process.signal("KILL");
        killed.process.wait();
        tally.wait_for("c answers", |phase| phase.answered() > 1000);
        tally.begin("c alone");
        tally.wait_for("c goes on", |phase| phase.answered() > 1000);
    });

    let phases = tally.phases();
    for (name, phase) in &phases {
        println!(
            "{name:>12}: {:5} answered {:?}, {} failed",
            phase.answered(),
            phase.answered_by,
            phase.failed
        );
    }
    for (name, phase) in phases {
        let lost = if name == "b is killed" { CLIENTS } else { 0 };
        assert!(phase.failed <= lost, "{name}: {} failed", phase.failed);
    }
}

/// What has become of requests, in each phase of a test.
#[derive(Default)]
struct Tally {
    phases: Mutex<Vec<(&'static str, Phase)>>,
    is_over: AtomicBool,
}

#[derive(Clone, Default)]
struct Phase {
    answered_by: BTreeMap<String, usize>,
    failed: usize,
}

impl Phase {
    fn answered(&self) -> usize {
        self.answered_by.values().sum()
    }
}

/// Ends the clients, also if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Tally {
    fn phases(&self) -> Vec<(&'static str, Phase)> {
        self.phases.lock().expect("no panic").clone()
    }

    fn begin(&self, name: &'static str) {
        self.phases.lock().expect("no panic").push((name, Phase::default()));
    }

    #[track_caller]
    fn wait_for(&self, what: &str, has_come: impl Fn(&Phase) -> bool) {
        wait_until(what, || self.phases().last().is_some_and(|(_, phase)| has_come(phase)));
    }

    fn ask_until_stopped(&self, port: u16) {
        while !self.is_over.load(Ordering::SeqCst) {
            let answer = Ask::post("/", "text/plain", "a body").send(port);
            let mut phases = self.phases.lock().expect("no panic");
            let phase = &mut phases.last_mut().expect("a phase").1;
            if answer.status == 200 && answer.body.ends_with(b"\na body") {
                *phase.answered_by.entry(answer.one("X-Server").to_owned()).or_default() += 1;
            } else {
                phase.failed += 1;
            }
        }
    }
}
