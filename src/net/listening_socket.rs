use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixListener;

use super::address::Address;
use crate::error::Result;

/// A listening TCP or Unix socket.
#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
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
            Self::Unix(socket) => match socket.local_addr()?.as_pathname() {
                Some(path) => Address::unix(path),
                None => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "listening Unix socket has no path",
                )
                .into()),
            },
        }
    }

    /// Returns the address at which this process can connect to the socket.
    ///
    /// It has the loopback address in place of `0.0.0.0` and `::`, because not every system can
    /// connect to those two.
    pub(super) fn loopback_address(&self) -> Result<Address> {
        let mut address = match self {
            Self::Tcp(socket) => socket.local_addr()?,
            #[cfg(unix)]
            Self::Unix(_) => return self.local_address(),
        };
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Ok(address.into())
    }

    /// Moves the socket into blocking mode.
    pub(super) fn set_blocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(false),
            #[cfg(unix)]
            Self::Unix(socket) => socket.set_nonblocking(false),
        }
    }
}

#[cfg(unix)]
impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_address_replaces_the_unspecified_address_alone() -> Result<()> {
        for (bound, expected) in [
            ("0.0.0.0", "127.0.0.1"),
            ("127.0.0.2", "127.0.0.2"),
            ("::", "::1"),
            // An IPv4 address that is written as an IPv6 address.
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ] {
            let ip: IpAddr = bound.parse().expect("an IP address");
            let socket = match TcpListener::bind((ip, 0)) {
                // The system has no IPv6, or only one address of the loopback network.
                Err(_) if bound != "0.0.0.0" => continue,
                socket => socket?,
            };
            let port = socket.local_addr()?.port();
            let address = ListeningSocket::Tcp(socket).loopback_address()?;
            assert_eq!(address, Address::tcp(expected, port)?, "{bound}");
        }
        Ok(())
    }
}
