//! Socket files on systems other than Linux, as far as `std` supports them.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{lchown, PermissionsExt};
use std::path::Path;

use super::file_id::FileId;

/// A lock for changes of the socket file at a path. `std` has no such lock that is released when
/// the process ends, so this type locks nothing.
#[derive(Debug)]
pub(super) struct PathLock;

impl PathLock {
    /// Returns at once.
    pub(super) fn acquire(_: &Path) -> Self {
        Self
    }

    /// Returns `false`.
    #[allow(clippy::unused_self)] // The lock for Linux needs it.
    pub(super) fn is_exclusive(&self) -> bool {
        false
    }
}

/// Sets the permission bits of a file. If the file is replaced by a symbolic link between the check
/// and the change, the change applies to the file that the link leads to.
///
/// # Errors
/// `NotFound` if another file is at the path.
pub(super) fn set_mode(path: &Path, id: FileId, mode: u32) -> io::Result<()> {
    id.check(FileId::at(path)?, path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Sets the owner and group of a file. `None` leaves them unchanged. Does not follow a symbolic
/// link.
///
/// # Errors
/// `NotFound` if another file is at the path.
pub(super) fn set_owner(
    path: &Path,
    id: FileId,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    id.check(FileId::at(path)?, path)?;
    lchown(path, uid, gid)
}
