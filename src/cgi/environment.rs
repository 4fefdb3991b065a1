//! The environment of a request (RFC 3875, section 4).

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::http_request::HttpRequest;
use super::request_headers::add_headers;
use super::request_target::{host_name, Target};
use super::script::Script;
use super::syntax::{self, invalid_request};
use super::variables::add;
use crate::error::Result;
use crate::params::Params;

/// Converts HTTP requests to params ([RFC 3875], section 4).
///
/// It holds the settings that are the same for all requests to a web server.
///
/// ```
/// use fcgi::cgi::{set_variable, Environment, HttpRequest, Script};
///
/// let environment =
///     Environment::new().server_software("gateway/1.0").document_root("/srv/www");
/// let request = HttpRequest {
///     method: "GET",
///     target: "/index.php/7?a=%26",
///     version: "HTTP/1.1",
///     headers: &[
///         ("Host", b"example.org"),
///         ("Cookie", b"a=1"),
///         ("Cookie", b"b=2"),
///         ("Proxy", b"attacker:80"),
///     ],
///     remote: "[2001:db8::7]:49152".parse().unwrap(),
///     local: "[2001:db8::1]:443".parse().unwrap(),
///     https: true,
///     content_length: None,
/// };
/// let script = Script::by_extension(request.path()?, ".php").expect("a PHP script");
/// let mut params = environment.params(&request, &script)?;
/// assert_eq!(params.get("QUERY_STRING"), Some("a=%26"));
/// assert_eq!(params.get("HTTP_COOKIE"), Some("a=1; b=2"));
/// assert_eq!(params.get("HTTP_PROXY"), None);
/// assert_eq!(params.get("PATH_TRANSLATED"), Some("/srv/www/7"));
///
/// set_variable(&mut params, "REMOTE_USER", "ferris")?;
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// # Variables
///
/// | Variable | Value |
/// | --- | --- |
/// | `GATEWAY_INTERFACE` | `CGI/1.1` |
/// | `SERVER_SOFTWARE` | The value of [`server_software`](Self::server_software). |
/// | `DOCUMENT_ROOT` | The value of [`document_root`](Self::document_root), if it is set. |
/// | `REMOTE_ADDR`, `REMOTE_PORT` | The address of the client. |
/// | `SERVER_ADDR`, `SERVER_PORT` | The address of the server, on this connection. |
/// | `REQUEST_SCHEME` | `http` or `https` |
/// | `HTTPS` | `on`, if the connection is encrypted. |
/// | `REQUEST_METHOD` | The method. |
/// | `SERVER_PROTOCOL` | The version, with two numbers: `HTTP/2` becomes `HTTP/2.0`. |
/// | `SERVER_NAME` | The host in the target, else in `Host`, else the local address; no port. |
/// | `REQUEST_URI` | The path and query, not decoded. |
/// | `QUERY_STRING` | The query, not decoded. It is empty if there is none. |
/// | `CONTENT_TYPE` | The header field, if it is present and not empty. |
/// | `CONTENT_LENGTH` | The length of the body, if there is one, even an empty one. |
/// | `SCRIPT_NAME` | [`Script::name`] |
/// | `DOCUMENT_URI` | [`Script::name`] followed by [`Script::path_info`]. |
/// | `REDIRECT_STATUS` | `200`. PHP requires it if its setting `cgi.force_redirect` is on. |
/// | `SCRIPT_FILENAME` | The result of [`filename`](Self::filename), if it is known. |
/// | `PATH_INFO` | [`Script::path_info`], if it is not empty. |
/// | `PATH_TRANSLATED` | The document root followed by `PATH_INFO`, if both are present. |
/// | `HTTP_HOST` | The host and port in the target, else those in `Host`. |
/// | `HTTP_…` | Another header field: see below. |
///
/// An IPv4-mapped IPv6 address is written as IPv4. An IPv6 address in `SERVER_NAME` is in brackets.
///
/// `REMOTE_HOST` is never set, because no names are looked up. `AUTH_TYPE` and `REMOTE_USER` are
/// never set from a header field, because a client can send any. A server that has authenticated
/// the user sets them with [`set_variable`](super::set_variable).
///
/// # Header fields
///
/// Each header field becomes an `HTTP_…` variable. The values of several fields of one name are
/// joined with `, ` (`Cookie` with `; `). The following fields are left out:
///
/// | Field | Reason |
/// | --- | --- |
/// | `Proxy` | Programs use the variable `HTTP_PROXY` as their own configuration (CVE-2016-5385). |
/// | Names with symbols other than `-` | `X_Real_IP` would become the variable of `X-Real-IP`. |
/// | `Authorization`, unless [`pass_authorization`] is set | It contains passwords. |
/// | `Proxy-Authorization` | It contains passwords for a proxy. |
/// | `Connection`, `Keep-Alive`, `Upgrade` | They concern one HTTP connection. |
/// | `Proxy-Authenticate`, `Proxy-Connection` | They concern one HTTP connection. |
/// | `TE`, `Trailer`, `Transfer-Encoding` | They concern one HTTP connection. |
/// | `Content-Length`, `Content-Type` | They have variables of their own. |
/// | A field with an empty value | An empty variable means the same as a missing one. |
///
/// [`pass_authorization`]: Self::pass_authorization
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
#[derive(Clone, Debug)]
pub struct Environment {
    /// Not checked until params are created.
    server_software: String,
    /// With or without a slash at its end.
    document_root: Option<PathBuf>,
    /// Whether `Authorization` becomes a variable.
    pass_authorization: bool,
}

impl Default for Environment {
    fn default() -> Self {
        let server_software = concat!("fcgi/", env!("CARGO_PKG_VERSION")).into();
        Self { server_software, document_root: None, pass_authorization: false }
    }
}

impl Environment {
    /// Creates an environment without a document root. `SERVER_SOFTWARE` is the name and version of
    /// this crate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name and version of the server (`SERVER_SOFTWARE`), in the form `name/version`.
    #[must_use]
    pub fn server_software(mut self, server_software: impl Into<String>) -> Self {
        self.server_software = server_software.into();
        self
    }

    /// Sets the directory that contains the scripts and files (`DOCUMENT_ROOT`). It must be an
    /// absolute path in the file system of the application.
    #[must_use]
    pub fn document_root(mut self, document_root: impl Into<PathBuf>) -> Self {
        self.document_root = Some(document_root.into());
        self
    }

    /// Sets whether the header field `Authorization` becomes the variable `HTTP_AUTHORIZATION`.
    ///
    /// The default is `false`, so that no script receives passwords that are meant for the server
    /// (RFC 3875, section 9.2). Applications that authenticate users themselves need it, such as
    /// many in PHP.
    #[must_use]
    pub fn pass_authorization(mut self, pass_authorization: bool) -> Self {
        self.pass_authorization = pass_authorization;
        self
    }

    /// Returns the file of a script: [`Script::filename`] if it is set, otherwise the script's name
    /// below the document root. Returns `None` if neither is set.
    ///
    /// ```
    /// use fcgi::cgi::{Environment, Script};
    ///
    /// let environment = Environment::new().document_root("/srv/www");
    /// assert_eq!(environment.filename(&Script::new("/a.php", "")), Some("/srv/www/a.php".into()));
    /// ```
    pub fn filename(&self, script: &Script) -> Option<PathBuf> {
        script.filename.clone().or_else(|| Some(path_from(self.below_root(&script.name)?)))
    }

    /// Creates the params of a request for a script.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest), to which a web server responds with
    /// `400 Bad Request`, in these cases:
    ///
    /// - The method or the name of a header field is not a token.
    /// - The target is neither a path nor an absolute URI.
    /// - The version is not `HTTP/` and one or two digits.
    /// - A value contains a CR, LF or NUL.
    /// - There is more than one `Host`, or one that is not a name or address with an optional port.
    /// - There is more than one `Content-Type`.
    /// - `Content-Length` differs from the length of the body.
    /// - There is a `Transfer-Encoding`, and the length of the body is not known. The more precise
    ///   response is `411 Length Required`.
    /// - The name or path info of the script does not start with `/`, has a `..` segment, or
    ///   contains a control byte.
    ///
    /// ```
    /// use fcgi::cgi::{Environment, HttpRequest, Script};
    /// use fcgi::Error;
    ///
    /// let request = HttpRequest {
    ///     method: "POST",
    ///     target: "/api/users",
    ///     version: "HTTP/2",
    ///     headers: &[("Host", b"example.org"), ("Content-Type", b"application/json")],
    ///     remote: "192.0.2.7:49152".parse().unwrap(),
    ///     local: "192.0.2.1:80".parse().unwrap(),
    ///     https: false,
    ///     content_length: Some(2),
    /// };
    /// let script = Script::by_prefix(request.path()?, "/api").expect("a path below /api");
    /// let params = Environment::new().params(&request, &script)?;
    /// assert_eq!(params.get("PATH_INFO"), Some("/users"));
    /// assert_eq!(params.get("CONTENT_LENGTH"), Some("2"));
    /// assert_eq!(params.get("SERVER_PROTOCOL"), Some("HTTP/2.0"));
    ///
    /// let invalid = HttpRequest { method: "not a token", ..request };
    /// let outcome = Environment::new().params(&invalid, &script);
    /// assert!(matches!(outcome, Err(Error::InvalidRequest { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn params(&self, request: &HttpRequest<'_>, script: &Script) -> Result<Params> {
        let target = request.parse_target()?;
        script.check()?;
        request.check_length()?;
        let mut params = Params::new();
        self.add_server(&mut params)?;
        add_connection(&mut params, request)?;
        add_request(&mut params, request, &target)?;
        self.add_script(&mut params, script)?;
        if let Some(authority) = request.authority(&target)? {
            add(&mut params, "HTTP_HOST", authority)?;
        }
        add_headers(&mut params, request.headers, self.pass_authorization)?;
        Ok(params)
    }

    fn add_server(&self, params: &mut Params) -> Result<()> {
        add(params, "GATEWAY_INTERFACE", "CGI/1.1")?;
        add(params, "SERVER_SOFTWARE", &self.server_software)?;
        if let Some(root) = &self.document_root {
            add(params, "DOCUMENT_ROOT", bytes_of(root))?;
        }
        Ok(())
    }

    fn add_script(&self, params: &mut Params, script: &Script) -> Result<()> {
        add(params, "SCRIPT_NAME", &script.name)?;
        add(params, "DOCUMENT_URI", [&script.name[..], &script.path_info].concat())?;
        add(params, "REDIRECT_STATUS", "200")?;
        if let Some(filename) = self.filename(script) {
            add(params, "SCRIPT_FILENAME", bytes_of(&filename))?;
        }
        if script.path_info.is_empty() {
            return Ok(());
        }
        add(params, "PATH_INFO", &script.path_info)?;
        if let Some(translated) = self.below_root(&script.path_info) {
            add(params, "PATH_TRANSLATED", translated)?;
        }
        Ok(())
    }

    /// Returns the document root followed by `path`.
    fn below_root(&self, path: &[u8]) -> Option<Vec<u8>> {
        let root = bytes_of(self.document_root.as_ref()?);
        Some([root.strip_suffix(b"/").unwrap_or(root), path].concat())
    }
}

fn add_connection(params: &mut Params, request: &HttpRequest<'_>) -> Result<()> {
    add_address(params, ["REMOTE_ADDR", "REMOTE_PORT"], request.remote)?;
    add_address(params, ["SERVER_ADDR", "SERVER_PORT"], request.local)?;
    add(params, "REQUEST_SCHEME", if request.https { "https" } else { "http" })?;
    if request.https {
        add(params, "HTTPS", "on")?;
    }
    Ok(())
}

fn add_address(params: &mut Params, [ip, port]: [&str; 2], address: SocketAddr) -> Result<()> {
    add(params, ip, address.ip().to_canonical().to_string())?;
    add(params, port, address.port().to_string())
}

fn add_request(params: &mut Params, request: &HttpRequest<'_>, target: &Target<'_>) -> Result<()> {
    if !syntax::is_token(request.method.as_bytes()) {
        return Err(invalid_request("method", request.method.as_bytes()));
    }
    add(params, "REQUEST_METHOD", request.method)?;
    add(params, "SERVER_PROTOCOL", server_protocol(request.version)?)?;
    add(params, "SERVER_NAME", server_name(request, target)?)?;
    let query = target.query.map_or(String::new(), |query| format!("?{query}"));
    add(params, "REQUEST_URI", format!("{}{query}", target.path))?;
    add(params, "QUERY_STRING", target.query.unwrap_or(""))?;
    if let Some(content_type) = request.header("Content-Type")? {
        add(params, "CONTENT_TYPE", content_type)?;
    }
    if let Some(length) = request.content_length {
        add(params, "CONTENT_LENGTH", length.to_string())?;
    }
    Ok(())
}

/// Returns the version with both of its numbers, as RFC 3875, section 4.1.16, requires. HTTP/2 and
/// HTTP/3 omit the second one.
fn server_protocol(version: &str) -> Result<String> {
    match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => Ok(version.into()),
        Some([b'0'..=b'9']) => Ok(format!("{version}.0")),
        _ => Err(invalid_request("version", version.as_bytes())),
    }
}

/// Returns the host that the client has requested. An HTTP/1.0 request may lack it, so the local
/// address is returned instead.
fn server_name(request: &HttpRequest<'_>, target: &Target<'_>) -> Result<String> {
    if let Some(authority) = request.authority(target)? {
        let host = host_name(authority).ok_or_else(|| invalid_request("Host", authority))?;
        return Ok(host.to_owned());
    }
    Ok(match request.local.ip().to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    })
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// Creates a path from any bytes.
#[cfg(unix)]
fn path_from(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

/// Creates a path from bytes. Invalid UTF-8 is replaced, so the path names no existing file.
#[cfg(not(unix))]
fn path_from(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}
