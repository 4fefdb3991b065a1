//! Static files.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::failure::Failure;
use crate::reply::Reply;

/// The extensions of the files that are served, with their content types. Any other file may be the
/// source of a script, a backup or a key.
const CONTENT_TYPES: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

/// A file to send.
pub struct StaticFile {
    file: File,
    length: u64,
    content_type: &'static str,
}

impl StaticFile {
    /// Opens a regular file of a known type.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let content_type =
            content_type(path).ok_or_else(|| Failure::new(404, "a file of an unknown type"))?;
        // The type is checked before opening, because opening a named pipe would block.
        let metadata = path.metadata().map_err(|error| not_readable(path, &error))?;
        if !metadata.is_file() {
            return Err(Failure::new(404, "not a regular file"));
        }
        let file = File::open(path).map_err(|error| not_readable(path, &error))?;
        Ok(Self { file, length: metadata.len(), content_type })
    }

    /// Sends the file as the response to a GET request, or its head as the response to a HEAD
    /// request.
    pub fn send(mut self, method: &str, reply: &mut Reply) -> Result<(), Failure> {
        if !["GET", "HEAD"].contains(&method) {
            return Err(Failure::new(405, format!("{method} is not allowed for a file")));
        }
        let mut writer = reply.start_file(self.content_type, self.length)?;
        if method == "GET" {
            let copied = io::copy(&mut self.file, &mut writer);
            copied.map_err(|error| Failure::new(500, format!("cannot send the file: {error}")))?;
        }
        writer.finish();
        Ok(())
    }
}

fn content_type(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?;
    let known = CONTENT_TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension))?;
    Some(known.1)
}

fn not_readable(path: &Path, error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::PermissionDenied { 403 } else { 404 };
    Failure::new(status, format!("{}: {error}", path.display()))
}
