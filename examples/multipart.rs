//! A form with files: GET shows it, POST reads it and answers with the length of each field.
//!
//! ```sh
//! cargo run --example multipart -- 127.0.0.1:9000
//! curl -F title=Ferris -F photo=@photo.jpg http://localhost/multipart    # through a web server
//! ```
//!
//! The crate `multer` parses the body while it arrives, so memory does not grow with the length of
//! a file. A form of more than 1 GiB or 100 fields is answered with `413 Content Too Large`, and so
//! is one with a long field header.

use std::fmt::Write;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use fcgi::server::{Config, HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};
use futures::executor::block_on;
use futures::stream::{poll_fn, Stream};

const FORM: &str = "<!DOCTYPE html><title>Upload</title>
<form method=post enctype=multipart/form-data><input name=title>
<input name=photo type=file multiple> <button>Send</button></form>";

/// The maximum number of fields. The response has a line for each, and `multer` reads another piece
/// of the body for each.
const MAX_FIELDS: usize = 100;
/// The number of bytes that may be read before `multer` returns some of them. It holds the header
/// of a field until it is complete.
const MAX_HELD: usize = 64 * 1024;
/// The number of bytes that are read at a time.
const PIECE_LEN: usize = 16 * 1024;

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    let config = Config::new().max_body(Some(1 << 30));
    Server::bind(address)?.config(config).serve(|request| match request.method() {
        "GET" | "HEAD" => request.respond(ResponseHead::html(), FORM),
        "POST" => read_form(request),
        _ => Err(StatusError::method_not_allowed(&["GET", "HEAD", "POST"]).into()),
    })
}

fn read_form(request: &mut Request) -> HandlerResult {
    request.expect_content_type("multipart/form-data")?;
    let boundary = multer::parse_boundary(request.content_type().unwrap_or_default());
    let held = AtomicUsize::new(0);
    let pieces = pieces(&mut request.stdin, &held);
    let mut form = multer::Multipart::new(pieces, boundary.map_err(status_of)?);
    let (mut text, mut fields) = (String::new(), 0);
    while let Some(mut field) = block_on(form.next_field()).map_err(status_of)? {
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(StatusError::new(413, "The form has too many fields.").into());
        }
        held.store(0, Relaxed);
        let mut len = 0;
        while let Some(piece) = block_on(field.chunk()).map_err(status_of)? {
            held.store(0, Relaxed);
            len += piece.len();
        }
        let (name, file) = (field.name().unwrap_or_default(), field.file_name());
        writeln!(text, "{name} {}: {len} bytes", file.unwrap_or("-"))?;
    }
    drop(form);
    request.respond(ResponseHead::text(), text)
}

/// Returns the pieces of a body. `multer` reads pieces until it receives `Poll::Pending`, and only
/// then parses them. The stream returns `Pending` after each piece. Otherwise `multer` would hold
/// the whole body in memory.
fn pieces<'a>(
    body: &'a mut (impl Read + Send),
    held: &'a AtomicUsize,
) -> impl Stream<Item = io::Result<Vec<u8>>> + 'a {
    let mut is_ready = false;
    poll_fn(move |context| {
        is_ready = !is_ready;
        if !is_ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut piece = vec![0; PIECE_LEN];
        let piece = body.read(&mut piece).and_then(|len| {
            piece.truncate(len);
            if held.fetch_add(len, Relaxed) > MAX_HELD {
                let error = StatusError::new(413, "The header of a field is too long.");
                return Err(io::Error::other(error));
            }
            Ok((len > 0).then_some(piece))
        });
        Poll::Ready(piece.transpose())
    })
}

/// Returns the error of reading the body, or the response to an invalid form.
fn status_of(error: multer::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        multer::Error::StreamReadFailed(error) => error,
        error => StatusError::new(400, error.to_string()).into(),
    }
}
