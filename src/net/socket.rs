use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::read_wait::ReadWait;
use super::timeout::is_timeout;

/// A connected TCP or Unix socket, whose methods return the errors of the system unchanged.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream, ReadWait),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// What the peer of a connection has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// Nothing is known to be closed. Unread input may hide it.
    Open,
    /// The peer has shut down its write half or closed the connection. TCP does not distinguish
    /// them.
    InputEnded,
    /// The peer has closed the connection.
    Closed,
}

/// Evaluates an expression with a `&TcpStream` or a `&UnixStream`.
macro_rules! with_stream {
    ($socket:expr, $stream:ident => $expression:expr) => {
        match $socket {
            Socket::Tcp($stream, _) => $expression,
            #[cfg(unix)]
            Socket::Unix($stream) => $expression,
        }
    };
}

impl Socket {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        let wait = ReadWait::new(&stream);
        Self::Tcp(stream, wait)
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream, wait) => wait.set_timeout(stream, timeout),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    pub(super) fn read_timeout(&self) -> io::Result<Option<Duration>> {
        match self {
            Self::Tcp(stream, wait) => wait.timeout(stream),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read_timeout(),
        }
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        with_stream!(self, stream => stream.set_write_timeout(timeout))
    }

    pub(super) fn write_timeout(&self) -> io::Result<Option<Duration>> {
        with_stream!(self, stream => stream.write_timeout())
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        with_stream!(self, stream => stream.set_nonblocking(nonblocking))
    }

    /// Waits until a read does not block, if a shutdown may not end a blocked read.
    #[inline]
    pub(super) fn wait_for_input(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream, wait) => wait.wait(stream),
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
        }
    }

    #[inline]
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        with_stream!(self, stream => (&*stream).read(buffer))
    }

    #[inline]
    pub(super) fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        with_stream!(self, stream => (&*stream).read_vectored(buffers))
    }

    #[inline]
    pub(super) fn write(&self, data: &[u8]) -> io::Result<usize> {
        with_stream!(self, stream => (&*stream).write(data))
    }

    #[inline]
    pub(super) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        with_stream!(self, stream => (&*stream).write_vectored(slices))
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream, wait) => {
                let outcome = stream.shutdown(how);
                // After the call: a read that observes this must find the socket shut down.
                if how != Shutdown::Write {
                    wait.note_shutdown();
                }
                outcome
            }
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Returns the IP address of the peer, unless the connection has been closed.
    pub(super) fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream, _) => stream.peer_addr().ok().map(|address| address.ip()),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    /// Returns what the peer has closed. Does not block and reads no input.
    pub(super) fn peer_state(&self) -> io::Result<PeerState> {
        let outcome = match self {
            Self::Tcp(stream, _) => match peek(stream)? {
                // A reset after the end of the input is not an error of a read.
                Ok(0) if stream.take_error()?.is_none() => return Ok(PeerState::InputEnded),
                Ok(0) => return Ok(PeerState::Closed),
                outcome => outcome,
            },
            // Linux returns an error if the peer has closed the connection, and none if it has only
            // shut down its write half.
            #[cfg(unix)]
            Self::Unix(stream) => (&*stream).write(&[]),
        };
        match outcome {
            Err(error) if !is_timeout(&error) && error.kind() != io::ErrorKind::Interrupted => {
                Ok(PeerState::Closed)
            }
            _ => Ok(PeerState::Open),
        }
    }

    /// Returns whether there is input to read. Does not block.
    pub(super) fn has_input(&self) -> io::Result<bool> {
        let outcome = match self {
            Self::Tcp(stream, _) => peek(stream)?,
            // `std` offers this for the type of a TCP socket only.
            #[cfg(unix)]
            Self::Unix(stream) => peek(&stream.as_fd().try_clone_to_owned()?.into())?,
        };
        Ok(outcome.is_ok_and(|n| n > 0))
    }
}

#[cfg(unix)]
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        with_stream!(self, stream => stream.as_fd())
    }
}

/// Looks at the next byte of the input without blocking. Three system calls.
fn peek(stream: &TcpStream) -> io::Result<io::Result<usize>> {
    stream.set_nonblocking(true)?;
    let outcome = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(outcome)
}
