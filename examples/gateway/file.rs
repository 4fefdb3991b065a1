//! Files that are sent as they are.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::failure::Failure;
use crate::reply::Reply;

/// The kinds of files that are sent. What is not here may be a script's source, a backup or a key.
const TYPES: &[(&str, &str)] = &[
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

/// A file that may be sent.
pub struct StaticFile {
    file: File,
    length: u64,
    content_type: &'static str,
}

impl StaticFile {
    /// Opens a regular file of a known kind.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        let (_, content_type) =
            known.ok_or_else(|| Failure::new(404, "a file of no known kind"))?;
        // Looked at first: opening a pipe would wait.
        let metadata = path.metadata().map_err(|error| not_readable(path, &error))?;
        if !metadata.is_file() {
            return Err(Failure::new(404, "not a file"));
        }
        let file = File::open(path).map_err(|error| not_readable(path, &error))?;
        Ok(Self { file, length: metadata.len(), content_type })
    }

    pub fn send(mut self, method: &str, reply: &mut Reply) -> Result<(), Failure> {
        if !["GET", "HEAD"].contains(&method) {
            return Err(Failure::new(405, "a file can be read only"));
        }
        let mut writer = reply.start_file(self.content_type, self.length)?;
        if method == "GET" {
            let copied = io::copy(&mut self.file, &mut writer);
            copied.map_err(|error| Failure::new(500, format!("sending a file: {error}")))?;
        }
        writer.finish();
        Ok(())
    }
}

fn not_readable(path: &Path, error: &io::Error) -> Failure {
    let status = if error.kind() == io::ErrorKind::PermissionDenied { 403 } else { 404 };
    Failure::new(status, format!("{}: {error}", path.display()))
}
