//! CGI/1.1 (RFC 3875), which FastCGI carries: the variables that tell an application about a
//! request, and the head of its response.
//!
//! On the web server's side an [`Environment`] makes the [`Params`](crate::Params) of an
//! [`HttpRequest`] and the [`Script`] that is to answer it, and a [`HeadParser`] takes the [`Head`]
//! off the response. On the application's side a [`ResponseHead`] writes it.
//!
//! ```
//! use fcgi::cgi::{Environment, Head, HttpRequest, ResponseHead, Script};
//!
//! // The web server: a request becomes params.
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
//! // The application: a response begins with its head.
//! let mut stdout = Vec::new();
//! ResponseHead::new()
//!     .status(404, "")?
//!     .field("Content-Type", "text/plain")?
//!     .write_to(&mut stdout)?;
//! stdout.extend_from_slice(b"no such user\n");
//!
//! // The web server again: the head, and the body behind it.
//! let (head, body) = Head::parse(&stdout)?;
//! assert_eq!((head.status(), head.reason()), (404, "Not Found"));
//! assert_eq!(head.content_type(), Some("text/plain"));
//! assert_eq!(body, b"no such user\n");
//! # Ok::<(), fcgi::Error>(())
//! ```

mod environment;
mod head;
mod parser;
mod path;
mod request;
mod response;
mod rules;

pub use environment::{for_authorizer, set_variable, Environment};
pub use head::Head;
pub use parser::HeadParser;
pub use path::{decode_path, Script};
pub use request::HttpRequest;
pub use response::ResponseHead;
pub use rules::standard_reason;
