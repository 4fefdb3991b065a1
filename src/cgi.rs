//! CGI/1.1: the variables that describe a request, and the head of a response.
//!
//! FastCGI uses both of them as they are defined for CGI programs in [RFC 3875].
//!
//! | Item | Side | Purpose |
//! | --- | --- | --- |
//! | [`Environment`] | web server | Converts an [`HttpRequest`] and a [`Script`] to [`Params`]. |
//! | [`HeadParser`], [`Head`] | web server | Parse the head of a response. |
//! | [`ResponseHead`] | application | Writes the head of a response. |
//! | [`request_path`], [`path_below`] | application | Return the path that the client requested. |
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
//! [`Params`]: crate::Params
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

mod environment;
mod fields;
mod head;
mod headers;
mod parser;
mod path;
mod request;
mod request_path;
mod response;
mod status;
mod syntax;
mod target;
mod variable;

pub use self::environment::Environment;
pub use self::head::Head;
pub use self::parser::HeadParser;
pub use self::path::{decode_path, Script};
pub use self::request::HttpRequest;
pub use self::request_path::{path_below, request_path};
pub use self::response::ResponseHead;
pub use self::status::canonical_reason;
pub use self::variable::{params_for_authorizer, set_variable};
