use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::address::{Address, Target};
use crate::error::{Error, Result};
use crate::record::write_parts;

/// A connection over TCP or a Unix socket.
///
/// A clone is the same connection, not another descriptor: like an [`Arc`], it is cheap, and the
/// connection ends with the last one. Reading and writing work on a shared reference too. A
/// time-out set by [`set_timeouts`](Self::set_timeouts) shows as [`Error::TimedOut`].
#[derive(Clone, Debug)]
pub struct Stream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: Socket,
    /// Held while several threads could write, for as long as what one writes belongs together.
    writing: Mutex<Writing>,
}

/// What is to be known before something is written.
#[derive(Debug, Default)]
enum Writing {
    /// The time-out is set, or there is none.
    #[default]
    Ready,
    /// Nothing was written yet, and this is the time-out.
    First(Duration),
    /// One small write was made, and this is the time-out.
    Next(Duration),
}

/// What a new socket takes at once, however small its buffer.
const FIRST_WRITE: usize = 2 * 1024;

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same expression for either kind of socket.
macro_rules! with_socket {
    ($stream:expr, $socket:ident => $expression:expr) => {
        match &$stream.0.socket {
            Socket::Tcp($socket) => $expression,
            #[cfg(unix)]
            Socket::Unix($socket) => $expression,
        }
    };
}

impl Stream {
    /// Connects to an address. A TCP connection gets `TCP_NODELAY`; of the addresses of a host
    /// name, each is tried in turn.
    ///
    /// `timeout` bounds each attempt over TCP. Connecting a Unix socket takes no time, unless the
    /// application's backlog is full: then it waits for the application.
    ///
    /// # Errors
    /// [`Error::TimedOut`], and what the system reports: for a missing application at once.
    pub fn connect(address: &Address, timeout: Option<Duration>) -> Result<Self> {
        match address.target() {
            Target::Tcp { host, port } => connect_tcp(host, *port, timeout),
            #[cfg(unix)]
            Target::Unix(path) => Ok(UnixStream::connect(path)?.into()),
        }
    }

    /// A connection that a listening socket with `TCP_NODELAY` gave: it has it too, without a call
    /// of its own.
    pub(super) fn with_nodelay(socket: TcpStream) -> Self {
        Socket::Tcp(socket).into()
    }

    /// Two ends of a connection inside this process.
    ///
    /// # Errors
    /// What the system reports.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        #[cfg(unix)]
        {
            let (one, other) = UnixStream::pair()?;
            Ok((one.into(), other.into()))
        }
        #[cfg(not(unix))]
        {
            let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
            let one = TcpStream::connect(listener.local_addr()?)?;
            Ok((one.into(), listener.accept()?.0.into()))
        }
    }

    /// Sets how long a read and a write may wait; `None` is for ever. A write waits only as long as
    /// the peer takes nothing.
    ///
    /// # Errors
    /// `InvalidInput` for a time of zero.
    pub fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        with_socket!(self, socket => {
            socket.set_read_timeout(read)?;
            socket.set_write_timeout(write)
        })
    }

    /// Sets how long [`write_whole`](Self::write_whole) may wait on a new connection. The system
    /// call for that is left out as long as nothing can wait: an answer that is small and the
    /// only one takes one less.
    pub(crate) fn set_first_write_timeout(&self, timeout: Option<Duration>) {
        *self.lock() = timeout.map_or(Writing::Ready, Writing::First);
    }

    /// Writes all parts; until it is done, others that write in this way wait.
    pub(crate) fn write_whole(&self, parts: &mut [&[u8]]) -> io::Result<()> {
        let mut writing = self.lock();
        match *writing {
            Writing::Ready => {}
            Writing::First(timeout)
                if parts.iter().map(|part| part.len()).sum::<usize>() <= FIRST_WRITE =>
            {
                *writing = Writing::Next(timeout);
            }
            Writing::First(timeout) | Writing::Next(timeout) => {
                self.set_write_timeout(Some(timeout))?;
                *writing = Writing::Ready;
            }
        }
        let mut stream = self;
        match parts {
            [part] => stream.write_all(part),
            parts => write_parts(&mut stream, parts),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.0.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long a read may wait, alone.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        with_socket!(self, socket => socket.set_read_timeout(timeout))
    }

    /// Sets how long a write may wait, alone.
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        with_socket!(self, socket => socket.set_write_timeout(timeout))
    }

    /// Writes what the other end takes within the write time-out. If it takes nothing that is a
    /// `WouldBlock`, and unlike after a write more can be written later.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = with_socket!(self, socket => { let mut socket: &_ = socket; socket.write_vectored(slices) });
        written.map_err(
            |error| if is_expiry(&error) { io::ErrorKind::WouldBlock.into() } else { error },
        )
    }

    /// Reads what is there, without waiting: `None` if nothing is.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        with_socket!(self, socket => {
            socket.set_nonblocking(true)?;
            let mut socket_ref: &_ = socket;
            let outcome = socket_ref.read(buffer);
            socket.set_nonblocking(false)?;
            match outcome {
                Ok(n) => Ok(Some(n)),
                Err(error) if is_expiry(&error) || error.kind() == io::ErrorKind::Interrupted => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Whether there is nothing to read, or nothing more. The connection is then only good for
    /// being closed: to read from it no longer waits.
    pub(crate) fn is_quiet(&self) -> io::Result<bool> {
        with_socket!(self, socket => {
            socket.set_nonblocking(true)?;
            let mut socket_ref: &_ = socket;
            let is_quiet = socket_ref.read(&mut [0]).map_or_else(|error| is_expiry(&error), |n| n == 0);
            if !is_quiet {
                socket.set_nonblocking(false)?;
            }
            Ok(is_quiet)
        })
    }

    /// After a write that has waited too long, part of a record may have left; nothing can follow
    /// it.
    fn write_error(&self, error: io::Error) -> io::Error {
        if !is_expiry(&error) {
            return error;
        }
        // If this fails, the connection has ended already.
        let _ = self.shutdown(Shutdown::Write);
        Error::TimedOut("write").into()
    }

    /// Ends one direction of the connection, or both, for every clone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        with_socket!(self, socket => socket.shutdown(how))
    }

    /// The IP address of the other end; `None` where it has none.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match &self.0.socket {
            Socket::Tcp(socket) => socket.peer_addr().ok().map(|address| address.ip()),
            #[cfg(unix)]
            Socket::Unix(_) => None,
        }
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self(Arc::new(Inner { socket, writing: Mutex::default() }))
    }
}

impl From<TcpStream> for Stream {
    /// Sets `TCP_NODELAY`, without which a record may wait 40 ms for the answer to the one before
    /// it.
    fn from(socket: TcpStream) -> Self {
        // A socket that cannot have it (its peer is gone) says so when it is used.
        let _ = socket.set_nodelay(true);
        Self::with_nodelay(socket)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Socket::Unix(socket).into()
    }
}

#[cfg(unix)]
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        with_socket!(self, socket => socket.as_fd())
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        with_socket!(self, socket => { let mut socket: &_ = socket; socket.read(buffer) })
            .map_err(read_error)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        with_socket!(self, socket => { let mut socket: &_ = socket; socket.read_vectored(buffers) })
            .map_err(read_error)
    }
}

impl Write for &Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        with_socket!(self, socket => { let mut socket: &_ = socket; socket.write(data) })
            .map_err(|error| self.write_error(error))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        with_socket!(self, socket => { let mut socket: &_ = socket; socket.write_vectored(slices) })
            .map_err(|error| self.write_error(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect_tcp(host: &str, port: u16, timeout: Option<Duration>) -> Result<Stream> {
    // A host left out is this machine, as in the kit's programs.
    let host = if host.is_empty() { "localhost" } else { host };
    let mut failure =
        Error::Io(io::Error::new(io::ErrorKind::NotFound, format!("no address for host {host:?}")));
    for address in (host, port).to_socket_addrs()? {
        let connected = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(socket) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                failure = Error::TimedOut("connect");
            }
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// Whether this is how the system tells that a socket's time-out has passed.
pub(super) fn is_expiry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn read_error(error: io::Error) -> io::Error {
    if is_expiry(&error) {
        Error::TimedOut("read").into()
    } else {
        error
    }
}
