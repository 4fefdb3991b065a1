//! Proves that gitweb, cgit and `git-http-backend` run under `cgi-wrap` behind nginx.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use crate::app::example;
use crate::echo::random_bytes;
use crate::endpoint::Endpoint;
use crate::http::HttpRequest;
use crate::nginx::Nginx;
use crate::process::{command, wait_until, Process, TestDir};

const GITWEB: &str = "/usr/share/gitweb/gitweb.cgi";
const CGIT: &str = "/usr/lib/cgit/cgit.cgi";
const BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// The params that every program needs.
const PARAMS: &str = "
    fastcgi_param GATEWAY_INTERFACE CGI/1.1;
    fastcgi_param QUERY_STRING $query_string;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param CONTENT_TYPE $content_type;
    fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_param REQUEST_URI $request_uri;
    fastcgi_param SERVER_PROTOCOL $server_protocol;
    fastcgi_param SERVER_NAME $host;
    fastcgi_param SERVER_PORT $server_port;
    fastcgi_param REMOTE_ADDR $remote_addr;
    fastcgi_param REMOTE_USER ferris;";

/// A directory of repositories behind nginx and `cgi-wrap`.
struct Site {
    dir: TestDir,
    wrap: Process,
    nginx: Nginx,
}

impl Site {
    fn start() -> Self {
        let dir = TestDir::new();
        let endpoint = Endpoint::unix(&dir);
        let mut command = Command::new(example("cgi-wrap"));
        for program in [GITWEB, CGIT, BACKEND] {
            assert!(Path::new(program).exists(), "{program} is not installed; .ci/run installs it");
            command.args(["--program", program]);
        }
        command.args(["--env", "PATH=/usr/bin:/bin"]).arg(endpoint.to_string());
        let mut wrap = Process::start("cgi-wrap", &mut command, &dir);
        wrap.wait_until("listening", || endpoint.is_listening());
        let nginx = Nginx::start(&dir, "", &locations(&dir, &endpoint));
        Self { dir, wrap, nginx }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.nginx.port)
    }

    /// Runs git in the directory, with a configuration of its own.
    #[track_caller]
    fn git(&self, args: &[&str]) -> Output {
        let mut git = command("git");
        git.current_dir(self.dir.path()).args(args).env_clear();
        git.env("HOME", self.dir.path()).env("PATH", "/usr/bin:/bin");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Ferris");
            git.env(format!("GIT_{who}_EMAIL"), "ferris@example.org");
        }
        let output = git.output().expect("git starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {stderr}\n{}", self.wrap.log());
        output
    }

    /// Creates a repository with one commit, and a clone of it.
    fn create_repository(&self) {
        self.git(&["init", "--quiet", "--bare", "--initial-branch=main", "repositories/app.git"]);
        let description = "repositories/app.git/description";
        self.dir.write(description, "The repository of the test\n");
        self.git(&["clone", "--quiet", "repositories/app.git", "work"]);
        self.dir.write("work/readme.txt", "the first line\n");
        self.commit("The first commit");
        self.git(&["-C", "work", "push", "--quiet", "origin", "HEAD:main"]);
    }

    fn commit(&self, message: &str) {
        self.git(&["-C", "work", "add", "."]);
        self.git(&["-C", "work", "commit", "--quiet", "-m", message]);
    }

    #[track_caller]
    fn get(&self, target: &str) -> String {
        let response = HttpRequest::get(target).send(self.nginx.port);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.text()
    }

    /// Asserts that no program runs or is a zombie.
    fn assert_no_program_is_left(&self) {
        wait_until("all programs to end", || self.wrap.children().is_empty());
    }
}

fn locations(dir: &TestDir, endpoint: &Endpoint) -> String {
    let repositories = dir.create_dir("repositories");
    let repositories = repositories.display();
    let gitweb = dir.write("gitweb.conf", format!("our $projectroot = '{repositories}';\n"));
    let cgit = dir
        .write("cgitrc", format!("virtual-root=/cgit/\ncache-size=0\nscan-path={repositories}\n"));
    let git = format!(
        "fastcgi_param SCRIPT_FILENAME {BACKEND};
         fastcgi_param GIT_PROJECT_ROOT {repositories};
         fastcgi_param GIT_HTTP_EXPORT_ALL \"\";
         fastcgi_param PATH_INFO $1; {PARAMS}
         fastcgi_pass {endpoint};"
    );
    format!(
        "location /gitweb {{
            fastcgi_param SCRIPT_FILENAME {GITWEB};
            fastcgi_param SCRIPT_NAME /gitweb;
            fastcgi_param GITWEB_CONFIG {}; {PARAMS}
            fastcgi_pass {endpoint};
        }}
        location ~ ^/cgit(/.*)?$ {{
            fastcgi_param SCRIPT_FILENAME {CGIT};
            fastcgi_param SCRIPT_NAME /cgit;
            fastcgi_param PATH_INFO $1;
            fastcgi_param CGIT_CONFIG {}; {PARAMS}
            fastcgi_pass {endpoint};
        }}
        location ~ ^/git(/.*)$ {{ {git} }}
        location ~ ^/unbuffered(/.*)$ {{
            fastcgi_request_buffering off; fastcgi_buffering off; {git}
        }}",
        gitweb.display(),
        cgit.display()
    )
}

#[test]
#[ignore = "needs nginx and gitweb, run by .ci/run"]
fn gitweb_shows_a_repository() {
    let site = Site::start();
    site.create_repository();
    let list = site.get("/gitweb");
    assert!(list.contains("app.git") && list.contains("The repository of"), "{list}");
    let summary = site.get("/gitweb?p=app.git;a=summary");
    assert!(summary.contains("The first commit"), "{summary}");
    let plain = site.get("/gitweb?p=app.git;a=blob_plain;f=readme.txt;hb=HEAD");
    assert_eq!(plain, "the first line\n");
    let missing = HttpRequest::get("/gitweb?p=none.git").send(site.nginx.port);
    assert_eq!(missing.status, 404);
    site.assert_no_program_is_left();
}

#[test]
#[ignore = "needs nginx and cgit, run by .ci/run"]
fn cgit_shows_a_repository() {
    let site = Site::start();
    site.create_repository();
    let list = site.get("/cgit/");
    assert!(list.contains("app.git"), "{list}");
    assert!(site.get("/cgit/app.git/log/").contains("The first commit"));
    assert_eq!(site.get("/cgit/app.git/plain/readme.txt"), "the first line\n");
    let missing = HttpRequest::get("/cgit/app.git/plain/none.txt").send(site.nginx.port);
    assert_eq!(missing.status, 404);
    site.assert_no_program_is_left();
}

#[test]
#[ignore = "needs nginx and git, run by .ci/run"]
fn git_clones_and_pushes_over_http() {
    let site = Site::start();
    site.create_repository();
    for (location, len) in [("git", 5_000_000), ("unbuffered", 6_000_000)] {
        let url = site.url(&format!("/{location}/app.git"));
        // Git sends a body of this length in chunks.
        let content = random_bytes(len);
        site.dir.write("work/data.bin", &content);
        site.commit(location);
        site.git(&["-C", "work", "push", "--quiet", &url, "HEAD:main"]);
        let clone = format!("clone-{location}");
        site.git(&["clone", "--quiet", &url, &clone]);
        let cloned = fs::read(site.dir.join(&clone).join("data.bin")).expect("the file");
        assert!(cloned == content, "{} bytes", cloned.len());
        site.git(&["-C", &clone, "fsck", "--strict"]);
    }
    let missing = HttpRequest::get("/git/none.git/info/refs?service=git-upload-pack");
    assert_eq!(missing.send(site.nginx.port).status, 404);
    site.assert_no_program_is_left();
}

#[test]
#[ignore = "needs nginx and git, run by .ci/run"]
fn download_that_is_interrupted_leaves_no_process() {
    let site = Site::start();
    site.create_repository();
    site.dir.write("work/data.bin", random_bytes(40_000_000));
    site.commit("large");
    site.git(&["-C", "work", "push", "--quiet", "origin", "HEAD:main"]);
    let id = site.git(&["-C", "work", "rev-parse", "HEAD:data.bin"]).stdout;
    let id = String::from_utf8(id).expect("an object id");
    let (directory, file) = id.trim().split_at(2);

    // Nobody reads the response, so the program blocks.
    let mut client = TcpStream::connect(("127.0.0.1", site.nginx.port)).expect("a connection");
    let target = format!("/unbuffered/app.git/objects/{directory}/{file}");
    write!(client, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let mut start = [0; 15];
    client.read_exact(&mut start).expect("the status line");
    assert_eq!(start, *b"HTTP/1.1 200 OK");
    assert_eq!(site.wrap.children().len(), 1);
    drop(client);
    site.assert_no_program_is_left();
}
