//! Helpers for the tests of Unix sockets and of shared sockets.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use fcgi::net::{Address, Listener};
use tempfile::TempDir;

#[track_caller]
pub(super) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
pub(super) fn unix_address(path: &Path) -> Address {
    Address::unix(path).unwrap()
}

#[track_caller]
pub(super) fn bind(path: &Path) -> Listener {
    Listener::bind(unix_address(path)).unwrap()
}

/// Leaves a socket file without a listener, as a killed process does.
#[track_caller]
pub(super) fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

/// Returns a listener of each kind with a second handle of its socket, such as another process
/// may have.
#[track_caller]
pub(super) fn pairs(dir: &Path) -> [(Listener, Listener); 2] {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(dir.join("app.sock")).unwrap();
    let (tcp_again, unix_again) = (tcp.try_clone().unwrap(), unix.try_clone().unwrap());
    [(tcp.into(), tcp_again.into()), (unix.into(), unix_again.into())]
}

/// Returns the socket as a stream, because `std` shows some settings of streams only.
#[track_caller]
pub(super) fn settings(socket: &impl AsFd) -> TcpStream {
    socket.as_fd().try_clone_to_owned().unwrap().into()
}

/// Returns whether a socket is in non-blocking mode.
#[cfg(target_os = "linux")]
#[track_caller]
pub(super) fn is_nonblocking(socket: &impl AsFd) -> bool {
    use std::os::fd::AsRawFd;

    let path = format!("/proc/self/fdinfo/{}", socket.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    u32::from_str_radix(flags, 8).unwrap() & 0o4000 != 0
}
