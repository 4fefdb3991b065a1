//! Measures what five web servers make of the response heads that applications send, and compares
//! that with the table in the documentation of `fcgi::cgi`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fcgi::record::{self, EndRequest, RecordType};
use fcgi::Params;

use crate::app::example;
use crate::endpoint::{free_port, Endpoint};
use crate::http;
use crate::nginx::Nginx;
use crate::process::{Process, TestDir};
use crate::{apache, caddy, haproxy};

/// The documentation that contains the table.
const DOCUMENTATION: &str = include_str!("../../src/cgi.rs");
/// The case whose body is missing.
const NO_BODY: &str = "`Content-Length: 9`, no body";
/// The body of every other response.
const BODY: &str = "body";
/// A web server that sends nothing in this time never does.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// One row: what the application sends, in words and in bytes, and what of the response is shown
/// beside its status.
struct Case {
    name: &'static str,
    head: String,
    shown: Shown,
}

/// What a cell of the table shows beside the status.
#[derive(Clone, Copy)]
enum Shown {
    Status,
    /// Whether the client receives the field of this name, which has this value.
    Field(&'static str, &'static str),
    /// Which of two fields of this name, with the values `1/1` and `2/2`, the client receives.
    Which(&'static str),
    /// Whether the client receives the whole body, and can detect if it does not.
    Body,
}

impl Case {
    /// Returns the bytes of the whole response. Each character of the head is one byte.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.head.chars().map(|c| c as u8).collect();
        if self.head.ends_with('\n') && self.name != NO_BODY {
            bytes.extend_from_slice(BODY.as_bytes());
        }
        bytes
    }
}

fn case(name: &'static str, head: impl Into<String>, shown: Shown) -> Case {
    Case { name, head: head.into(), shown }
}

fn location(name: &'static str, value: &'static str) -> Case {
    case(name, format!("Location: {value}\n\n"), Shown::Field("Location", value))
}

fn cases() -> Vec<Case> {
    let text = |lines: &str| format!("Content-Type: text/plain\n{lines}\n");
    let field = Shown::Field("X-A", "b");
    vec![
        case("a path in `Location`, no other field", "Location: /a.php?to\n\n", Shown::Status),
        case("a path, other fields", text("Location: /a.php?to\n"), Shown::Status),
        location("`Location: http://host/`", "http://host/"),
        location("`Location: info.php?x=1`", "info.php?x=1"),
        location("`Location: ?m=done`", "?m=done"),
        location("`Location: ../x`", "../x"),
        location("`Location: //host/x`", "//host/x"),
        location("a byte above 127 in `Location`", "/caf\u{e9}"),
        location("a tab in `Location`", "/\t/host"),
        case(
            "a second `Location`",
            text("Location: 1/1\nLocation: 2/2\n"),
            Shown::Which("Location"),
        ),
        case("no field of CGI, `X-A: b`", "X-A: b\n\n", field),
        case("no field at all", "\n", Shown::Status),
        case(
            "a second `Content-Type`",
            "Content-Type: 1/1\nContent-Type: 2/2\n\n",
            Shown::Which("Content-Type"),
        ),
        case("`X(A: b`", text("X(A: b\n"), Shown::Field("X(A", "b")),
        case("a byte above 127 in a name", text("X\u{e9}: b\n"), Shown::Field("X\u{e9}", "b")),
        case("`X A: b`", text("X A: b\n"), Shown::Field("X A", "b")),
        case("`X-A : b`", text("X-A : b\n"), field),
        case("a line without a colon", text("X-A\n"), Shown::Status),
        case("a folded line", text("X-A: b\n c\n"), Shown::Field("X-A", "b c")),
        case("a CR in a value", text("X-A: b\rX-B: c\n"), field),
        case("a NUL in a value", text("X-A: b\0\n"), Shown::Field("X-A", "b\0")),
        case("another control byte in a value", text("X-A: b\x01\n"), Shown::Field("X-A", "b\x01")),
        case("300 fields", text(&"X-A: b\n".repeat(300)), Shown::Status),
        case("1,000 fields", text(&"X-A: b\n".repeat(1000)), Shown::Status),
        case("a field of 7 KiB", text(&format!("X-A: {}\n", "b".repeat(7000))), Shown::Status),
        case("a field of 60 KiB", text(&format!("X-A: {}\n", "b".repeat(60_000))), Shown::Status),
        case(
            "`Content-Length` twice, equal",
            text("Content-Length: 4\ncontent-length: 4\n"),
            Shown::Body,
        ),
        case(
            "two different `Content-Length`",
            text("Content-Length: 4\nContent-Length: 3\n"),
            Shown::Body,
        ),
        case("`Content-Length: 4x`", text("Content-Length: 4x\n"), Shown::Body),
        case(NO_BODY, text("Content-Length: 9\n"), Shown::Body),
        case("`Content-Length: 9`, 4 bytes", text("Content-Length: 9\n"), Shown::Body),
        case("`Content-Length: 2`, 4 bytes", text("Content-Length: 2\n"), Shown::Body),
        case("`Transfer-Encoding: chunked`", text("Transfer-Encoding: chunked\n"), Shown::Body),
        case("`Status: abc`", "Status: abc\n\n", Shown::Status),
        case("`Status: 200OK`", "Status: 200OK\n\n", Shown::Status),
        case("`Status: 99`", "Status: 99\n\n", Shown::Status),
        case("`Status: 1000`", "Status: 1000\n\n", Shown::Status),
        case("`Status: 404`, no reason", "Status: 404\n\n", Shown::Status),
        case(
            "`Status: 303`, then `Location`",
            "Status: 303\nLocation: http://host/\n\n",
            Shown::Status,
        ),
        case("a second `Status`", "Status: 404\nStatus: 410\n\n", Shown::Status),
        case(
            "`Status: 103`, then another head",
            "Status: 103\nLink: </a>\n\nStatus: 404\n\n",
            Shown::Status,
        ),
        case("`HTTP/1.1 404 Not Found`", "HTTP/1.1 404 Not Found\nX-A: b\n\n", Shown::Status),
        case("no empty line", "Content-Type: text/plain", Shown::Status),
        case("nothing", "", Shown::Status),
    ]
}

/// Answers a request with the bytes of the case whose number is the query string. There are no
/// other bytes, unlike in a response of this library's `Server`.
fn respond(mut stream: &TcpStream, cases: &[Case]) -> fcgi::Result<()> {
    let (mut content, mut params) = (Vec::new(), Vec::new());
    while let Some(header) = record::read_record(&mut stream, &mut content)? {
        match header.record_type {
            RecordType::Params => params.extend_from_slice(&content),
            RecordType::Stdin if content.is_empty() => break,
            _ => {}
        }
    }
    let params = Params::parse(&params)?;
    let number = params.get("QUERY_STRING").and_then(|query| query.parse::<usize>().ok());
    let bytes = match number {
        Some(number) => cases[number].bytes(),
        None => format!("Content-Type: text/plain\n\n{BODY}").into_bytes(),
    };
    let mut response = Vec::new();
    record::write_stream(&mut response, RecordType::Stdout, 1, &bytes)?;
    record::write_record(&mut response, RecordType::Stdout, 1, b"")?;
    record::write_end_request(&mut response, 1, EndRequest::default())?;
    stream.write_all(&response)?;
    // The web server closes the connection first, so the response is not lost.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// Starts the application. Its threads end with the process.
fn start_app(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a listening socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(io::Result::ok) {
            // An error means that the web server has closed the connection.
            thread::spawn(move || respond(&stream, &cases()));
        }
    });
}

/// A response as received, up to the end of the connection.
struct Received {
    status: String,
    fields: Vec<(String, String)>,
    body: String,
}

/// Sends a request, and reads the response to the end of the connection. Each byte becomes one
/// character. Returns `None` if there is no response, or no web server.
fn exchange(port: u16, case: usize) -> Option<Received> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(READ_TIMEOUT)).expect("a timeout");
    let request =
        format!("GET /a.php?{case} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    // A connection that is reset has also ended. One that stays open after a response is ignored.
    let _ = stream.read_to_end(&mut bytes);
    let text: String = bytes.into_iter().map(char::from).collect();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim_matches(' ').to_owned()))
    };
    Some(Received { status, fields: lines.filter_map(field).collect(), body: body.to_owned() })
}

impl Received {
    fn values(&self, name: &str) -> Vec<&str> {
        let has_name = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(has_name).map(|(_, value)| &**value).collect()
    }

    /// Returns the text of a cell.
    fn describe(&self, shown: Shown) -> String {
        let note = match shown {
            _ if self.status.starts_with(['4', '5']) => "",
            Shown::Status => "",
            Shown::Field(name, value) => match self.values(name)[..] {
                [found] if found == value => "",
                [_] => "changed",
                _ => "dropped",
            },
            Shown::Which(name) => match self.values(name)[..] {
                [first] if first.ends_with("1/1") => "first",
                [last] if last.ends_with("2/2") => "last",
                [_, _] => "both",
                _ => "none",
            },
            Shown::Body => self.describe_body(),
        };
        format!("{} {note}", self.status).trim_end().to_owned()
    }

    fn describe_body(&self) -> &'static str {
        let is_chunked = !self.values("Transfer-Encoding").is_empty();
        let announced = self.values("Content-Length");
        let is_complete = match announced[..] {
            [] if is_chunked => self.body.ends_with("0\r\n\r\n"),
            [] => true,
            [length] => length.parse() == Ok(self.body.len()),
            _ => return "both",
        };
        match is_complete {
            true if self.body.contains(BODY) => "",
            true => "cut",
            false => "broken",
        }
    }
}

/// A web server that forwards every request to the application on this port.
type Start = fn(u16, &TestDir) -> (u16, Process);

const SERVERS: [(&str, Start); 5] = [
    ("`fcgi`", start_gateway),
    ("nginx", |app, dir| {
        let location = format!(
            "location / {{
                fastcgi_param QUERY_STRING $query_string;
                fastcgi_param REQUEST_METHOD $request_method;
                fastcgi_pass 127.0.0.1:{app};
            }}"
        );
        let nginx = Nginx::start(dir, "", &location);
        (nginx.port, nginx.process)
    }),
    ("Apache", |app, dir| {
        let setting = format!("ProxyPass / fcgi://127.0.0.1:{app}/\n");
        apache::start(&["proxy", "proxy_fcgi"], &setting, dir)
    }),
    ("HAProxy", |app, dir| {
        haproxy::start(&format!(" server app 127.0.0.1:{app} proto fcgi\n"), "", dir)
    }),
    ("Caddy", |app, dir| caddy::start(&Endpoint::Tcp(app), dir)),
];

fn start_gateway(app: u16, dir: &TestDir) -> (u16, Process) {
    let (port, root) = (free_port(), dir.create_dir("root"));
    std::fs::write(root.join("a.php"), "").expect("a script");
    let mut command = std::process::Command::new(example("gateway"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--connect", &format!("127.0.0.1:{app}"), "--root"]).arg(root);
    let mut process = Process::start("gateway", &mut command, dir);
    process.wait_until("listening", || http::is_listening(port));
    (port, process)
}

/// Returns the cells of a column.
fn measure(start: Start) -> Vec<String> {
    let app = free_port();
    start_app(app);
    let (mut dir, mut cells) = (TestDir::new(), Vec::new());
    let (mut port, mut process) = start(app, &dir);
    for (number, case) in cases().into_iter().enumerate() {
        let received = exchange(port, number);
        if received.is_none() {
            // The web server may have ended, as HAProxy 2.6 does when a head has no end.
            drop(process);
            dir = TestDir::new();
            (port, process) = start(app, &dir);
        }
        cells.push(received.map_or("no response".into(), |found| found.describe(case.shown)));
    }
    cells
}

/// The table of the documentation shows what the installed servers do.
#[test]
#[ignore = "needs nginx, apache2, haproxy and caddy, run by .ci/run"]
fn documentation_shows_what_web_servers_make_of_response_heads() {
    let columns = SERVERS.map(|(_, start)| measure(start));
    let mut table = vec![
        format!("| The application sends | {} |", SERVERS.map(|(name, _)| name).join(" | ")),
        format!("| --- |{}", " --- |".repeat(SERVERS.len())),
    ];
    for (row, case) in cases().iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|column| &*column[row]).collect();
        table.push(format!("| {} | {} |", case.name, cells.join(" | ")));
    }
    let table: String = table.iter().map(|line| format!("//! {line}\n")).collect();
    println!("{table}");
    assert!(DOCUMENTATION.contains(&table), "the table in src/cgi.rs should be:\n{table}");
}
