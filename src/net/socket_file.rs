use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// The file of a listening Unix socket.
///
/// It is identified by its device and inode. The system assigns these to no other file while the
/// socket is open, so a file that another process has created at the same path is never changed.
#[derive(Debug)]
pub(super) struct SocketFile {
    /// The path as the caller has written it.
    address: PathBuf,
    /// Absolute, so that a change of the working directory has no effect.
    path: PathBuf,
    /// The device and inode.
    id: (u64, u64),
}

impl SocketFile {
    /// Binds a Unix socket to a new file. Replaces the file of a socket on which no process
    /// listens.
    pub(super) fn bind(address: &Path) -> io::Result<(UnixListener, Self)> {
        let socket = match UnixListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(address)?;
                UnixListener::bind(address)?
            }
            bound => bound?,
        };
        let path = if address.is_absolute() {
            address.to_owned()
        } else {
            env::current_dir()?.join(address)
        };
        Ok((socket, Self { address: address.to_owned(), id: id(&path)?, path }))
    }

    /// Returns the path as the caller has written it.
    pub(super) fn address(&self) -> &Path {
        &self.address
    }

    /// Returns the absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the permission bits of the file.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        if !self.exists() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is no longer the file of this listener", self.path.display()),
            ));
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    /// Removes the file if it still exists. Errors are ignored: closing the listener cannot fail.
    pub(super) fn remove(&self) {
        if self.exists() {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Returns whether the path still leads to the file that was created.
    fn exists(&self) -> bool {
        id(&self.path).is_ok_and(|id| id == self.id)
    }
}

/// Returns the device and inode of a file.
fn id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes the file of a socket on which no process listens.
///
/// # Errors
/// `AddrInUse` if a process listens on the socket, or if the file is not a socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use =
        |what| io::Error::new(io::ErrorKind::AddrInUse, format!("{} {what}", path.display()));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use("exists and is not a socket"));
    }
    // Connecting a datagram socket adds no connection to the backlog of a process that listens. If
    // there is such a process, the call fails because the types differ. If there is none, the
    // connection is refused.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(in_use("is in use by another socket")),
    }
}
