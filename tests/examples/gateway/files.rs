//! Static files, and the mapping of paths to files and scripts.

#[path = "../../../examples/gateway/portable.rs"]
mod portable;

use std::fs;
use std::io::Write;
#[cfg(unix)]
use std::process::Command;

use ureq::http::Response;
use ureq::Body;

#[cfg(unix)]
use super::Root;
use super::{agent, params, text, Gateway, Site};
use crate::support::TestServer;

/// Rule E7.
#[test]
fn files_are_served_but_no_private_ones() {
    let site = Site::echo(&["--index", "start.html", "--index", "index.php"]);
    for name in ["a.php.txt", "a.phtml", "a.sql", "key.pem", "style.css~", "A.Php5", "dump.sqlite"]
    {
        fs::write(site.root.path().join(name), "secret").expect("a file");
    }
    let cases = [
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/style.css?v=1", 200, "text/css; charset=utf-8"),
        ("/sub/start.html", 200, "text/html; charset=utf-8"),
        ("/sub/", 200, "text/html; charset=utf-8"),
        ("/scripts/", 200, "text/plain"),
        ("/empty/", 404, "text/plain"),
        ("/LICENSE", 200, "application/octet-stream"),
        ("/.well-known/token", 200, "application/octet-stream"),
        ("/.well-known/.git/a.txt", 404, "text/plain"),
        ("/.well-known", 404, "text/plain"),
        ("//.hidden/a.txt", 404, "text/plain"),
        ("/a.php.txt", 404, "text/plain"),
        ("/a.phtml", 404, "text/plain"),
        ("/A.Php5", 404, "text/plain"),
        ("/a.sql", 404, "text/plain"),
        ("/key.pem", 404, "text/plain"),
        ("/dump.sqlite", 404, "text/plain"),
        ("/style.css~", 404, "text/plain"),
        ("/a.php.bak", 404, "text/plain"),
        ("/a.inc", 404, "text/plain"),
        ("/B.PHP", 404, "text/plain"),
        ("/.hidden/a.txt", 404, "text/plain"),
        ("/style.css/a.php", 404, "text/plain"),
        ("/missing.php", 404, "text/plain"),
        ("/missing.css", 404, "text/plain"),
        ("/style.css/", 404, "text/plain"),
        ("/../secret.txt", 400, "text/plain"),
        ("/sub/../../secret.txt", 400, "text/plain"),
        ("/%2e%2e/secret.txt", 400, "text/plain"),
        ("/..%2fsecret.txt", 400, "text/plain"),
        ("/..%5csecret.txt", 400, "text/plain"),
        ("/style.css%00.php", 400, "text/plain"),
        ("/a.php%0a", 400, "text/plain"),
    ];
    for (path, status, content_type) in cases {
        let mut answer = site.gateway.get(path);
        assert_eq!((answer.status().as_u16(), path), (status, path));
        assert_eq!(answer.headers()["content-type"], content_type, "{path}");
        let body = answer.body_mut().read_to_string().expect("a body");
        assert!(!body.contains("secret"), "{path}: {body}");
    }
    assert_eq!(text(site.gateway.get("/style.css")), "body {}");
    for (path, location) in [("/sub?a=b", "/sub/?a=b"), ("//sub%20dir", "/sub%20dir/")] {
        let directory = site.gateway.get(path);
        assert_eq!(
            (directory.status().as_u16(), directory.headers()["location"].to_str().ok()),
            (301, Some(location))
        );
    }
    let head = agent().head(site.gateway.url("/style.css")).call().expect("a response");
    assert_eq!(head.headers()["content-length"], "7");
    assert_eq!(
        agent().delete(site.gateway.url("/style.css")).call().expect("a response").status(),
        405
    );
}

/// The types come from a table of another library, so these are examples.
#[test]
fn common_types_have_their_content_type() {
    let site = Site::echo(&[]);
    let cases = [
        ("a.htm", "text/html; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.vtt", "text/vtt; charset=utf-8"),
        ("a.ics", "text/calendar; charset=utf-8"),
        ("a.PNG", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("a.ttf", "font/ttf"),
        ("a.woff2", "font/woff2"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.unknown", "application/octet-stream"),
    ];
    for (name, content_type) in cases {
        fs::write(site.root.path().join(name), "content").expect("a file");
        let answer = site.gateway.get(&format!("/{name}"));
        assert_eq!(
            (answer.status().as_u16(), &*header(&answer, "content-type")),
            (200, content_type)
        );
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{name}");
    }
}

/// Returns the value of a field, or an empty string.
fn header(answer: &Response<Body>, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or(String::new(), |value| value.to_str().expect("text").to_owned())
}

/// Requests a file of 7 bytes with these fields.
fn get(gateway: &Gateway, fields: &[(&str, &str)]) -> Response<Body> {
    let request = agent().get(gateway.url("/style.css"));
    fields
        .iter()
        .fold(request, |r, (name, value)| r.header(*name, *value))
        .call()
        .expect("a response")
}

/// Sets the time of the last change of `style.css`, in the form of `touch -t`.
#[cfg(unix)]
fn set_modified(root: &Root, time: &str) {
    let mut touch = Command::new("touch");
    touch.env("TZ", "UTC0").args(["-m", "-t", time]).arg(root.path().join("style.css"));
    assert!(touch.status().expect("touch").success());
}

/// RFC 9110, sections 13.1.2, 13.1.3 and 15.4.5.
#[cfg(unix)]
#[test]
fn file_that_the_client_has_is_304() {
    let site = Site::echo(&[]);
    set_modified(&site.root, "199411060849.37");
    let whole = site.gateway.get("/style.css");
    let (etag, date) = (header(&whole, "etag"), header(&whole, "last-modified"));
    assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    let weak = format!("W/{etag}");
    let list = format!("\"other\", {etag}");
    let later = "Sun, 06 Nov 1994 08:49:38 GMT";
    let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
    let cases: [(&[(&str, &str)], u16); 10] = [
        (&[("If-None-Match", &etag)], 304),
        (&[("If-None-Match", &weak)], 304),
        (&[("If-None-Match", &list)], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"other\"")], 200),
        (&[("If-Modified-Since", &date)], 304),
        (&[("If-Modified-Since", later)], 304),
        (&[("If-Modified-Since", earlier)], 200),
        (&[("If-Modified-Since", "yesterday")], 200),
        (&[("If-None-Match", "\"other\""), ("If-Modified-Since", &date)], 200),
    ];
    for (fields, status) in cases {
        let answer = get(&site.gateway, fields);
        assert_eq!((answer.status().as_u16(), header(&answer, "etag")), (status, etag.clone()));
        assert_eq!(text(answer), if status == 200 { "body {}" } else { "" }, "{fields:?}");
    }
    set_modified(&site.root, "199411060849.38");
    assert_eq!(get(&site.gateway, &[("If-None-Match", &etag)]).status(), 200, "it has changed");
}

/// RFC 9110, section 14.
#[test]
fn range_of_a_file_is_206() {
    let site = Site::echo(&[]);
    let cases = [
        ("bytes=0-3", 206, "bytes 0-3/7", "body"),
        ("bytes=5-", 206, "bytes 5-6/7", "{}"),
        ("bytes=5-100", 206, "bytes 5-6/7", "{}"),
        ("bytes=-2", 206, "bytes 5-6/7", "{}"),
        ("bytes=-100", 206, "bytes 0-6/7", "body {}"),
        ("bytes=0-0", 206, "bytes 0-0/7", "b"),
        ("bytes=7-", 416, "bytes */7", ""),
        ("bytes=-0", 416, "bytes */7", ""),
        ("bytes=3-2", 200, "", "body {}"),
        ("bytes=0-1,3-4", 200, "", "body {}"),
        ("bytes=+1-2", 200, "", "body {}"),
        ("bytes=-", 200, "", "body {}"),
        ("lines=1-2", 200, "", "body {}"),
        ("bytes=99999999999999999999-", 200, "", "body {}"),
        ("bytes=0-18446744073709551615", 206, "bytes 0-6/7", "body {}"),
    ];
    for (range, status, content_range, body) in cases {
        let answer = get(&site.gateway, &[("Range", range)]);
        assert_eq!((answer.status().as_u16(), range), (status, range));
        assert_eq!(header(&answer, "content-range"), content_range, "{range}");
        assert_eq!(header(&answer, "content-length"), body.len().to_string(), "{range}");
        assert_eq!(text(answer), body, "{range}");
    }
    let head = agent().head(site.gateway.url("/style.css")).header("Range", "bytes=0-3");
    let head = head.call().expect("a response");
    assert_eq!((head.status().as_u16(), &*header(&head, "content-length")), (200, "7"));
    assert_eq!(header(&head, "accept-ranges"), "bytes");
}

/// RFC 9110, section 13.1.5.
#[test]
fn range_of_a_file_that_has_changed_is_ignored() {
    let site = Site::echo(&[]);
    let whole = site.gateway.get("/style.css");
    let (etag, date) = (header(&whole, "etag"), header(&whole, "last-modified"));
    let weak = format!("W/{etag}");
    for (validator, status) in [(&etag, 206), (&date, 206), (&weak, 200), (&"\"x\"".into(), 200)] {
        let fields = [("Range", "bytes=0-3"), ("If-Range", &**validator)];
        assert_eq!(get(&site.gateway, &fields).status(), status, "{validator}");
    }
}

/// Rules E7 and E14.
#[test]
fn fallback_answers_for_paths_that_do_not_exist() {
    let site = Site::echo(&["--fallback", "/index.php"]);
    fs::write(site.root.path().join("a.sql"), "secret").expect("a file");
    let cases = [
        ("/2026/11/hello?a=b", "/index.php", None),
        ("/missing.css", "/index.php", None),
        ("/missing.php/x", "/index.php", None),
        ("/empty/", "/index.php", None),
        ("/", "/index.php", None),
        ("/index.php/2026/hello", "/index.php", Some("/2026/hello")),
        ("/scripts/", "/scripts/index.php", None),
        ("/a.php/x", "/a.php", Some("/x")),
    ];
    for (path, script, path_info) in cases {
        let params = params(site.gateway.get(path));
        assert_eq!((params.get("SCRIPT_NAME"), path), (Some(script), path));
        assert_eq!((params.get("PATH_INFO"), path), (path_info, path));
        assert_eq!(params.get("REQUEST_URI"), Some(path));
        let filename = params.get("SCRIPT_FILENAME").expect("a file").to_owned();
        assert!(filename.ends_with(script), "{path}: {filename}");
    }
    assert_eq!(text(site.gateway.get("/style.css")), "body {}");
    for (path, status) in [("/a.sql", 404), ("/.hidden/a.txt", 404), ("/.new", 404), ("/sub", 301)]
    {
        assert_eq!(site.gateway.get(path).status(), status, "{path}");
    }
}

#[test]
fn fallback_may_be_a_file() {
    let site = Site::echo(&["--fallback", "/sub/start.html"]);
    assert_eq!(text(site.gateway.get("/route/of/a/page")), "<p>start");
}

/// Rule E14.
#[test]
fn application_without_a_root_answers_for_every_path() {
    let application = TestServer::tcp(fcgi::server::Config::new(), |request| {
        request.stdout.write_all(b"Content-Type: text/plain\r\n\r\n")?;
        Ok(request.stdout.write_all(request.params.as_bytes())?)
    });
    let address = application.address.to_string();
    let gateway = Gateway::start(&["--listen", "127.0.0.1:0", "--connect", &address]);
    for path in ["/", "/a/b.css", "/.git/config", "/x.php/y"] {
        let params = params(gateway.get(path));
        assert_eq!((params.get("PATH_INFO"), params.get("SCRIPT_NAME")), (Some(path), Some("")));
        assert_eq!((params.get("DOCUMENT_ROOT"), params.get("SCRIPT_FILENAME")), (None, None));
    }
}

/// On Windows, each of these paths names a private file or one outside the root.
#[test]
fn path_that_names_another_file_on_windows_is_not_portable() {
    let paths = [
        "/C:/Windows/win.ini",
        "/index.php::$DATA",
        "/index.php:stream",
        "/index.php ",
        "/index.php.",
        "/index.php. .",
        "/.git./config",
        "/.git /config",
        "/a\\.git/config",
        "/\\\\host\\share",
        "/a/GIT~1/config",
        "/INDEX~12.PHP",
        "/nul",
        "/sub/CON/a",
        "/aux.txt",
        "/Com1",
        "/lpt9.css",
        "/CONIN$",
    ];
    for path in paths {
        assert!(!portable::is_portable(path.as_bytes()), "{path}");
    }
    let portable = [
        "/",
        "/a.php/b c/d",
        "//sub dir/style.css",
        "/caf\u{e9}.txt",
        "/a~b.txt",
        "/con-tact",
        "/console.js",
        "/com/a",
    ];
    for path in portable {
        assert!(portable::is_portable(path.as_bytes()), "{path}");
    }
}

/// The redirected request is a GET request (RFC 3875, section 6.2.2). The fields of a POST request
/// were not meant for the file.
#[test]
fn local_redirect_to_a_file_sends_the_file() {
    let site = Site::scripted(&[], super::answer(b"Location: /style.css\n\n"));
    let url = site.gateway.url("/a.php");
    let fields = [("Range", "bytes=0-3"), ("If-None-Match", "*")];
    for fields in [&[][..], &fields[..1], &fields] {
        let post =
            fields.iter().fold(agent().post(&url), |r, (name, value)| r.header(*name, *value));
        let answer = post.send("body").expect("a response");
        assert_eq!((answer.status().as_u16(), text(answer)), (200, "body {}".into()), "{fields:?}");
    }
    let get = agent().get(&url).header("Range", "bytes=0-3").call().expect("a response");
    assert_eq!((get.status().as_u16(), text(get)), (206, "body".into()));
    let head = agent().head(&url).call().expect("a response");
    assert_eq!((head.status().as_u16(), &*header(&head, "content-length")), (200, "7"));
    let delete = agent().delete(site.gateway.url("/style.css")).call().expect("a response");
    assert_eq!(delete.status(), 405);
}

/// An HTTP date has four digits for the year. Only some file systems can store a later one.
#[cfg(target_os = "linux")]
#[test]
fn file_changed_after_the_year_9999_is_served() {
    let memory = std::path::Path::new("/dev/shm");
    let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let root = tempfile::tempdir_in(directory).expect("a directory");
    let file = root.path().join("a.css");
    fs::write(&file, "body {}").expect("a file");
    let touch = Command::new("touch").args(["-m", "-d", "@253402300800"]).arg(&file).status();
    assert!(touch.expect("touch").success());
    let root = root.path().to_str().expect("a name that is text");
    let options = ["--listen", "127.0.0.1:0", "--connect", "127.0.0.1:1", "--root", root];
    let gateway = Gateway::start(&options);
    let answer = gateway.get("/a.css");
    assert_eq!(answer.status(), 200);
    assert!(header(&answer, "last-modified").ends_with(" GMT"));
    assert_eq!(text(answer), "body {}");
}

#[test]
fn copy_of_a_script_is_private() {
    let site = Site::echo(&[]);
    let sources = [
        "a.php_bak",
        "a.php-old",
        "a.php1",
        "a.php~1",
        "a.phps",
        "a.PHP_OLD.txt",
        "a.pht",
        "a.phtml.txt",
        "a.phar",
        "a.inc.txt",
    ];
    for name in sources {
        fs::write(site.root.path().join(name), "secret").expect("a file");
        assert_eq!(site.gateway.get(&format!("/{name}")).status(), 404, "{name}");
    }
    for name in ["php.txt", "aphp.txt", "a.xphp", "a.income"] {
        fs::write(site.root.path().join(name), "public").expect("a file");
        assert_eq!(text(site.gateway.get(&format!("/{name}"))), "public", "{name}");
    }
}
