//! A form: GET shows it, POST reads it and redirects to a page with the result.
//!
//! ```sh
//! cargo run --example form -- 127.0.0.1:9000
//! ```
//!
//! Mount it at `/form`. A body of more than 64 KiB is answered with `413 Content Too Large`, and
//! one that is not a form with `415 Unsupported Media Type`. `multipart` reads forms with files.

use std::collections::HashMap;

use fcgi::server::{HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};
use form_urlencoded::{parse, Serializer};

const FORM: &str = "<!DOCTYPE html><title>Greeting</title>
<form method=post><label>Name <input name=name></label> <button>Greet</button></form>
";

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    Server::bind(address)?.serve(|request| {
        match (request.method(), request.path_below("/form")?.as_deref()) {
            ("GET" | "HEAD", Some("/")) => request.respond(ResponseHead::html(), FORM),
            ("POST", Some("/")) => read_form(request),
            (_, Some("/")) => Err(StatusError::method_not_allowed(&["GET", "HEAD", "POST"]).into()),
            (_, Some("/greeting")) => greet(request),
            _ => request.respond(ResponseHead::not_found(), "No such page.\n"),
        }
    })
}

fn read_form(request: &mut Request) -> HandlerResult {
    request.expect_content_type("application/x-www-form-urlencoded")?;
    let body = request.stdin.read_limited(64 * 1024)?;
    let form: HashMap<_, _> = parse(&body).collect();
    let name = form.get("name").filter(|name| !name.is_empty());
    let name = name.ok_or(StatusError::new(422, "The name is missing."))?;
    let query = Serializer::new(String::new()).append_pair("name", name).finish();
    // Status 303 makes the browser send a GET request, so that a reload does not post again.
    request.respond(ResponseHead::redirect(303, &format!("/form/greeting?{query}"))?, "")
}

fn greet(request: &mut Request) -> HandlerResult {
    request.expect_method(&["GET", "HEAD"])?;
    let query: HashMap<_, _> = parse(request.query().as_bytes()).collect();
    let name = query.get("name").ok_or(StatusError::new(400, "The name is missing."))?;
    request.respond(ResponseHead::text(), format!("Hello, {name}!\n"))
}
