//! Apache in front of `echo` (mod_proxy_fcgi), and as the one that starts an application
//! (mod_fcgid).

use std::fs;

use crate::app::{example, App, FERRIS, MALLORY};
use crate::echo;
use crate::http::{self, Ask};
use crate::place::{free_port, Place};
use crate::process::{command, Folder, Process};

/// Starts Apache with modules and settings of the test's; its port.
#[track_caller]
fn start(modules: &[&str], settings: &str, folder: &Folder) -> (u16, Process) {
    let port = free_port();
    let loads: String = ["mpm_event", "authz_core"]
        .iter()
        .chain(modules)
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let runtime = folder.make("apache");
    let log = folder.join("apache-errors.log");
    // As root it gives up being that, and refuses to be configured not to.
    let config = format!(
        "{loads}ServerRoot {runtime}\nDefaultRuntimeDir {runtime}\nPidFile {runtime}/pid\nMutex file:{runtime} default\n\
         User www-data\nGroup www-data\nServerName localhost\nListen 127.0.0.1:{port}\nDocumentRoot {runtime}\n\
         ErrorLog {log}\nLogLevel info\n{settings}\n",
        runtime = runtime.display(),
        log = log.display(),
    );
    let file = folder.write("apache.conf", config);
    let mut apache = command("apache2");
    let process = Process::start("apache2", apache.arg("-DFOREGROUND").arg("-f").arg(file), folder);
    let mut process = process.with_log(log);
    process.wait_until("it listens", || http::is_up(port));
    (port, process)
}

/// Where mod_fcgid keeps its sockets.
fn fcgid_files(folder: &Folder) -> String {
    let ipc = folder.make("fcgid");
    format!("FcgidIPCDir {ipc}\nFcgidProcessTableFile {ipc}/table\n", ipc = ipc.display())
}

/// With connections kept and not.
fn check_echo(place: impl Fn(&Folder) -> Place) {
    for reuse in ["off", "on"] {
        let folder = Folder::new();
        let app = App::start("echo", place(&folder), &folder);
        app.place.open_to_all();
        let target = match &app.place {
            Place::Tcp(port) => format!("fcgi://127.0.0.1:{port}/"),
            Place::Unix(path) => format!("unix:{}|fcgi://localhost/", path.display()),
        };
        let settings = format!("ProxyPass / {target} enablereuse={reuse}\n");
        let (port, process) = start(&["proxy", "proxy_fcgi"], &settings, &folder);
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn in_front_of_echo_on_a_unix_socket() {
    check_echo(Place::unix);
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn in_front_of_echo_on_tcp() {
    check_echo(|_| Place::tcp());
}

#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn fcgid_starts_hello_on_descriptor_0() {
    let folder = Folder::new();
    let settings = format!(
        "{ipc}<Location />\nSetHandler fcgid-script\nOptions +ExecCGI\nFcgidWrapper {hello} virtual\n</Location>\n",
        ipc = fcgid_files(&folder),
        hello = folder.install(&example("hello")).display(),
    );
    let (port, _process) = start(&["fcgid"], &settings, &folder);
    for _ in 0..10 {
        let answer = Ask::get("/").send(port);
        assert_eq!((answer.status, &*answer.text()), (200, "Hello, 127.0.0.1.\n"));
    }
}

/// `echo` allows with `Variable-Echo: yes`, which the server is to hand on, or denies, for which
/// Apache asks for a password.
fn check_authorizer(port: u16, variable: &str) {
    for _ in 0..5 {
        // "ferris:crab"
        let ask =
            |target| Ask::get(target).header("Authorization", "Basic ZmVycmlzOmNyYWI=").send(port);
        let answer = ask("/file.txt");
        assert_eq!(
            (answer.status, &*answer.text(), answer.one("X-Echo")),
            (200, "allowed", variable)
        );
        assert_eq!(ask("/file.txt?deny").status, 401);
    }
}

/// The application has each of the three roles that this server makes of one; a request must pass
/// all of them.
#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn fcgid_starts_echo_as_an_authorizer() {
    let folder = Folder::new();
    let settings = format!(
        "{ipc}<Location />\nFcgidAccessChecker {echo}\nFcgidAuthenticator {echo}\nFcgidAuthorizer {echo}\n\
         AuthType Basic\nAuthName x\nRequire valid-user\nHeader always set X-Echo %{{ECHO}}e\n</Location>\n",
        ipc = fcgid_files(&folder),
        echo = folder.install(&example("echo")).display(),
    );
    let (port, _process) =
        start(&["fcgid", "headers", "authn_core", "authz_user"], &settings, &folder);
    fs::write(folder.join("apache/file.txt"), "allowed").expect("a file");
    check_authorizer(port, "yes, yes, yes");
    assert_eq!(Ask::get("/file.txt").send(port).status, 401);
}

#[test]
#[ignore = "needs apache2 with mod_fcgid, run by .ci/run"]
fn fcgid_starts_the_authorizer() {
    let folder = Folder::new();
    let settings = format!(
        "{ipc}FcgidPassHeader Authorization\n<Location />\nFcgidAuthenticator {authorizer}\nFcgidAuthorizer {authorizer}\n\
         AuthType Basic\nAuthName x\nRequire valid-user\nHeader always set X-User \"expr=%{{REMOTE_USER}}\"\n\
         </Location>\n",
        ipc = fcgid_files(&folder),
        authorizer = folder.install(&example("authorizer")).display(),
    );
    let (port, _process) =
        start(&["fcgid", "headers", "authn_core", "authz_user"], &settings, &folder);
    fs::write(folder.join("apache/file.txt"), "allowed").expect("a file");
    for _ in 0..5 {
        let answer = Ask::get("/file.txt").header("Authorization", FERRIS).send(port);
        assert_eq!(
            (answer.status, &*answer.text(), answer.one("X-User")),
            (200, "allowed", "ferris")
        );
        assert_eq!(Ask::get("/file.txt").header("Authorization", MALLORY).send(port).status, 401);
        assert_eq!(Ask::get("/file.txt").send(port).status, 401);
    }
}

#[test]
#[ignore = "needs apache2, run by .ci/run"]
fn authnz_fcgi_asks_echo() {
    let folder = Folder::new();
    let app = App::start("echo", Place::tcp(), &folder);
    let settings = format!(
        "AuthnzFcgiDefineProvider authnz echo fcgi://{}/\n\
         <Location />\nAuthType Basic\nAuthName x\nAuthBasicProvider echo\nRequire echo\n\
         Header always set X-Echo %{{ECHO}}e\n</Location>\n",
        app.place
    );
    let modules = ["auth_basic", "authz_user", "authn_core", "authnz_fcgi", "headers"];
    let (port, process) = start(&modules, &settings, &folder);
    fs::write(folder.join("apache/file.txt"), "allowed").expect("a file");
    // It is asked for the user first, and then whether that user may.
    check_authorizer(port, "yes");
    assert_eq!(Ask::get("/file.txt").send(port).status, 401);
    drop(process);
    app.stop();
}
