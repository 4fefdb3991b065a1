use std::fs::{File, FileType};
use std::io::{self, IsTerminal};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;

use super::listening_socket::ListeningSocket;
use crate::error::{Error, Result};

/// Returns a new handle of the listening socket on a descriptor of unknown kind.
///
/// # Errors
/// [`Error::NotListening`] if the descriptor is anything else.
pub(super) fn listening_socket(descriptor: &(impl AsFd + IsTerminal)) -> Result<ListeningSocket> {
    let file = File::from(descriptor.as_fd().try_clone_to_owned()?);
    let file_type = file.metadata()?.file_type();
    if file_type.is_socket() {
        return adopt(file.into());
    }
    let is_terminal = descriptor.is_terminal();
    Err(Error::not_listening(if is_terminal { "a terminal" } else { describe(file_type) }))
}

/// Recognizes a listening socket by the fact that it has no peer, as the [FastCGI specification],
/// section 2.2, prescribes, and determines its kind.
///
/// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
fn adopt(socket: OwnedFd) -> Result<ListeningSocket> {
    let stream = TcpStream::from(socket.try_clone()?);
    // For a peer that is not a TCP socket `peer_addr` fails too, but with another error.
    if !stream.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected) {
        return Err(Error::not_listening("a connected socket"));
    }
    let unix = UnixListener::from(socket);
    if unix.local_addr().is_ok_and(|address| !address.is_unnamed()) {
        return Ok(ListeningSocket::Unix(unix, None));
    }
    let tcp = TcpListener::from(OwnedFd::from(unix));
    // Only a TCP socket has the option, and only a bound one has a port.
    if stream.nodelay().is_ok() && tcp.local_addr().is_ok_and(|address| address.port() != 0) {
        return Ok(ListeningSocket::Tcp(tcp));
    }
    Err(Error::not_listening("a socket that is not bound, or is neither TCP nor Unix"))
}

fn describe(file_type: FileType) -> &'static str {
    match file_type {
        kind if kind.is_char_device() => "a device such as /dev/null",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_dir() => "a directory",
        _ => "a file",
    }
}
