use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Returns the device and inode of the file at a path. Does not follow a symbolic link.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::symlink_metadata(path)?))
    }

    /// Checks that this is the file that was found at a path.
    ///
    /// # Errors
    /// `NotFound` if it is another file.
    pub(super) fn check(self, found: Self, path: &Path) -> io::Result<()> {
        if found == self {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is no longer the file of this listener", path.display()),
        ))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}
