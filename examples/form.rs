//! A form: GET shows it, POST reads it and redirects to a page with the result.
//!
//! ```sh
//! cargo run --example form -- 127.0.0.1:9000
//! ```
//!
//! Mount it at `/form`. A body of more than 64 KiB is answered with `413 Content Too Large`. A file
//! upload would send `multipart/form-data`, which is not a form of this kind: see `upload`.

use fcgi::server::{HandlerResult, Request};
use fcgi::{ResponseHead, Server};
use form_urlencoded::{parse, Serializer};

const MAX_FORM: u64 = 64 * 1024;
const FORM: &str = "<!DOCTYPE html><title>Greeting</title>
<form method=post><label>Name <input name=name></label> <button>Greet</button></form>
";

fn main() -> fcgi::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:9000".into());
    Server::bind(&address.to_string_lossy())?.serve(|request| {
        match (request.method(), request.path_below("/form")?.as_deref()) {
            ("GET" | "HEAD", Some("/")) => request.respond(ResponseHead::html(), FORM),
            ("POST", Some("/")) => read_form(request),
            ("GET" | "HEAD", Some("/greeting")) => greet(request),
            (_, Some("/" | "/greeting")) => {
                let head = ResponseHead::text().status(405)?.field("Allow", "GET, HEAD, POST")?;
                request.respond(head, "Method not allowed.\n")
            }
            _ => request.respond(ResponseHead::not_found(), "No such page.\n"),
        }
    })
}

fn read_form(request: &mut Request) -> HandlerResult {
    if request.content_type() != Some("application/x-www-form-urlencoded") {
        return request.respond(ResponseHead::text().status(415)?, "Expected a form.\n");
    }
    let body = request.stdin.read_limited(MAX_FORM)?;
    let Some((_, name)) = parse(&body).find(|(key, value)| key == "name" && !value.is_empty())
    else {
        return request.respond(ResponseHead::text().status(422)?, "The name is missing.\n");
    };
    let query = Serializer::new(String::new()).append_pair("name", &name).finish();
    // Status 303 makes the browser send a GET request, so that a reload does not post again.
    request.respond(ResponseHead::redirect(303, &format!("/form/greeting?{query}"))?, "")
}

fn greet(request: &mut Request) -> HandlerResult {
    let query = parse(request.query().as_bytes());
    let names: Vec<_> = query.filter(|(key, _)| key == "name").map(|(_, value)| value).collect();
    request.respond(ResponseHead::text(), format!("Hello, {}!\n", names.join(" and ")))
}
