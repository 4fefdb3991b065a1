//! Stores the bodies of PUT requests as files: `upload ADDRESS DIRECTORY`.
//!
//! ```sh
//! cargo run --example upload -- 127.0.0.1:9000 /tmp
//! curl -T photo.jpg http://localhost/upload/photo.jpg    # through a web server
//! ```
//!
//! The body is copied to a temporary file as it arrives, so memory does not grow with its length.
//! The file gets its name, and replaces one of the same name, when all of the body has arrived. Its
//! mode is 0644, less the umask. A body of more than 1 GiB is answered with `413 Content Too
//! Large`, and one that is cut off with `400 Bad Request`. The body is the file itself. `multipart`
//! reads forms with files.

use std::io;
use std::path::Path;

use fcgi::server::{Config, HandlerResult, Request, StatusError};
use fcgi::{ResponseHead, Server};
use tempfile::NamedTempFile;

const MAX_FILE: u64 = 1 << 30;

fn main() -> fcgi::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:9000".into());
    let directory = arguments.next().unwrap_or("/tmp".into());
    let config = Config::new().max_body(Some(MAX_FILE));
    let server = Server::bind(address)?.config(config);
    server.serve(move |request| store(request, Path::new(&directory)))
}

fn store(request: &mut Request, directory: &Path) -> HandlerResult {
    let path = request.path_below("/upload")?.unwrap_or_default();
    let name = path.strip_prefix('/').filter(|name| is_file_name(name));
    let name = name.ok_or(StatusError::new(404, "PUT a file to /upload/NAME."))?;
    request.expect_method(&["PUT"])?;

    // The file is removed if an error is returned before `persist`, such as that of a cut body.
    let mut file = create(directory)?;
    let len = io::copy(&mut request.stdin, &mut file)?;
    file.persist(directory.join(name))?;
    request.respond(ResponseHead::text().status(201)?, format!("{len} bytes\n"))
}

/// Creates a temporary file that all users may read. By default only its owner may.
fn create(directory: &Path) -> io::Result<NamedTempFile> {
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    builder.tempfile_in(directory)
}

/// Returns whether a name stays inside the directory, and is not that of a temporary file.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}
