//! The HTML pages of the demonstration.

use std::cell::Cell;
use std::io::Write;

use fcgi::server::{HandlerResult, Request};

use super::response::write_head;

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
    let mut pairs: Vec<_> = params.iter().collect();
    pairs.sort_unstable();
    let page = PAGE
        .replace("{{number}}", &number.to_string())
        .replace("{{pages}}", &pages.to_string())
        .replace("{{role}}", &format!("{:?}", request.role))
        .replace("{{bytes}}", &params.as_bytes().len().to_string())
        .replace("{{count}}", &params.len().to_string())
        .replace("{{note}}", note(params.get("QUERY_STRING").unwrap_or("")))
        .replace("{{params}}", &rows(pairs));
    write_page(request, &page)
}

/// Sends a page with the fields of a form.
pub(super) fn form(request: &mut Request, body: &[u8]) -> HandlerResult {
    let fields: Vec<_> = body.split(|&byte| byte == b'&').map(decode_field).collect();
    let raw = escape(body);
    let rows = rows(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
    let page = format!(
        "<!doctype html><meta charset=utf-8><title>Form</title>\n\
         <p>The application read {} bytes from STDIN: <code>{raw}</code></p>\n\
         <table>{rows}</table>\n",
        body.len()
    );
    write_page(request, &page)
}

fn write_page(request: &mut Request, page: &str) -> HandlerResult {
    write_head(request, 200, "text/html; charset=utf-8")?;
    request.stdout.write_all(page.as_bytes())?;
    Ok(())
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
fn rows<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let row = |(name, value)| format!("<tr><th>{}<td>{}\n", escape(name), escape(value));
    pairs.into_iter().map(row).collect()
}

fn escape(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Decodes one `name=value` of a form.
fn decode_field(field: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts = field.splitn(2, |&byte| byte == b'=').map(decode);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Replaces `+` with a space, and percent-encoded bytes with their values.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, hex_byte(tail)) {
            (b'+', _) => decoded.push(b' '),
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = &tail[2..];
            }
            _ => decoded.push(byte),
        }
    }
    decoded
}

/// Parses the two hexadecimal digits at the beginning of a text.
fn hex_byte(text: &[u8]) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
