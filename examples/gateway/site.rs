//! What is served: which script or file answers a request.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use fcgi::cgi::{HttpRequest, Script};

use crate::failure::Failure;
use crate::file::StaticFile;

/// The scripts, by the end of their names.
const EXTENSION: &str = ".php";

pub enum Site {
    /// One application that answers for all paths.
    Application,
    /// Files, some of which are scripts.
    Directory(Directory),
}

/// What answers a request.
pub enum Target {
    Script(Script),
    File(StaticFile),
    /// Another URL: the client is to ask for that.
    Elsewhere(String),
}

impl Site {
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
    /// The files that stand for their directory, the first that is there.
    pub index: Vec<String>,
}

impl Directory {
    fn find(&self, request: &HttpRequest) -> Result<Target, Failure> {
        // It begins with `/`, and holds no `..` nor NUL; so it stays below the root whatever it is
        // joined to.
        let path = request.path()?;
        if path.windows(2).any(|pair| pair == b"/.") {
            return Err(not_found(&path));
        }
        if let Some(script) = Script::by_extension(&path, EXTENSION) {
            return self.script(script);
        }
        let file = self.file(&path)?;
        if !metadata(&file)?.is_dir() {
            return Ok(Target::File(StaticFile::open(&file)?));
        }
        if path.ends_with(b"/") {
            self.index_of(&path)
        } else {
            Ok(Target::Elsewhere(elsewhere(&path, request.query()?)))
        }
    }

    /// A script that is there: else PHP would look for one that is, and might run an image.
    fn script(&self, script: Script) -> Result<Target, Failure> {
        if metadata(&self.file(&script.name)?)?.is_file() {
            Ok(Target::Script(script))
        } else {
            Err(not_found(&script.name))
        }
    }

    fn index_of(&self, path: &[u8]) -> Result<Target, Failure> {
        for name in &self.index {
            let path = [path, name.as_bytes()].concat();
            let file = self.file(&path)?;
            if file.is_file() && name.ends_with(EXTENSION) {
                return Ok(Target::Script(Script::new(path, "")));
            }
            if file.is_file() {
                return Ok(Target::File(StaticFile::open(&file)?));
            }
        }
        Err(not_found(path))
    }

    /// Where a path is below the root. Names are UTF-8 here, which is the same on every system.
    fn file(&self, path: &[u8]) -> Result<PathBuf, Failure> {
        let path = std::str::from_utf8(path).map_err(|_| not_found(path))?;
        Ok(self.root.join(path.trim_start_matches('/')))
    }
}

/// The same path with a slash at its end, so that relative links lead into the directory.
fn elsewhere(path: &[u8], query: &str) -> String {
    // Two slashes at the beginning would be followed by a host.
    let path: String =
        path.iter().skip_while(|&&byte| byte == b'/').map(|&byte| encode(byte)).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("/{path}/{query}")
}

/// A byte of a path as a URL has it.
fn encode(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
        char::from(byte).into()
    } else {
        format!("%{byte:02X}")
    }
}

fn metadata(file: &Path) -> Result<Metadata, Failure> {
    file.metadata().map_err(|error| {
        let status = if error.kind() == io::ErrorKind::PermissionDenied { 403 } else { 404 };
        Failure::new(status, format!("{}: {error}", file.display()))
    })
}

fn not_found(path: &[u8]) -> Failure {
    Failure::new(404, format!("no {}", String::from_utf8_lossy(path)))
}
