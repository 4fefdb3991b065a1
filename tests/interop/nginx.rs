//! nginx in front of `echo` and of PHP.

use std::collections::BTreeMap;
use std::fs;

use crate::app::{App, FERRIS, MALLORY};
use crate::echo::{assert_same, check_at_once, noise};
use crate::http::{self, Ask};
use crate::place::{free_port, Place};
use crate::process::{command, is_root, wait_until, Folder, Process};

/// nginx with the `location`s of a test.
pub struct Nginx {
    pub port: u16,
    pub process: Process,
}

impl Nginx {
    /// Starts nginx; `locations` go into its one server, `upstream` beside it.
    #[track_caller]
    pub fn start(folder: &Folder, upstream: &str, locations: &str) -> Self {
        let port = free_port();
        let user = if is_root() { "user root;" } else { "" };
        let temp = folder.make("nginx");
        let temp = temp.display();
        let config = format!(
            "{user}
            daemon off;
            worker_processes 1;
            pid {temp}/pid;
            error_log stderr info;
            events {{ worker_connections 2048; }}
            http {{
                access_log off;
                client_body_temp_path {temp}/body;
                fastcgi_temp_path {temp}/fastcgi;
                proxy_temp_path {temp}/proxy;
                scgi_temp_path {temp}/scgi;
                uwsgi_temp_path {temp}/uwsgi;
                client_max_body_size 0;
                {upstream}
                server {{ listen 127.0.0.1:{port} backlog=1024; {locations} }}
            }}"
        );
        let file = folder.write("nginx.conf", config);
        let mut process = Process::start(
            "nginx",
            command("nginx").arg("-p").arg(folder.path()).arg("-c").arg(file),
            folder,
        );
        process.wait_until("it listens", || http::is_up(port));
        Self { port, process }
    }
}

/// The params that nginx is told to send, beside the header.
const PARAMS: &str = "
    fastcgi_param GATEWAY_INTERFACE CGI/1.1;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param CONTENT_TYPE $content_type;
    fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_param SCRIPT_NAME $fastcgi_script_name;
    fastcgi_param REQUEST_URI $request_uri;
    fastcgi_param SERVER_PROTOCOL $server_protocol;
    fastcgi_param REMOTE_ADDR $remote_addr;
    fastcgi_param REDIRECT_STATUS 200;
    fastcgi_param EMPTY \"\";";

/// Every byte that `echo` has to answer to a request that comes through nginx.
fn expected(ask: &Ask, port: u16) -> Vec<u8> {
    let len = ask.body.as_ref().map(|body| body.len().to_string());
    let host = format!("127.0.0.1:{port}");
    let mut params = BTreeMap::from([
        ("CONTENT_LENGTH".into(), len.clone().unwrap_or_default()),
        ("CONTENT_TYPE".into(), String::new()),
        ("EMPTY".into(), String::new()),
        ("GATEWAY_INTERFACE".into(), "CGI/1.1".into()),
        ("HTTP_ACCEPT".into(), "*/*".into()),
        ("HTTP_HOST".into(), host),
        ("HTTP_USER_AGENT".into(), "interop".into()),
        ("QUERY_STRING".into(), ask.query().into()),
        ("REDIRECT_STATUS".into(), "200".into()),
        ("REMOTE_ADDR".into(), "127.0.0.1".into()),
        ("REQUEST_METHOD".into(), ask.method.into()),
        ("REQUEST_URI".into(), ask.target.clone()),
        ("SCRIPT_NAME".into(), ask.path().into()),
        ("SERVER_PROTOCOL".into(), "HTTP/1.1".into()),
    ]);
    params.extend(len.map(|len| ("HTTP_CONTENT_LENGTH".to_owned(), len)));
    for (name, value) in &ask.headers {
        params.insert(format!("HTTP_{}", name.to_uppercase().replace('-', "_")), value.clone());
        if name == "Content-Type" {
            params.insert("CONTENT_TYPE".into(), value.clone());
        }
    }
    let lines: String = params.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    [lines.as_bytes(), b"\n", ask.body.as_deref().unwrap_or_default()].concat()
}

/// The whole of what nginx is to be able to do with `echo`.
fn check_echo(folder: &Folder, place: Place, keep_conn: bool) {
    let app = App::start("echo", place, folder);
    let (upstream_keeps, keeps) = if keep_conn { ("keepalive 64;", "on") } else { ("", "off") };
    let place = &app.place;
    let nginx = Nginx::start(
        folder,
        &format!("upstream app {{ server {place}; {upstream_keeps} }}"),
        &format!(
            "fastcgi_keep_conn {keeps}; {PARAMS}
            location / {{ fastcgi_pass app; }}
            location /unbuffered {{ fastcgi_pass app; fastcgi_request_buffering off; }}"
        ),
    );
    let check = |ask: &Ask| {
        let answer = ask.send(nginx.port);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.one("Content-Type"), "text/plain");
        assert_same(&answer.body, &expected(ask, nginx.port));
    };
    check(&Ask::get("/"));
    check(
        &Ask::get("/a/path?a=1&b=%26")
            .header("X-Long", "long ".repeat(600).trim_end())
            .header("Cookie", "a=1; b=2"),
    );
    for path in ["/buffered", "/unbuffered"] {
        for len in [0, 100 << 10, 64 << 20] {
            check(&Ask::post(path, "application/octet-stream", noise(len)));
        }
        check(&Ask::get(path));
    }
    let answer = Ask::get("/?status=404").send(nginx.port);
    assert_eq!(answer.status, 404);
    let answer = Ask::get("/?bytes=20000000").send(nginx.port);
    assert_same(&answer.body, &b"x".repeat(20_000_000));
    let answer = Ask::head("/?bytes=100").send(nginx.port);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    Ask::get("/?stderr=a-word-for-the-log").send(nginx.port);
    nginx.process.wait_for_log("FastCGI sent in stderr: \"a-word-for-the-log");

    check_at_once(nginx.port, "/buffered", 200, || {});
    // Without buffering nginx begins each request at once: all are in the application's hands
    // together.
    check_at_once(nginx.port, "/unbuffered", 200, || {
        wait_until("200 requests are begun", || app.place.connections() >= 200);
    });

    let kept = || app.place.connections();
    if keep_conn {
        check(&Ask::get("/"));
        assert!((1..=64).contains(&kept()), "{} connections are kept", kept());
    } else {
        wait_until("all connections are closed", || kept() == 0);
    }
    drop(nginx);
    app.stop();
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn in_front_of_echo_on_a_unix_socket() {
    let folder = Folder::new();
    check_echo(&folder, Place::unix(&folder), false);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn in_front_of_echo_on_a_unix_socket_with_kept_connections() {
    let folder = Folder::new();
    check_echo(&folder, Place::unix(&folder), true);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn in_front_of_echo_on_tcp() {
    check_echo(&Folder::new(), Place::tcp(), false);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn in_front_of_echo_on_tcp_with_kept_connections() {
    check_echo(&Folder::new(), Place::tcp(), true);
}

/// What nginx has for an authorizer: a request to a responder, whose status decides.
#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn auth_request_asks_echo() {
    let folder = Folder::new();
    let app = App::start("echo", Place::unix(&folder), &folder);
    let root = folder.make("root");
    fs::write(root.join("file.txt"), "allowed").expect("a file");
    let nginx = Nginx::start(
        &folder,
        // The query string of the request that is asked about, not of the one that asks.
        "map $request_uri $asked { ~\\?(.*) $1; }",
        &format!(
            "root {root}; auth_request /auth; auth_request_set $kind $upstream_http_content_type;
            add_header X-Kind $kind;
            location /auth {{
                internal; auth_request off; fastcgi_pass {place}; fastcgi_pass_request_body off;
                fastcgi_param REQUEST_METHOD GET; fastcgi_param QUERY_STRING $asked;
            }}",
            root = root.display(),
            place = app.place
        ),
    );
    let answer = Ask::get("/file.txt").send(nginx.port);
    assert_eq!(
        (answer.status, &*answer.text(), answer.one("X-Kind")),
        (200, "allowed", "text/plain")
    );
    let answer = Ask::post("/file.txt", "text/plain", "a body that is not for the authorizer")
        .send(nginx.port);
    assert_eq!(answer.status, 405, "a static file takes no POST");
    for status in [401, 403] {
        assert_eq!(Ask::get(format!("/file.txt?status={status}")).send(nginx.port).status, status);
    }
    drop(nginx);
    app.stop();
}

/// The same with the example that knows passwords, and what it says of the user.
#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn auth_request_asks_the_authorizer() {
    let folder = Folder::new();
    let app = App::start("authorizer", Place::unix(&folder), &folder);
    let root = folder.make("root");
    fs::write(root.join("file.txt"), "allowed").expect("a file");
    let nginx = Nginx::start(
        &folder,
        "",
        &format!(
            "root {root}; auth_request /auth; auth_request_set $user $upstream_http_variable_remote_user;
            add_header X-User $user;
            location /auth {{
                internal; auth_request off; fastcgi_pass {place}; fastcgi_pass_request_body off;
                fastcgi_param REQUEST_METHOD GET;
            }}",
            root = root.display(),
            place = app.place
        ),
    );
    let answer = Ask::get("/file.txt").header("Authorization", FERRIS).send(nginx.port);
    assert_eq!((answer.status, &*answer.text(), answer.one("X-User")), (200, "allowed", "ferris"));
    for ask in [Ask::get("/file.txt"), Ask::get("/file.txt").header("Authorization", MALLORY)] {
        let answer = ask.send(nginx.port);
        assert_eq!((answer.status, answer.one("WWW-Authenticate")), (401, "Basic realm=\"cave\""));
    }
}
