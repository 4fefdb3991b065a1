//! The environment of a request (RFC 3875, section 4): what a web server tells an application about
//! it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::cgi::path::{invalid, Script};
use crate::cgi::request::{host_name, HttpRequest, Target};
use crate::cgi::rules;
use crate::error::Result;
use crate::params::Params;

/// Makes the params of requests: what is the same for all requests of a server, its name and its
/// directory.
///
/// # The variables
///
/// From the server: `GATEWAY_INTERFACE`, `SERVER_SOFTWARE`, and `DOCUMENT_ROOT` where there is one.
///
/// From the connection: `REMOTE_ADDR`, `REMOTE_PORT`, `SERVER_ADDR`, `SERVER_PORT`,
/// `REQUEST_SCHEME`, and `HTTPS` (`on`) only where it is encrypted. An IPv4 address that is mapped
/// into IPv6 is written as IPv4. There is no `REMOTE_HOST`, as no name is looked up.
///
/// From the request: `REQUEST_METHOD`, `SERVER_PROTOCOL`, `REQUEST_URI` (path and query,
/// undecoded), `QUERY_STRING` (undecoded, empty if there is none), `CONTENT_LENGTH` where there is
/// a body, be it empty, `CONTENT_TYPE` where there is one, and `SERVER_NAME`: the host in the
/// target, else in `Host`, else the local address; without the port, IPv6 in brackets.
///
/// From the [`Script`]: `SCRIPT_NAME`, `DOCUMENT_URI`, and `PATH_INFO` where it is not empty; with
/// a document root also `SCRIPT_FILENAME` and, if there is a `PATH_INFO`, `PATH_TRANSLATED`.
/// `REDIRECT_STATUS` is always 200, without which a PHP that is built to insist on it answers
/// nothing.
///
/// # The headers
///
/// Each becomes `HTTP_…`, several of one name joined by `, ` (`Cookie` by `; `), those without a
/// value left out. Left out as well are
///
/// * `Proxy`, because programs take `HTTP_PROXY` as their own configuration (CVE-2016-5385)
/// * names with other characters than letters, digits and `-`: an underscore would let `X_Real_IP`
///   pass for `X-Real-IP`
/// * `Authorization`, unless [`pass_authorization`](Self::pass_authorization) says otherwise, and
///   `Proxy-Authorization`
/// * those about the connection: `Connection`, `Keep-Alive`, `Proxy-Authenticate`,
///   `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`
/// * `Content-Length` and `Content-Type`, which have variables of their own
///
/// # What it does not say
///
/// Who the user is: `AUTH_TYPE` and `REMOTE_USER` are never taken from a header. A server that has
/// verified the user says so with [`set_variable`].
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
///         ("Proxy", b"evil:80"),
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
#[derive(Clone, Debug)]
pub struct Environment {
    /// As set; checked for line ends and NUL with every other value, when params are made.
    server_software: String,
    /// As set, with or without a slash at its end.
    document_root: Option<PathBuf>,
    /// Whether `Authorization` is treated as other headers are.
    pass_authorization: bool,
}

impl Default for Environment {
    fn default() -> Self {
        let server_software = concat!("fcgi/", env!("CARGO_PKG_VERSION")).into();
        Self { server_software, document_root: None, pass_authorization: false }
    }
}

impl Environment {
    /// An environment without a document root, of a server that calls itself by the name and
    /// version of this crate.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name and version of the server (`SERVER_SOFTWARE`), as `name/version`.
    #[must_use]
    pub fn server_software(mut self, server_software: impl Into<String>) -> Self {
        self.server_software = server_software.into();
        self
    }

    /// The directory in which scripts and files are (`DOCUMENT_ROOT`), as the application finds it:
    /// an absolute path.
    #[must_use]
    pub fn document_root(mut self, document_root: impl Into<PathBuf>) -> Self {
        self.document_root = Some(document_root.into());
        self
    }

    /// Whether `Authorization` becomes `HTTP_AUTHORIZATION`. Off by default, so that no script sees
    /// passwords that are for the server (RFC 3875, section 9.2); applications that check users
    /// themselves, as PHP's do, need it.
    #[must_use]
    pub fn pass_authorization(mut self, pass_authorization: bool) -> Self {
        self.pass_authorization = pass_authorization;
        self
    }

    /// The file of a script: its own, or its name below the document root; `None` where there is
    /// neither.
    ///
    /// ```
    /// use fcgi::cgi::{Environment, Script};
    /// let environment = Environment::new().document_root("/srv/www");
    /// assert_eq!(environment.filename(&Script::new("/a.php", "")), Some("/srv/www/a.php".into()));
    /// ```
    pub fn filename(&self, script: &Script) -> Option<PathBuf> {
        script.filename.clone().or_else(|| Some(to_path(self.below_root(&script.name)?)))
    }

    /// The params of a request that this script is to answer.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest), which a server answers with `400
    /// Bad Request`, for
    /// * a method or a header's name that is no token, a target that is no path or URI, another
    ///   version than `HTTP/…`
    /// * a value with a CR, LF or NUL
    /// * a `Host` that is not a name or address with or without a port, or more than one; more than
    ///   one `Content-Type`
    /// * a `Content-Length` that is not the length of the body, and a `Transfer-Encoding` of a body
    ///   of unknown length (`411 Length Required`)
    /// * a script whose name or path info does not begin with `/`, or has a `..` segment or a
    ///   control byte
    pub fn params(&self, request: &HttpRequest<'_>, script: &Script) -> Result<Params> {
        let target = request.parse_target()?;
        script.check()?;
        request.check_length()?;
        let mut params = Params::new();
        self.add_server(&mut params)?;
        add_connection(&mut params, request)?;
        add_request(&mut params, request, &target)?;
        self.add_script(&mut params, script)?;
        self.add_headers(&mut params, request, &target)?;
        Ok(params)
    }

    fn add_server(&self, params: &mut Params) -> Result<()> {
        add(params, "GATEWAY_INTERFACE", "CGI/1.1")?;
        add(params, "SERVER_SOFTWARE", &self.server_software)?;
        match &self.document_root {
            Some(root) => add(params, "DOCUMENT_ROOT", bytes_of(root)),
            None => Ok(()),
        }
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
        match self.below_root(&script.path_info) {
            Some(translated) => add(params, "PATH_TRANSLATED", translated),
            None => Ok(()),
        }
    }

    fn add_headers(
        &self,
        params: &mut Params,
        request: &HttpRequest<'_>,
        target: &Target<'_>,
    ) -> Result<()> {
        if let Some(authority) = request.authority(target)? {
            add(params, "HTTP_HOST", authority)?;
        }
        let mut headers = Vec::with_capacity(request.headers.len());
        for &(name, value) in request.headers {
            check_header(name, value)?;
            let value = &value[rules::trim(value, 0..value.len())];
            if !value.is_empty() && self.passes(name) {
                headers.push((name, value));
            }
        }
        // Those of one name side by side, in their order; of any number of headers in little more
        // than one pass.
        headers.sort_by(|(a, _), (b, _)| folded(a).cmp(folded(b)));
        let mut variable = String::new();
        let mut rest = &headers[..];
        while let Some((name, _)) = rest.first() {
            let alike =
                rest.iter().take_while(|(other, _)| other.eq_ignore_ascii_case(name)).count();
            let (group, behind) = rest.split_at(alike);
            variable.clear();
            variable.extend("HTTP_".chars().chain(canonical(name)));
            add(params, &variable, joined(group))?;
            rest = behind;
        }
        Ok(())
    }

    /// Whether a header becomes a variable by the common rule.
    fn passes(&self, name: &str) -> bool {
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        let by_itself = ["Host", "Content-Length", "Content-Type", "Proxy"].iter().any(is);
        let secret = is(&"Authorization") && !self.pass_authorization;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain && !by_itself && !secret && !rules::is_hop_by_hop(name)
    }

    /// A path below the document root, if there is one.
    fn below_root(&self, path: &[u8]) -> Option<Vec<u8>> {
        let root = bytes_of(self.document_root.as_ref()?);
        Some([root.strip_suffix(b"/").unwrap_or(root), path].concat())
    }
}

/// Sets a variable on the server's own word, in place of any that has its name: who the user is
/// (`AUTH_TYPE`, `REMOTE_USER`), what an authorizer has found out
/// ([`Head::variables`](crate::cgi::Head::variables)), what an administrator has configured.
///
/// The name is put into its one form, upper case with `_` for `-`, so there are never two that
/// differ in case alone (RFC 3875, section 4.1).
///
/// # Errors
/// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a name of other characters than
/// letters, digits, `_` and `-`, or a value with a CR, LF or NUL; the params stay as they were.
///
/// ```
/// use fcgi::{cgi::set_variable, Params};
/// let mut params = Params::new();
/// set_variable(&mut params, "Auth-Type", "Basic")?;
/// set_variable(&mut params, "AUTH_TYPE", "Digest")?;
/// assert_eq!(params, Params::from_pairs([("AUTH_TYPE", "Digest")])?);
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn set_variable(params: &mut Params, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
    let plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if name.is_empty() || !plain {
        return Err(invalid("variable", name.as_bytes()));
    }
    check_value(name, value.as_ref())?;
    params.set(canonical(name).collect::<String>(), value)
}

/// Takes out what an authorizer must not be sent (FastCGI specification, section 6.3):
/// `CONTENT_LENGTH`, `PATH_INFO`, `PATH_TRANSLATED` and `SCRIPT_NAME`.
///
/// ```
/// let params =
///     fcgi::Params::from_pairs([("SCRIPT_NAME", "/a"), ("REMOTE_ADDR", "192.0.2.7")])?;
/// assert_eq!(
///     fcgi::cgi::for_authorizer(params),
///     fcgi::Params::from_pairs([("REMOTE_ADDR", "192.0.2.7")])?
/// );
/// # Ok::<(), fcgi::Error>(())
/// ```
#[must_use]
pub fn for_authorizer(mut params: Params) -> Params {
    for name in ["CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME"] {
        params.remove(name);
    }
    params
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
    add(params, ip, unmapped(address.ip()).to_string())?;
    add(params, port, address.port().to_string())
}

fn add_request(params: &mut Params, request: &HttpRequest<'_>, target: &Target<'_>) -> Result<()> {
    if !rules::is_token(request.method.as_bytes()) {
        return Err(invalid("method", request.method.as_bytes()));
    }
    add(params, "REQUEST_METHOD", request.method)?;
    add(params, "SERVER_PROTOCOL", protocol(request.version)?)?;
    add(params, "SERVER_NAME", server_name(request, target)?)?;
    let query = target.query.map_or(String::new(), |query| format!("?{query}"));
    add(params, "REQUEST_URI", format!("{}{query}", target.path))?;
    add(params, "QUERY_STRING", target.query.unwrap_or(""))?;
    if let Some(content_type) = request.header("Content-Type")? {
        add(params, "CONTENT_TYPE", content_type)?;
    }
    match request.content_length {
        Some(length) => add(params, "CONTENT_LENGTH", length.to_string()),
        None => Ok(()),
    }
}

/// The version with both its numbers, as RFC 3875, section 4.1.16, wants it: HTTP/2 and 3 have
/// dropped the second.
fn protocol(version: &str) -> Result<String> {
    match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => Ok(version.into()),
        Some([b'0'..=b'9']) => Ok(format!("{version}.0")),
        _ => Err(invalid("version", version.as_bytes())),
    }
}

/// The host that the client asked for; the local address if it did not say (HTTP/1.0).
fn server_name(request: &HttpRequest<'_>, target: &Target<'_>) -> Result<String> {
    let Some(authority) = request.authority(target)? else {
        return Ok(match unmapped(request.local.ip()) {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
    };
    host_name(authority).map(str::to_owned).ok_or_else(|| invalid("Host", authority))
}

/// An address as IPv4 if it is one that came through a socket for both.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn add(params: &mut Params, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
    check_value(name, value.as_ref())?;
    params.push(name, value)
}

fn check_header(name: &str, value: &[u8]) -> Result<()> {
    if !rules::is_token(name.as_bytes()) {
        return Err(invalid("header", name.as_bytes()));
    }
    check_value(name, value)
}

/// Checks that a value is one line, and holds no NUL, which would cut it short for an application
/// in C (RFC 3875, section 7.2).
fn check_value(name: &str, value: &[u8]) -> Result<()> {
    if rules::value_len(value) < value.len() {
        return Err(invalid(name, value));
    }
    Ok(())
}

/// The name as a variable has it.
fn canonical(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() })
}

fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// The values of headers of one name as one value of the same meaning (RFC 3875, section 4.1.18):
/// `Cookie` has a separator of its own (RFC 9113, section 8.2.3).
fn joined<'a>(headers: &[(&str, &'a [u8])]) -> Cow<'a, [u8]> {
    if let [(_, value)] = headers {
        return Cow::Borrowed(value);
    }
    let is_cookie = headers.first().is_some_and(|(name, _)| name.eq_ignore_ascii_case("Cookie"));
    let separator: &[u8] = if is_cookie { b"; " } else { b", " };
    let values: Vec<&[u8]> = headers.iter().map(|&(_, value)| value).collect();
    values.join(separator).into()
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// A path of any bytes where the system has such.
#[cfg(unix)]
fn to_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

/// A path where the system's are Unicode; what is not names no file.
#[cfg(not(unix))]
fn to_path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}
