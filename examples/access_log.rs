//! Writes an access log in the combined format to stdout.
//!
//! ```sh
//! cargo run --example access_log -- 127.0.0.1:9000
//! ```
//!
//! prints a line such as this for every request, even for one that failed or was rejected:
//!
//! ```text
//! 192.0.2.7 - ferris [10/Oct/2025:13:55:36 +0000] "GET /a?b=1 HTTP/1.1" 200 6 "-" "curl/8.0"
//! ```
//!
//! Failures are written to stderr as well.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use fcgi::server::{EndedRequest, Outcome};
use fcgi::{ResponseHead, Server};

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    Server::bind(address)?.on_request_end(log).serve(|request| match request.path()?.as_ref() {
        "/panic" => panic!("the path is /panic"),
        _ => request.respond(ResponseHead::text(), "Hello\n"),
    })
}

fn log(ended: &EndedRequest) {
    let param = |name| ended.params.get(name).filter(|value| !value.is_empty()).unwrap_or("-");
    let time = DateTime::<Utc>::from(ended.started).format("%d/%b/%Y:%H:%M:%S %z");
    // `Debug` adds quotes and escapes control characters, so a client cannot forge a line.
    let quoted = |text: &str| format!("{text:?}");
    // An error is ignored: a log that is not read must not stop the server.
    let _ = writeln!(
        io::stdout(),
        "{} - {} [{time}] {} {} {} {} {}",
        param("REMOTE_ADDR"),
        param("REMOTE_USER").escape_debug().to_string().replace(' ', "_"),
        quoted(&["REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL"].map(param).join(" ")),
        ended.status.map_or("-".into(), |status| status.to_string()),
        ended.body_bytes,
        quoted(param("HTTP_REFERER")),
        quoted(param("HTTP_USER_AGENT")),
    );
    if !matches!(ended.outcome, Outcome::Finished) {
        eprintln!("{} {:?} after {:?}", param("REQUEST_URI"), ended.outcome, ended.duration);
    }
}
