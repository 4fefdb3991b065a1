//! Stores the bodies of PUT requests as files: `upload ADDRESS DIRECTORY`.
//!
//! ```sh
//! cargo run --example upload -- 127.0.0.1:9000 /tmp
//! curl -T photo.jpg http://localhost/upload/photo.jpg    # through a web server
//! ```
//!
//! The body is copied to a temporary file as it arrives, so memory does not grow with its length.
//! The file gets its name when all of the body has arrived. A body of more than 1 GiB is answered
//! with `413 Content Too Large`. The body is the file itself. For forms with files, which browsers
//! send as `multipart/form-data`, see the guide to forms in the documentation of the crate.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use fcgi::server::{Config, HandlerResult, Request};
use fcgi::{ResponseHead, Server};

const MAX_FILE: u64 = 1 << 30;

fn main() -> fcgi::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:9000".into());
    let directory = arguments.next().unwrap_or("/tmp".into());
    Server::bind(&address.to_string_lossy())?
        .config(Config::new().max_body(Some(MAX_FILE)))
        .serve(move |request| store(request, Path::new(&directory)))
}

fn store(request: &mut Request, directory: &Path) -> HandlerResult {
    let path = request.path_below("/upload")?.unwrap_or_default();
    let Some(name) = path.strip_prefix('/').filter(|name| is_file_name(name)) else {
        return request.respond(ResponseHead::not_found(), "PUT a file to /upload/NAME.\n");
    };
    if request.method() != "PUT" {
        let head = ResponseHead::text().status(405)?.field("Allow", "PUT")?;
        return request.respond(head, "PUT a file.\n");
    }
    let temporary = directory.join(format!(".{name}.{:?}", std::thread::current().id()));
    let mut file = File::create(&temporary)?;
    // A body that is cut off is an error, so an incomplete file is never renamed.
    match io::copy(&mut request.stdin, &mut file) {
        Ok(len) => {
            fs::rename(&temporary, directory.join(name))?;
            request.respond(ResponseHead::text().status(201)?, format!("{len} bytes\n"))
        }
        Err(error) => fs::remove_file(&temporary).and(Err(error)).map_err(Into::into),
    }
}

/// Returns whether a name stays inside the directory, and is not that of a temporary file.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}
