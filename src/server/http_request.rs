use std::borrow::Cow;
use std::net::IpAddr;
use std::{result, str};

use super::request::Request;
use super::status_error::StatusError;
use crate::cgi;
use crate::error::Result;

/// # What was requested
///
/// These methods look up [`params`](Self::params) when they are called, and allocate nothing unless
/// they say so. The results do not borrow the request, so they can be used while the response is
/// written.
impl<'a> Request<'a> {
    /// Returns the method, such as `GET` (`REQUEST_METHOD`). It is case-sensitive. It is empty if
    /// the web server has sent none.
    pub fn method(&self) -> &'a str {
        self.variable("REQUEST_METHOD").unwrap_or("")
    }

    /// Returns the path of the requested URL, decoded. It is the same behind every web server:
    /// [`cgi::request_path`] describes it. Allocates memory if the path contains an escape.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) if the path is invalid or has a `..`
    /// segment. If the handler returns it, the response is `400 Bad Request`.
    pub fn path(&self) -> Result<Cow<'a, str>> {
        cgi::request_path(self.params)
    }

    /// Returns the part of [`path`](Self::path) below the path at which the application is mounted.
    /// Returns `None` if the path is not below it. The result starts with `/`. [`cgi::path_below`]
    /// describes it.
    ///
    /// # Errors
    /// The errors of [`path`](Self::path).
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn route(request: &mut Request) -> HandlerResult {
    ///     match request.path_below("/app")?.as_deref() {
    ///         Some("/") => request.respond(ResponseHead::text(), "Welcome.\n"),
    ///         Some("/old") => request.respond(ResponseHead::redirect(301, "/app/")?, ""),
    ///         _ => request.respond(ResponseHead::not_found(), "No such page.\n"),
    ///     }
    /// }
    /// ```
    pub fn path_below(&self, mount: &str) -> Result<Option<Cow<'a, str>>> {
        cgi::path_below(self.params, mount)
    }

    /// Returns the query of the URL, not decoded (`QUERY_STRING`). It is empty if there is none, or
    /// if it is not UTF-8.
    pub fn query(&self) -> &'a str {
        self.variable("QUERY_STRING").unwrap_or("")
    }

    /// Returns the value of a header field of the HTTP request, such as `User-Agent`, ignoring
    /// ASCII case. Returns `None` if it is absent, empty or not UTF-8.
    ///
    /// The client can send any value.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let is_named = |(variable, _): &(&[u8], &[u8])| is_variable_of(variable, name);
        let (_, value) = self.params.iter().filter(is_named).last()?;
        str::from_utf8(value).ok().filter(|value| !value.is_empty())
    }

    /// Returns the value of a cookie. Returns `None` if the client has not sent it. If it has sent
    /// several of this name, the first one is returned. Browsers send that of the longest path
    /// first.
    ///
    /// ```
    /// use fcgi::server::Request;
    ///
    /// fn session<'a>(request: &Request<'a>) -> Option<&'a str> {
    ///     request.cookie("session")
    /// }
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let cookies = self.header("Cookie")?.split(';').filter_map(|pair| pair.split_once('='));
        let mut named = cookies.filter(|(cookie, _)| cookie.trim() == name);
        named.next().map(|(_, value)| value.trim())
    }

    /// Returns the type of the body, such as `application/json; charset=utf-8` (`CONTENT_TYPE`).
    /// Returns `None` if the client has not sent it.
    pub fn content_type(&self) -> Option<&'a str> {
        self.variable("CONTENT_TYPE")
    }

    /// Checks that the body has this media type, such as `application/json`, ignoring ASCII case
    /// and parameters such as `charset`.
    ///
    /// # Errors
    /// If it has another type or none: `415 Unsupported Media Type`, if the handler returns it.
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn count_pairs(request: &mut Request) -> HandlerResult {
    ///     request.expect_content_type("application/x-www-form-urlencoded")?;
    ///     let body = request.stdin.read_limited(64 * 1024)?;
    ///     let pairs = form_urlencoded::parse(&body).count();
    ///     request.respond(ResponseHead::text(), format!("{pairs} pairs\n"))
    /// }
    /// ```
    pub fn expect_content_type(&self, media_type: &str) -> result::Result<(), StatusError> {
        let content_type = self.content_type().unwrap_or_default();
        let actual = content_type.split(';').next().unwrap_or_default().trim();
        if actual.eq_ignore_ascii_case(media_type) {
            return Ok(());
        }
        Err(StatusError::new(415, format!("The body must have the type {media_type}.")))
    }

    /// Checks that the method is one of these.
    ///
    /// # Errors
    /// If it is another one: `405 Method Not Allowed`, if the handler returns it.
    ///
    /// ```
    /// use fcgi::server::{HandlerResult, Request};
    /// use fcgi::ResponseHead;
    ///
    /// fn page(request: &mut Request) -> HandlerResult {
    ///     request.expect_method(&["GET", "HEAD"])?;
    ///     request.respond(ResponseHead::html(), "<h1>Hello</h1>")
    /// }
    /// ```
    pub fn expect_method(&self, allowed: &[&str]) -> result::Result<(), StatusError> {
        if allowed.contains(&self.method()) {
            return Ok(());
        }
        Err(StatusError::method_not_allowed(allowed))
    }

    /// Returns the address of the client (`REMOTE_ADDR`). Behind a proxy, it is that of the proxy.
    /// Returns `None` if the web server has sent none, or the client is connected to it over a Unix
    /// socket.
    pub fn remote_addr(&self) -> Option<IpAddr> {
        self.variable("REMOTE_ADDR")?.parse().ok()
    }

    /// Returns the value of a variable, unless it is empty, which means the same as a missing one
    /// (RFC 3875, section 4.1).
    fn variable(&self, name: &str) -> Option<&'a str> {
        self.params.get(name).filter(|value| !value.is_empty())
    }
}

/// Returns whether this is the variable of a header field (RFC 3875, section 4.1.18). Two fields
/// have variables without the prefix `HTTP_`.
fn is_variable_of(variable: &[u8], header: &str) -> bool {
    let has_prefix = !["Content-Type", "Content-Length"]
        .into_iter()
        .any(|unprefixed| unprefixed.eq_ignore_ascii_case(header));
    let name = if has_prefix { variable.strip_prefix(b"HTTP_") } else { Some(variable) };
    let is_upper_case = |(upper, byte): (&u8, u8)| {
        *upper == if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }
    };
    name.is_some_and(|name| {
        name.len() == header.len() && name.iter().zip(header.bytes()).all(is_upper_case)
    })
}
