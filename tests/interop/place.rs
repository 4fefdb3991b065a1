//! Where a server listens: ports and socket files that nobody else has, and what the system knows
//! of them.

use std::fmt;
use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::process::Folder;

/// An address for a FastCGI application, displayed as this library and nginx write it.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(u16),
    Unix(PathBuf),
}

impl Place {
    pub fn tcp() -> Self {
        Self::Tcp(free_port())
    }

    pub fn unix(folder: &Folder) -> Self {
        Self::Unix(folder.join("app.sock"))
    }

    /// Listens, for a program that is to find the socket on descriptor 0.
    pub fn listen(&self) -> OwnedFd {
        match self {
            Self::Tcp(port) => {
                TcpListener::bind(("127.0.0.1", *port)).expect("a listening socket").into()
            }
            Self::Unix(path) => UnixListener::bind(path).expect("a listening socket").into(),
        }
    }

    /// As programs write it that tell the two kinds by a colon.
    pub fn plain(&self) -> String {
        match self {
            Self::Tcp(port) => format!("127.0.0.1:{port}"),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// Lets every user connect: some servers give up being root.
    pub fn open_to_all(&self) {
        if let Self::Unix(path) = self {
            fs::set_permissions(path, Permissions::from_mode(0o777))
                .expect("the mode of a socket file");
        }
    }

    /// Whether somebody listens.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Tcp(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
        }
    }

    /// How many connections the application has, as the kernel lists them.
    pub fn connections(&self) -> usize {
        let list = |file| fs::read_to_string(file).expect("a list of sockets");
        match self {
            Self::Tcp(port) => {
                let local = format!("0100007F:{port:04X}");
                let list = list("/proc/net/tcp");
                let established =
                    list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                established.filter(|line| line[1] == local && line[3] == "01").count()
            }
            Self::Unix(path) => {
                let path = path.to_str().expect("a path of text");
                let list = list("/proc/net/unix");
                let connected =
                    list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                connected.filter(|line| line.last() == Some(&path) && line[5] == "03").count()
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "127.0.0.1:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A port on which nobody listens, given out once. It is below those that the system gives to
/// outgoing connections, so that none of them takes it before the server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (process::id() % 400) as u16 * 25;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
