//! Static files.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::conditions::{Part, Validators};
use crate::failure::Failure;
use crate::http::{Reply, Request, ResponseHead};

/// Extensions of files that may be source code, besides those that begin with `php`. They may be
/// anywhere in a name, as in `a.php_old.txt`.
const SOURCES: &[&str] = &["inc", "phar", "pht", "phtml"];
/// Extensions of files that may contain configuration, keys, logs, or copies of source code.
const PRIVATE: &[&str] = &[
    "bak", "cfg", "conf", "crt", "db", "env", "gpg", "ini", "key", "log", "old", "orig", "p12",
    "pem", "pfx", "py", "rb", "save", "sh", "sql", "sqlite", "sqlite3", "swo", "swp", "tmp",
];

/// A file to send.
pub struct StaticFile {
    file: File,
    metadata: Metadata,
    content_type: String,
}

impl StaticFile {
    /// Opens a regular file, unless it is private.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if is_private(path) {
            return Err(Failure::new(404, "a file that may be private"));
        }
        // The type is checked before opening, because opening a named pipe would block.
        let metadata = path.metadata().map_err(|error| Failure::unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(Failure::new(404, "not a regular file"));
        }
        let file = File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
        Ok(Self { file, metadata, content_type: content_type(path) })
    }

    /// Sends the file as the response to a GET request, or its head as the response to a HEAD
    /// request. `method` is GET after a local redirect, whatever the method of `request` is.
    pub fn send(self, method: &str, request: &Request, reply: &mut Reply) -> Result<(), Failure> {
        if !["GET", "HEAD"].contains(&method) {
            return Err(Failure::new(405, format!("{method} is not allowed for a file")));
        }
        let length = self.metadata.len();
        let validators = Validators::new(&self.metadata);
        let fields = |head: ResponseHead| {
            head.field("ETag", &validators.etag)
                .field("Last-Modified", &validators.last_modified)
                .field("Accept-Ranges", "bytes")
        };
        let content = |head| {
            fields(head)
                .field("Content-Type", &self.content_type)
                .field("X-Content-Type-Options", "nosniff")
        };
        match validators.select(request, length) {
            Part::Whole => {
                self.copy(content(ResponseHead::new(200, "OK")), 0..length, method, reply)
            }
            Part::Range(range) => {
                let value = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                let head = content(ResponseHead::new(206, "Partial Content"));
                self.copy(head.field("Content-Range", value), range, method, reply)
            }
            Part::NotModified => reply.send(fields(ResponseHead::new(304, "Not Modified")), b""),
            Part::OutOfRange => {
                let head = ResponseHead::new(416, "Range Not Satisfiable");
                reply.send(head.field("Content-Range", format!("bytes */{length}")), b"")
            }
        }
    }

    fn copy(
        &self,
        head: ResponseHead,
        range: Range<u64>,
        method: &str,
        reply: &mut Reply,
    ) -> Result<(), Failure> {
        let length = range.end - range.start;
        let mut writer = reply.start(head, Some(length))?;
        let mut file = &self.file;
        let copied = (|| {
            if method == "GET" {
                file.seek(SeekFrom::Start(range.start))?;
                io::copy(&mut file.take(length), &mut writer)?;
            }
            writer.finish()
        })();
        copied.map_err(|error| Failure::new(500, format!("cannot send the file: {error}")))
    }
}

/// Returns whether a file may be the source of a script, or something else that is not public.
fn is_private(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return true };
    let name = name.to_ascii_lowercase();
    let mut extensions = name.split('.').skip(1);
    let last = name.rsplit('.').next().unwrap_or_default();
    extensions.any(|part| part.starts_with("php") || SOURCES.contains(&part))
        || (PRIVATE.contains(&last) && name.contains('.'))
        || name.ends_with('~')
        || name.starts_with('#')
}

fn content_type(path: &Path) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = mime.type_() == "text" || mime.subtype() == "javascript";
    format!("{mime}{}", if is_text { "; charset=utf-8" } else { "" })
}
