use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::address::{Address, Target};
#[cfg(unix)]
use super::descriptor;
#[cfg(unix)]
use super::socket_file::SocketFile;
use super::stream::{is_expiry, Stream};
use crate::error::Result;

/// Whether the system is known to behave as Linux does: an accepted connection has the
/// `TCP_NODELAY` and the receive time-out of the listening socket but never its non-blocking mode,
/// `accept` heeds that time-out, and shutting a listening socket down wakes those who wait in
/// `accept`.
const LINUX: bool = cfg!(target_os = "linux");

/// How long `accept` waits on a shared socket before it looks whether the listener has been closed.
const SHARED_WAIT: Duration = Duration::from_millis(500);

/// How long a thread rests that found the socket non-blocking. A time-out that passed sooner than
/// this was none.
const REST: Duration = Duration::from_millis(10);

/// A listening socket, TCP or Unix.
///
/// Any number of threads may wait in [`accept`](Self::accept) at once; the system wakes one for
/// each connection.
///
/// ```
/// use fcgi::net::{Listener, Stream};
/// use std::io::{Read, Write};
///
/// let listener = Listener::bind(&"127.0.0.1:0".parse()?)?;
/// let address = listener.local_address()?;
/// let server = std::thread::spawn(move || -> fcgi::Result<()> {
///     while let Some(mut stream) = listener.accept()? {
///         stream.write_all(b"hello")?;
///         listener.close();
///     }
///     Ok(())
/// });
///
/// let mut text = String::new();
/// Stream::connect(&address, None)?.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// server.join().unwrap()?;
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// The same socket once more, for what `std` offers on streams alone: time-out, shutdown,
    /// `TCP_NODELAY` (which it has if it is TCP). Kept, because a process that is out of
    /// descriptors must still be able to close; `None` where it cannot be had.
    twin: Option<TcpStream>,
    /// The socket file, if it is this listener's to remove.
    #[cfg(unix)]
    file: Option<SocketFile>,
    /// Whether other processes accept from the same socket.
    shared: bool,
    /// Never unset.
    closed: AtomicBool,
    /// How many threads are in `accept`. Counted before they look at `closed`, so that none is
    /// missed by `close`.
    waiting: AtomicUsize,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Listens on an address; on every IPv4 interface (`0.0.0.0`) if its host is left out.
    ///
    /// The file of a Unix socket is removed when the listener is closed or dropped, unless another
    /// has taken its place by then. A file that a dead process has left behind is replaced.
    ///
    /// # Errors
    /// What the system reports; `AddrInUse` for a path where somebody listens, or where something
    /// other than a socket is. That is never touched, a symbolic link neither.
    pub fn bind(address: &Address) -> Result<Self> {
        match address.target() {
            Target::Tcp { host, port } => {
                let host = if host.is_empty() { "0.0.0.0" } else { host };
                Ok(TcpListener::bind((host, *port))?.into())
            }
            #[cfg(unix)]
            Target::Unix(path) => {
                let (socket, file) = SocketFile::bind(path)?;
                let mut listener = Self::from(socket);
                listener.file = Some(file);
                Ok(listener)
            }
        }
    }

    /// The listening socket, TCP or Unix, that a web server or process manager has left on
    /// descriptor 0 (section 2.2). It is taken to be [`shared`](Self::shared), and set
    /// blocking.
    ///
    /// # Errors
    /// [`Error::NotListening`](crate::Error::NotListening) for anything else, such as a terminal,
    /// `/dev/null` or a connection: the process was not started as a FastCGI application.
    #[cfg(unix)]
    pub fn from_stdin() -> Result<Self> {
        Ok(descriptor::listener(&io::stdin())?.shared())
    }

    /// Descriptor 0 is no socket on this system.
    ///
    /// # Errors
    /// [`Error::NotListening`](crate::Error::NotListening), always.
    #[cfg(not(unix))]
    pub fn from_stdin() -> Result<Self> {
        Err(crate::Error::NotListening("of no use on this system"))
    }

    /// Declares that other processes hold the socket too, as one that comes from a process manager.
    /// It is never shut down and its file never removed, so that they can go on accepting.
    ///
    /// On Linux [`accept`](Self::accept) sets a receive time-out on such a socket, to return soon
    /// after a [`close`](Self::close); it is taken back when the listener is dropped.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        #[cfg(unix)]
        {
            self.file = None;
        }
        self
    }

    /// Sets the permission bits of the socket file, such as `0o660`, which decide who may connect.
    /// Until then they are as the process's umask has them: where that is too much, let the
    /// directory forbid it.
    ///
    /// # Errors
    /// `NotFound` if there is no such file: for TCP, for a socket that was not made by
    /// [`bind`](Self::bind), and where another file has taken its place.
    #[cfg(unix)]
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        match &self.file {
            Some(file) => Ok(file.set_mode(mode)?),
            None => {
                Err(io::Error::new(io::ErrorKind::NotFound, "listener has no socket file").into())
            }
        }
    }

    /// Waits for a connection; `None` once the listener has been [closed](Self::close).
    ///
    /// A TCP connection gets `TCP_NODELAY`. A signal, or a client that has left already, does not
    /// end the wait; and if another process that has the socket sets it non-blocking, it is set
    /// back.
    ///
    /// # Errors
    /// What the system reports. Want of descriptors or memory passes; wait a little before the next
    /// try.
    pub fn accept(&self) -> Result<Option<Stream>> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let outcome = self.wait();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    fn wait(&self) -> Result<Option<Stream>> {
        let mut last_expiry = None;
        while !self.is_closed() {
            match self.accept_one() {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) if is_expiry(&error) => {
                    if let Some(before) = last_expiry.replace(Instant::now()) {
                        self.rest_if_nonblocking(before);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) if self.is_closed() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn accept_one(&self) -> io::Result<Stream> {
        if self.shared {
            // Each time, because a process that shares the socket takes the time-out back when it
            // ends.
            self.set_accept_timeout(Some(SHARED_WAIT));
        }
        match &self.socket {
            Socket::Tcp(socket) => Ok(self.accepted_tcp(socket.accept()?.0)),
            #[cfg(unix)]
            Socket::Unix(socket) => {
                let (socket, _) = socket.accept()?;
                if !LINUX {
                    let _ = socket.set_nonblocking(false);
                }
                Ok(socket.into())
            }
        }
    }

    /// Undoes what a connection has inherited from the listening socket and should not have. None
    /// of the calls can fail on a socket that is open.
    fn accepted_tcp(&self, socket: TcpStream) -> Stream {
        if !LINUX {
            let _ = socket.set_nonblocking(false);
        } else if self.shared {
            let _ = socket.set_read_timeout(None);
        }
        if LINUX && self.twin.is_some() {
            Stream::with_nodelay(socket)
        } else {
            socket.into()
        }
    }

    /// Tells a time-out, for which the thread has waited since the one `before`, from a socket in
    /// non-blocking mode. That mode belongs to the socket, and a process that shares it may set
    /// it at any time; should it insist, this does not spin.
    fn rest_if_nonblocking(&self, before: Instant) {
        if before.elapsed() < REST {
            self.set_blocking();
            thread::sleep(REST);
        }
    }

    /// Ends every wait in [`accept`](Self::accept), now and later, from any thread. What has been
    /// accepted goes on.
    ///
    /// The file of a Unix socket made by [`bind`](Self::bind) is removed. On Linux new connections
    /// are refused from now on, and those not yet accepted are reset; elsewhere they are when
    /// the listener is dropped. A [`shared`](Self::shared) socket stays open for the others,
    /// and a wait on it ends within half a second (elsewhere than on Linux, with the next
    /// connection, if another process takes the one that is meant to wake it).
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        match &self.twin {
            Some(_) if LINUX && self.shared => {}
            Some(twin) if LINUX => {
                // It fails only if the socket is shut down already.
                let _ = twin.shutdown(Shutdown::Both);
            }
            _ => self.wake_by_connecting(),
        }
        self.remove_file();
    }

    /// Whether [`close`](Self::close) has been called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Gives everyone who waits a connection, which ends at once.
    fn wake_by_connecting(&self) {
        let Ok(address) = self.own_address() else { return };
        for _ in 0..self.waiting.load(Ordering::SeqCst) {
            // Where nobody listens any more, nobody waits.
            let _ = Stream::connect(&address, Some(Duration::from_secs(1)));
        }
    }

    /// An address under which this process can connect to its own listener: not every system lets
    /// it connect to `0.0.0.0`.
    fn own_address(&self) -> Result<Address> {
        let mut address = match &self.socket {
            Socket::Tcp(socket) => socket.local_addr()?,
            #[cfg(unix)]
            Socket::Unix(_) => return self.local_address(),
        };
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Ok(address.into())
    }

    /// The address that it listens on, with the port that the system has chosen for port 0.
    ///
    /// # Errors
    /// `Unsupported` for a Unix socket without a path, which can only come from elsewhere.
    pub fn local_address(&self) -> Result<Address> {
        match &self.socket {
            Socket::Tcp(socket) => Ok(socket.local_addr()?.into()),
            #[cfg(unix)]
            Socket::Unix(socket) => match socket.local_addr()?.as_pathname() {
                Some(path) => Address::unix(path),
                None => {
                    Err(io::Error::new(io::ErrorKind::Unsupported, "Unix socket without a path")
                        .into())
                }
            },
        }
    }

    fn new(socket: Socket) -> Self {
        let twin = twin(&socket);
        let listener = Self {
            socket,
            twin,
            #[cfg(unix)]
            file: None,
            shared: false,
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        };
        listener.set_blocking();
        listener
    }

    /// Should it fail, `accept` tries again.
    fn set_blocking(&self) {
        let _ = match &self.socket {
            Socket::Tcp(socket) => socket.set_nonblocking(false),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.set_nonblocking(false),
        };
    }

    fn set_accept_timeout(&self, timeout: Option<Duration>) {
        if let Some(twin) = self.twin.as_ref().filter(|_| LINUX) {
            let _ = twin.set_read_timeout(timeout);
        }
    }

    fn remove_file(&self) {
        #[cfg(unix)]
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
        if self.shared {
            // It would pass to every connection that another program accepts from this socket.
            self.set_accept_timeout(None);
        }
    }
}

impl From<TcpListener> for Listener {
    /// The socket is set blocking, and shut down by [`close`](Listener::close): if another process
    /// has it too, say so by [`shared`](Listener::shared).
    fn from(socket: TcpListener) -> Self {
        Self::new(Socket::Tcp(socket))
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    /// As for a [`TcpListener`]; its file is not removed.
    fn from(socket: UnixListener) -> Self {
        Self::new(Socket::Unix(socket))
    }
}

#[cfg(unix)]
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(unix)]
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Another handle of a listening socket, with `TCP_NODELAY` if it is TCP.
#[cfg(unix)]
fn twin(socket: &Socket) -> Option<TcpStream> {
    let twin = TcpStream::from(socket.as_fd().try_clone_to_owned().ok()?);
    match socket {
        Socket::Tcp(_) => twin.set_nodelay(true).is_ok().then_some(twin),
        Socket::Unix(_) => Some(twin),
    }
}

#[cfg(not(unix))]
fn twin(_: &Socket) -> Option<TcpStream> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `close` does where shutting a listening socket down wakes nobody.
    #[test]
    fn everyone_who_waits_is_woken_by_connecting() -> Result<()> {
        for address in ["127.0.0.1:0", ":0"] {
            let listener = Listener::bind(&address.parse()?)?;
            thread::scope(|scope| {
                let waiters: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| while listener.accept().unwrap().is_some() {}))
                    .collect();
                while listener.waiting.load(Ordering::SeqCst) < 4 {
                    thread::yield_now();
                }
                listener.closed.store(true, Ordering::SeqCst);
                listener.wake_by_connecting();
                for waiter in waiters {
                    waiter.join().unwrap();
                }
            });
        }
        Ok(())
    }
}
