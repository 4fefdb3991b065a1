//! What Linux offers for socket files: a lock that does not outlive its process, and access to a
//! file that cannot be replaced in between.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::file_id::FileId;

/// How long [`PathLock::acquire`] waits. The lock is held for little more than 10 ms.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long [`PathLock::acquire`] waits before it tries again.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// The maximum length of an abstract name.
const MAX_NAME_LEN: usize = 107;

/// Opens a file without access to its content. `std` has no name for this flag.
const O_PATH: i32 = if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    0x0100_0000
} else {
    0x0020_0000
};

/// A lock for changes of the socket file at a path. It excludes the threads of every process in the
/// same network namespace that uses this crate.
///
/// The lock is a socket bound to an abstract name, which only one socket of a network namespace can
/// have. The system releases the name when the process ends. The name consists of the device and
/// inode of the directory and the name of the file, so all spellings of a path have the same lock.
///
/// A process of any user can bind the name. It can delay the threads that wait for the lock, but
/// not stop them, because they continue without the lock after [`LOCK_TIMEOUT`].
#[derive(Debug)]
pub(super) struct PathLock(Option<UnixDatagram>);

impl PathLock {
    /// Waits for the lock of an absolute path. Returns without the lock after [`LOCK_TIMEOUT`], and
    /// if the system does not permit the abstract name.
    pub(super) fn acquire(path: &Path) -> Self {
        Self(lock_address(path).and_then(|address| bind_when_free(&address)).ok())
    }

    /// Returns whether other processes that use this crate are excluded, except those of another
    /// network namespace.
    pub(super) fn is_exclusive(&self) -> bool {
        self.0.is_some()
    }
}

/// Sets the permission bits of a file.
///
/// # Errors
/// `NotFound` if the path leads to another file.
pub(super) fn set_mode(path: &Path, id: FileId, mode: u32) -> io::Result<()> {
    change(path, id, |path| fs::set_permissions(path, Permissions::from_mode(mode)))
}

/// Sets the owner and group of a file. `None` leaves them unchanged.
///
/// # Errors
/// `NotFound` if the path leads to another file.
pub(super) fn set_owner(
    path: &Path,
    id: FileId,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    change(path, id, |path| chown(path, uid, gid))
}

/// Calls `change` with a path that leads to the file with this id and cannot lead to another file,
/// even if the directory is changed or contains a symbolic link.
fn change(path: &Path, id: FileId, change: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(O_PATH).open(path)?;
    id.check(FileId::from(&file.metadata()?), path)?;
    change(&format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::Unsupported, "/proc is not mounted")
        }
        _ => error,
    })
}

/// Returns the abstract address for a path. Two long file names may have the same one. They then
/// have the same lock.
fn lock_address(path: &Path) -> io::Result<SocketAddr> {
    let directory = path.parent().unwrap_or(path).metadata()?;
    let mut name = format!("fcgi-bind/{:x}/{:x}/", directory.dev(), directory.ino()).into_bytes();
    name.extend(path.file_name().unwrap_or_default().as_bytes());
    name.truncate(MAX_NAME_LEN);
    SocketAddr::from_abstract_name(name)
}

/// Binds a socket to an address, as soon as no other socket has it.
fn bind_when_free(address: &SocketAddr) -> io::Result<UnixDatagram> {
    let start = Instant::now();
    loop {
        match UnixDatagram::bind_addr(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < LOCK_TIMEOUT =>
            {
                thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}
