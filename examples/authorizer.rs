//! An authorizer (section 6.3 of the specification): `authorizer [ADDRESS]`; with no address it
//! serves the listening socket on descriptor 0.
//!
//! It lets in whoever brings the password `open sesame` by HTTP's Basic scheme, and tells the
//! application the user's name in `REMOTE_USER`. The web server must pass `HTTP_AUTHORIZATION` on.
//! One that has no such role, as nginx with its `auth_request`, asks it as a responder: what its
//! answer allows is nothing but that.

use base64::prelude::{Engine, BASE64_STANDARD};
use fcgi::cgi::ResponseHead;
use fcgi::record::Role;
use fcgi::server::{Config, HandlerResult, Request};
use fcgi::Server;

fn main() -> fcgi::Result<()> {
    let server = match std::env::args().nth(1) {
        Some(address) => Server::bind(&address)?,
        None => Server::from_stdin()?,
    };
    server.config(Config::new().roles(&[Role::Authorizer, Role::Responder])).serve(authorize)
}

fn authorize(request: &mut Request) -> HandlerResult {
    let authorization = request.params.get("HTTP_AUTHORIZATION").unwrap_or("");
    let head = match user(authorization) {
        Some(user) => ResponseHead::new()
            .status(200, "OK")?
            .variable("REMOTE_USER", user)?
            .variable("AUTH_TYPE", "Basic")?,
        None => ResponseHead::new()
            .status(401, "Unauthorized")?
            .field("WWW-Authenticate", "Basic realm=\"cave\"")?,
    };
    head.write_to(&mut request.stdout)?;
    Ok(())
}

/// The user that these credentials prove.
fn user(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let is_proven =
        scheme.eq_ignore_ascii_case("Basic") && password == "open sesame" && !user.is_empty();
    is_proven.then(|| user.to_owned())
}
