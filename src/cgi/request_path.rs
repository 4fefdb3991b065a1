//! The path that a client has requested, from the params that web servers send.

use std::borrow::Cow;
use std::str;

use super::path::{is_safe, unescape, EscapedSlash};
use super::request_target::Target;
use super::syntax::invalid_request;
use crate::error::Result;
use crate::params::Params;

/// Returns the path of the requested URL, decoded.
///
/// The variables `SCRIPT_NAME` and `PATH_INFO` depend on the web server and on its configuration:
/// some put the whole path in the first one, some in the second one, and some split it. The path is
/// therefore that of `REQUEST_URI`, which nginx, Apache, Caddy, lighttpd, HAProxy and h2o send
/// alike. If the web server sends no `REQUEST_URI`, the path is `SCRIPT_NAME` followed by
/// `PATH_INFO`. If these two are equal, the path is their value, because common configurations of
/// nginx set both to the whole path. Then `/app` cannot be distinguished from `/app/app`.
///
/// - Percent-escapes are decoded, with one exception: an escaped slash remains `%2F`, so that it
///   does not separate two segments. Without `REQUEST_URI`, the web server has decoded it. The text
///   `%2F`, which a client sends as `%252F`, looks the same. To distinguish them, decode
///   `REQUEST_URI`.
/// - The path starts with `/`. Empty segments and `.` segments remain as they are.
/// - It does not show what the web server has rewritten. A redirect inside the web server, such as
///   `try_files` of nginx, does not change it.
///
/// The raw path is in `REQUEST_URI`, before the query.
///
/// # Errors
/// [`Error::InvalidRequest`](crate::Error::InvalidRequest) if the path
///
/// - has a `..` segment. Its dots and the slashes around it may be escaped, even twice: web servers
///   disagree about the meaning of such a path, and no such segment may appear when a program
///   decodes the result again, because of `%2F`.
/// - contains a control byte, or `%` without two hexadecimal digits after it.
/// - is not UTF-8.
/// - does not start with `/`.
///
/// A handler that returns this error responds with `400 Bad Request`.
///
/// ```
/// use fcgi::{cgi::request_path, Params};
///
/// let nginx = [("REQUEST_URI", "/app/caf%C3%A9?page=2"), ("SCRIPT_NAME", "/app/café")];
/// assert_eq!(request_path(&Params::from_pairs(nginx)?)?, "/app/café");
///
/// let climbing = [("REQUEST_URI", "/app/%2e%2e/secret")];
/// assert!(request_path(&Params::from_pairs(climbing)?).is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn request_path(params: &Params) -> Result<Cow<'_, str>> {
    match variable(params, "REQUEST_URI") {
        b"" => path_of_script(params),
        target => path_of_target(target).ok_or_else(|| invalid_request("REQUEST_URI", target)),
    }
}

/// Returns the part of [`request_path`] below the path at which an application is mounted, such as
/// `/app`. Returns `None` if the path is not below it.
///
/// The result starts with `/`. It is `/` for the mount point itself, with and without a slash at
/// its end.
///
/// Pass the mount point in decoded form, such as `/my app`. It must start with `/`: no path is
/// below `app`. A slash at its end is ignored. The empty mount point and `/` stand for the whole
/// site.
///
/// # Errors
/// Those of [`request_path`].
///
/// ```
/// use fcgi::{cgi::path_below, Params};
///
/// let params = Params::from_pairs([("REQUEST_URI", "/app/list?page=2")])?;
/// assert_eq!(path_below(&params, "/app")?.as_deref(), Some("/list"));
/// assert_eq!(path_below(&params, "/app/list")?.as_deref(), Some("/"));
/// assert_eq!(path_below(&params, "/ap")?, None);
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn path_below<'a>(params: &'a Params, mount: &str) -> Result<Option<Cow<'a, str>>> {
    let path = request_path(params)?;
    let mount = mount.trim_end_matches('/');
    Ok(match path.strip_prefix(mount) {
        Some("") => Some("/".into()),
        Some(rest) if rest.starts_with('/') => Some(skip(path, mount.len())),
        _ => None,
    })
}

/// Returns a string without its first bytes.
fn skip(text: Cow<'_, str>, len: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[len..]),
        Cow::Owned(mut text) => {
            text.drain(..len);
            Cow::Owned(text)
        }
    }
}

fn path_of_target(target: &[u8]) -> Option<Cow<'_, str>> {
    let path = Target::parse(str::from_utf8(target).ok()?)?.path;
    if !path.contains('%') {
        return is_safe(path.as_bytes()).then_some(Cow::Borrowed(path));
    }
    let decoded = String::from_utf8(unescape(path, EscapedSlash::Keep)?).ok()?;
    is_safe_decoded_again(decoded.as_bytes()).then_some(Cow::Owned(decoded))
}

/// Returns the path that the web server has decoded and split.
fn path_of_script(params: &Params) -> Result<Cow<'_, str>> {
    let (name, info) = (variable(params, "SCRIPT_NAME"), variable(params, "PATH_INFO"));
    let path = match (name, info) {
        (b"", b"") => Cow::Borrowed(&b"/"[..]),
        (path, b"") | (b"", path) => Cow::Borrowed(path),
        // Common configurations of nginx set both variables to the whole path.
        (name, info) if name == info => Cow::Borrowed(name),
        (name, info) => Cow::Owned([name, info].concat()),
    };
    if !path.starts_with(b"/") || !is_safe_decoded_again(&path) {
        return Err(invalid_request("path", &path));
    }
    match path {
        Cow::Borrowed(path) => str::from_utf8(path).ok().map(Cow::Borrowed),
        Cow::Owned(path) => String::from_utf8(path).ok().map(Cow::Owned),
    }
    .ok_or_else(|| invalid_request("path", &[name, info].concat()))
}

/// Returns whether a decoded path is [safe](is_safe), and remains so if a program decodes it again.
fn is_safe_decoded_again(path: &[u8]) -> bool {
    if path.contains(&b'%') {
        is_safe(&decode_separators_and_dots(path))
    } else {
        is_safe(path)
    }
}

/// Decodes escaped slashes, backslashes and dots. All other bytes remain as they are.
fn decode_separators_and_dots(mut path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    loop {
        let byte;
        (byte, path) = match path {
            [b'%', b'2', b'F' | b'f', rest @ ..] => (b'/', rest),
            [b'%', b'2', b'E' | b'e', rest @ ..] => (b'.', rest),
            [b'%', b'5', b'C' | b'c', rest @ ..] => (b'\\', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return decoded,
        };
        decoded.push(byte);
    }
}

fn variable<'a>(params: &'a Params, name: &str) -> &'a [u8] {
    params.get_bytes(name).unwrap_or_default()
}
