//! The script that a request is for.

use std::path::PathBuf;

use super::path::is_safe;
use super::syntax::invalid_request;
use crate::error::Result;

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
/// ```
/// use fcgi::cgi::Script;
///
/// let script = Script::by_extension("/shop/cart.php/7", ".php").expect("a PHP script");
/// assert_eq!(script.name, b"/shop/cart.php");
/// assert_eq!(script.path_info, b"/7");
/// ```
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
