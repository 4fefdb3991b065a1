//! The access log, in the combined format of Apache.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::http::{Reply, Request};
use crate::support::exit::Exit;

/// A file with one line for each request.
pub struct AccessLog(Mutex<Box<dyn Write + Send>>);

impl AccessLog {
    /// Opens a file to append to it, or stdout.
    pub fn open(file: Option<&Path>) -> Result<Self, Exit> {
        let output: Box<dyn Write + Send> = match file {
            Some(file) => {
                let opened = OpenOptions::new().append(true).create(true).open(file);
                Box::new(opened.map_err(|error| Exit::file(file, &error))?)
            }
            None => Box::new(io::stdout()),
        };
        Ok(Self(Mutex::new(output)))
    }

    /// Adds the line of a request. Its time is that of the end of the response.
    pub fn write(&self, request: &Request, reply: &Reply) {
        let line = format!(
            "{} - {} [{}] \"{} {} {}\" {} {} \"{}\" \"{}\"\n",
            request.remote.ip(),
            escape(reply.user.as_deref()),
            time(SystemTime::now()),
            escape(Some(&request.method)),
            escape(Some(&request.target)),
            request.version(),
            reply.status(),
            reply.bytes(),
            escape(request.header("Referer")),
            escape(request.header("User-Agent")),
        );
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The gateway continues if the disk is full or the reader of stdout has closed it.
        let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
    }
}

/// Formats a time, such as `26/Nov/2026:17:28:00 +0000`.
fn time(time: SystemTime) -> String {
    let date = httpdate::fmt_http_date(time);
    match date.split(' ').collect::<Vec<_>>()[..] {
        [_, day, month, year, time, _] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => date,
    }
}

/// Escapes what could end a field or a line. A missing value is a hyphen.
fn escape(value: Option<&str>) -> String {
    let mut escaped = String::new();
    for byte in value.unwrap_or_default().bytes() {
        match byte {
            b'"' | b'\\' => escaped.extend(['\\', byte.into()]),
            b' '..=b'~' => escaped.push(byte.into()),
            // Writing to a string does not fail.
            _ => drop(write!(escaped, "\\x{byte:02x}")),
        }
    }
    if escaped.is_empty() {
        escaped.push('-');
    }
    escaped
}
