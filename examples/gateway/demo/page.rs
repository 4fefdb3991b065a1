//! The HTML pages of the demonstration.

use std::borrow::Cow;
use std::cell::Cell;

use fcgi::server::{HandlerResult, Request};
use fcgi::ResponseHead;

const PAGE: &str = include_str!("page.html");

thread_local! {
    /// The number of pages that this thread has sent.
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

/// Sends the main page.
pub(super) fn index(request: &mut Request, number: u64) -> HandlerResult {
    let pages = PAGES.with(|pages| {
        pages.set(pages.get() + 1);
        pages.get()
    });
    let params = request.params;
    let text = |(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
    let mut pairs: Vec<_> = params.iter().map(text).collect();
    pairs.sort_unstable();
    let page = PAGE
        .replace("{{number}}", &number.to_string())
        .replace("{{pages}}", &pages.to_string())
        .replace("{{role}}", &format!("{:?}", request.role))
        .replace("{{bytes}}", &params.as_bytes().len().to_string())
        .replace("{{count}}", &params.len().to_string())
        .replace("{{note}}", note(request.query()))
        .replace("{{params}}", &rows(pairs));
    request.respond(ResponseHead::html(), page)
}

/// Sends a page with the fields of a form.
pub(super) fn form(request: &mut Request, body: &[u8]) -> HandlerResult {
    let page = format!(
        "<!doctype html><meta charset=utf-8><title>Form</title>\n\
         <p>The application read {} bytes from STDIN: <code>{}</code></p>\n\
         <table>{}</table>\n",
        body.len(),
        escape(&String::from_utf8_lossy(body)),
        rows(form_urlencoded::parse(body))
    );
    request.respond(ResponseHead::html(), page)
}

/// Explains the redirect that led to the page, if there was one.
fn note(query: &str) -> &'static str {
    match query {
        "moved" => {
            "<p class=note>The application answered <code>/moved</code> with status <b>302</b>. \
             The browser followed the <code>Location</code> field to this page.</p>"
        }
        "shortcut" => {
            "<p class=note>This is <code>/shortcut</code>. The application answered with a local \
             redirect, which the gateway followed.</p>"
        }
        _ => "",
    }
}

/// Formats names and values as the rows of a table.
fn rows<'a>(pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> String {
    let row = |(name, value): (Cow<str>, Cow<str>)| {
        format!("<tr><th>{}<td>{}\n", escape(&name), escape(&value))
    };
    pairs.into_iter().map(row).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
