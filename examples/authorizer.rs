//! An authorizer that checks a password: `authorizer [ADDRESS]`.
//!
//! Without an address, it serves the listening socket on descriptor 0.
//!
//! ```sh
//! cargo run --example authorizer -- 127.0.0.1:9000
//! # In another shell; the credentials are "ferris:open sesame" in Base64.
//! cargo run --example fetch -- 127.0.0.1:9000 --role authorizer \
//!     --param 'HTTP_AUTHORIZATION=Basic ZmVycmlzOm9wZW4gc2VzYW1l'
//! ```
//!
//! `fetch` prints the response: `Status: 200 OK`, and two variables that the web server adds to the
//! params of the application, `REMOTE_USER` (here `ferris`) and `AUTH_TYPE`. With any other
//! password than `open sesame`, the response is `Status: 401 Unauthorized`.
//!
//! Authorizers are defined in the [FastCGI specification], section 6.3. The web server must pass
//! the `Authorization` header field on. The program also accepts the responder role, for web
//! servers without authorizers: nginx's `auth_request` evaluates only the status of the response.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use base64::prelude::{Engine, BASE64_STANDARD};
use fcgi::cgi::ResponseHead;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};

use self::support::cli::Program;
use self::support::serve;

const PROGRAM: Program = Program::new(
    "authorizer",
    "\
usage: authorizer [ADDRESS]

An authorizer that checks a password. Without an address, or with `-`, it serves the listening
socket on descriptor 0.

Example:
  authorizer 127.0.0.1:9000
  fetch 127.0.0.1:9000 --role authorizer \\
      --param 'HTTP_AUTHORIZATION=Basic ZmVycmlzOm9wZW4gc2VzYW1l'
",
);

const PASSWORD: &str = "open sesame";

fn main() -> ExitCode {
    PROGRAM.main(|args| {
        let config = Config::new().roles(&[Role::Authorizer, Role::Responder]);
        serve::bind_from(args)?.config(config).serve(authorize)?;
        Ok(0)
    })
}

fn authorize(request: &mut Request) -> HandlerResult {
    let authorization = request.header("Authorization").unwrap_or("");
    let head = match authenticated_user(authorization) {
        Some(user) => ResponseHead::new()
            .status(200)?
            .variable("REMOTE_USER", user)?
            .variable("AUTH_TYPE", "Basic")?,
        None => {
            ResponseHead::new().status(401)?.field("WWW-Authenticate", "Basic realm=\"cave\"")?
        }
    };
    head.write_to(&mut request.stdout)?;
    Ok(())
}

/// Returns the user name in an `Authorization` header field if the password is right.
fn authenticated_user(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let is_valid = scheme.eq_ignore_ascii_case("Basic") && password == PASSWORD && !user.is_empty();
    is_valid.then(|| user.to_owned())
}
