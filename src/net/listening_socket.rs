use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::{self, UnixListener};

use super::address::Address;
#[cfg(unix)]
use super::socket_file::SocketFile;
use super::waiters::WakeAddress;
use crate::error::Result;

/// A listening TCP or Unix socket.
#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    /// The file is `Some` if this process created it.
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

impl ListeningSocket {
    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    /// `Unsupported` for a Unix socket without a path.
    pub(super) fn local_address(&self) -> Result<Address> {
        match self {
            Self::Tcp(socket) => Ok(socket.local_addr()?.into()),
            #[cfg(unix)]
            Self::Unix(_, Some(file)) => Address::unix(file.given_path()),
            #[cfg(unix)]
            Self::Unix(socket, None) => match socket.local_addr()?.as_pathname() {
                Some(path) => Address::unix(path),
                None => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "listening Unix socket has no path",
                )
                .into()),
            },
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            #[cfg(unix)]
            Self::Unix(..) => true,
        }
    }

    /// Returns the address at which this process can connect to the socket.
    pub(super) fn wake_address(&self) -> io::Result<WakeAddress> {
        match self {
            Self::Tcp(socket) => Ok(WakeAddress::Tcp(loopback_address(socket.local_addr()?))),
            #[cfg(unix)]
            Self::Unix(socket, file) => {
                let path =
                    file.as_ref().map(|file| net::SocketAddr::from_pathname(file.absolute_path()));
                // An absolute path may be too long although the relative path was not.
                let address = path.and_then(io::Result::ok).map_or_else(|| socket.local_addr(), Ok);
                Ok(WakeAddress::Unix(address?))
            }
        }
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(nonblocking),
            #[cfg(unix)]
            Self::Unix(socket, _) => socket.set_nonblocking(nonblocking),
        }
    }

    /// Removes the file of a Unix socket if this process created it.
    pub(super) fn remove_file(&self) {
        #[cfg(unix)]
        if let Self::Unix(_, Some(file)) = self {
            file.remove();
        }
    }
}

#[cfg(unix)]
impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket, _) => socket.as_fd(),
        }
    }
}

/// Replaces `0.0.0.0` and `::` by the loopback address, because not every system can connect to
/// those two.
fn loopback_address(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_address_replaces_the_unspecified_address_alone() {
        for (bound, expected) in [
            ("0.0.0.0:9", "127.0.0.1:9"),
            ("127.0.0.2:9", "127.0.0.2:9"),
            ("[::]:9", "[::1]:9"),
            ("[fd00::2]:9", "[fd00::2]:9"),
        ] {
            let [bound, expected] = [bound, expected].map(|text| text.parse().expect("an address"));
            assert_eq!(loopback_address(bound), expected);
        }
    }
}
