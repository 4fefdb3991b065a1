use std::fs::{File, FileType};
use std::io::{self, IsTerminal};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;

use super::Listener;
use crate::error::{Error, Result};

/// The listening socket on a descriptor of unknown kind, which stays open.
pub(super) fn listener(descriptor: &(impl AsFd + IsTerminal)) -> Result<Listener> {
    let file = File::from(descriptor.as_fd().try_clone_to_owned()?);
    let kind = file.metadata()?.file_type();
    if kind.is_socket() {
        return adopt(file.into());
    }
    Err(Error::NotListening(if descriptor.is_terminal() { "a terminal" } else { name(kind) }))
}

/// What listens is told as section 2.2 has it: it has no peer.
fn adopt(socket: OwnedFd) -> Result<Listener> {
    let stream = TcpStream::from(socket.try_clone()?);
    // A peer of another family than TCP is an error too, but not this one.
    if !stream.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected) {
        return Err(Error::NotListening("a connected socket"));
    }
    let unix = UnixListener::from(socket);
    if unix.local_addr().is_ok_and(|address| !address.is_unnamed()) {
        return Ok(unix.into());
    }
    let tcp = TcpListener::from(OwnedFd::from(unix));
    // Only TCP knows the option; and a socket that was bound, as one that listens must be, has a
    // port.
    if stream.nodelay().is_ok() && tcp.local_addr().is_ok_and(|address| address.port() != 0) {
        return Ok(tcp.into());
    }
    Err(Error::NotListening("a socket that is not bound, or neither TCP nor Unix"))
}

fn name(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_char_device() => "a device such as /dev/null",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_dir() => "a directory",
        _ => "a file",
    }
}
