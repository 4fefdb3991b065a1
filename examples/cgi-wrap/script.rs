//! Finds the program of a request, and decides whether it may be run.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fcgi::Params;

use crate::support::exit::Exit;

const EXECUTABLE_BY_OWNER: u32 = 0o100;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The programs that may be run. Without roots and programs, these are the programs inside the
/// document root of a request. All paths are free of symbolic links.
#[derive(Default)]
pub struct Policy {
    roots: Vec<PathBuf>,
    programs: Vec<PathBuf>,
}

/// A program that may be run.
#[derive(Debug)]
pub struct Script {
    /// The path of the program, without symbolic links.
    pub file: PathBuf,
    /// The path of the program in the request, perhaps with symbolic links.
    pub name: PathBuf,
    /// The directory to run it in: that of `SCRIPT_FILENAME`, even if that is a symbolic link.
    pub directory: PathBuf,
    /// The params that were derived from others.
    pub variables: Vec<(&'static str, PathBuf)>,
}

/// Why a program is not run.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub reason: String,
}

impl Refusal {
    fn forbidden(path: &Path, reason: &str) -> Self {
        Self { status: 403, reason: format!("{}: {reason}", path.display()) }
    }
}

impl Policy {
    pub fn add_root(&mut self, directory: &Path) -> Result<(), Exit> {
        let root = fs::canonicalize(directory).map_err(|error| Exit::file(directory, &error))?;
        self.roots.push(root);
        Ok(())
    }

    pub fn add_program(&mut self, file: &Path) -> Result<(), Exit> {
        let program = fs::canonicalize(file).map_err(|error| Exit::file(file, &error))?;
        self.programs.push(program);
        Ok(())
    }

    /// Returns the program of a request.
    pub fn find(&self, params: &Params) -> Result<Script, Refusal> {
        let script = match path(params, "SCRIPT_FILENAME") {
            Some(file) => resolve(file, Vec::new())?,
            None => find_in_document_root(params)?,
        };
        self.check_place(&script.file, params)?;
        check_permissions(&script.file)?;
        Ok(script)
    }

    fn check_place(&self, file: &Path, params: &Params) -> Result<(), Refusal> {
        if self.programs.iter().any(|program| program == file) {
            return Ok(());
        }
        let is_inside = if self.roots.is_empty() && self.programs.is_empty() {
            let root = path(params, "DOCUMENT_ROOT").and_then(|root| fs::canonicalize(root).ok());
            root.is_some_and(|root| file.starts_with(root))
        } else {
            self.roots.iter().any(|root| file.starts_with(root))
        };
        if is_inside {
            return Ok(());
        }
        Err(Refusal::forbidden(file, "not inside the document root, --root or --program"))
    }
}

/// Returns the value of a param that is not empty.
fn value<'a>(params: &'a Params, name: &str) -> Option<&'a [u8]> {
    params.get_bytes(name).filter(|value| !value.is_empty())
}

/// Returns the value of a param as a path.
fn path<'a>(params: &'a Params, name: &str) -> Option<&'a Path> {
    value(params, name).map(|value| Path::new(OsStr::from_bytes(value)))
}

/// Returns the script at a path.
fn resolve(path: &Path, variables: Vec<(&'static str, PathBuf)>) -> Result<Script, Refusal> {
    if !path.is_absolute() {
        return Err(Refusal::forbidden(path, "not an absolute path"));
    }
    let file = fs::canonicalize(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Refusal::forbidden(path, &error.to_string()),
        _ => Refusal { status: 404, reason: format!("{}: {error}", path.display()) },
    })?;
    let directory = path.parent().unwrap_or(path).to_owned();
    Ok(Script { file, name: path.to_owned(), directory, variables })
}

/// Finds the script that `SCRIPT_NAME` begins with. The rest of it is the path info.
fn find_in_document_root(params: &Params) -> Result<Script, Refusal> {
    let (Some(root), Some(name)) = (value(params, "DOCUMENT_ROOT"), value(params, "SCRIPT_NAME"))
    else {
        let reason = "neither SCRIPT_FILENAME nor DOCUMENT_ROOT and SCRIPT_NAME are set";
        return Err(Refusal { status: 403, reason: reason.into() });
    };
    let ends = (1..=name.len()).filter(|&end| end == name.len() || name[end] == b'/');
    for end in ends {
        let file = [root, &name[..end]].concat();
        let file = Path::new(OsStr::from_bytes(&file));
        if !file.is_dir() {
            return resolve(file, split(name, end));
        }
    }
    Err(Refusal::forbidden(Path::new(OsStr::from_bytes(name)), "a directory"))
}

/// Returns the params of a script name that is followed by a path info.
fn split(name: &[u8], end: usize) -> Vec<(&'static str, PathBuf)> {
    let (name, path_info) = name.split_at(end);
    if path_info.is_empty() {
        return Vec::new();
    }
    let path = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
    vec![("SCRIPT_NAME", path(name)), ("PATH_INFO", path(path_info))]
}

/// Checks that the owner of a file may execute it, and that others cannot have replaced it.
fn check_permissions(file: &Path) -> Result<(), Refusal> {
    let metadata = |path: &Path| {
        fs::metadata(path).map_err(|error| Refusal::forbidden(path, &error.to_string()))
    };
    let mode = |metadata: &Metadata| metadata.permissions().mode();
    let of_file = metadata(file)?;
    if !of_file.is_file() {
        return Err(Refusal::forbidden(file, "not a regular file"));
    }
    if mode(&of_file) & EXECUTABLE_BY_OWNER == 0 {
        return Err(Refusal::forbidden(file, "not executable"));
    }
    if mode(&of_file) & WRITABLE_BY_OTHERS != 0 {
        return Err(Refusal::forbidden(file, "writable by others"));
    }
    let directory = file.parent().unwrap_or(file);
    if mode(&metadata(directory)?) & (WRITABLE_BY_OTHERS | STICKY) == WRITABLE_BY_OTHERS {
        return Err(Refusal::forbidden(directory, "writable by others"));
    }
    Ok(())
}
