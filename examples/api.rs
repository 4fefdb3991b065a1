//! A JSON API: notes that are kept in memory, below `/api/notes`.
//!
//! ```sh
//! cargo run --example api -- 127.0.0.1:9000
//! curl -d '{"text":"milk"}' http://localhost/api/notes    # through a web server
//! ```
//!
//! Every response of the handler is JSON, and so is that to an error or a panic. A request whose
//! params are too large receives plain text, because no handler is called for it.

use std::sync::{Mutex, PoisonError};

use fcgi::server::{HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};
use serde_json::{json, Value};

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    let notes = Mutex::new(Vec::new());
    Server::bind(address)?
        .error_page(|request, failure| {
            let body = json!({ "error": failure.text() });
            request.respond(failure.head(ResponseHead::json())?, body.to_string())
        })
        .serve(move |request| route(request, &notes))
}

/// Holds the lock only while it needs the notes, so that a slow client does not block the others.
fn route(request: &mut Request, notes: &Mutex<Vec<Value>>) -> HandlerResult {
    let notes = || notes.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.path_below("/api/notes")?.unwrap_or_default();
    match (request.method(), &*path) {
        ("GET" | "HEAD", "/") => {
            let all = Value::from(notes().clone());
            request.respond(ResponseHead::json(), all.to_string())
        }
        ("POST", "/") => {
            let body = request.stdin.read_limited(64 * 1024)?;
            let note = serde_json::from_slice(&body);
            let note: Value = note.map_err(|error| StatusError::new(400, error.to_string()))?;
            let (text, mut notes) = (note.to_string(), notes());
            notes.push(note);
            let location = format!("/api/notes/{}", notes.len() - 1);
            request.respond(ResponseHead::json().status(201)?.field("Location", location)?, text)
        }
        (_, "/") => Err(StatusError::method_not_allowed(&["GET", "HEAD", "POST"]).into()),
        (_, path) => {
            let id: Option<usize> = path.strip_prefix('/').and_then(|id| id.parse().ok());
            let note = id.and_then(|id| notes().get(id).map(Value::to_string));
            let note = note.ok_or(StatusError::new(404, "There is no such note."))?;
            request.expect_method(&["GET", "HEAD"])?;
            request.respond(ResponseHead::json(), note)
        }
    }
}
