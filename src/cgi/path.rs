//! The path of a request: decoding it, and splitting it into a script and its path info.

use std::path::PathBuf;

use super::syntax::invalid_request;
use crate::error::Result;

const HEX_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Decodes the percent-escapes of a request path, and rejects paths that could lead out of a
/// directory.
///
/// The result starts with `/`, contains no control byte, and has no `..` segment, whether it was
/// escaped or not. Both `/` and `\` count as separators. Everything else remains as it is: empty
/// segments, `.` segments, the case of letters, and bytes that are not UTF-8.
///
/// # Errors
/// [`Error::InvalidRequest`](crate::Error::InvalidRequest), to which a web server responds with
/// `400 Bad Request`, if the path
///
/// - does not start with `/`
/// - contains `?` or `#`, which end a path
/// - contains `%` without two hexadecimal digits after it
/// - contains a control byte such as NUL or LF, whether it is escaped or not
/// - has a `..` segment, which clients resolve before they send a request
/// - contains an escaped slash, `%2F`, which would name a different path once it is decoded
///   ([RFC 3875], section 4.1.5, allows a server to reject it)
///
/// ```
/// use fcgi::cgi::decode_path;
///
/// assert_eq!(decode_path("/caf%C3%A9/a+b")?, "/café/a+b".as_bytes());
/// assert!(decode_path("/static/%2e%2e/secret").is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
pub fn decode_path(path: &str) -> Result<Vec<u8>> {
    let decoded =
        unescape(path).filter(|decoded| decoded.first() == Some(&b'/') && is_safe(decoded));
    decoded.ok_or_else(|| invalid_request("path", path.as_bytes()))
}

/// Escapes a path for a header field, such as `Location` or `X-Accel-Redirect`.
///
/// It escapes every byte except letters, digits, `-`, `.`, `_`, `~` and `/`. The reverse is
/// [`decode_path`].
///
/// ```
/// use fcgi::cgi::encode_path;
///
/// assert_eq!(encode_path("/files/50% café?.pdf"), "/files/50%25%20caf%C3%A9%3F.pdf");
/// ```
pub fn encode_path(path: impl AsRef<[u8]>) -> String {
    let mut encoded = String::new();
    for &byte in path.as_ref() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push('%');
            encoded
                .extend([byte >> 4, byte & 15].map(|digit| char::from(HEX_DIGITS[digit as usize])));
        }
    }
    encoded
}

/// The script that a request is for, and the rest of the path ([RFC 3875], sections 4.1.5 and
/// 4.1.13).
///
/// Both parts are decoded, like the result of [`HttpRequest::path`](super::HttpRequest::path). Each
/// of them is empty or starts with `/`. Together they are the path of the request, unless the web
/// server maps that path to another script.
///
/// # Security
///
/// This type does not access the file system. Before a web server lets an application run a script,
/// it should check that [`Environment::filename`](super::Environment::filename) is a file.
/// Otherwise PHP, with its setting `cgi.fix_pathinfo`, runs the image `/upload/image.jpg` when it
/// receives a request for `/upload/image.jpg/x.php`.
///
/// [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The path of the script (`SCRIPT_NAME`). It is empty for a script that is mounted at the root
    /// of the site.
    pub name: Vec<u8>,
    /// The path after the script (`PATH_INFO`). It may be empty.
    pub path_info: Vec<u8>,
    /// The file of the script (`SCRIPT_FILENAME`). If it is `None`, the file is at `name` below the
    /// document root.
    pub filename: Option<PathBuf>,
}

impl Script {
    /// Creates a script with this name and path info, whose file is below the document root.
    ///
    /// ```
    /// use fcgi::cgi::Script;
    ///
    /// let front_controller = Script::new("/index.php", "");
    /// assert!(front_controller.path_info.is_empty());
    /// ```
    pub fn new(name: impl Into<Vec<u8>>, path_info: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), path_info: path_info.into(), filename: None }
    }

    /// Splits a path after the first segment that ends with `extension`, such as `.php`. Returns
    /// `None` if there is no such segment. The comparison is case-sensitive.
    ///
    /// ```
    /// use fcgi::cgi::Script;
    ///
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

    /// Splits a path after the prefix at which an application is mounted, such as `/app`. A slash
    /// at the end of the prefix has no effect. The empty prefix stands for the whole site. Returns
    /// `None` if the path is not below the prefix.
    ///
    /// ```
    /// use fcgi::cgi::Script;
    ///
    /// assert_eq!(Script::by_prefix("/app/list", "/app"), Some(Script::new("/app", "/list")));
    /// assert_eq!(Script::by_prefix("/app/list", "/app/"), Some(Script::new("/app", "/list")));
    /// assert_eq!(Script::by_prefix("/apple", "/app"), None);
    /// ```
    pub fn by_prefix(path: impl AsRef<[u8]>, prefix: &str) -> Option<Self> {
        let prefix = prefix.trim_end_matches('/');
        let path_info = path.as_ref().strip_prefix(prefix.as_bytes())?;
        matches!(path_info, [] | [b'/', ..]).then(|| Self::new(prefix, path_info))
    }

    /// Sets the file of the script.
    ///
    /// ```
    /// use fcgi::cgi::Script;
    ///
    /// let script = Script::new("/shop", "/cart").filename("/opt/shop/index.php");
    /// assert_eq!(script.filename, Some("/opt/shop/index.php".into()));
    /// ```
    #[must_use]
    pub fn filename(mut self, filename: impl Into<PathBuf>) -> Self {
        self.filename = Some(filename.into());
        self
    }

    /// Checks `name` and `path_info`, which are public fields and can hold any value. Neither may
    /// lead out of a directory.
    pub(super) fn check(&self) -> Result<()> {
        for (part, path) in [("script name", &self.name), ("path info", &self.path_info)] {
            if !matches!(path[..], [] | [b'/', ..]) || !is_safe(path) {
                return Err(invalid_request(part, path));
            }
        }
        Ok(())
    }
}

/// Decodes the escapes of a path. Returns `None` for an invalid escape, an escaped slash, and a `?`
/// or `#`.
fn unescape(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'?' | b'#' => return None,
            b'%' => decode_escape(&mut bytes)?,
            byte => byte,
        });
    }
    Some(decoded)
}

/// Decodes the two digits after a `%`.
fn decode_escape(digits: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let byte = hex_value(digits.next()?)? << 4 | hex_value(digits.next()?)?;
    (byte != b'/').then_some(byte)
}

/// Decodes the escapes of a path, except escaped slashes, which remain as they are. Returns `None`
/// for an invalid escape.
pub(super) fn unescape_except_slashes(path: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut pieces = path.split('%').map(str::as_bytes);
    decoded.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        match decode_escape(&mut piece.iter().copied()) {
            Some(byte) => decoded.push(byte),
            None if matches!(piece, [b'2', b'F' | b'f', ..]) => decoded.extend(b"%2F"),
            None => return None,
        }
        decoded.extend_from_slice(&piece[2..]);
    }
    Some(decoded)
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Returns whether a decoded path has no `..` segment and contains no control byte.
pub(super) fn is_safe(path: &[u8]) -> bool {
    let climbs = path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| segment == b"..");
    !climbs && !path.iter().any(|byte| byte.is_ascii_control())
}
