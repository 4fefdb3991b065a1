//! Proves that HAProxy works with `echo`, and distributes load over several applications.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;

use crate::app::App;
use crate::echo;
use crate::endpoint::{free_port, Endpoint};
use crate::http::{self, HttpRequest};
use crate::process::{command, wait_until, Process, TestDir};

/// Starts HAProxy with the server lines of its backend and the options of its `fcgi-app` section.
/// Returns its port.
#[track_caller]
pub fn start(servers: &str, options: &str, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let config = format!(
        "global\n log stderr format raw daemon\n\
         defaults\n mode http\n log global\n\
         timeout connect 20s\n timeout client 60s\n timeout server 60s\n\
         frontend web\n bind 127.0.0.1:{port}\n default_backend apps\n\
         backend apps\n use-fcgi-app echo\n{servers}\
         fcgi-app echo\n docroot /\n log-stderr global\n{options}"
    );
    let file = dir.write("haproxy.cfg", config);
    let mut process =
        Process::start("haproxy", command("haproxy").arg("-db").arg("-f").arg(file), dir);
    process.wait_until("listening", || http::is_listening(port));
    (port, process)
}

/// Checks `echo` with every combination of the three FastCGI options.
fn check_echo(endpoint: impl Fn(&TestDir) -> Endpoint) {
    for number in 0..8 {
        let word = |bit: u8| if number & bit == 0 { " no" } else { "" };
        let (keep, get, mpxs) = (word(1), word(2), word(4));
        let options =
            format!("{keep} option keep-conn\n{get} option get-values\n{mpxs} option mpxs-conns\n");
        println!("{options}");
        let dir = TestDir::new();
        let app = App::start("echo", endpoint(&dir), &dir);
        let (port, process) = start(
            &format!(" server echo {} proto fcgi\n", app.endpoint.without_scheme()),
            &options,
            &dir,
        );
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn proxies_to_echo_on_unix_socket() {
    check_echo(Endpoint::unix);
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn proxies_to_echo_on_tcp() {
    check_echo(|_| Endpoint::tcp());
}

/// Settings that send a request to another application if the first one did not start to answer it.
/// An application that has failed receives no requests until a health check succeeds.
const RETRY_SETTINGS: &str = "
 balance roundrobin
 retries 3
 option redispatch 1
 retry-on conn-failure empty-response
 http-response set-header X-Server %s
 default-server check observe layer4 error-limit 1 on-error mark-down
";

/// The number of requests that are in flight at once.
const CLIENTS: usize = 16;

/// Three applications share the load. One is stopped and another is killed. The remaining ones
/// answer the requests that had not begun. Only requests that the killed application was answering
/// may fail.
#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn distributes_load_over_three_applications() {
    let dir = TestDir::new();
    let apps = ["a", "b", "c"].map(|name| (name, App::start("echo", Endpoint::tcp(), &dir)));
    let servers: String = apps
        .iter()
        .map(|(name, app)| format!(" server {name} {} proto fcgi\n", app.endpoint.without_scheme()))
        .collect();
    let settings = RETRY_SETTINGS.to_owned() + &servers;
    let (port, _haproxy) = start(&settings, " option keep-conn\n option get-values\n", &dir);

    // `_c` serves requests until the clients have stopped.
    let [a, mut b, _c] = apps.map(|(_, app)| app);
    let tally = Tally::default();
    tally.begin_phase("start");
    thread::scope(|scope| {
        let _stop = StopOnDrop(&tally.is_stopped);
        for _ in 0..CLIENTS {
            scope.spawn(|| tally.send_until_stopped(port));
        }
        stop_and_kill(&tally, a, &mut b);
    });

    let phases = tally.phases();
    for (name, phase) in &phases {
        let Phase { answered, failed } = phase;
        println!("{name:>12}: {:5} answered {answered:?}, {failed} failed", phase.total());
    }
    for (name, phase) in phases {
        let may_fail = if name == "b is killed" { CLIENTS } else { 0 };
        assert!(phase.failed <= may_fail, "{name}: {} failed", phase.failed);
    }
}

/// Stops one application and kills another, with a phase before and after each step.
fn stop_and_kill(tally: &Tally, a: App, b: &mut App) {
    tally.wait_for("a response from each application", |phase| phase.answered.len() == 3);
    tally.begin_phase("all three");
    tally.wait_for_responses();
    tally.begin_phase("a is stopped");
    a.stop();
    tally.wait_for_responses();
    tally.begin_phase("b is killed");
    b.process.signal("KILL");
    b.process.wait();
    tally.wait_for_responses();
    tally.begin_phase("c alone");
    tally.wait_for_responses();
}

/// The outcomes of requests in each phase of a test.
#[derive(Default)]
struct Tally {
    phases: Mutex<Vec<(&'static str, Phase)>>,
    is_stopped: AtomicBool,
}

#[derive(Clone, Default)]
struct Phase {
    /// The number of responses from each application.
    answered: BTreeMap<String, usize>,
    /// The number of requests without a valid response.
    failed: usize,
}

impl Phase {
    /// Returns the number of responses from all applications.
    fn total(&self) -> usize {
        self.answered.values().sum()
    }
}

/// Stops the clients, even if the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Tally {
    fn phases(&self) -> Vec<(&'static str, Phase)> {
        self.phases.lock().expect("no panic").clone()
    }

    fn begin_phase(&self, name: &'static str) {
        self.phases.lock().expect("no panic").push((name, Phase::default()));
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is_met: impl Fn(&Phase) -> bool) {
        wait_until(what, || self.phases().last().is_some_and(|(_, phase)| is_met(phase)));
    }

    /// Waits for 1000 responses in the current phase.
    #[track_caller]
    fn wait_for_responses(&self) {
        self.wait_for("1000 responses", |phase| phase.total() > 1000);
    }

    /// Sends requests and counts their outcomes.
    fn send_until_stopped(&self, port: u16) {
        while !self.is_stopped.load(Ordering::SeqCst) {
            let response = HttpRequest::post("/", "text/plain", "a body").send(port);
            let mut phases = self.phases.lock().expect("no panic");
            let phase = &mut phases.last_mut().expect("a phase").1;
            if response.status == 200 && response.body.ends_with(b"\na body") {
                *phase.answered.entry(response.header("X-Server").to_owned()).or_default() += 1;
            } else {
                phase.failed += 1;
            }
        }
    }
}
