//! The variables of a CGI environment (RFC 3875, section 4.1).

use super::syntax::{self, invalid_request};
use crate::error::Result;
use crate::params::Params;

/// Sets a variable, and removes every other variable of the same name.
///
/// The value must not come from the client of the web server. It may be the user that the web
/// server has authenticated (`AUTH_TYPE`, `REMOTE_USER`), a variable that an authorizer has sent
/// ([`Head::variables`](super::Head::variables)), or a value from the configuration.
///
/// The name is converted to upper case, with `_` in place of `-`, so that no two variables differ
/// only in case ([RFC 3875], section 4.1).
///
/// # Errors
/// [`Error::InvalidRequest`](crate::Error::InvalidRequest) if the name is empty, if it contains
/// anything but letters, digits, `_` and `-`, or if the value contains a CR, LF or NUL. The params
/// then remain unchanged.
///
/// ```
/// use fcgi::{cgi::set_variable, Params};
///
/// let mut params = Params::new();
/// set_variable(&mut params, "Auth-Type", "Basic")?;
/// set_variable(&mut params, "AUTH_TYPE", "Digest")?;
/// assert_eq!(params, Params::from_pairs([("AUTH_TYPE", "Digest")])?);
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn set_variable(params: &mut Params, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(invalid_request("variable", name.as_bytes()));
    }
    check_value(name, value.as_ref())?;
    params.set(canonical_name(name).collect::<String>(), value)
}

/// Returns the params without the variables that an authorizer must not receive ([FastCGI
/// specification], section 6.3): `CONTENT_LENGTH`, `PATH_INFO`, `PATH_TRANSLATED` and
/// `SCRIPT_NAME`.
///
/// ```
/// use fcgi::{cgi::params_for_authorizer, Params};
///
/// let params = Params::from_pairs([("SCRIPT_NAME", "/a"), ("REMOTE_ADDR", "192.0.2.7")])?;
/// let expected = Params::from_pairs([("REMOTE_ADDR", "192.0.2.7")])?;
/// assert_eq!(params_for_authorizer(params), expected);
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
#[must_use]
pub fn params_for_authorizer(mut params: Params) -> Params {
    for name in ["CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME"] {
        params.remove(name);
    }
    params
}

/// Adds a variable after checking its value.
pub(super) fn add(params: &mut Params, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
    check_value(name, value.as_ref())?;
    params.push(name, value)
}

/// Checks that a value contains no CR, LF or NUL. A NUL would truncate it in an application written
/// in C (RFC 3875, section 7.2).
pub(super) fn check_value(name: &str, value: &[u8]) -> Result<()> {
    if syntax::is_value(value) {
        return Ok(());
    }
    Err(invalid_request(name, value))
}

/// Returns the name in upper case, with `_` in place of `-`.
pub(super) fn canonical_name(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() })
}
