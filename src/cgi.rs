//! CGI/1.1: the variables that describe a request, and the head of a response.
//!
//! FastCGI uses both of them as they are defined for CGI programs in [RFC 3875].
//!
//! | Item | Side | Purpose |
//! | --- | --- | --- |
//! | [`Environment`] | web server | Converts an [`HttpRequest`] and a [`Script`] to [`Params`]. |
//! | [`HeadParser`], [`Head`] | web server | Parse the head of a response. |
//! | [`ResponseHead`] | application | Writes the head of a response. |
//! | [`request_path()`], [`path_below`] | application | Return the path that was requested. |
//! | [`encode_path`], [`decode_path`] | both | Escape a path, and decode one safely. |
//!
//! ```
//! use fcgi::cgi::{Environment, Head, HttpRequest, ResponseHead, Script};
//!
//! // The web server converts a request to params.
//! let request = HttpRequest {
//!     method: "GET",
//!     target: "/app.php/user%20list?page=2",
//!     version: "HTTP/1.1",
//!     headers: &[("Host", b"example.org:8080"), ("Accept", b"text/html")],
//!     remote: "192.0.2.7:49152".parse().unwrap(),
//!     local: "192.0.2.1:8080".parse().unwrap(),
//!     https: false,
//!     content_length: None,
//! };
//! let script = Script::by_extension(request.path()?, ".php").expect("a PHP script");
//! let params = Environment::new().document_root("/srv/www").params(&request, &script)?;
//! assert_eq!(params.get("SCRIPT_FILENAME"), Some("/srv/www/app.php"));
//! assert_eq!(params.get("PATH_INFO"), Some("/user list"));
//! assert_eq!(params.get("HTTP_ACCEPT"), Some("text/html"));
//!
//! // The application writes a response, which starts with its head.
//! let mut stdout = Vec::new();
//! ResponseHead::not_found().write_to(&mut stdout)?;
//! stdout.extend_from_slice(b"no such user\n");
//!
//! // The web server parses the head. The rest is the body.
//! let (head, body) = Head::parse(&stdout)?;
//! assert_eq!((head.status(), head.reason()), (404, "Not Found"));
//! assert_eq!(head.content_type(), Some("text/plain; charset=utf-8"));
//! assert_eq!(body, b"no such user\n");
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! # Response heads
//!
//! [`HeadParser`] is strict where safety or the length of the response depends on it, and lenient
//! elsewhere. It accepts the following heads, which RFC 3875 does not allow. With
//! [`HeadParser::strict`] the parser rejects them, except that it returns an interim head like any
//! other.
//!
//! - A `Location` may be any reference, and may contain bytes above 127. The client is
//!   redirected. RFC 9110, section 10.2.2, allows relative references. Adminer and phpMyAdmin
//!   send them.
//! - `Content-Type`, `Location` and `Status` may all be missing. The status is then 200, and no
//!   type is guessed. PHP sends such a head if its setting `default_mimetype` is empty.
//! - A `Content-Type` replaces an earlier one. A framework may have sent a default before the
//!   program sends its own. Browsers also use the last of two fields.
//! - A field whose name is not a token is dropped if the name has no blank or control byte.
//!   Dropping it does not affect other fields. HTTP does not allow such a name, so it is not passed
//!   on.
//! - An interim response, with status 100 or 102 to 199, is dropped. The next head is that of the
//!   response. No client needs it (RFC 9110, section 15.2), and if it were the response, the next
//!   head would become the body.
//!
//! The following heads are always an error, to which a web server responds with `502 Bad Gateway`:
//!
//! - A line contains a CR or NUL, has a blank in its name or before its colon, has no colon, or
//!   continues another line. Programs differ in where such a field ends, so that another field or
//!   a body could be injected.
//! - A `Content-Length` is malformed or differs from another. The end of the response is unknown.
//! - A `Status` is malformed, or there are two `Status` or two `Location` fields. The meaning of
//!   the response is unknown.
//! - A `Location` contains a control byte. Browsers remove a tab, so `/\t/host` would lead to
//!   another host.
//! - The head has more than 64 KiB, with the interim heads before it, or more than 1024 fields,
//!   because memory is bounded. [`HeadParser`] can change these limits.
//!
//! [`Head::http_fields`] omits `Transfer-Encoding`, because a web server encodes the body for the
//! connection of its client.
//!
//! This table shows the status with which web servers respond to a browser. The column `fcgi` is
//! the example `gateway`. The others are nginx 1.22, Apache 2.4, HAProxy 2.6 and Caddy 2.6, as
//! measured by a test. The words after the status describe other differences:
//!
//! - `last`, `both`: which of the two fields the browser receives
//! - `dropped`, `changed`: what happens to the field
//! - `cut`: a part of the body is missing, or more follows, and the browser does not notice
//! - `broken`: the same, but the browser notices
//! - `no response`: the connection is closed without a response. HAProxy 2.6 also aborts with a
//!   failed assertion.
//!
//! | The application sends | `fcgi` | nginx | Apache | HAProxy | Caddy |
//! | --- | --- | --- | --- | --- | --- |
//! | a path in `Location`, no other field | 200 | 302 | 200 | 302 | 200 |
//! | a path, other fields | 302 | 302 | 200 | 302 | 200 |
//! | `Location: http://host/` | 302 | 302 | 200 | 302 | 200 |
//! | `Location: info.php?x=1` | 302 | 302 | 200 | 302 | 200 |
//! | `Location: ?m=done` | 302 | 302 | 200 | 302 | 200 |
//! | `Location: ../x` | 302 | 302 | 200 | 302 | 200 |
//! | `Location: //host/x` | 302 | 302 | 200 | 302 | 200 |
//! | a byte above 127 in `Location` | 302 | 302 | 200 | 302 | 200 |
//! | a tab in `Location` | 502 | 302 | 200 | 302 | 200 |
//! | a second `Location` | 502 | 302 both | 200 last | 302 both | 200 both |
//! | no field of CGI, `X-A: b` | 200 | 200 | 200 | 200 | 200 |
//! | no field at all | 200 | 200 | 200 | 200 | 200 |
//! | a second `Content-Type` | 200 last | 200 last | 200 last | 200 both | 200 both |
//! | `X(A: b` | 200 dropped | 200 | 500 | 200 | 200 dropped |
//! | a byte above 127 in a name | 200 dropped | 200 | 500 | 200 | 200 dropped |
//! | `X A: b` | 502 | 502 | 500 | 200 | 200 dropped |
//! | `X-A : b` | 502 | 502 | 500 | 200 dropped | 200 dropped |
//! | a line without a colon | 502 | 200 | 500 | 502 | 502 |
//! | a folded line | 502 | 502 | 500 | 200 changed | 200 |
//! | a CR in a value | 502 | 502 | 200 changed | 502 | 200 changed |
//! | a NUL in a value | 502 | 502 | 200 changed | 200 | 200 |
//! | another control byte in a value | 200 | 200 | 500 | 200 | 200 |
//! | 300 fields | 200 | 200 | 200 | 502 | 200 |
//! | 1,000 fields | 200 | 502 | 200 | 502 | 200 |
//! | a field of 7 KiB | 200 | 502 | 200 | 200 | 200 |
//! | a field of 60 KiB | 200 | 502 | 500 | 502 | 200 |
//! | `Content-Length` twice, equal | 200 | 200 | 200 | 200 | 200 both |
//! | two different `Content-Length` | 502 | 200 cut | 200 | 502 | 200 both |
//! | `Content-Length: 4x` | 502 | 200 | 200 | 502 | 200 |
//! | `Content-Length: 9`, no body | 502 | 200 broken | 200 cut | 200 broken | 200 broken |
//! | `Content-Length: 9`, 4 bytes | 502 | 200 broken | 200 | 200 broken | 200 broken |
//! | `Content-Length: 2`, 4 bytes | 200 cut | 200 cut | 200 | 502 | 200 broken |
//! | `Transfer-Encoding: chunked` | 200 | 200 | 200 | 502 | 200 cut |
//! | `Status: abc` | 502 | 502 | 500 | abc | 502 |
//! | `Status: 200OK` | 502 | 200OK | 200 | 200OK | 502 |
//! | `Status: 99` | 502 | 502 | 500 | 99 | no response |
//! | `Status: 1000` | 502 | 1000 | 500 | 1000 | no response |
//! | `Status: 404`, no reason | 404 | 404 | 404 | 404 | 404 |
//! | `Status: 303`, then `Location` | 303 | 303 | 303 | 302 | 303 |
//! | a second `Status` | 502 | 404 | 410 | 410 | 404 |
//! | `Status: 103`, then another head | 404 | 103 | 103 | 502 | 103 |
//! | `HTTP/1.1 404 Not Found` | 502 | 200 | 500 | 502 | 502 |
//! | no empty line | 502 | 502 | 200 | no response | 502 |
//! | nothing | 502 | 502 | 200 | 502 | 502 |
//!
//! [`Params`]: crate::Params
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

mod environment;
mod head_fields;
mod head_parser;
mod http_request;
mod parsed_head;
mod path;
mod request_headers;
mod request_path;
mod request_target;
mod response_head;
mod script;
mod status;
mod syntax;
mod variables;

pub use self::environment::Environment;
pub use self::head_parser::HeadParser;
pub use self::http_request::HttpRequest;
pub use self::parsed_head::Head;
pub use self::path::{decode_path, encode_path};
pub use self::request_path::{path_below, request_path};
pub(crate) use self::response_head::check_field;
pub use self::response_head::ResponseHead;
pub use self::script::Script;
pub use self::status::canonical_reason;
pub use self::variables::{params_for_authorizer, set_variable};
