use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs};
#[cfg(any(not(unix), test))]
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, Target};
use super::socket::{PeerState, Socket};
use super::timeout::is_timeout;
use crate::error::{Error, Result};

/// A connection over TCP or a Unix socket.
///
/// A clone refers to the same connection and the same descriptor, so cloning is as cheap as for an
/// [`Arc`]. The connection is closed when the last clone is dropped. [`Read`] and [`Write`] are
/// implemented for `&Stream` too, so that several threads can use one stream.
///
/// # Timeouts
/// By default reads and writes block indefinitely. [`set_timeouts`](Self::set_timeouts) limits
/// them. A read or write that exceeds its limit fails with [`Error::TimedOut`], wrapped in an
/// [`io::Error`].
///
/// A write that times out also shuts down the write half of the connection. Part of a message may
/// have been sent before, so the peer could not interpret what follows.
///
/// ```
/// use fcgi::net::{Listener, Stream};
/// use std::io::{self, Read};
/// use std::time::Duration;
///
/// let listener = Listener::bind("127.0.0.1:0")?;
/// let mut stream = Stream::connect(&listener.local_address()?, None)?;
/// stream.set_timeouts(Some(Duration::from_millis(100)), None)?;
///
/// let error = stream.read(&mut [0; 16]).unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// assert_eq!(error.to_string(), "read timed out after 100 ms");
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream(Arc<Socket>);

impl Stream {
    /// Connects to an address.
    ///
    /// A TCP connection gets `TCP_NODELAY`. If a host name has several IP addresses, they are tried
    /// in order.
    ///
    /// `timeout` limits the attempt for each IP address. With `None` the system decides how long to
    /// wait. Resolving a host name is not limited. The timeout does not apply to a Unix socket:
    /// connecting blocks there only while the backlog of the application is full.
    ///
    /// # Errors
    /// [`Error::Connect`], whose source is [`Error::TimedOut`] after the timeout, and otherwise the
    /// error of the system: `ConnectionRefused` if no process listens on the address, `NotFound` if
    /// the socket file does not exist, `TimedOut` if the system has stopped waiting before.
    ///
    /// ```
    /// use fcgi::net::{Listener, Stream};
    /// use std::io;
    /// use std::time::Duration;
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let address = listener.local_address()?;
    /// let timeout = Some(Duration::from_secs(10));
    /// let stream = Stream::connect(&address, timeout)?;
    ///
    /// drop(listener);
    /// let error = Stream::connect(&address, timeout).unwrap_err();
    /// assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn connect(address: &Address, timeout: Option<Duration>) -> Result<Self> {
        let connected = match address.target() {
            Target::Tcp { host, port } => connect_tcp(host, *port, timeout),
            #[cfg(unix)]
            Target::Unix(path) => Self::connect_unix(path),
        };
        connected.map_err(|error| Error::connect(address, error))
    }

    /// Connects to a Unix socket, and begins again after each signal. `std` does so only for TCP.
    #[cfg(unix)]
    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        loop {
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map(Self::from),
            }
        }
    }

    /// Creates a stream from a TCP socket that has `TCP_NODELAY` already. This saves a system call.
    pub(super) fn with_nodelay(socket: TcpStream) -> Self {
        Self(Arc::new(Socket::tcp(socket)))
    }

    /// Creates a pair of connected streams.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        #[cfg(unix)]
        {
            let (one, other) = UnixStream::pair()?;
            Ok((one.into(), other.into()))
        }
        #[cfg(not(unix))]
        {
            let (one, other) = tcp_pair()?;
            Ok((one.into(), other.into()))
        }
    }

    /// Sets how long a read and a write may block. `None`, the default, means indefinitely.
    ///
    /// Each limit applies to one system call. A write blocks only while the send buffer is full.
    ///
    /// # Errors
    /// `InvalidInput` if a duration is zero. The read timeout is set first, so it applies even if
    /// `write` is refused.
    ///
    /// ```
    /// use fcgi::net::{Listener, Stream};
    /// use std::time::Duration;
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let stream = Stream::connect(&listener.local_address()?, None)?;
    /// stream.set_timeouts(Some(Duration::from_secs(60)), Some(Duration::from_secs(60)))?;
    /// assert!(stream.set_timeouts(Some(Duration::ZERO), None).is_err());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn set_timeouts(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(read)?;
        self.set_write_timeout(write)
    }

    /// Returns whether an operation has failed because it has reached the timeout of a stream.
    ///
    /// The system reports a peer that no longer acknowledges anything with an error of the same
    /// kind. Only the error of the system has a code.
    #[inline]
    pub(crate) fn is_own_timeout(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
    }

    /// Sets how long a read may block. One system call.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }

    /// Sets how long a write may block. One system call.
    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_write_timeout(timeout)
    }

    /// Writes as much as the socket accepts within the write timeout.
    ///
    /// # Errors
    /// `WouldBlock` if it accepts nothing. Unlike after a timeout of [`Write::write_vectored`], the
    /// stream can be written to again.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices).map_err(|error| {
            if is_timeout(&error) {
                io::ErrorKind::WouldBlock.into()
            } else {
                error
            }
        })
    }

    /// Reads what has arrived, without blocking. Returns `None` if nothing has. Three system calls.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.set_nonblocking(true)?;
        let outcome = self.read_arrived(buffer);
        self.set_nonblocking(false)?;
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            outcome => outcome,
        }
    }

    /// Reads what has arrived, from a socket in non-blocking mode. Returns `None` if nothing has.
    pub(crate) fn read_arrived(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.read(buffer) {
            Err(error) if is_timeout(&error) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Moves the socket into non-blocking mode, or back. One system call.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.0.set_nonblocking(nonblocking)
    }

    /// Returns what the peer has closed, as far as the system shows it without reading input. Does
    /// not block.
    ///
    /// On a Unix socket this is one system call, a write of zero bytes: Linux returns an error if
    /// the peer has closed the connection, and none if it has only shut down its write half. On TCP
    /// at least three system calls peek at the next byte of the input. The socket is in
    /// non-blocking mode meanwhile, so no other thread may read or write.
    pub(crate) fn peer_state(&self) -> io::Result<PeerState> {
        self.0.peer_state()
    }

    /// Returns whether there is input to read. Does not block. The socket is in non-blocking mode
    /// meanwhile.
    pub(crate) fn has_input(&self) -> io::Result<bool> {
        self.0.has_input()
    }

    /// Shuts down one direction of the connection or both, for every clone.
    ///
    /// After the read half was shut down, a read that is blocked in another thread returns 0 bytes,
    /// on systems other than Unix within 100 ms. After the write half was shut down, the peer
    /// receives the end of the stream, and a write that is blocked in another thread fails. On
    /// systems other than Unix it may block until its timeout.
    ///
    /// ```
    /// use fcgi::net::{Listener, Stream};
    /// use std::io::Read;
    /// use std::net::Shutdown;
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let client = Stream::connect(&listener.local_address()?, None)?;
    /// client.shutdown(Shutdown::Write)?;
    ///
    /// let mut server = listener.accept()?.expect("an open listener");
    /// assert_eq!(server.read(&mut [0; 16])?, 0);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    /// Returns the IP address of the peer, or `None` for a Unix socket and for a connection that
    /// has been closed.
    ///
    /// ```
    /// use fcgi::net::{Listener, Stream};
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let stream = Stream::connect(&listener.local_address()?, None)?;
    /// assert_eq!(stream.peer_ip(), Some([127, 0, 0, 1].into()));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.0.peer_ip()
    }

    /// Returns whether this is a TCP connection that has not been reset.
    pub(crate) fn is_connected_tcp(&self) -> bool {
        // The system has no address for the peer of a connection that was reset.
        self.peer_ip().is_some()
    }

    /// Converts the error of a write. Shuts down the write half after a timeout.
    fn write_error(&self, error: io::Error) -> io::Error {
        if !is_timeout(&error) {
            return error;
        }
        self.end_writes(self.0.write_timeout().ok().flatten().unwrap_or_default())
    }

    /// Shuts down the write half. Returns the error of a write that has exceeded this timeout.
    #[cold]
    pub(crate) fn end_writes(&self, timeout: Duration) -> io::Error {
        // This fails only if the connection has been closed already.
        let _ = self.shutdown(Shutdown::Write);
        Error::timed_out("write", timeout).into()
    }

    /// Converts the error of a read.
    fn read_error(&self, error: io::Error) -> io::Error {
        if !is_timeout(&error) {
            return error;
        }
        timed_out("read", self.0.read_timeout())
    }
}

impl From<TcpStream> for Stream {
    /// Sets `TCP_NODELAY`. Without it, a small write may wait up to 40 ms for the acknowledgement
    /// of the one before it.
    ///
    /// An error is ignored: the option cannot be set if the peer has closed the connection, and a
    /// read or write then returns the error.
    fn from(socket: TcpStream) -> Self {
        let _ = socket.set_nodelay(true);
        Self::with_nodelay(socket)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self(Arc::new(Socket::Unix(socket)))
    }
}

#[cfg(unix)]
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.wait_for_input().and_then(|()| self.0.read(buffer));
        read.map_err(|error| self.read_error(error))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let read = self.0.wait_for_input().and_then(|()| self.0.read_vectored(buffers));
        read.map_err(|error| self.read_error(error))
    }
}

impl Write for &Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data).map_err(|error| self.write_error(error))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices).map_err(|error| self.write_error(error))
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

/// Creates a pair of connected TCP sockets.
#[cfg(any(not(unix), test))]
fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let other = accept_from(&listener, one.local_addr()?)?;
    Ok((one, other))
}

/// Accepts the connection from this address. Closes other connections: any program on the machine
/// can connect to the listener.
#[cfg(any(not(unix), test))]
fn accept_from(listener: &TcpListener, address: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let (stream, peer) = listener.accept()?;
        if peer == address {
            return Ok(stream);
        }
    }
}

/// Connects to the first IP address of a host that accepts the connection.
fn connect_tcp(host: &str, port: u16, timeout: Option<Duration>) -> io::Result<Stream> {
    let host = if host.is_empty() { "localhost" } else { host };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address for this host");
    for address in (host, port).to_socket_addrs()? {
        let connected = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(socket) => return Ok(socket.into()),
            Err(error) => failure = connect_error(error, timeout),
        }
    }
    Err(failure)
}

/// Converts the error of an attempt to connect that `timeout` has ended.
///
/// The system has a timeout of its own, and may report it earlier. Only its error has a code.
fn connect_error(error: io::Error, timeout: Option<Duration>) -> io::Error {
    let is_from_system = error.raw_os_error().is_some();
    if error.kind() == io::ErrorKind::TimedOut && !is_from_system {
        return timed_out("connect", Ok(timeout));
    }
    error
}

/// Returns the error of an operation that has exceeded a timeout.
#[cold]
fn timed_out(operation: &'static str, timeout: io::Result<Option<Duration>>) -> io::Error {
    Error::timed_out(operation, timeout.ok().flatten().unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns two connected TCP streams.
    fn tcp_streams() -> Result<(Stream, Stream)> {
        let (one, other) = tcp_pair()?;
        Ok((one.into(), other.into()))
    }

    /// Waits for a state: the system delivers what the peer does a little later.
    fn wait_for(stream: &Stream, state: PeerState) -> Result<()> {
        while stream.peer_state()? != state {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// On systems without socket pairs, another program may connect first.
    #[test]
    fn pair_is_not_connected_to_another_program() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let connect = || TcpStream::connect(listener.local_addr()?);
        let (mut other_program, one) = (connect()?, connect()?);
        let other = accept_from(&listener, one.local_addr()?)?;
        assert_eq!(other.peer_addr()?, one.local_addr()?);
        assert_eq!(other_program.read(&mut [0])?, 0, "its connection is closed");
        Ok(())
    }

    /// The peer no longer acknowledges anything, whether the stream has a timeout or not.
    #[cfg(target_os = "linux")]
    #[test]
    fn timeout_of_tcp_is_not_reported_as_one_of_the_stream() -> Result<()> {
        const ETIMEDOUT: i32 = 110;
        let (stream, _peer) = tcp_streams()?;
        let system_error = || io::Error::from_raw_os_error(ETIMEDOUT);
        assert_eq!(stream.read_error(system_error()).raw_os_error(), Some(ETIMEDOUT));
        assert_eq!(stream.write_error(system_error()).raw_os_error(), Some(ETIMEDOUT));
        assert!(!Stream::is_own_timeout(&system_error()));
        assert!(Stream::is_own_timeout(&stream.read_error(io::ErrorKind::WouldBlock.into())));
        Ok(())
    }

    /// The system may stop waiting first: an administrator can limit how often it tries.
    #[cfg(target_os = "linux")]
    #[test]
    fn connect_error_says_whose_timeout_has_passed() {
        const ETIMEDOUT: i32 = 110;
        let timeout = Some(Duration::from_secs(10));
        let system = connect_error(io::Error::from_raw_os_error(ETIMEDOUT), timeout);
        let ours = connect_error(io::ErrorKind::TimedOut.into(), timeout);
        let text = |source| Error::connect("192.0.2.1:9000", source).to_string();
        assert_eq!(system.raw_os_error(), Some(ETIMEDOUT));
        assert!(text(system).starts_with("cannot connect to 192.0.2.1:9000: "));
        assert_eq!(text(ours), "cannot connect to 192.0.2.1:9000: connect timed out after 10 s");
    }

    #[test]
    fn try_read_returns_what_has_arrived_and_the_error_of_a_reset() -> Result<()> {
        let (stream, peer) = tcp_streams()?;
        let mut byte = [0];
        assert_eq!(stream.try_read(&mut byte)?, None);
        (&stream).write_all(b"unread")?;
        (&peer).write_all(b"x")?;
        let read_next = |byte: &mut [u8]| loop {
            match stream.try_read(byte) {
                Ok(None) => std::thread::yield_now(),
                outcome => return outcome,
            }
        };
        assert_eq!((read_next(&mut byte)?, byte), (Some(1), *b"x"));
        // The peer is closed while it has unread input, so the system resets the connection.
        drop(peer);
        let error = read_next(&mut byte).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        Ok(())
    }

    #[test]
    fn tcp_does_not_distinguish_a_half_close_from_a_close() -> Result<()> {
        let (stream, peer) = tcp_streams()?;
        assert_eq!(stream.peer_state()?, PeerState::Open);
        (&peer).write_all(b"input")?;
        peer.shutdown(Shutdown::Write)?;
        assert_eq!(stream.peer_state()?, PeerState::Open, "there is unread input");
        (&stream).read_exact(&mut [0; 5])?;
        wait_for(&stream, PeerState::InputEnded)?;
        drop(peer);
        assert_eq!(stream.peer_state()?, PeerState::InputEnded);
        // The answer to data that nobody reads is a reset.
        (&stream).write_all(b"output")?;
        wait_for(&stream, PeerState::Closed)
    }

    /// The standard library passes a write of no bytes on to the system, and Linux looks at the
    /// connection before it looks at the length.
    #[cfg(target_os = "linux")]
    #[test]
    fn unix_socket_distinguishes_a_half_close_from_a_close() -> Result<()> {
        let (stream, peer) = Stream::pair()?;
        assert_eq!(stream.peer_state()?, PeerState::Open);
        (&peer).write_all(b"unread input")?;
        peer.shutdown(Shutdown::Write)?;
        assert_eq!(stream.peer_state()?, PeerState::Open);
        drop(peer);
        assert_eq!(stream.peer_state()?, PeerState::Closed);
        // The check does not end the input of the peer.
        let (stream, mut peer) = Stream::pair()?;
        assert_eq!(stream.peer_state()?, PeerState::Open);
        drop(stream);
        assert_eq!(peer.read(&mut [0])?, 0);
        Ok(())
    }
}
