//! A form with files: GET shows it, POST reads it and answers with the length of each field.
//!
//! ```sh
//! cargo run --example multipart -- 127.0.0.1:9000
//! curl -F title=Ferris -F photo=@photo.jpg http://localhost/multipart    # through a web server
//! ```
//!
//! The crate `multer` parses the body while it arrives, so memory does not grow with its length.

use std::{fmt::Write, io::Read};

use fcgi::server::{Config, HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};
use futures::{executor::block_on, stream};

const FORM: &str = "<!DOCTYPE html><title>Upload</title>
<form method=post enctype=multipart/form-data><input name=title>
<input name=photo type=file multiple> <button>Send</button></form>";

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
    let stdin = &mut request.stdin;
    let pieces = std::iter::from_fn(move || {
        let mut piece = vec![0; 64 * 1024];
        let len = stdin.read(&mut piece);
        len.map(|len| (len > 0).then(|| piece[..len].to_vec())).transpose()
    });
    let mut form = multer::Multipart::new(stream::iter(pieces), boundary.map_err(status_of)?);
    let mut text = String::new();
    while let Some(mut field) = block_on(form.next_field()).map_err(status_of)? {
        let mut len = 0;
        while let Some(piece) = block_on(field.chunk()).map_err(status_of)? {
            len += piece.len();
        }
        let (name, file) = (field.name().unwrap_or_default(), field.file_name());
        writeln!(text, "{name} {}: {len} bytes", file.unwrap_or("-"))?;
    }
    drop(form);
    request.respond(ResponseHead::text(), text)
}

/// Returns the error of reading the body, or the response to an invalid form.
fn status_of(error: multer::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        multer::Error::StreamReadFailed(error) => error,
        error => StatusError::new(400, error.to_string()).into(),
    }
}
