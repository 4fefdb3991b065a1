//! The pages of the demonstration.

use std::cell::Cell;
use std::io::Write;

use fcgi::server::{HandlerResult, Request};

const PAGE: &str = include_str!("page.html");

thread_local! {
    /// The requests that this thread has answered.
    static ANSWERED: Cell<u64> = const { Cell::new(0) };
}

/// The page that shows everything.
pub(super) fn index(request: &mut Request, number: u64) -> HandlerResult {
    let answered = ANSWERED.with(|answered| {
        answered.set(answered.get() + 1);
        answered.get()
    });
    let params = request.params;
    let mut pairs: Vec<_> = params.iter().collect();
    pairs.sort_unstable();
    let page = PAGE
        .replace("{{number}}", &number.to_string())
        .replace("{{answered}}", &answered.to_string())
        .replace("{{role}}", &format!("{:?}", request.role))
        .replace("{{bytes}}", &params.as_bytes().len().to_string())
        .replace("{{count}}", &params.len().to_string())
        .replace("{{note}}", note(params.get("QUERY_STRING").unwrap_or("")))
        .replace("{{environment}}", &rows(pairs));
    write(request, &page)
}

/// What a form has sent.
pub(super) fn form(request: &mut Request, body: &[u8]) -> HandlerResult {
    let fields: Vec<_> = body.split(|&byte| byte == b'&').map(decode_field).collect();
    let raw = escape(body);
    let rows = rows(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
    let page = format!(
        "<!doctype html><meta charset=utf-8><title>The form</title>\n\
         <p>The application read {} bytes from STDIN: <code>{raw}</code></p>\n<table>{rows}</table>\n",
        body.len()
    );
    write(request, &page)
}

fn write(request: &mut Request, page: &str) -> HandlerResult {
    super::head(request, 200, "text/html; charset=utf-8")?;
    request.stdout.write_all(page.as_bytes())?;
    Ok(())
}

/// How the browser came here.
fn note(query: &str) -> &'static str {
    match query {
        "moved" => "<p class=note>You were sent here by <b>302</b>: the browser followed <code>Location</code>.</p>",
        "shortcut" => {
            "<p class=note>This is <code>/shortcut</code>: the application answered with a local redirect, which the \
             gateway followed by itself.</p>"
        }
        _ => "",
    }
}

fn rows<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let row = |(name, value)| format!("<tr><th>{}<td>{}\n", escape(name), escape(value));
    pairs.into_iter().map(row).collect()
}

fn escape(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A `name=value` of a form.
fn decode_field(field: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts = field.splitn(2, |&byte| byte == b'=').map(decode);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, hex(behind)) {
            (b'+', _) => decoded.push(b' '),
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = &behind[2..];
            }
            _ => decoded.push(byte),
        }
    }
    decoded
}

/// The byte that the first two digits mean.
fn hex(text: &[u8]) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
