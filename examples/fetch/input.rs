//! The files that `fetch` sends.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::UNIX_EPOCH;

use fcgi::client::Body;
use fcgi::Params;

use super::set_default;
use super::support::exit::Exit;

/// Opens the request's body and adds its length to the params.
pub fn open_body(path: Option<&Path>, params: &mut Params) -> Result<Body<'static>, Exit> {
    let Some(path) = path else { return Ok(io::empty().into()) };
    if is_stdin(path) && params.get_bytes("CONTENT_LENGTH").is_some() {
        return Ok(io::stdin().into());
    }
    let (file, metadata) = open(path).map_err(|error| Exit::file(path, &error))?;
    if metadata.is_file() {
        set_default(params, "CONTENT_LENGTH", metadata.len().to_string())?;
    }
    Ok(file.into())
}

/// Opens the data of a filter and adds its length and its modification time to the params.
pub fn open_data(path: Option<&Path>, params: &mut Params) -> Result<Body<'static>, Exit> {
    let Some(path) = path else { return Ok(io::empty().into()) };
    if is_stdin(path) && params.get_bytes("FCGI_DATA_LENGTH").is_some() {
        set_default(params, "FCGI_DATA_LAST_MOD", "0")?;
        return Ok(io::stdin().into());
    }
    let (file, metadata) = open(path).map_err(|error| Exit::file(path, &error))?;
    if metadata.is_file() {
        set_default(params, "FCGI_DATA_LENGTH", metadata.len().to_string())?;
    }
    set_default(params, "FCGI_DATA_LAST_MOD", modified_seconds(&metadata).to_string())?;
    Ok(file.into())
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a file. Copies stdin to a temporary file, so that its length is known.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = if is_stdin(path) { spool(&mut io::stdin())? } else { File::open(path)? };
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Copies an input to a temporary file that has no name.
fn spool(input: &mut impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// Returns the modification time in seconds since 1970, or 0 if it is not known.
fn modified_seconds(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}
