use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// The file of a listening socket, known by its device and inode: while the socket is open the
/// system gives them to no other file, so that another's is never taken for it.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// Absolute, so that a change of the working directory does not matter.
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    /// Listens on a new file, in place of one that a dead process has left behind.
    pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let path =
            if path.is_absolute() { path.to_owned() } else { env::current_dir()?.join(path) };
        Ok((socket, Self { id: id(&path)?, path }))
    }

    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        if !self.is_there() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is another file", self.path.display()),
            ));
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    /// Removes the file, if it is still there. That it cannot be removed is no reason not to end.
    pub(super) fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn is_there(&self) -> bool {
        id(&self.path).is_ok_and(|id| id == self.id)
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket file on which nobody listens.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use =
        |what| io::Error::new(io::ErrorKind::AddrInUse, format!("{} {what}", path.display()));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use("exists and is no socket"));
    }
    // A datagram socket neither waits in the application's queue nor shows up there as a
    // connection: it is told that the socket is of the wrong type, if there still is one behind
    // the file, and else that it is refused.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(in_use("is in use by another socket")),
    }
}
