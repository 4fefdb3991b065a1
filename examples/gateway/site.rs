//! The mapping from request paths to scripts and files.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use fcgi::cgi::{encode_path, HttpRequest, Script};

use crate::failure::Failure;
use crate::file::StaticFile;
use crate::portable::is_portable;

/// The extension of scripts.
const SCRIPT_EXTENSION: &str = ".php";

pub enum Site {
    /// One application that answers all requests.
    Application,
    /// A directory of files and scripts.
    Directory(Directory),
}

/// The answer to a request.
pub enum Target {
    Script(Script),
    File(StaticFile),
    /// The URL of a directory, with the slash that the request lacks.
    Redirect(String),
}

impl Site {
    /// Finds the script or file that answers a request.
    pub fn find(&self, request: &HttpRequest) -> Result<Target, Failure> {
        match self {
            Self::Application => Ok(Target::Script(Script::new("", request.path()?))),
            Self::Directory(directory) => directory.find(request),
        }
    }
}

pub struct Directory {
    /// An absolute path.
    pub root: PathBuf,
    /// The names of the files that are served for a directory, in order of preference.
    pub index: Vec<String>,
    /// The path that is served for one that does not exist.
    pub fallback: Option<String>,
}

impl Directory {
    /// Finds what a path names. If that does not exist, uses the fallback.
    fn find(&self, request: &HttpRequest) -> Result<Target, Failure> {
        // `path` ensures that the path begins with `/` and contains neither `..` segments nor NUL,
        // so joining it to the root cannot leave the root.
        let path = request.path()?;
        if is_hidden(&path) {
            return Err(not_found(&path));
        }
        let found = self.find_path(&path, request);
        match (&found, &self.fallback) {
            (Err(failure), Some(fallback)) if failure.status == 404 && !self.exists(&path) => {
                self.find_path(fallback.as_bytes(), request)
            }
            _ => found,
        }
    }

    fn find_path(&self, path: &[u8], request: &HttpRequest) -> Result<Target, Failure> {
        if let Some(script) = Script::by_extension(path, SCRIPT_EXTENSION) {
            return self.find_script(script);
        }
        let file = self.join(path)?;
        if !metadata(&file)?.is_dir() {
            return Ok(Target::File(StaticFile::open(&file)?));
        }
        if path.ends_with(b"/") {
            self.find_index(path)
        } else {
            Ok(Target::Redirect(directory_url(path, request.query()?)))
        }
    }

    /// Returns whether a path names a file, even one that is not served.
    fn exists(&self, path: &[u8]) -> bool {
        self.join(path).is_ok_and(|file| file.is_file())
    }

    /// Checks that a script exists. PHP would otherwise look for an existing file along the path,
    /// and might run an uploaded image.
    fn find_script(&self, script: Script) -> Result<Target, Failure> {
        if metadata(&self.join(&script.name)?)?.is_file() {
            Ok(Target::Script(script))
        } else {
            Err(not_found(&script.name))
        }
    }

    fn find_index(&self, path: &[u8]) -> Result<Target, Failure> {
        for name in &self.index {
            let path = [path, name.as_bytes()].concat();
            let file = self.join(&path)?;
            if file.is_file() && name.ends_with(SCRIPT_EXTENSION) {
                return Ok(Target::Script(Script::new(path, "")));
            }
            if file.is_file() {
                return Ok(Target::File(StaticFile::open(&file)?));
            }
        }
        Err(not_found(path))
    }

    /// Returns the file for a path of a URL. Only UTF-8 paths have one, because other paths differ
    /// between operating systems. On Windows, neither has a path that could name another file.
    fn join(&self, path: &[u8]) -> Result<PathBuf, Failure> {
        if !cfg!(unix) && !is_portable(path) {
            return Err(not_found(path));
        }
        let path = std::str::from_utf8(path).map_err(|_| not_found(path))?;
        Ok(self.root.join(path.trim_start_matches('/')))
    }
}

/// Returns whether a segment of a path begins with a dot, as the names of private files do. The
/// directory `/.well-known` is public (RFC 8615).
fn is_hidden(path: &[u8]) -> bool {
    let rest = path.strip_prefix(b"/.well-known/").unwrap_or(&path[1..]);
    rest.split(|byte| *byte == b'/').any(|segment| segment.starts_with(b"."))
}

/// Returns the URL of a directory. It ends with a slash, so that relative links work.
fn directory_url(path: &[u8], query: &str) -> String {
    // A URL that begins with two slashes would name a host.
    let start = path.iter().take_while(|&&byte| byte == b'/').count();
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("/{}/{query}", encode_path(&path[start..]))
}

fn metadata(file: &Path) -> Result<Metadata, Failure> {
    file.metadata().map_err(|error| Failure::unreadable(file, &error))
}

fn not_found(path: &[u8]) -> Failure {
    Failure::new(404, format!("{} not found", String::from_utf8_lossy(path)))
}
