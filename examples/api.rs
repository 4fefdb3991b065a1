//! A JSON API: notes that are kept in memory, below `/api/notes`.
//!
//! ```sh
//! cargo run --example api -- 127.0.0.1:9000
//! curl -d '{"text":"milk"}' http://localhost/api/notes    # through a web server
//! ```
//!
//! Every response is JSON, including those to requests that fail.

use std::sync::{Mutex, PoisonError};

use fcgi::server::{HandlerResult, Request};
use fcgi::{ResponseHead, Server};
use serde_json::{json, Value};

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    let notes = Mutex::new(Vec::new());
    Server::bind(&address.to_string_lossy())?
        .error_page(|request, failure| {
            let reason = fcgi::cgi::canonical_reason(failure.status());
            respond(request, failure.status(), &json!({ "error": reason }))
        })
        .serve(move |request| route(request, &notes))
}

/// Holds the lock only while it needs the notes, so that a slow client does not block the others.
fn route(request: &mut Request, notes: &Mutex<Vec<Value>>) -> HandlerResult {
    let notes = || notes.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.path_below("/api/notes")?.unwrap_or_default();
    let note = path.get(1..).and_then(|id| notes().get(id.parse::<usize>().ok()?).cloned());
    match (request.method(), &*path, note) {
        ("GET" | "HEAD", "/", _) => respond(request, 200, &Value::from(notes().clone())),
        ("GET" | "HEAD", _, Some(note)) => respond(request, 200, &note),
        ("POST", "/", _) => {
            let body = request.stdin.read_limited(64 * 1024)?;
            let Ok(note) = serde_json::from_slice(&body) else {
                return respond(request, 400, &json!({ "error": "the body is not JSON" }));
            };
            let mut notes = notes();
            notes.push(note);
            let location = format!("/api/notes/{}", notes.len() - 1);
            let head = ResponseHead::json().status(201)?.field("Location", &location)?;
            request.respond(head, json!({ "location": location }).to_string())
        }
        (_, "/", _) | (_, _, Some(_)) => respond(request, 405, &json!({ "error": "not allowed" })),
        _ => respond(request, 404, &json!({ "error": "not found" })),
    }
}

fn respond(request: &mut Request, status: u16, value: &Value) -> HandlerResult {
    request.respond(ResponseHead::json().status(status)?, value.to_string())
}
