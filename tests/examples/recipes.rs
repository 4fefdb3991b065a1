//! Tests of the examples that show an application: `form`, `upload`, `multipart`, `api`, `daemon`,
//! `events` and `access_log`, and of `health_check`.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::example::{self, ExampleServer, KillOnDrop};
use crate::support::{read_answer, read_record, record, request, ABORT, RESPONDER, TEST_TIMEOUT};
use fcgi::cgi::Head;
use fcgi::net::{Address, Stream};
use fcgi::{Client, Params};

/// A response, as a web server receives it.
struct Response {
    head: Head,
    body: String,
}

impl Response {
    #[track_caller]
    fn field(&self, name: &str) -> &str {
        self.head.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.head))
    }
}

/// Sends a request as a web server does that is configured with the simplest settings.
#[track_caller]
fn send(
    address: &Address,
    method: &str,
    target: &str,
    content_type: &str,
    body: &[u8],
) -> Response {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let params = Params::from_pairs([
        ("REQUEST_METHOD", method),
        ("REQUEST_URI", target),
        ("SCRIPT_NAME", path),
        ("QUERY_STRING", query),
        ("CONTENT_TYPE", content_type),
        ("CONTENT_LENGTH", &body.len().to_string()),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTP_USER_AGENT", "a \"browser\""),
    ])
    .expect("params");
    let reply = Client::from(address.clone()).fetch(&params, body).expect("a response");
    let (head, body) = Head::parse(&reply.stdout).expect("a response head");
    if head.has_body(method) {
        head.check_body(body.len() as u64).expect("a body of the announced length");
    }
    Response { body: String::from_utf8_lossy(body).into_owned(), head }
}

#[track_caller]
fn get(address: &Address, target: &str) -> Response {
    send(address, "GET", target, "", b"")
}

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn form_is_shown_read_and_redirected() {
    let form = ExampleServer::start("form");
    let page = get(&form.address, "/form");
    assert_eq!(page.field("Content-Type"), "text/html; charset=utf-8");
    assert!(page.body.contains("<form method=post>"), "{}", page.body);
    assert_eq!(send(&form.address, "HEAD", "/form", "", b"").body, "");

    let posted = send(&form.address, "POST", "/form", FORM, b"name=Ferris+%26+caf%C3%A9&x=1");
    assert_eq!((posted.head.status(), &*posted.body), (303, ""));
    let location = posted.field("Location");
    assert_eq!(location, "/form/greeting?name=Ferris+%26+caf%C3%A9");
    assert_eq!(get(&form.address, location).body, "Hello, Ferris & café!\n");
}

#[test]
fn form_refuses_large_and_invalid_requests() {
    let form = ExampleServer::start("form");
    let post = |content_type, body: &[u8]| {
        send(&form.address, "POST", "/form", content_type, body).head.status()
    };
    let body_of = |len: usize| [&b"name=x&pad="[..], &vec![b'x'; len - 11]].concat();
    assert_eq!(post(FORM, &body_of(64 * 1024)), 303);
    assert_eq!(post(FORM, &body_of(64 * 1024 + 1)), 413);
    assert_eq!(post(FORM, b"name="), 422);
    assert_eq!(post("Application/X-WWW-Form-Urlencoded;charset=UTF-8", b"name=x"), 303);
    assert_eq!(post("text/plain", b"name=x"), 415);
    assert_eq!(get(&form.address, "/form/other").head.status(), 404);
    assert_eq!(get(&form.address, "/form/%zz").head.status(), 400);
    for (target, allowed) in [("/form", "GET, HEAD, POST"), ("/form/greeting", "GET, HEAD")] {
        let deleted = send(&form.address, "DELETE", target, "", b"");
        assert_eq!((deleted.head.status(), deleted.field("Allow")), (405, allowed));
    }
}

#[test]
fn upload_stores_whole_files_below_its_directory() {
    let directory = tempfile::tempdir().expect("a directory for the files");
    let path = directory.path().to_str().expect("a path in UTF-8");
    let upload = ExampleServer::start_with("upload", &[path]);
    let put = |target: &str, body: &[u8]| send(&upload.address, "PUT", target, "", body);

    let content = vec![b'x'; 300_000];
    let stored = put("/upload/caf%C3%A9.bin", &content);
    assert_eq!((stored.head.status(), &*stored.body), (201, "300000 bytes\n"));
    let file = directory.path().join("café.bin");
    assert_eq!(fs::read(&file).expect("the file"), content);
    // A usual umask leaves the others the right to read.
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    let umask = Command::new("sh").args(["-c", "umask"]).output().expect("a shell").stdout;
    let umask = String::from_utf8_lossy(&umask).trim().to_owned();
    let umask = u32::from_str_radix(&umask, 8).expect("an octal number");
    assert_eq!(mode & 0o777, 0o644 & !umask);
    put("/upload/caf%C3%A9.bin", b"replaced");
    assert_eq!(fs::read(&file).expect("the file"), b"replaced");

    for target in ["/upload/", "/upload/.hidden", "/upload/a%5Cb", "/upload/a/b", "/other/a"] {
        assert_eq!(put(target, b"x").head.status(), 404, "{target}");
    }
    assert_eq!(put("/upload/../a", b"x").head.status(), 400);
    assert_eq!(get(&upload.address, "/upload/a").head.status(), 405);

    // The body ends before its announced length.
    let mut stream = Stream::connect(&upload.address, Some(TEST_TIMEOUT)).expect("a connection");
    let pairs =
        [("REQUEST_METHOD", "PUT"), ("REQUEST_URI", "/upload/cut"), ("CONTENT_LENGTH", "10")];
    stream.write_all(&request(1, RESPONDER, 0, &pairs, b"short")).expect("the request is sent");
    assert!(read_answer(&mut stream, 1).text().starts_with("Status: 400 Bad Request\r\n"));
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 1);
}

#[test]
fn multipart_reads_fields_and_files() {
    let multipart = ExampleServer::start("multipart");
    let page = get(&multipart.address, "/multipart");
    assert!(page.body.contains("enctype=multipart/form-data"), "{}", page.body);

    let file = "x".repeat(200_000);
    let form = format!(
        "--limit\r\nContent-Disposition: form-data; name=title\r\n\r\nFerris\r\n\
         --limit\r\nContent-Disposition: form-data; name=photo; filename=\"a.jpg\"\r\n\r\n\
         {file}\r\n--limit--\r\n"
    );
    let post = |content_type, body: &[u8]| {
        let response = send(&multipart.address, "POST", "/multipart", content_type, body);
        (response.head.status(), response.body)
    };
    let with_boundary = "multipart/form-data; boundary=limit";
    let lengths = "title -: 6 bytes\nphoto a.jpg: 200000 bytes\n";
    assert_eq!(post(with_boundary, form.as_bytes()), (200, lengths.into()));
    assert_eq!(post(with_boundary, &form.as_bytes()[..1000]).0, 400);
    assert_eq!(post("multipart/form-data", form.as_bytes()).0, 400);
    assert_eq!(post(FORM, b"title=Ferris").0, 415);

    // A body that is cut off, and one that is too large.
    for (length, status) in [("999", "400 Bad Request"), ("1073741825", "413 Content Too Large")] {
        let mut stream =
            Stream::connect(&multipart.address, Some(TEST_TIMEOUT)).expect("a connection");
        let pairs = [
            ("REQUEST_METHOD", "POST"),
            ("CONTENT_TYPE", with_boundary),
            ("CONTENT_LENGTH", length),
        ];
        let bytes = request(1, RESPONDER, 0, &pairs, &form.as_bytes()[..500]);
        stream.write_all(&bytes).expect("the request is sent");
        let text = read_answer(&mut stream, 1).text();
        assert!(text.starts_with(&format!("Status: {status}\r\n")), "{text}");
    }
}

/// Starts `multipart`, and sends the form. Returns the response and the memory that the process has
/// used at most, in KiB.
#[cfg(target_os = "linux")]
fn post_multipart(form: &[u8]) -> (Response, u64) {
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let address = Address::unix(directory.path().join("app.sock")).expect("an address");
    let mut command = Command::new(example::path("multipart"));
    let server = KillOnDrop(command.arg(address.to_string()).spawn().expect("multipart starts"));
    example::wait_until_listening(&address);
    let response = send(&address, "POST", "/", "multipart/form-data; boundary=limit", form);
    let status = fs::read_to_string(format!("/proc/{}/status", server.0.id()));
    let status = status.expect("the status of the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
    (response, line.trim().trim_end_matches(" kB").parse().expect("a number"))
}

#[cfg(target_os = "linux")]
#[test]
fn multipart_holds_neither_files_nor_headers_in_memory() {
    const LARGE: usize = 64 << 20;
    let (limit, head) = ("--limit\r\n", "Content-Disposition: form-data; name=a");
    let field = |head: &str, len| format!("{limit}{head}\r\n\r\n{}\r\n", "x".repeat(len));
    let too_many = field(head, 1000).repeat(60_000);
    let long_header = format!("{head}\r\nX: {}", "x".repeat(LARGE));
    for (form, status, text) in [
        (field(head, LARGE), 200, "a -: 67108864 bytes\n"),
        (field(head, 1).repeat(100), 200, "a -: 1 bytes\n"),
        (field(head, 1).repeat(101), 413, "The form has too many fields.\n"),
        (too_many, 413, "The form has too many fields.\n"),
        (field(&long_header, 1), 413, "The header of a field is too long.\n"),
        ("x".repeat(LARGE), 413, "The header of a field is too long.\n"),
    ] {
        let (response, memory) = post_multipart(format!("{form}--limit--\r\n").as_bytes());
        assert_eq!(response.head.status(), status, "{}", response.body);
        assert!(response.body.starts_with(text), "{}", response.body);
        assert!(memory < 16 * 1024, "{memory} KiB for {} bytes", form.len());
    }
}

#[test]
fn api_answers_every_request_with_json() {
    let api = ExampleServer::start("api");
    let address = &api.address;
    assert_eq!(get(address, "/api/notes").body, "[]");
    let created = send(address, "POST", "/api/notes/", "application/json", br#"{"text":"milk"}"#);
    assert_eq!((created.head.status(), created.field("Location")), (201, "/api/notes/0"));
    assert_eq!(get(address, "/api/notes/0").body, r#"{"text":"milk"}"#);
    assert_eq!(get(address, "/api/notes").body, r#"[{"text":"milk"}]"#);
    assert_eq!(send(address, "HEAD", "/api/notes", "", b"").field("Content-Length"), "17");

    let large = vec![b' '; 64 * 1024 + 1];
    let (eof, not_found) =
        ("EOF while parsing an object at line 1 column 1", "There is no such note.");
    for (method, target, body, status, text) in [
        ("POST", "/api/notes", &b"{"[..], 400, eof),
        ("POST", "/api/notes", &large, 413, "The request's body is too large."),
        ("GET", "/api/notes/1", b"", 404, not_found),
        ("GET", "/api/notes/x", b"", 404, not_found),
        ("GET", "/other", b"", 404, not_found),
        ("GET", "/api/%2e%2e", b"", 400, "The request is invalid."),
        ("DELETE", "/api/notes/0", b"", 405, "The method is not allowed."),
        ("PUT", "/api/notes", b"", 405, "The method is not allowed."),
    ] {
        let response = send(address, method, target, "application/json", body);
        assert_eq!(response.head.status(), status, "{method} {target}");
        assert_eq!(response.field("Content-Type"), "application/json");
        assert_eq!(response.body, format!(r#"{{"error":"{text}"}}"#));
    }
}

#[test]
fn daemon_listens_for_its_group_and_stops_on_sigterm() {
    for signal in ["TERM", "INT"] {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let socket = directory.path().join("app.sock");
        let address = Address::unix(&socket).expect("an address");
        let mut command = Command::new(example::path("daemon"));
        let command = command.arg(address.to_string()).stdout(Stdio::piped());
        let mut daemon = KillOnDrop(command.spawn().expect("daemon starts"));
        let mut line = String::new();
        let stdout = daemon.0.stdout.take().expect("its stdout");
        BufReader::new(stdout).read_line(&mut line).expect("its output");
        assert_eq!(line, "READY\n");
        let mode = fs::metadata(&socket).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(get(&address, "/").body, "The daemon is running.\n");

        let id = daemon.0.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s $0 $1", signal, &id]).status();
        assert!(sent.expect("a shell").success());
        assert!(daemon.0.wait().expect("its exit status").success());
        assert!(!socket.exists(), "the socket file remains after SIG{signal}");
    }
}

/// Other signals keep their usual effect. SIGQUIT is not sent, because it creates a core dump, and
/// because a shell starts a background job with SIGQUIT ignored.
#[test]
#[cfg(target_os = "linux")]
fn daemon_does_not_handle_sigquit() {
    const SIGQUIT: u32 = 3;
    const SIGTERM: u32 = 15;
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let address = Address::unix(directory.path().join("app.sock")).expect("an address");
    let mut command = Command::new(example::path("daemon"));
    let command = command.arg(address.to_string()).stdout(Stdio::null());
    let daemon = KillOnDrop(command.spawn().expect("daemon starts"));
    example::wait_until_listening(&address);
    // The handlers are installed before the first request is served.
    get(&address, "/");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).expect("its status");
    let handled = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
    let handled = u64::from_str_radix(handled.trim(), 16).expect("a hexadecimal number");
    let is_handled = |signal: u32| handled & 1 << (signal - 1) != 0;
    assert!(is_handled(SIGTERM), "{handled:#x}");
    assert!(!is_handled(SIGQUIT), "{handled:#x}");
}

#[test]
fn events_arrive_one_by_one() {
    let events = ExampleServer::start("events");
    let params = [("QUERY_STRING", "interval=1&count=3"), ("HTTP_LAST_EVENT_ID", "4")];
    let params = Params::from_pairs(params).expect("params");
    let client = Client::from(events.address.clone());
    let (text, _) = client
        .send(&params, &b""[..], |response| {
            let head = response.read_head()?;
            assert_eq!(head.content_type(), Some("text/event-stream"));
            assert_eq!(head.content_length(), None);
            std::io::read_to_string(&mut response.stdout)
        })
        .expect("a response");
    let expected = [5, 6, 7].map(|id| format!("id: {id}\ndata: {{\"count\": {id}}}\n\n"));
    assert_eq!(text, format!("retry: 2000\n\n{}", expected.concat()));
}

/// The stream has no end. The client reads an event and leaves.
#[test]
fn events_are_sent_before_the_response_ends() {
    let events = ExampleServer::start("events");
    let params = Params::from_pairs([("QUERY_STRING", "interval=1")]).expect("params");
    let client = Client::from(events.address.clone());
    let event = client.send(&params, &b""[..], |response| {
        response.read_head()?;
        let mut event = [0; 37];
        response.stdout.read_exact(&mut event)?;
        Err::<(), _>(std::io::Error::other(String::from_utf8_lossy(&event).into_owned()))
    });
    assert!(event.expect_err("the event").to_string().contains("id: 1\ndata: {\"count\": 1"));
}

/// The longest interval of a query would otherwise occupy a thread after its client has left.
#[test]
fn events_end_when_the_request_is_aborted_between_two_events() {
    let events = ExampleServer::start("events");
    let mut stream = Stream::connect(&events.address, Some(TEST_TIMEOUT)).expect("a connection");
    stream.set_timeouts(Some(TEST_TIMEOUT), Some(TEST_TIMEOUT)).expect("timeouts");
    let pairs = [("QUERY_STRING", "interval=18446744073709551615")];
    stream.write_all(&request(1, RESPONDER, 1, &pairs, b"")).expect("the request is sent");
    while !read_record(&mut stream).expect("an event").content.ends_with(b"\n\n") {}
    stream.write_all(&record(ABORT, 1, b"")).expect("the abort is sent");
    let end = read_answer(&mut stream, 1);
    assert_eq!(end.text(), "");
}

#[test]
fn access_log_has_a_line_for_every_request() {
    let directory = tempfile::tempdir().expect("a directory for the socket");
    let address = Address::unix(directory.path().join("app.sock")).expect("an address");
    let mut command = Command::new(example::path("access_log"));
    let command = command.arg(address.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = KillOnDrop(command.spawn().expect("access_log starts"));
    example::wait_until_listening(&address);

    let mut lines = BufReader::new(server.0.stdout.take().expect("its stdout")).lines();
    for (uri, end) in [(r#"/a?b="1""#, "200 6"), ("/panic", "500 24"), ("/../x", "400 24")] {
        get(&address, uri);
        let line = lines.next().expect("a line").expect("text");
        let uri = uri.replace('"', "\\\"");
        let (start, rest) = line.split_once('[').expect("a time");
        let (time, rest) = rest.split_once("] ").expect("the end of the time");
        assert_eq!(start, "192.0.2.7 - - ");
        assert!(time.len() == 26 && time.ends_with(" +0000"), "{time}");
        assert_eq!(rest, format!(r#""GET {uri} HTTP/1.1" {end} "-" "a \"browser\"""#));
    }
}

#[test]
fn health_check_tells_a_pool_that_answers_from_one_that_does_not() {
    let check = |address: &str| {
        let output = Command::new(example::path("health_check")).arg(address).output();
        let output = output.expect("health_check starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let pool = ExampleServer::start("echo");
    let address = pool.address.to_string();
    assert_eq!(check(&address), (Some(0), "OK\n".to_owned()));
    drop(pool);
    let (status, line) = check(&address);
    assert_eq!(status, Some(2));
    assert!(line.starts_with("CRITICAL: cannot connect to "), "{line}");
}
