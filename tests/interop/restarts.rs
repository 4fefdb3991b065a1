//! Proves that no request is lost while applications are stopped and started: on a socket that
//! several processes share, under a process manager, and by a takeover of the socket's path.
//!
//! `RESTARTS` sets the number of restarts of each test, which is small by default.

use std::env;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use fcgi::{Client, Params};

use crate::app::{example, App};
use crate::endpoint::Endpoint;
use crate::http::HttpRequest;
use crate::nginx::Nginx;
use crate::process::{command, find_program, send_signal, wait_until, Process, TestDir};

/// How long requests are sent between two restarts.
const INTERVAL: Duration = Duration::from_millis(200);
const THREADS: usize = 8;

fn restarts() -> usize {
    env::var("RESTARTS").ok().and_then(|number| number.parse().ok()).unwrap_or(4)
}

/// The requests that were sent while applications were restarted.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    /// Sends requests from several threads while `restart` is called again and again. `send`
    /// returns whether a request was answered.
    fn run(send: impl Fn() -> bool + Sync, mut restart: impl FnMut()) -> Self {
        let load = Self::default();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while !load.is_over.load(SeqCst) {
                        let counter = if send() { &load.answered } else { &load.failed };
                        counter.fetch_add(1, SeqCst);
                    }
                });
            }
            for _ in 0..restarts() {
                thread::sleep(INTERVAL);
                restart();
            }
            thread::sleep(INTERVAL);
            load.is_over.store(true, SeqCst);
        });
        load
    }

    #[track_caller]
    fn assert_nothing_lost(self, name: &str) {
        let (answered, failed) = (self.answered.into_inner(), self.failed.into_inner());
        println!("{name}: {} restarts, {answered} answered, {failed} failed", restarts());
        assert!(answered > 0, "no request was answered");
        assert_eq!(failed, 0, "of {answered} requests");
    }
}

/// Two processes serve one socket. One of them is stopped, and another one started.
#[test]
#[ignore = "restarts processes under load, run by .ci/run"]
fn stopped_process_loses_no_request_of_a_shared_socket() {
    let dir = TestDir::new();
    for endpoint in [Endpoint::unix(&dir), Endpoint::tcp()] {
        let socket = endpoint.listen();
        let start = || {
            let stdin = Stdio::from(socket.try_clone().expect("a descriptor"));
            Process::start("echo", Command::new(example("echo")).stdin(stdin), &dir)
        };
        let params = Params::from_pairs([("QUERY_STRING", "bytes=10")]).expect("params");
        let client = Client::new(endpoint.to_string()).expect("an address");
        let mut processes = vec![start(), start()];
        let load = Load::run(
            || client.fetch(&params, b"").is_ok_and(|reply| reply.stdout.ends_with(b"xxxxxxxxxx")),
            || {
                let mut stopped = processes.remove(0);
                stopped.signal("TERM");
                let status = stopped.wait();
                assert!(status.success(), "after SIGTERM: {status}");
                processes.push(start());
            },
        );
        load.assert_nothing_lost("two processes on one socket");
    }
}

fn get_through(nginx: &Nginx) -> bool {
    HttpRequest::get("/app?bytes=10").send(nginx.port).body == b"xxxxxxxxxx"
}

/// The locations of an nginx that sends requests to `app` on kept connections.
const LOCATION: &str = "location /app {
    fastcgi_pass app;
    fastcgi_keep_conn on;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param QUERY_STRING $query_string;
}";

fn upstream(endpoint: &Endpoint) -> String {
    format!("upstream app {{ server {endpoint} max_fails=0; keepalive 8; }}")
}

/// multiwatch starts a new process for each that is stopped.
#[test]
#[ignore = "needs nginx, spawn-fcgi and multiwatch, run by .ci/run"]
fn nginx_loses_no_request_while_multiwatch_restarts_processes() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let mut spawn = command("spawn-fcgi");
    let echo = dir.install(&example("echo"));
    spawn.args(["-n", "-s", &endpoint.without_scheme(), "--"]).arg(find_program("multiwatch"));
    let mut manager = Process::start("multiwatch", spawn.args(["-f", "2", "--"]).arg(&echo), &dir);
    manager.wait_until("two running processes", || manager_children(&dir) == 2);
    let nginx = Nginx::start(&dir, &upstream(&endpoint), LOCATION);
    let load = Load::run(
        || get_through(&nginx),
        || {
            let before = manager.children();
            send_signal("TERM", before[0]);
            wait_until("a new process", || {
                let now = manager.children();
                now.len() == 2 && !now.contains(&before[0])
            });
        },
    );
    load.assert_nothing_lost("nginx and multiwatch");
}

fn manager_children(dir: &TestDir) -> usize {
    crate::process::count_running(&dir.join("echo"))
}

/// The new process takes the path over before the old one is stopped.
#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn nginx_loses_no_request_while_a_new_process_takes_the_path_over() {
    let dir = TestDir::new();
    let endpoint = Endpoint::unix(&dir);
    let mut running = App::start("echo", endpoint.clone(), &dir);
    let nginx = Nginx::start(&dir, &upstream(&endpoint), LOCATION);
    let load = Load::run(
        || get_through(&nginx),
        || {
            let Endpoint::Unix(path) = &endpoint else { return };
            let inode = || std::fs::metadata(path).map(|file| file_id(&file)).ok();
            let before = inode();
            let mut command = Command::new(example("echo"));
            command.arg("--take-over").arg(endpoint.to_string());
            let process = Process::start("echo", &mut command, &dir);
            wait_until("a new socket file", || inode() != before);
            let new = App { endpoint: endpoint.clone(), process };
            std::mem::replace(&mut running, new).stop();
        },
    );
    load.assert_nothing_lost("nginx and a takeover");
}

fn file_id(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}
