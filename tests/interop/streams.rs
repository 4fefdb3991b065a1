//! Measures what web servers do to streams: when the lines of a response arrive, what becomes of a
//! body that the application answers while it reads, of a chunked body, and who tells the
//! application that the client has left. Compares that with the table in `src/guide/streaming.md`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::app::example;
use crate::echo::EchoResponse;
use crate::endpoint::{free_port, Endpoint};
use crate::http::{is_listening, parse_response};
use crate::matrix::backend::Backend;
use crate::nginx::Nginx;
use crate::process::{command, is_met_within, is_root, Process, TestDir};
use crate::{apache, haproxy, lighttpd};

const GUIDE: &str = include_str!("../../src/guide/streaming.md");
/// What does not happen in this time never does.
const LIMIT: Duration = Duration::from_secs(5);
/// Longer than the buffers of any web server, and of the sockets.
const BODY_LEN: usize = 10_000_000;

/// The web server that sends the whole body in some runs, and stops in others.
const UNSTEADY: &str = "Caddy";

/// A web server, its settings that let data flow at once, and how it is started with or without
/// them.
struct FrontEnd {
    name: &'static str,
    settings: &'static str,
    start: fn(&Setup<'_>) -> (u16, Process),
}

struct Setup<'a> {
    app: &'a Endpoint,
    dir: &'a TestDir,
    /// The settings, or nothing.
    settings: &'a str,
}

const FRONT_ENDS: [FrontEnd; 8] = [
    FrontEnd {
        name: "nginx",
        settings: "fastcgi_buffering off; fastcgi_request_buffering off;",
        start: |setup| {
            let location = format!(
                "location / {{ include /etc/nginx/fastcgi_params; client_max_body_size 0; {} \
                 fastcgi_pass {}; }}",
                setup.settings, setup.app
            );
            let nginx = Nginx::start(setup.dir, "", &location);
            (nginx.port, nginx.process)
        },
    },
    FrontEnd {
        name: "Apache, `mod_proxy_fcgi`",
        settings: "flushpackets=on",
        start: |setup| {
            let setting = format!("ProxyPass / fcgi://{}/ {}\n", setup.app, setup.settings);
            apache::start(&["proxy", "proxy_fcgi"], &setting, setup.dir)
        },
    },
    FrontEnd {
        name: "Apache, `mod_fcgid`",
        settings: "FcgidOutputBufferSize 0",
        start: |setup| {
            let echo = setup.dir.install(&example("echo"));
            let settings = format!(
                "{}<Location />\nSetHandler fcgid-script\nOptions +ExecCGI\nFcgidWrapper {} \
                 virtual\n</Location>\nFcgidMaxRequestLen 104857600\n{}\n",
                apache::fcgid_settings(setup.dir),
                echo.display(),
                setup.settings
            );
            apache::start(&["fcgid"], &settings, setup.dir)
        },
    },
    FrontEnd {
        name: "lighttpd",
        settings: "server.stream-response-body = 2",
        start: |setup| {
            let (_, port) = app_port(setup.app);
            let address = format!("\"host\" => \"127.0.0.1\", \"port\" => {port}");
            let settings = setup.settings.replace(", ", "\n");
            lighttpd::start(
                &["mod_fastcgi"],
                &(lighttpd::fastcgi_setting(&address) + &settings),
                setup.dir,
            )
        },
    },
    FrontEnd {
        name: "HAProxy",
        settings: "",
        start: |setup| {
            let server = format!(" server app {} proto fcgi\n", setup.app.without_scheme());
            haproxy::start(&server, "", setup.dir)
        },
    },
    FrontEnd { name: "Caddy", settings: "flush_interval -1", start: start_caddy },
    FrontEnd { name: "h2o", settings: "", start: start_h2o },
    FrontEnd {
        name: "`gateway`",
        settings: "--collect 0",
        start: |setup| {
            let port = free_port();
            let mut gateway = Command::new(example("gateway"));
            gateway.args(["--listen", &format!("127.0.0.1:{port}")]);
            gateway.args(["--connect", &setup.app.to_string()]);
            gateway.args(setup.settings.split_whitespace());
            run("gateway", &mut gateway, port, setup.dir)
        },
    },
];

fn app_port(app: &Endpoint) -> (&'static str, u16) {
    match app {
        Endpoint::Tcp(port) => ("127.0.0.1", *port),
        Endpoint::Unix(_) => unreachable!("the application listens on TCP"),
    }
}

fn run(name: &str, command: &mut Command, port: u16, dir: &TestDir) -> (u16, Process) {
    let mut process = Process::start(name, command, dir);
    process.wait_until("listening", || is_listening(port));
    (port, process)
}

fn start_caddy(setup: &Setup<'_>) -> (u16, Process) {
    let (port, home) = (free_port(), setup.dir.create_dir("caddy"));
    let config = format!(
        "{{\n admin off\n auto_https off\n}}\nhttp://127.0.0.1:{port} {{\n \
         reverse_proxy {} {{\n {}\n transport fastcgi\n }}\n}}\n",
        setup.app, setup.settings
    );
    let file = setup.dir.write("Caddyfile", config);
    let mut caddy = command("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    run("caddy", caddy.env("HOME", &home).env("XDG_DATA_HOME", &home), port, setup.dir)
}

fn start_h2o(setup: &Setup<'_>) -> (u16, Process) {
    let (port, (host, app)) = (free_port(), app_port(setup.app));
    let user = if is_root() { "user: root\n" } else { "" };
    let config = format!(
        "{user}listen: {{ host: 127.0.0.1, port: {port} }}\nhosts:\n  default:\n    paths:\n      \
         \"/\":\n        fastcgi.connect: {{ host: {host}, port: {app}, type: tcp }}\n"
    );
    let file = setup.dir.write("h2o.conf", config);
    run("h2o", command("h2o").arg("-c").arg(file), port, setup.dir)
}

/// A web server in front of `echo`.
struct Site {
    port: u16,
    process: Process,
    backend: Backend,
    _dir: Arc<TestDir>,
}

impl Site {
    fn start(front_end: &FrontEnd, settings: &str) -> Self {
        let dir = Arc::new(TestDir::new());
        let backend = Backend::start(Endpoint::tcp(), &dir, || Command::new(example("echo")));
        let setup = Setup { app: &backend.endpoint, dir: &dir, settings };
        let (port, process) = (front_end.start)(&setup);
        Self { port, process, backend, _dir: dir }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream
    }

    /// Sends a request without a body.
    fn get(&self, query: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "GET /?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("a request");
        stream
    }

    /// Returns whether short lines arrive while the application writes others.
    fn lines(&self) -> &'static str {
        let mut stream = self.get("lines=50");
        if read_until(&mut stream, |received| received.contains("00000003")) {
            "at once"
        } else {
            "collected"
        }
    }

    /// The application begins to answer, and copies the body half a second later.
    fn early_response(&self) -> String {
        let mut stream = self.connect();
        let mut sending = stream.try_clone().expect("a connection");
        thread::scope(|scope| {
            scope.spawn(move || {
                let head = format!(
                    "POST /?early=500 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
                     Content-Length: {BODY_LEN}\r\n\r\n"
                );
                // The web server may refuse the body.
                let body = vec![b'x'; BODY_LEN];
                let _ = sending.write_all(head.as_bytes()).and_then(|()| sending.write_all(&body));
            });
            let mut received = Vec::new();
            let end = stream.read_to_end(&mut received);
            let _ = stream.shutdown(Shutdown::Both);
            // The head contains this byte, too.
            let is_whole = memchr::memchr_iter(b'x', &received).count() >= BODY_LEN;
            match (is_whole, end) {
                (true, _) => "whole".into(),
                (false, Ok(_)) => "cut".into(),
                (false, Err(_)) => "stops".into(),
            }
        })
    }

    /// Returns what the application receives of a body whose length is not announced.
    fn chunked_body(&self) -> String {
        let mut stream = self.connect();
        let request = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
                       Transfer-Encoding: chunked\r\n\r\n6\r\na body\r\n0\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a request");
        let mut received = Vec::new();
        if stream.read_to_end(&mut received).is_err() || received.is_empty() {
            return "no response".into();
        }
        let response = parse_response(&received);
        if response.status != 200 {
            return response.status.to_string();
        }
        let echo = EchoResponse::parse(&response.body);
        let length = echo.params.get("CONTENT_LENGTH").map_or("", String::as_str);
        match (&*echo.body, length) {
            (b"a body", "6") => "with its length".into(),
            (b"a body", length) => format!("with the length {length:?}"),
            _ => "dropped".into(),
        }
    }

    /// Returns whether the application learns that the client has left.
    fn reports_abort(&self, query: &str) -> &'static str {
        let before = self.aborts();
        let mut stream = self.get(query);
        read_until(&mut stream, |received| received.contains("1\n"));
        drop(stream);
        if is_met_within(LIMIT, || self.aborts() > before) {
            "yes"
        } else {
            "no"
        }
    }

    fn aborts(&self) -> usize {
        let logs = self.process.log() + &self.backend.log();
        logs.lines().filter(|line| line.ends_with("aborted")).count()
    }
}

/// Reads until the text that was received is the expected one. Returns whether it is in time.
fn read_until(stream: &mut TcpStream, is_expected: impl Fn(&str) -> bool) -> bool {
    let (start, mut received) = (Instant::now(), Vec::new());
    while start.elapsed() < LIMIT {
        let mut piece = [0; 4096];
        let Ok(len) = stream.read(&mut piece) else { return false };
        received.extend_from_slice(&piece[..len]);
        if is_expected(&String::from_utf8_lossy(&received)) {
            return true;
        }
        if len == 0 {
            return false;
        }
    }
    false
}

/// Returns the row of a web server.
fn measure(front_end: &FrontEnd) -> String {
    let settings = front_end.settings;
    let default = Site::start(front_end, "");
    let mut cells = vec![front_end.name.to_owned()];
    let early_response = |site: &Site| match &*site.early_response() {
        "whole" | "stops" if front_end.name == UNSTEADY => "may stop".to_owned(),
        measured => measured.to_owned(),
    };
    cells.extend([default.lines().into(), early_response(&default), default.chunked_body()]);
    let site = if settings.is_empty() {
        cells.extend([""; 3].map(str::to_owned));
        default
    } else {
        let site = Site::start(front_end, settings);
        let settings = settings.replace(", ", "`, `");
        cells.extend([format!("`{settings}`"), site.lines().into(), early_response(&site)]);
        site
    };
    cells.push(site.reports_abort("lines=60000").to_owned());
    cells.push(site.reports_abort("lines=20&width=1024").to_owned());
    let row = format!("| {} |\n", cells.join(" | "));
    println!("{row}");
    row
}

/// The table of the guide shows what the installed web servers do.
#[test]
#[ignore = "needs every web server, run by .ci/run"]
fn guide_shows_what_web_servers_do_to_streams() {
    // Most of the time is spent in waiting for what does not happen.
    let rows: Vec<String> = thread::scope(|scope| {
        let threads = FRONT_ENDS.iter().map(|front_end| scope.spawn(move || measure(front_end)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("a row")).collect()
    });
    let table = rows.concat();
    assert!(GUIDE.contains(&table), "the table in src/guide/streaming.md should be:\n{table}");
}
