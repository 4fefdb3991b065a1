//! The path of a request: decoded, checked, and divided into the script and what is behind it.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// The path of a request with its percent-escapes decoded, which may be looked up below a
/// directory.
///
/// What it gives begins with `/`, holds no control byte and has no segment `..`, as it was sent or
/// behind its escapes, `/` and `\` both taken for separators. All else is left as it is: empty
/// segments, single dots, the case of letters, bytes that are not UTF-8.
///
/// # Errors
/// [`Error::InvalidRequest`], which a server answers with `400 Bad Request`, for a path that
/// * does not begin with `/`, or holds a `?` or `#`, which end a path
/// * has an escape that is not `%` and two hexadecimal digits
/// * holds a control byte, such as a NUL or a line feed, encoded or not
/// * has a segment `..`: clients resolve these before they send
/// * has an encoded slash, `%2F`: decoded it would be another path (RFC 3875, section 4.1.5, lets a
///   server refuse it)
///
/// ```
/// use fcgi::cgi::decode_path;
/// assert_eq!(decode_path("/caf%C3%A9/a+b")?, "/café/a+b".as_bytes());
/// assert!(decode_path("/static/%2e%2e/secret").is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn decode_path(path: &str) -> Result<Vec<u8>> {
    let decoded =
        unescape(path).filter(|decoded| decoded.first() == Some(&b'/') && is_safe(decoded));
    decoded.ok_or_else(|| invalid("path", path.as_bytes()))
}

/// The script that answers a request, and the rest of the path that is its argument (RFC 3875,
/// sections 4.1.5 and 4.1.13).
///
/// Both are decoded, as [`HttpRequest::path`](crate::cgi::HttpRequest::path) gives them: each is
/// empty or begins with `/`, and together they are the path of the request, unless the server maps
/// it to another script.
///
/// # Whether there is such a script
///
/// Nothing here looks at files. Before it lets an application run a script the server should see
/// that [`Environment::filename`](crate::cgi::Environment::filename) is a file: PHP's
/// `cgi.fix_pathinfo` would take `/upload/image.jpg/x.php`, where there is none, as leave to run
/// the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The path of the script (`SCRIPT_NAME`); empty for one that answers for the whole site.
    pub name: Vec<u8>,
    /// What of the path is behind the script (`PATH_INFO`); empty if nothing is.
    pub path_info: Vec<u8>,
    /// The file to run (`SCRIPT_FILENAME`), where it is not the script's path below the document
    /// root.
    pub filename: Option<PathBuf>,
}

impl Script {
    /// A script of this name, and the path behind it.
    ///
    /// ```
    /// # use fcgi::cgi::Script;
    /// let front_controller = Script::new("/index.php", "");
    /// # assert!(front_controller.path_info.is_empty());
    /// ```
    pub fn new(name: impl Into<Vec<u8>>, path_info: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), path_info: path_info.into(), filename: None }
    }

    /// Divides a path behind the first segment that ends in `extension`, such as `.php`; `None` if
    /// there is none. The bytes are compared as they are: upper and lower case differ.
    ///
    /// ```
    /// use fcgi::cgi::Script;
    /// assert_eq!(Script::by_extension("/a.php/b", ".php"), Some(Script::new("/a.php", "/b")));
    /// assert_eq!(Script::by_extension("/a.phpx/b.PHP", ".php"), None);
    /// ```
    pub fn by_extension(path: impl AsRef<[u8]>, extension: &str) -> Option<Self> {
        let path = path.as_ref();
        let segment_ends = memchr::memchr_iter(b'/', path).chain([path.len()]);
        let end =
            segment_ends.into_iter().find(|&end| path[..end].ends_with(extension.as_bytes()))?;
        Some(Self::new(&path[..end], &path[end..]))
    }

    /// Divides a path behind the prefix at which an application is mounted, such as `/app`, or the
    /// empty one for the whole site; `None` if the path is not below it.
    ///
    /// ```
    /// use fcgi::cgi::Script;
    /// assert_eq!(Script::by_prefix("/app/list", "/app"), Some(Script::new("/app", "/list")));
    /// assert_eq!(Script::by_prefix("/apple", "/app"), None);
    /// ```
    pub fn by_prefix(path: impl AsRef<[u8]>, prefix: &str) -> Option<Self> {
        let path_info = path.as_ref().strip_prefix(prefix.as_bytes())?;
        matches!(path_info, [] | [b'/', ..]).then(|| Self::new(prefix, path_info))
    }

    /// The same script in a file of another place.
    #[must_use]
    pub fn filename(mut self, filename: impl Into<PathBuf>) -> Self {
        self.filename = Some(filename.into());
        self
    }

    /// Checks what whoever filled the fields was told: no part of it may lead an application out of
    /// its directory.
    pub(super) fn check(&self) -> Result<()> {
        for (part, path) in [("script name", &self.name), ("path info", &self.path_info)] {
            if !matches!(path[..], [] | [b'/', ..]) || !is_safe(path) {
                return Err(invalid(part, path));
            }
        }
        Ok(())
    }
}

/// An error about a part of the request.
pub(super) fn invalid(part: &str, value: &[u8]) -> Error {
    Error::InvalidRequest { part: part.into(), value: super::rules::shown(value) }
}

/// Decodes the escapes of a path; `None` for a bad one, for one of a slash, and for a path that
/// goes on as a query.
fn unescape(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                Some(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?).filter(|&byte| byte != b'/')?
            }
            b'?' | b'#' => return None,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Whether a decoded path stays below the directory to which it is joined, and on one line.
fn is_safe(path: &[u8]) -> bool {
    let climbs = path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..");
    !climbs && !path.iter().any(|byte| byte.is_ascii_control())
}
