//! Proves that an application works in the same way behind every web server, configured as
//! `README.md` describes: the path below its mount point is the same, and so are its responses.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use fcgi::cgi::path_below;
use fcgi::server::{Handle, HandlerResult, Request};
use fcgi::{Params, ResponseHead, Server};

use crate::app::{example, App};
use crate::echo::EchoResponse;
use crate::endpoint::{free_port, Endpoint};
use crate::http::{self, HttpRequest, HttpResponse};
use crate::process::{command, is_root, Process, TestDir, TEST_TIMEOUT};

/// Returns the configuration of a web server in the README: the block of this language that
/// contains a word. The application's address is replaced.
fn configuration(language: &str, word: &str, app: &Endpoint) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(file).expect("the README");
    let fence = format!("```{language}\n");
    let mut blocks = readme.split(&fence).skip(1);
    let block = blocks.find_map(|rest| rest.split("```").next().filter(|text| text.contains(word)));
    let address = app.to_string();
    let (host, port) = address.split_once(':').expect("a TCP address");
    let text = block.unwrap_or_else(|| panic!("no block of {language} with {word}"));
    ["127.0.0.1:9000", "10.0.0.1:9000", "10.0.0.2:9000"]
        .iter()
        .fold(text.to_owned(), |text, default| text.replace(default, &address))
        .replace("\"host\" => \"127.0.0.1\"", &format!("\"host\" => \"{host}\""))
        .replace("9000", port)
}

/// Starts a web server for an application on TCP. Returns its port.
pub type Start = fn(&Endpoint, &TestDir) -> (u16, Process);

fn run(name: &str, command: &mut Command, port: u16, dir: &TestDir) -> (u16, Process) {
    let mut process = Process::start(name, command, dir);
    process.wait_until("listening", || http::is_listening(port));
    (port, process)
}

pub fn start_nginx(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let temp = dir.create_dir("nginx");
    let temp = temp.display();
    let servers = configuration("nginx", "fastcgi_pass", app)
        .replace("server {\n", &format!("server {{\n    listen 127.0.0.1:{port};\n"))
        .replace("include fastcgi_params", "include /etc/nginx/fastcgi_params");
    let config = format!(
        "{user} daemon off; pid {temp}/pid; error_log stderr; events {{}} http {{ access_log off; \
         client_body_temp_path {temp}/b; fastcgi_temp_path {temp}/f; proxy_temp_path {temp}/p; \
         scgi_temp_path {temp}/s; uwsgi_temp_path {temp}/u;\n{servers} }}",
        user = if is_root() { "user root;" } else { "" },
    );
    let file = dir.write("nginx.conf", config);
    let mut nginx = command("nginx");
    run("nginx", nginx.arg("-p").arg(dir.path()).arg("-c").arg(file), port, dir)
}

pub fn start_proxy_fcgi(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let settings = configuration("apache", "ProxyPass", app);
    crate::apache::start(&["proxy", "proxy_fcgi"], &settings, dir)
}

/// Starts Apache with mod_fcgid, which starts `echo` instead of using the application.
pub fn start_fcgid(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let echo = dir.install(&example("echo"));
    let settings = configuration("apache", "fcgid-script", app)
        .replace("/usr/local/bin/hello", &echo.display().to_string());
    let ipc = dir.create_dir("fcgid");
    let settings = format!(
        "FcgidIPCDir {ipc}\nFcgidProcessTableFile {ipc}/table\n{settings}",
        ipc = ipc.display()
    );
    crate::apache::start(&["fcgid"], &settings, dir)
}

pub fn start_lighttpd(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let settings = configuration("lighttpd", "fastcgi.server", app);
    crate::lighttpd::start(&["mod_fastcgi"], &settings, dir)
}

pub fn start_haproxy(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let config = format!(
        "defaults\n mode http\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n\
         frontend web\n bind 127.0.0.1:{port}\n default_backend app\n{}",
        configuration("haproxy", "fcgi-app", app)
    );
    let file = dir.write("haproxy.cfg", config);
    run("haproxy", command("haproxy").arg("-db").arg("-f").arg(file), port, dir)
}

pub fn start_caddy(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let site = configuration("caddyfile", "reverse_proxy", app)
        .replace("example.org", &format!("http://127.0.0.1:{port}"));
    let file = dir.write("Caddyfile", format!("{{\n admin off\n auto_https off\n}}\n{site}"));
    let home = dir.create_dir("caddy");
    let mut caddy = command("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    run("caddy", caddy.env("HOME", &home).env("XDG_DATA_HOME", &home), port, dir)
}

pub fn start_h2o(app: &Endpoint, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let user = if is_root() { "user: root\n" } else { "" };
    let config = configuration("yaml", "fastcgi.connect", app);
    let config = format!("{user}listen: {{ host: 127.0.0.1, port: {port} }}\n{config}");
    let file = dir.write("h2o.conf", config);
    run("h2o", command("h2o").arg("-c").arg(file), port, dir)
}

/// The paths of requests, and what is below the mount point `/app`.
const PATHS: [(&str, Option<&str>); 15] = [
    ("/app", Some("/")),
    ("/app/", Some("/")),
    ("/app?q=/x", Some("/")),
    ("/app/list", Some("/list")),
    ("/app/list/?q=%2F", Some("/list/")),
    ("/app/a%20b", Some("/a b")),
    ("/app/caf%C3%A9", Some("/café")),
    ("/app/a%2Fb", Some("/a%2Fb")),
    ("/app/a%2fb/c", Some("/a%2Fb/c")),
    ("/app//x", Some("//x")),
    ("/app/./x", Some("/./x")),
    ("/app/a+b;c=1,d", Some("/a+b;c=1,d")),
    ("/app/%25", Some("/%")),
    ("/app/%3Fq%23", Some("/?q#")),
    ("/app/index.php/x.y", Some("/index.php/x.y")),
];

#[track_caller]
fn check_paths(start: Start) {
    let dir = TestDir::new();
    let app = App::start("echo", Endpoint::tcp(), &dir);
    let (port, process) = start(&app.endpoint, &dir);
    let params = |target: &str| {
        let echo = EchoResponse::new(&HttpRequest::get(target).send(port));
        Params::from_pairs(echo.params).expect("params")
    };
    for (target, path) in PATHS {
        let params = params(target);
        assert_eq!(path_below(&params, "/app").expect(target).as_deref(), path, "{params:#?}");
    }
    // Web servers pass this on, or resolve it for their own variables only.
    let params = params("/app/x/../y");
    assert!(path_below(&params, "/app").is_err(), "{params:#?}");
    drop(process);
    app.stop();
}

/// An application whose handler waits for the test after it has ended a request early.
struct Application {
    endpoint: Endpoint,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    proceed: Sender<()>,
}

impl Application {
    fn start() -> Self {
        let endpoint = Endpoint::tcp();
        let socket: OwnedFd = endpoint.listen();
        let server = Server::new(TcpListener::from(socket)).expect("a server");
        let (handle, (proceed, wait)) = (server.handle(), mpsc::channel());
        let wait = Mutex::new(wait);
        let serve = move || server.serve(move |request| act(request, &wait)).expect("serve");
        Self { endpoint, handle, thread: Some(thread::spawn(serve)), proceed }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.handle.shutdown();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn act(request: &mut Request<'_>, wait: &Mutex<Receiver<()>>) -> HandlerResult {
    let path = request.path_below("/app")?.unwrap_or_default();
    match &*path {
        "/no-content" => request.respond(ResponseHead::text().status(204)?, ""),
        "/not-modified" => {
            request.respond(ResponseHead::new().status(304)?.field("ETag", "\"1\"")?, "")
        }
        "/redirect" => request.respond(ResponseHead::redirect(303, "/app/list?a=%26")?, ""),
        "/limit" => {
            request.stdin.read_limited(3)?;
            request.respond(ResponseHead::text(), "small")
        }
        "/early" => {
            request.respond(ResponseHead::text(), "early")?;
            request.finish_early()?;
            Ok(wait.lock().expect("no panic").recv_timeout(TEST_TIMEOUT)?)
        }
        "/part" => {
            use std::io::Write;
            ResponseHead::text().write_to(&mut request.stdout)?;
            request.stdout.write_all(b"part")?;
            request.stdout.flush()?;
            Err("failed half-way".into())
        }
        "/fail" => Err("failed".into()),
        _ => {
            let head = ResponseHead::text().cookie("a", "1", "Path=/")?.cookie("b", "2", "")?;
            request.respond(head, "body")
        }
    }
}

#[track_caller]
fn check_responses(start: Start) {
    let dir = TestDir::new();
    let app = Application::start();
    let (port, _process) = start(&app.endpoint, &dir);
    let get = |path: &str| HttpRequest::get(format!("/app{path}")).send(port);
    let assert_response = |response: &HttpResponse, status, body: &str| {
        assert_eq!((response.status, &*response.text()), (status, body), "{response:?}");
    };

    let response = get("/");
    assert_response(&response, 200, "body");
    assert_eq!(response.header_values("Set-Cookie"), ["a=1; Path=/", "b=2"]);
    let response = HttpRequest::head("/app/").send(port);
    assert_response(&response, 200, "");
    // Apache and lighttpd leave the length out.
    assert!(matches!(response.header_values("Content-Length")[..], [] | ["4"]), "{response:?}");

    let response = get("/no-content");
    assert_response(&response, 204, "");
    assert_eq!(response.header_values("Content-Length"), [""; 0]);
    let response = get("/not-modified");
    assert_response(&response, 304, "");
    assert_eq!(response.header("ETag"), "\"1\"");
    let response = get("/redirect");
    assert_response(&response, 303, "");
    let location = response.header("Location");
    assert!(location.ends_with("/app/list?a=%26"), "{location}");

    let upload = |body: &str| HttpRequest::post("/app/limit", "text/plain", body).send(port);
    assert_response(&upload("123"), 200, "small");
    assert_response(&upload("1234"), 413, "The request's body is too large.\n");
    assert_response(&get("/fail"), 500, "The application failed.\n");

    // The handler returns after the client has its response, and after another request.
    assert_response(&get("/early"), 200, "early");
    assert_response(&get("/"), 200, "body");
    app.proceed.send(()).expect("the handler waits");
}

/// nginx and lighttpd cannot know that the response is incomplete.
#[track_caller]
fn check_response_in_part(start: Start) {
    let dir = TestDir::new();
    let app = Application::start();
    let (port, _process) = start(&app.endpoint, &dir);
    let response = HttpRequest::get("/app/part").send(port);
    assert_eq!((response.status, &*response.text()), (200, "part"));
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn path_is_the_same_behind_nginx() {
    check_paths(start_nginx);
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn path_is_the_same_behind_apache_with_proxy_fcgi() {
    check_paths(start_proxy_fcgi);
}

#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn path_is_the_same_behind_apache_with_fcgid() {
    check_paths(start_fcgid);
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn path_is_the_same_behind_lighttpd() {
    check_paths(start_lighttpd);
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn path_is_the_same_behind_haproxy() {
    check_paths(start_haproxy);
}

#[test]
#[ignore = "needs caddy, run by .ci/run"]
fn path_is_the_same_behind_caddy() {
    check_paths(start_caddy);
}

#[test]
#[ignore = "needs h2o, run by .ci/run"]
fn path_is_the_same_behind_h2o() {
    check_paths(start_h2o);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn responses_pass_through_nginx() {
    check_responses(start_nginx);
    check_response_in_part(start_nginx);
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn responses_pass_through_apache() {
    check_responses(start_proxy_fcgi);
}

#[test]
#[ignore = "needs lighttpd, run by .ci/run"]
fn responses_pass_through_lighttpd() {
    check_responses(start_lighttpd);
    check_response_in_part(start_lighttpd);
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn responses_pass_through_haproxy() {
    check_responses(start_haproxy);
}

#[test]
#[ignore = "needs caddy, run by .ci/run"]
fn responses_pass_through_caddy() {
    check_responses(start_caddy);
}

#[test]
#[ignore = "needs h2o, run by .ci/run"]
fn responses_pass_through_h2o() {
    check_responses(start_h2o);
}
