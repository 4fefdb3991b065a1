//! Unix and TCP sockets. An address that contains a slash is the path of a Unix socket. Any other
//! address is `HOST:PORT`.

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// The time in which a server must start to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which a read, and with it the measurement, fails.
const READ_TIMEOUT: Option<Duration> = Some(Duration::from_secs(20));

pub fn is_unix(address: &str) -> bool {
    address.contains('/')
}

#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects to a server. With a connection per request, this is part of the measured time.
    pub fn connect(address: &str) -> io::Result<Self> {
        if is_unix(address) {
            return UnixStream::connect(address).map(Self::Unix);
        }
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self::Tcp(socket))
    }

    /// Connects to a server that may not be listening yet, and sets a read timeout.
    pub fn connect_first(address: &str) -> io::Result<Self> {
        let start = Instant::now();
        let socket = loop {
            match Self::connect(address) {
                Err(_) if start.elapsed() < START_TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(2))
                }
                outcome => break outcome?,
            }
        };
        match &socket {
            Self::Tcp(socket) => socket.set_read_timeout(READ_TIMEOUT)?,
            Self::Unix(socket) => socket.set_read_timeout(READ_TIMEOUT)?,
        }
        Ok(socket)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(data),
            Self::Unix(socket) => socket.write(data),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(slices),
            Self::Unix(socket) => socket.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub fn bind(address: &str) -> io::Result<Self> {
        if is_unix(address) {
            return UnixListener::bind(address).map(Self::Unix);
        }
        TcpListener::bind(address).map(Self::Tcp)
    }

    pub fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept()?.0)),
        }
    }
}
