//! Proves that nginx works with `echo`, and with authorizers through `auth_request`.

use std::collections::BTreeMap;
use std::fs;

use crate::app::{App, INVALID_CREDENTIALS, VALID_CREDENTIALS};
use crate::echo::{assert_bytes_eq, check_concurrent, random_bytes};
use crate::endpoint::{free_port, Endpoint};
use crate::http::{self, HttpRequest};
use crate::process::{command, is_root, wait_until, Process, TestDir};

/// A running nginx.
pub struct Nginx {
    pub port: u16,
    pub process: Process,
}

impl Nginx {
    /// Starts nginx. `locations` are added to its `server` block, `upstream` to the `http` block.
    #[track_caller]
    pub fn start(dir: &TestDir, upstream: &str, locations: &str) -> Self {
        let port = free_port();
        let user = if is_root() { "user root;" } else { "" };
        let temp = dir.create_dir("nginx");
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
        let file = dir.write("nginx.conf", config);
        let mut process = Process::start(
            "nginx",
            command("nginx").arg("-p").arg(dir.path()).arg("-c").arg(file),
            dir,
        );
        process.wait_until("listening", || http::is_listening(port));
        Self { port, process }
    }
}

/// The params that nginx sends besides the header fields.
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

/// Returns the body that `echo` must send for a request that passes through nginx.
fn expected(request: &HttpRequest, port: u16) -> Vec<u8> {
    let len = request.body.as_ref().map(|body| body.len().to_string());
    let host = format!("127.0.0.1:{port}");
    let mut params = BTreeMap::from([
        ("CONTENT_LENGTH".into(), len.clone().unwrap_or_default()),
        ("CONTENT_TYPE".into(), String::new()),
        ("EMPTY".into(), String::new()),
        ("GATEWAY_INTERFACE".into(), "CGI/1.1".into()),
        ("HTTP_ACCEPT".into(), "*/*".into()),
        ("HTTP_HOST".into(), host),
        ("HTTP_USER_AGENT".into(), "interop".into()),
        ("QUERY_STRING".into(), request.query().into()),
        ("REDIRECT_STATUS".into(), "200".into()),
        ("REMOTE_ADDR".into(), "127.0.0.1".into()),
        ("REQUEST_METHOD".into(), request.method.into()),
        ("REQUEST_URI".into(), request.target.clone()),
        ("SCRIPT_NAME".into(), request.path().into()),
        ("SERVER_PROTOCOL".into(), "HTTP/1.1".into()),
    ]);
    params.extend(len.map(|len| ("HTTP_CONTENT_LENGTH".to_owned(), len)));
    for (name, value) in &request.headers {
        params.insert(format!("HTTP_{}", name.to_uppercase().replace('-', "_")), value.clone());
        if name == "Content-Type" {
            params.insert("CONTENT_TYPE".into(), value.clone());
        }
    }
    let lines: String = params.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    [lines.as_bytes(), b"\n", request.body.as_deref().unwrap_or_default()].concat()
}

/// Checks everything that nginx must do with `echo`.
fn check_echo(dir: &TestDir, endpoint: Endpoint, keep_conn: bool) {
    let app = App::start("echo", endpoint, dir);
    let (keepalive, keep_conn_value) =
        if keep_conn { ("keepalive 64;", "on") } else { ("", "off") };
    let nginx = Nginx::start(
        dir,
        &format!("upstream app {{ server {}; {keepalive} }}", app.endpoint),
        &format!(
            "fastcgi_keep_conn {keep_conn_value}; {PARAMS}
            location / {{ fastcgi_pass app; }}
            location /unbuffered {{ fastcgi_pass app; fastcgi_request_buffering off; }}"
        ),
    );
    check_requests(nginx.port);
    check_responses(&nginx);

    check_concurrent(nginx.port, "/buffered", 200, || {});
    // Without buffering, nginx forwards a request before it has received the body, so the
    // application has all of them at once.
    check_concurrent(nginx.port, "/unbuffered", 200, || {
        wait_until("200 connections", || app.endpoint.connections() >= 200);
    });

    if keep_conn {
        check_request(nginx.port, &HttpRequest::get("/"));
        // The application may still be closing others.
        wait_until("at most 64 connections", || app.endpoint.connections() <= 64);
        assert!(app.endpoint.connections() >= 1, "no connection is kept");
    } else {
        wait_until("all connections to close", || app.endpoint.connections() == 0);
    }
    drop(nginx);
    app.stop();
}

/// Asserts that `echo` receives a request as it was sent.
#[track_caller]
fn check_request(port: u16, request: &HttpRequest) {
    let response = request.send(port);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("Content-Type"), "text/plain");
    assert_bytes_eq(&response.body, &expected(request, port));
}

fn check_requests(port: u16) {
    check_request(port, &HttpRequest::get("/"));
    let request = HttpRequest::get("/a/path?a=1&b=%26")
        .header("X-Long", "long ".repeat(600).trim_end())
        .header("Cookie", "a=1; b=2");
    check_request(port, &request);
    for path in ["/buffered", "/unbuffered"] {
        for len in [0, 100 << 10, 64 << 20] {
            let body = random_bytes(len);
            check_request(port, &HttpRequest::post(path, "application/octet-stream", body));
        }
        check_request(port, &HttpRequest::get(path));
    }
}

fn check_responses(nginx: &Nginx) {
    let response = HttpRequest::get("/?status=404").send(nginx.port);
    assert_eq!(response.status, 404);
    let response = HttpRequest::get("/?bytes=20000000").send(nginx.port);
    assert_bytes_eq(&response.body, &b"x".repeat(20_000_000));
    let response = HttpRequest::head("/?bytes=100").send(nginx.port);
    assert_eq!((response.status, response.body.len()), (200, 0));
    HttpRequest::get("/?stderr=a-log-message").send(nginx.port);
    nginx.process.wait_for_log("FastCGI sent in stderr: \"a-log-message");
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn proxies_to_echo_on_unix_socket() {
    let dir = TestDir::new();
    check_echo(&dir, Endpoint::unix(&dir), false);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn proxies_to_echo_on_unix_socket_with_kept_connections() {
    let dir = TestDir::new();
    check_echo(&dir, Endpoint::unix(&dir), true);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn proxies_to_echo_on_tcp() {
    check_echo(&TestDir::new(), Endpoint::tcp(), false);
}

#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn proxies_to_echo_on_tcp_with_kept_connections() {
    check_echo(&TestDir::new(), Endpoint::tcp(), true);
}

/// nginx has no authorizer role. `auth_request` sends a request to a responder instead, and
/// evaluates the status of the response.
#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn auth_request_uses_echo() {
    let dir = TestDir::new();
    let app = App::start("echo", Endpoint::unix(&dir), &dir);
    let root = dir.create_dir("root");
    fs::write(root.join("file.txt"), "allowed").expect("a file");
    let nginx = Nginx::start(
        &dir,
        // The query string of the client's request, not of the request to the authorizer.
        "map $request_uri $original_query { ~\\?(.*) $1; }",
        &format!(
            "root {root}; auth_request /auth; auth_request_set $kind $upstream_http_content_type;
            add_header X-Kind $kind;
            location /auth {{
                internal; auth_request off; fastcgi_pass {endpoint}; fastcgi_pass_request_body off;
                fastcgi_param REQUEST_METHOD GET; fastcgi_param QUERY_STRING $original_query;
            }}",
            root = root.display(),
            endpoint = app.endpoint
        ),
    );
    let response = HttpRequest::get("/file.txt").send(nginx.port);
    assert_eq!(
        (response.status, &*response.text(), response.header("X-Kind")),
        (200, "allowed", "text/plain")
    );
    let response =
        HttpRequest::post("/file.txt", "text/plain", "a body that the authorizer must not receive")
            .send(nginx.port);
    assert_eq!(response.status, 405, "a static file does not accept POST");
    for status in [401, 403] {
        assert_eq!(
            HttpRequest::get(format!("/file.txt?status={status}")).send(nginx.port).status,
            status
        );
    }
    drop(nginx);
    app.stop();
}

/// The example `authorizer` also checks passwords, and returns the name of the user.
#[test]
#[ignore = "needs nginx, run by .ci/run"]
fn auth_request_uses_authorizer() {
    let dir = TestDir::new();
    let app = App::start("authorizer", Endpoint::unix(&dir), &dir);
    let root = dir.create_dir("root");
    fs::write(root.join("file.txt"), "allowed").expect("a file");
    let nginx = Nginx::start(
        &dir,
        "",
        &format!(
            "root {root}; auth_request /auth;
            auth_request_set $user $upstream_http_variable_remote_user;
            add_header X-User $user;
            location /auth {{
                internal; auth_request off; fastcgi_pass {endpoint}; fastcgi_pass_request_body off;
                fastcgi_param REQUEST_METHOD GET;
            }}",
            root = root.display(),
            endpoint = app.endpoint
        ),
    );
    let response =
        HttpRequest::get("/file.txt").header("Authorization", VALID_CREDENTIALS).send(nginx.port);
    assert_eq!(
        (response.status, &*response.text(), response.header("X-User")),
        (200, "allowed", "ferris")
    );
    for request in [
        HttpRequest::get("/file.txt"),
        HttpRequest::get("/file.txt").header("Authorization", INVALID_CREDENTIALS),
    ] {
        let response = request.send(nginx.port);
        assert_eq!(
            (response.status, response.header("WWW-Authenticate")),
            (401, "Basic realm=\"cave\"")
        );
    }
}
