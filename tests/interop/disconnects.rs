//! Proves that a handler notices that a browser has disconnected, although it is the web server
//! that is connected to the application.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fcgi::server::{Handle, HandlerResult, Request};
use fcgi::Server;

use crate::endpoint::Endpoint;
use crate::process::{Process, TestDir, TEST_TIMEOUT};
use crate::{apache, caddy, haproxy, lighttpd, nginx};

/// A piece of the response. The web server has read it before the next one is written, so it does
/// not reset the connection by closing it with unread input.
const PIECE: &[u8] = &[b'x'; 1024];
/// How often the handler writes, and looks for an abort.
const INTERVAL: Duration = Duration::from_millis(20);

/// An application with an endless response. It ends when the test does.
struct App {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    /// Receives what a handler has noticed: an abort, or a write that failed.
    ends: Receiver<&'static str>,
}

impl App {
    fn start(endpoint: &Endpoint) -> Self {
        let socket: OwnedFd = endpoint.listen();
        endpoint.allow_all_users();
        let server = match endpoint {
            Endpoint::Tcp(_) => Server::new(std::net::TcpListener::from(socket)),
            Endpoint::Unix(_) => Server::new(UnixListener::from(socket)),
        };
        let server = server.expect("a server");
        let (handle, (sender, ends)) = (server.handle(), mpsc::channel());
        let serve = move || server.serve(move |request| respond(request, &sender)).expect("serve");
        Self { handle, thread: Some(thread::spawn(serve)), ends }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.handle.shutdown();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sends the beginning of a response and waits until the request is aborted. Sends more meanwhile
/// if the query string is `continue`: Apache, Caddy and HAProxy notice only then that a browser has
/// disconnected.
fn respond(request: &mut Request<'_>, ends: &Sender<&'static str>) -> HandlerResult {
    request.stdout.write_all(b"Content-Type: text/plain\r\n\r\n")?;
    let continues = request.params.get("QUERY_STRING") == Some("continue");
    loop {
        if request.is_aborted() {
            ends.send("an abort")?;
            return Ok(());
        }
        let written = request.stdout.write_all(PIECE).and_then(|()| request.stdout.flush());
        if let Err(error) = written {
            ends.send("a failed write")?;
            return Err(error.into());
        }
        let pause = Instant::now() + INTERVAL;
        while !request.is_aborted() && (!continues || Instant::now() < pause) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Asserts that the handler notices the close of a browser's connection. The browser sends this
/// query string. `start` starts a web server for this application.
#[track_caller]
fn check(
    query: &str,
    endpoint: impl Fn(&TestDir) -> Endpoint,
    start: impl Fn(&Endpoint, &TestDir) -> (u16, Process),
) {
    let dir = TestDir::new();
    let endpoint = endpoint(&dir);
    let app = App::start(&endpoint);
    let (port, process) = start(&endpoint, &dir);
    let mut browser = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    browser.set_read_timeout(Some(TEST_TIMEOUT)).expect("a timeout");
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    browser.write_all(request.as_bytes()).expect("a request");
    let mut beginning = vec![0; PIECE.len()];
    browser.read_exact(&mut beginning).expect("the beginning of the response");
    drop(browser);
    match app.ends.recv_timeout(TEST_TIMEOUT) {
        Ok(end) => assert_eq!(end, "an abort", "{}", process.log()),
        Err(RecvTimeoutError::Timeout) => panic!("nothing is noticed: {}", process.log()),
        Err(error) => panic!("{error}"),
    }
}

/// Checks a web server with both kinds of sockets. The browser sends this query string.
#[track_caller]
fn check_both(query: &str, start: impl Fn(&Endpoint, &TestDir) -> (u16, Process)) {
    check(query, |_| Endpoint::tcp(), &start);
    check(query, Endpoint::unix, &start);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn handler_behind_nginx_notices_that_the_browser_disconnects() {
    check_both("wait", |app, dir| {
        let location = format!(
            "location / {{
                fastcgi_buffering off;
                fastcgi_param QUERY_STRING $query_string;
                fastcgi_pass {app};
            }}"
        );
        let nginx = nginx::Nginx::start(dir, "", &location);
        (nginx.port, nginx.process)
    });
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn handler_behind_lighttpd_notices_that_the_browser_disconnects() {
    check_both("wait", |app, dir| {
        let address = match app {
            Endpoint::Tcp(port) => format!("\"host\" => \"127.0.0.1\", \"port\" => {port}"),
            Endpoint::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        };
        let settings = lighttpd::fastcgi_setting(&address) + "server.stream-response-body = 2\n";
        lighttpd::start(&["mod_fastcgi"], &settings, dir)
    });
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn handler_behind_apache_notices_that_the_browser_disconnects() {
    check_both("continue", |app, dir| {
        let target = match app {
            Endpoint::Tcp(port) => format!("fcgi://127.0.0.1:{port}/"),
            Endpoint::Unix(path) => format!("unix:{}|fcgi://localhost/", path.display()),
        };
        apache::start(
            &["proxy", "proxy_fcgi"],
            &format!("ProxyPass / {target} flushpackets=on\n"),
            dir,
        )
    });
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn handler_behind_haproxy_notices_that_the_browser_disconnects() {
    check_both("continue", |app, dir| {
        let server = format!(" server app {} proto fcgi\n", app.without_scheme());
        haproxy::start(&server, "", dir)
    });
}

#[test]
#[ignore = "needs caddy, run by .ci/run"]
fn handler_behind_caddy_notices_that_the_browser_disconnects() {
    check_both("continue", caddy::start);
}
