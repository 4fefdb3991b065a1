//! Proves that Apache works with our applications: mod_proxy_fcgi as a proxy, mod_fcgid as a
//! process manager, and mod_authnz_fcgi with an authorizer.

use std::fs;

use crate::app::{example, App, INVALID_CREDENTIALS, VALID_CREDENTIALS};
use crate::echo;
use crate::endpoint::{free_port, Endpoint};
use crate::http::{self, HttpRequest};
use crate::process::{command, Process, TestDir};

/// Starts Apache with the given modules and settings. Returns its port.
#[track_caller]
pub fn start(modules: &[&str], settings: &str, dir: &TestDir) -> (u16, Process) {
    let port = free_port();
    let loads: String = ["mpm_event", "authz_core"]
        .iter()
        .chain(modules)
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let runtime = dir.create_dir("apache");
    let log = dir.join("apache-errors.log");
    // Apache drops its root privileges, and cannot be configured not to.
    let config = format!(
        "{loads}ServerRoot {runtime}\nDefaultRuntimeDir {runtime}\nPidFile {runtime}/pid\n\
         Mutex file:{runtime} default\n\
         User www-data\nGroup www-data\nServerName localhost\nListen 127.0.0.1:{port}\n\
         DocumentRoot {runtime}\nErrorLog {log}\nLogLevel info\n{settings}\n",
        runtime = runtime.display(),
        log = log.display(),
    );
    let file = dir.write("apache.conf", config);
    let mut apache = command("apache2");
    let process = Process::start("apache2", apache.arg("-DFOREGROUND").arg("-f").arg(file), dir);
    let mut process = process.with_log(log);
    process.wait_until("listening", || http::is_listening(port));
    (port, process)
}

/// Returns the settings for the sockets of mod_fcgid.
pub fn fcgid_settings(dir: &TestDir) -> String {
    let ipc = dir.create_dir("fcgid");
    format!("FcgidIPCDir {ipc}\nFcgidProcessTableFile {ipc}/table\n", ipc = ipc.display())
}

/// Checks `echo` behind mod_proxy_fcgi, with and without kept connections.
fn check_echo(endpoint: impl Fn(&TestDir) -> Endpoint) {
    for reuse in ["off", "on"] {
        let dir = TestDir::new();
        let app = App::start("echo", endpoint(&dir), &dir);
        app.endpoint.allow_all_users();
        let target = match &app.endpoint {
            Endpoint::Tcp(port) => format!("fcgi://127.0.0.1:{port}/"),
            Endpoint::Unix(path) => format!("unix:{}|fcgi://localhost/", path.display()),
        };
        let settings = format!("ProxyPass / {target} enablereuse={reuse}\n");
        let (port, process) = start(&["proxy", "proxy_fcgi"], &settings, &dir);
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn proxies_to_echo_on_unix_socket() {
    check_echo(Endpoint::unix);
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn proxies_to_echo_on_tcp() {
    check_echo(|_| Endpoint::tcp());
}

#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn fcgid_starts_hello_on_descriptor_0() {
    let dir = TestDir::new();
    let settings = format!(
        "{ipc}<Location />\nSetHandler fcgid-script\nOptions +ExecCGI\n\
         FcgidWrapper {hello} virtual\n</Location>\n",
        ipc = fcgid_settings(&dir),
        hello = dir.install(&example("hello")).display(),
    );
    let (port, _process) = start(&["fcgid"], &settings, &dir);
    for _ in 0..10 {
        let response = HttpRequest::get("/").send(port);
        assert_eq!((response.status, &*response.text()), (200, "Hello, 127.0.0.1.\n"));
    }
}

/// Checks `echo` as an authorizer. It allows a request with `Variable-Echo: yes`, which the server
/// must pass on. If it denies a request, Apache responds with 401.
fn check_authorizer(port: u16, variable: &str) {
    for _ in 0..5 {
        // "ferris:crab"
        let send = |target| {
            HttpRequest::get(target).header("Authorization", "Basic ZmVycmlzOmNyYWI=").send(port)
        };
        let response = send("/file.txt");
        assert_eq!(
            (response.status, &*response.text(), response.header("X-Echo")),
            (200, "allowed", variable)
        );
        assert_eq!(send("/file.txt?deny").status, 401);
    }
}

/// mod_fcgid divides the authorizer role into three, and `echo` must allow a request in each.
#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn fcgid_starts_echo_as_authorizer() {
    let dir = TestDir::new();
    let settings = format!(
        "{ipc}<Location />\nFcgidAccessChecker {echo}\nFcgidAuthenticator {echo}\n\
         FcgidAuthorizer {echo}\nAuthType Basic\nAuthName x\nRequire valid-user\n\
         Header always set X-Echo %{{ECHO}}e\n</Location>\n",
        ipc = fcgid_settings(&dir),
        echo = dir.install(&example("echo")).display(),
    );
    let (port, _process) =
        start(&["fcgid", "headers", "authn_core", "authz_user"], &settings, &dir);
    fs::write(dir.join("apache/file.txt"), "allowed").expect("a file");
    check_authorizer(port, "yes, yes, yes");
    assert_eq!(HttpRequest::get("/file.txt").send(port).status, 401);
}

#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn fcgid_starts_authorizer() {
    let dir = TestDir::new();
    let settings = format!(
        "{ipc}FcgidPassHeader Authorization\n<Location />\nFcgidAuthenticator {authorizer}\n\
         FcgidAuthorizer {authorizer}\nAuthType Basic\nAuthName x\nRequire valid-user\n\
         Header always set X-User \"expr=%{{REMOTE_USER}}\"\n</Location>\n",
        ipc = fcgid_settings(&dir),
        authorizer = dir.install(&example("authorizer")).display(),
    );
    let (port, _process) =
        start(&["fcgid", "headers", "authn_core", "authz_user"], &settings, &dir);
    fs::write(dir.join("apache/file.txt"), "allowed").expect("a file");
    for _ in 0..5 {
        let response =
            HttpRequest::get("/file.txt").header("Authorization", VALID_CREDENTIALS).send(port);
        assert_eq!(
            (response.status, &*response.text(), response.header("X-User")),
            (200, "allowed", "ferris")
        );
        assert_eq!(
            HttpRequest::get("/file.txt")
                .header("Authorization", INVALID_CREDENTIALS)
                .send(port)
                .status,
            401
        );
        assert_eq!(HttpRequest::get("/file.txt").send(port).status, 401);
    }
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn authnz_fcgi_uses_echo_as_authorizer() {
    let dir = TestDir::new();
    let app = App::start("echo", Endpoint::tcp(), &dir);
    let settings = format!(
        "AuthnzFcgiDefineProvider authnz echo fcgi://{}/\n\
         <Location />\nAuthType Basic\nAuthName x\nAuthBasicProvider echo\nRequire echo\n\
         Header always set X-Echo %{{ECHO}}e\n</Location>\n",
        app.endpoint
    );
    let modules = ["auth_basic", "authz_user", "authn_core", "authnz_fcgi", "headers"];
    let (port, process) = start(&modules, &settings, &dir);
    fs::write(dir.join("apache/file.txt"), "allowed").expect("a file");
    // The authorizer first authenticates the user, and then authorizes the request.
    check_authorizer(port, "yes");
    assert_eq!(HttpRequest::get("/file.txt").send(port).status, 401);
    drop(process);
    app.stop();
}
