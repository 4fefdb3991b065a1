mod file_id;
#[cfg(all(target_os = "linux", not(fcgi_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(fcgi_portable))))]
mod portable;
mod system;

use std::collections::hash_map::RandomState;
use std::fs::{self, Metadata};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{absolute, Path, PathBuf};
use std::thread;
use std::time::Duration;

use self::file_id::FileId;
use self::system::PathLock;

/// How long [`SocketFile::bind`] waits before it checks a second time that no process listens on a
/// socket. A process that has just bound the socket calls `listen` much sooner.
const STALE_PAUSE: Duration = Duration::from_millis(10);

/// How long [`SocketFile::bind`] waits before it checks that its file has not been replaced. A
/// process that has checked the old file replaces it much sooner.
const REPLACED_PAUSE: Duration = Duration::from_millis(20);

/// The file of a listening Unix socket.
///
/// It is identified by its device and inode. The system assigns these to no other file while the
/// socket is open, so a file that another process has created at the same path is never changed.
///
/// # Several processes
/// Every change of what the path leads to is made with a [`PathLock`]: binding a socket, which is
/// not complete before the call of `listen`; replacing the file of a socket on which no process
/// listens; taking over the path; and removing the file. If the lock is exclusive, a file that has
/// been checked is therefore still the same when it is removed.
///
/// If the lock is not exclusive, several processes may replace the same stale file. Each of them
/// first binds its socket to a temporary name, and then renames that file to the path. The path
/// leads to a file at any time, so no other process can bind it. The file that was renamed last
/// stays. Every process waits before it checks that its own file is there, and fails otherwise.
#[derive(Debug)]
pub(super) struct SocketFile {
    given_path: PathBuf,
    /// A change of the working directory has no effect on it.
    absolute_path: PathBuf,
    id: FileId,
}

impl SocketFile {
    /// Binds a Unix socket to a new file. Replaces the file of a socket on which no process
    /// listens.
    ///
    /// # Errors
    /// `AddrInUse` if another process listens on the socket or has bound it at the same time, or if
    /// the file is not a socket.
    pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        let lock = PathLock::acquire(&absolute(path)?);
        match Self::bind_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            outcome => return outcome,
        }
        match stale_file(path) {
            Ok(stale) if !lock.is_exclusive() => return Self::replace_stale(path, stale),
            Ok(_) => fs::remove_file(path)?,
            // Another process has removed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Self::bind_new(path)
    }

    /// Binds a Unix socket to a new file, and replaces the file at `path` by it even if a
    /// process listens on that socket. The new file gets the permission bits, owner and group of
    /// the old one.
    ///
    /// # Errors
    /// `AddrInUse` if the old file is not a socket.
    pub(super) fn take_over(path: &Path) -> io::Result<(UnixListener, Self)> {
        let _lock = PathLock::acquire(&absolute(path)?);
        Self::bind_over(path, |file| match fs::symlink_metadata(path) {
            Ok(replaced) if replaced.file_type().is_socket() => file.copy_access(&replaced),
            Ok(_) => Err(in_use("the file exists and is not a socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// Returns the path that the caller has passed.
    pub(super) fn given_path(&self) -> &Path {
        &self.given_path
    }

    pub(super) fn absolute_path(&self) -> &Path {
        &self.absolute_path
    }

    /// Sets the permission bits of the file.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        system::set_mode(&self.absolute_path, self.id, mode)
    }

    /// Sets the owner and group of the file.
    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        system::set_owner(&self.absolute_path, self.id, uid, gid)
    }

    /// Removes the file if it still exists. Errors are ignored: closing the listener cannot fail.
    pub(super) fn remove(&self) {
        if self.is_at_path() {
            let lock = PathLock::acquire(&self.absolute_path);
            let _ = if lock.is_exclusive() { self.remove_locked() } else { self.remove_unlocked() };
        }
    }

    fn remove_locked(&self) -> io::Result<()> {
        if self.is_at_path() {
            fs::remove_file(&self.absolute_path)?;
        }
        Ok(())
    }

    /// Removes the file under a temporary name, after a second check. If another process has taken
    /// over the path in between, its file is moved back.
    fn remove_unlocked(&self) -> io::Result<()> {
        let moved = temporary_path(&self.absolute_path);
        fs::rename(&self.absolute_path, &moved)?;
        if FileId::at(&moved)? == self.id {
            fs::remove_file(moved)
        } else {
            fs::rename(moved, &self.absolute_path)
        }
    }

    /// Returns whether the path still leads to the file that was created.
    fn is_at_path(&self) -> bool {
        FileId::at(&self.absolute_path).is_ok_and(|id| id == self.id)
    }

    /// Replaces the file of a socket on which no process listens, without an exclusive lock.
    fn replace_stale(path: &Path, stale: FileId) -> io::Result<(UnixListener, Self)> {
        let in_use = || in_use("it has been bound by another process");
        let (socket, file) = Self::bind_over(path, |_| match FileId::at(path) {
            Ok(id) if id == stale => Ok(()),
            _ => Err(in_use()),
        })?;
        thread::sleep(REPLACED_PAUSE);
        if file.is_at_path() {
            Ok((socket, file))
        } else {
            Err(in_use())
        }
    }

    /// Binds a Unix socket to a new file with a temporary name, and renames the file to `path`
    /// if `check` succeeds.
    fn bind_over(
        path: &Path,
        check: impl FnOnce(&Self) -> io::Result<()>,
    ) -> io::Result<(UnixListener, Self)> {
        let absolute_path = absolute(path)?;
        let (socket, file) = Self::bind_temporary(path)?;
        match check(&file).and_then(|()| fs::rename(&file.absolute_path, &absolute_path)) {
            Ok(()) => {
                Ok((socket, Self { given_path: path.to_owned(), absolute_path, id: file.id }))
            }
            Err(error) => {
                let _ = fs::remove_file(&file.absolute_path);
                Err(error)
            }
        }
    }

    /// Binds a Unix socket to a new file with an unused name in the same directory.
    fn bind_temporary(path: &Path) -> io::Result<(UnixListener, Self)> {
        loop {
            match Self::bind_new(&temporary_path(path)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome,
            }
        }
    }

    fn bind_new(path: &Path) -> io::Result<(UnixListener, Self)> {
        let absolute_path = absolute(path)?;
        let socket = UnixListener::bind(path)?;
        let id = FileId::at(&absolute_path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => in_use("it has been removed by another process"),
            _ => error,
        })?;
        Ok((socket, Self { given_path: path.to_owned(), absolute_path, id }))
    }

    /// Sets the permission bits, owner and group to those of another file.
    fn copy_access(&self, other: &Metadata) -> io::Result<()> {
        let ours = fs::symlink_metadata(&self.absolute_path)?;
        if (ours.uid(), ours.gid()) != (other.uid(), other.gid()) {
            self.set_owner(Some(other.uid()), Some(other.gid()))?;
        }
        self.set_mode(other.mode() & 0o7777)
    }
}

/// Returns the id of the file at a path if it is a socket on which no process listens.
///
/// # Errors
/// `AddrInUse` if a process listens on the socket, or if the file is not a socket.
fn stale_file(path: &Path) -> io::Result<FileId> {
    let id = refusing_socket(path)?;
    thread::sleep(STALE_PAUSE);
    if refusing_socket(path)? != id {
        return Err(in_use("it has been bound by another process"));
    }
    Ok(id)
}

/// Returns the id of the file at a path if it is a socket that refuses connections.
///
/// # Errors
/// `AddrInUse` if it is another file or another socket.
fn refusing_socket(path: &Path) -> io::Result<FileId> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        return Err(in_use("the file exists and is not a socket"));
    }
    // Connecting a datagram socket adds no connection to the backlog of a process that listens. If
    // there is such a process, the call fails because the types differ. If there is none, the
    // connection is refused.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(FileId::from(&metadata))
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
            ) =>
        {
            Err(error)
        }
        _ => Err(in_use("it is in use by another socket")),
    }
}

/// Returns a random path in the same directory. It is 9 bytes longer.
fn temporary_path(path: &Path) -> PathBuf {
    let random = RandomState::new().build_hasher().finish() as u32;
    let mut text = path.as_os_str().to_owned();
    text.push(format!(".{random:08x}"));
    text.into()
}

fn in_use(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, what)
}
