//! The params of a CGI call, from the environment of the process.

use std::ffi::OsString;

use crate::error::Result;
use crate::params::Params;

/// The variables of RFC 3875, section 4.1, and those that web servers commonly add.
const CGI_VARIABLES: &[&str] = &[
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "CONTEXT_DOCUMENT_ROOT",
    "CONTEXT_PREFIX",
    "DOCUMENT_ROOT",
    "DOCUMENT_URI",
    "GATEWAY_INTERFACE",
    "HTTPS",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_FILENAME",
    "SCRIPT_NAME",
    "SCRIPT_URI",
    "SCRIPT_URL",
    "SERVER_ADDR",
    "SERVER_ADMIN",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SIGNATURE",
    "SERVER_SOFTWARE",
    "UNIQUE_ID",
];

/// The prefixes of further variables.
const CGI_PREFIXES: &[&str] = &[
    "HTTP_",
    "REDIRECT_",
    "SSL_CIPHER",
    "SSL_CLIENT_",
    "SSL_PROTOCOL",
    "SSL_SERVER_",
    "SSL_SESSION_",
    "SSL_TLS_",
    "X_",
];

/// Returns the params of a CGI call: those variables of an environment that [RFC 3875] defines or
/// that web servers commonly add.
///
/// The other variables of the process may contain secrets, so they are left out. `HTTP_PROXY` is
/// left out because a client can set it with a header field (CVE-2016-5385).
///
/// # Errors
/// The errors of [`Params::push`].
///
/// ```
/// use fcgi::{bridge, Params};
///
/// let environment = [
///     ("REQUEST_METHOD", "GET"),
///     ("HTTP_HOST", "example.org"),
///     ("HTTP_PROXY", "http://attacker.example"),
///     ("HOME", "/root"),
/// ];
/// let expected = [("REQUEST_METHOD", "GET"), ("HTTP_HOST", "example.org")];
/// assert_eq!(bridge::cgi_params(environment)?, Params::from_pairs(expected)?);
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn cgi_params(
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Params> {
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
    all_params(environment.filter(|(name, _)| name.to_str().is_some_and(is_cgi_variable)))
}

/// Returns all variables of an environment as params. The program `cgi-fcgi` of the FastCGI
/// Developer's Kit does the same.
///
/// The environment may contain secrets of the process, and `HTTP_PROXY`, which a client can set
/// (CVE-2016-5385). [`cgi_params`] leaves them out.
///
/// # Errors
/// The errors of [`Params::push`].
///
/// ```
/// let params = fcgi::bridge::all_params([("REQUEST_METHOD", "GET"), ("HOME", "/root")])?;
/// assert_eq!(params.get("HOME"), Some("/root"));
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn all_params(
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
) -> Result<Params> {
    let environment = environment.into_iter();
    Params::from_pairs(
        environment.map(|(name, value)| (into_bytes(name.into()), into_bytes(value.into()))),
    )
}

fn is_cgi_variable(name: &str) -> bool {
    let has_cgi_prefix = CGI_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (has_cgi_prefix || CGI_VARIABLES.contains(&name)) && name != "HTTP_PROXY"
}

#[cfg(unix)]
fn into_bytes(text: OsString) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(text)
}

#[cfg(not(unix))]
fn into_bytes(text: OsString) -> Vec<u8> {
    text.to_string_lossy().into_owned().into_bytes()
}
