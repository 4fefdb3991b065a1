//! Addresses for the servers of a test: free ports, and socket files in the test's directory.

use std::fmt;
use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::process::TestDir;

/// The address of a FastCGI application. It is displayed in the form that this library and nginx
/// parse.
#[derive(Clone, Debug)]
pub enum Endpoint {
    Tcp(u16),
    Unix(PathBuf),
}

impl Endpoint {
    pub fn tcp() -> Self {
        Self::Tcp(free_port())
    }

    pub fn unix(dir: &TestDir) -> Self {
        Self::Unix(dir.join("app.sock"))
    }

    /// Creates a listening socket, for a program that expects it on descriptor 0.
    pub fn listen(&self) -> OwnedFd {
        match self {
            Self::Tcp(port) => {
                TcpListener::bind(("127.0.0.1", *port)).expect("a listening socket").into()
            }
            Self::Unix(path) => UnixListener::bind(path).expect("a listening socket").into(),
        }
    }

    /// Returns the address without `unix:`, for programs that distinguish the two kinds by the
    /// colon.
    pub fn without_scheme(&self) -> String {
        match self {
            Self::Tcp(port) => format!("127.0.0.1:{port}"),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// Allows every user to connect, because some servers drop their root privileges.
    pub fn allow_all_users(&self) {
        if let Self::Unix(path) = self {
            fs::set_permissions(path, Permissions::from_mode(0o777))
                .expect("the mode of a socket file");
        }
    }

    /// Returns whether a connection is accepted.
    pub fn is_listening(&self) -> bool {
        match self {
            Self::Tcp(port) => TcpStream::connect(("127.0.0.1", *port)).is_ok(),
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
        }
    }

    /// Returns the number of connections that the kernel lists for the application.
    pub fn connections(&self) -> usize {
        // The names of other sockets may be any bytes.
        let list = |file| fs::read(file).expect("the list of sockets");
        let list = |file| String::from_utf8_lossy(&list(file)).into_owned();
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "127.0.0.1:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns a free port, and never the same one twice. It is below the range for outgoing
/// connections, so that none of them can take it before the server does. It is not bound to find
/// out whether it is free: a process that another thread starts at that moment would hold it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (process::id() % 400) as u16 * 25;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}
