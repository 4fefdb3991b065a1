//! Tests of the example `cgi-wrap`: which programs it runs, and that none of them is left over.
//! Several are complaints about `fcgiwrap`.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use fcgi::client::Reply;
use fcgi::net::Address;
use fcgi::{Client, Params};

use crate::example::{self, wait_until_listening, KillOnDrop};
use crate::support::wait_until;

/// A running `cgi-wrap`, and a document root with programs.
struct Wrap {
    address: Address,
    process: KillOnDrop,
    directory: tempfile::TempDir,
}

impl Wrap {
    /// Starts it in an empty environment. `DIR` in the arguments stands for the directory.
    fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), args)
    }

    fn start_in(directory: tempfile::TempDir, args: &[&str]) -> Self {
        let path = directory.path().to_str().expect("in UTF-8");
        let address = Address::unix(directory.path().join("app.sock")).expect("an address");
        let mut command = Command::new(example::path("cgi-wrap"));
        command.args(args.iter().map(|arg| arg.replace("DIR", path))).arg(address.to_string());
        let process = KillOnDrop(command.env_clear().spawn().expect("cgi-wrap starts"));
        wait_until_listening(&address);
        fs::create_dir_all(directory.path().join("root")).expect("the document root");
        Self { address, process, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a shell script with this mode below the directory.
    fn script(&self, name: &str, mode: u32, lines: &str) -> PathBuf {
        write_script(self.directory.path(), name, mode, lines)
    }

    /// Sends a request with these params and the document root.
    #[track_caller]
    fn fetch(&self, pairs: &[(&str, &str)]) -> Reply {
        let root = self.path("root");
        let mut params = Params::from_pairs(pairs.iter().copied()).expect("params");
        if params.get("DOCUMENT_ROOT").is_none() {
            params.push("DOCUMENT_ROOT", root.to_str().expect("in UTF-8")).expect("a param");
        }
        Client::from(self.address.clone()).fetch(&params, b"").expect("a response")
    }

    /// Sends a request for a program below the directory.
    #[track_caller]
    fn run(&self, name: &str) -> Reply {
        self.fetch(&[("SCRIPT_FILENAME", self.path(name).to_str().expect("in UTF-8"))])
    }

    /// Sends SIGTERM and waits for the end of the process.
    fn stop(&mut self) -> ExitStatus {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").arg(id).status().expect("kill").success());
        self.process.0.wait().expect("its exit status")
    }
}

fn write_script(directory: &Path, name: &str, mode: u32, lines: &str) -> PathBuf {
    let file = directory.join(name);
    fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    example::write_script(&file, &format!("#!/bin/sh\n{lines}\n"));
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("its mode");
    file
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const HELLO: &str = "printf 'Status: 200\\n\\nhello'";
const ENVIRONMENT: &str = "printf 'Status: 200\\n\\n'; pwd; tr '\\0' '\\n' </proc/$$/environ";

#[track_caller]
fn assert_runs(reply: &Reply) {
    assert_eq!(text(&reply.stdout), "Status: 200\n\nhello", "{}", text(&reply.completion.stderr));
}

#[track_caller]
fn assert_refused(reply: &Reply, status: &str, reason: &str) {
    let expected =
        format!("Status: {status}\r\nContent-Type: text/plain\r\n\r\nThe program was not run.\n");
    assert_eq!(text(&reply.stdout), expected);
    assert!(text(&reply.completion.stderr).contains(reason), "{}", text(&reply.completion.stderr));
}

#[test]
fn program_runs_in_its_directory_with_the_params_as_environment() {
    let wrap = Wrap::start(&[]);
    let script = wrap.script("root/a/env.cgi", 0o755, ENVIRONMENT);
    let script = script.to_str().expect("in UTF-8");
    let reply = wrap.fetch(&[
        ("SCRIPT_FILENAME", script),
        ("HTTP_PROXY", "http://evil/"),
        ("QUERY_STRING", "a=1"),
    ]);
    let root = wrap.path("root");
    let text = text(&reply.stdout);
    let mut lines: Vec<_> = text.lines().skip(2).collect();
    lines[1..].sort_unstable();
    let expected = [
        format!("{}/a", root.display()),
        format!("DOCUMENT_ROOT={}", root.display()),
        "QUERY_STRING=a=1".into(),
        format!("SCRIPT_FILENAME={script}"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn option_env_adds_variables() {
    let wrap = Wrap::start(&["--env", "PATH=/usr/bin:/bin", "--env", "EMPTY="]);
    wrap.script("root/env.cgi", 0o755, ENVIRONMENT);
    let text = text(&wrap.run("root/env.cgi").stdout);
    assert!(text.contains("\nPATH=/usr/bin:/bin\n") && text.contains("\nEMPTY=\n"), "{text}");
}

#[test]
fn program_is_found_by_script_name_with_path_info() {
    let wrap = Wrap::start(&[]);
    let lines = "printf 'Status: 200\\n\\n%s|%s' \"$SCRIPT_NAME\" \"${PATH_INFO-none}\"";
    wrap.script("root/a/b.cgi", 0o755, lines);
    for (name, expected) in [
        ("/a/b.cgi", "/a/b.cgi|none"),
        ("/a/b.cgi/", "/a/b.cgi|/"),
        ("/a/b.cgi/c/d", "/a/b.cgi|/c/d"),
    ] {
        let reply = wrap.fetch(&[("SCRIPT_NAME", name)]);
        assert_eq!(text(&reply.stdout), format!("Status: 200\n\n{expected}"));
    }
    assert_refused(&wrap.fetch(&[("SCRIPT_NAME", "/a")]), "403 Forbidden", "a directory");
    assert_refused(&wrap.fetch(&[("SCRIPT_NAME", "/a/c.cgi")]), "404 Not Found", "No such file");
    let outside = wrap.fetch(&[("SCRIPT_NAME", "/../app.sock")]);
    assert_refused(&outside, "403 Forbidden", "not inside the document root");
    assert_refused(&wrap.fetch(&[]), "403 Forbidden", "neither SCRIPT_FILENAME nor");
}

#[test]
fn program_that_others_may_have_written_is_refused() {
    let wrap = Wrap::start(&[]);
    for (mode, reason) in [(0o644, "not executable"), (0o757, "writable by others")] {
        wrap.script("root/a.cgi", mode, HELLO);
        assert_refused(&wrap.run("root/a.cgi"), "403 Forbidden", reason);
    }
    for mode in [0o755, 0o500, 0o775] {
        wrap.script("root/a.cgi", mode, HELLO);
        assert_runs(&wrap.run("root/a.cgi"));
    }
    wrap.script("root/open/a.cgi", 0o755, HELLO);
    for (mode, reason) in [(0o777, Some("writable by others")), (0o1777, None)] {
        fs::set_permissions(wrap.path("root/open"), Permissions::from_mode(mode)).expect("a mode");
        match reason {
            Some(reason) => assert_refused(&wrap.run("root/open/a.cgi"), "403 Forbidden", reason),
            None => assert_runs(&wrap.run("root/open/a.cgi")),
        }
    }
}

#[test]
fn program_outside_the_document_root_is_refused() {
    let wrap = Wrap::start(&[]);
    let outside = wrap.script("outside.cgi", 0o755, HELLO);
    wrap.script("root/inside.cgi", 0o755, HELLO);
    wrap.script("root2/a.cgi", 0o755, HELLO);
    symlink(&outside, wrap.path("root/out.cgi")).expect("a link");
    symlink("inside.cgi", wrap.path("root/in.cgi")).expect("a link");
    for name in ["outside.cgi", "root/out.cgi", "root/../outside.cgi", "root2/a.cgi"] {
        assert_refused(&wrap.run(name), "403 Forbidden", "not inside the document root");
    }
    for name in ["root/inside.cgi", "root/in.cgi", "root/../root/inside.cgi"] {
        assert_runs(&wrap.run(name));
    }
    let script = wrap.path("root/inside.cgi");
    let script = script.to_str().expect("in UTF-8");
    for root in ["", "/nonexistent"] {
        let reply = wrap.fetch(&[("SCRIPT_FILENAME", script), ("DOCUMENT_ROOT", root)]);
        assert_refused(&reply, "403 Forbidden", "not inside the document root");
    }
    let relative = wrap.fetch(&[("SCRIPT_FILENAME", "root/inside.cgi")]);
    assert_refused(&relative, "403 Forbidden", "not an absolute path");
    assert_refused(&wrap.run("root"), "403 Forbidden", "not a regular file");
    assert_refused(&wrap.run("root/none.cgi"), "404 Not Found", "No such file");
}

#[test]
fn options_root_and_program_replace_the_document_root() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["a/a.cgi", "b/b.cgi", "c/c.cgi", "root/d.cgi"] {
        write_script(directory.path(), name, 0o755, HELLO);
    }
    let args = ["--root", "DIR/a", "--root", "DIR/b", "--program", "DIR/c/c.cgi"];
    let wrap = Wrap::start_in(directory, &args);
    for name in ["a/a.cgi", "b/b.cgi", "c/c.cgi"] {
        assert_runs(&wrap.run(name));
    }
    assert_refused(&wrap.run("root/d.cgi"), "403 Forbidden", "not inside");
}

#[test]
fn option_program_alone_allows_only_that_program() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["a/a.cgi", "root/d.cgi"] {
        write_script(directory.path(), name, 0o755, HELLO);
    }
    let wrap = Wrap::start_in(directory, &["--program", "DIR/a/a.cgi"]);
    assert_runs(&wrap.run("a/a.cgi"));
    assert_refused(&wrap.run("root/d.cgi"), "403 Forbidden", "not inside");
}

/// A program such as `busybox` does what its name says.
#[test]
fn program_is_named_as_requested_although_its_link_is_resolved() {
    let wrap = Wrap::start(&[]);
    let copied = Command::new("cp").arg("/bin/sh").arg(wrap.path("root/shell")).status();
    assert!(copied.expect("cp").success());
    symlink("shell", wrap.path("root/link")).expect("a link");
    let (root, name) = (wrap.path("root"), wrap.path("root/link"));
    let (root, name) = (root.to_str().expect("in UTF-8"), name.to_str().expect("in UTF-8"));
    // A shell without arguments runs its input.
    let body = "printf 'Status: 200\\n\\n%s ' \"$0\"; readlink /proc/$$/exe";
    let mut params =
        Params::from_pairs([("DOCUMENT_ROOT", root), ("SCRIPT_FILENAME", name)]).expect("params");
    params.push("CONTENT_LENGTH", body.len().to_string()).expect("a param");
    params.push("PATH", "/usr/bin:/bin").expect("a param");
    let client = Client::from(wrap.address.clone());
    let reply = client.fetch(&params, body.as_bytes()).expect("a response");
    assert_eq!(text(&reply.stdout), format!("Status: 200\n\n{name} {root}/shell\n"));
}

#[test]
fn file_that_is_not_a_program_is_a_502_response() {
    let wrap = Wrap::start(&[]);
    example::write_script(&wrap.path("root/a.cgi"), "#!/nonexistent/interpreter\n");
    let reply = wrap.run("root/a.cgi");
    assert!(text(&reply.stdout).starts_with("Status: 502 Bad Gateway\r\n"));
    assert!(
        text(&reply.completion.stderr).contains("root/a.cgi: No such file"),
        "{}",
        text(&reply.completion.stderr)
    );
}

/// `fcgiwrap` has no timeout (its request 35).
#[test]
fn program_that_hangs_is_ended_after_a_timeout() {
    for option in ["--timeout", "--idle-timeout"] {
        let wrap = Wrap::start(&[option, "0.3", "--children", "1"]);
        wrap.script("root/hang.cgi", 0o755, "exec sleep 60");
        wrap.script("root/a.cgi", 0o755, HELLO);
        let reply = wrap.run("root/hang.cgi");
        assert!(text(&reply.stdout).starts_with("Status: 504 Gateway Timeout\r\n"));
        assert_runs(&wrap.run("root/a.cgi"));
    }
}

/// `fcgiwrap` leaves processes behind (its issue 19).
#[test]
fn sigterm_leaves_no_program_behind() {
    let mut wrap = Wrap::start(&[]);
    let report = wrap.path("report");
    let lines = format!("trap '' TERM; sleep 60 & echo $! $$ >{}; wait; wait", report.display());
    wrap.script("root/hang.cgi", 0o755, &lines);
    let mut processes = Vec::new();
    std::thread::scope(|scope| {
        let client = Client::from(wrap.address.clone());
        let script = wrap.path("root/hang.cgi");
        let root = wrap.path("root");
        scope.spawn(move || {
            let params = Params::from_pairs([
                ("SCRIPT_FILENAME", script.to_str().expect("in UTF-8")),
                ("DOCUMENT_ROOT", root.to_str().expect("in UTF-8")),
            ]);
            client.fetch(&params.expect("params"), b"").expect_err("no response");
        });
        wait_until("the program runs", || {
            let text = fs::read_to_string(&report).unwrap_or_default();
            processes = text.split_whitespace().map(str::to_owned).collect();
            text.ends_with('\n')
        });
        assert!(wrap.stop().success());
    });
    // A process that was killed may not have run yet.
    for process in processes {
        wait_until("the program has ended", || {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
}

/// `fcgiwrap` takes a whole processor after one of its processes has ended (its issue 18).
#[test]
fn waiting_for_a_program_takes_no_processor_time() {
    let wrap = Wrap::start(&[]);
    wrap.script("root/kill.cgi", 0o755, "kill -KILL $$");
    wrap.script("root/close.cgi", 0o755, &format!("{HELLO}; exec >&- 2>&-; sleep 1"));
    wrap.run("root/kill.cgi");
    assert_runs(&wrap.run("root/close.cgi"));
    let stat = fs::read_to_string(format!("/proc/{}/stat", wrap.process.0.id())).expect("running");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: u32 = fields[11..13].iter().map(|ticks| ticks.parse::<u32>().expect("ticks")).sum();
    assert!(ticks < 30, "{ticks} ticks of 10 ms");
}

/// `fcgiwrap` answers only when the job has ended (its issue 40).
#[test]
fn program_may_start_a_job_in_the_background() {
    let wrap = Wrap::start(&[]);
    let report = wrap.path("report");
    let lines = format!("sleep 60 & echo $! >{}; {HELLO}", report.display());
    wrap.script("root/job.cgi", 0o755, &lines);
    assert_runs(&wrap.run("root/job.cgi"));
    let process = fs::read_to_string(report).expect("a process id");
    let killed = Command::new("kill").arg(process.trim()).status().expect("kill");
    assert!(killed.success(), "the job still runs");
}

/// A socket that systemd or another process manager has created (issue 64 of `fcgiwrap`).
#[test]
fn without_an_address_it_serves_descriptor_0() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("app.sock");
    let listener = UnixListener::bind(&socket).expect("a listening socket");
    let script = write_script(directory.path(), "root/a.cgi", 0o755, HELLO);
    let mut command = Command::new(example::path("cgi-wrap"));
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let _process = KillOnDrop(command.spawn().expect("cgi-wrap starts"));
    let params = Params::from_pairs([
        ("SCRIPT_FILENAME", script.to_str().expect("in UTF-8")),
        ("DOCUMENT_ROOT", directory.path().to_str().expect("in UTF-8")),
    ]);
    let client = Client::from(Address::unix(&socket).expect("an address"));
    assert_runs(&client.fetch(&params.expect("params"), b"").expect("a response"));
}

#[test]
fn invalid_options_are_reported() {
    for (args, reason) in [
        (&["--children", "0"][..], "--children must be at least 1"),
        (&["--children", "x"], "is not a number of children"),
        (&["--env", "X"], "is not NAME=VALUE"),
        (&["--env", "=X"], "is not NAME=VALUE"),
        (&["--timeout", "0"], "is not a positive number of seconds"),
        (&["--root", "/nonexistent"], "/nonexistent: No such file"),
        (&["--program", "/nonexistent"], "/nonexistent: No such file"),
        (&["--other"], "unknown option"),
    ] {
        let output = example::run("cgi-wrap", args, &[], b"");
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("cgi-wrap: ") && stderr.contains(reason), "{args:?}: {stderr}");
        assert!(!output.status.success());
    }
}
