use std::io;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixListener;

use super::acceptor::Acceptor;
use super::address::{Address, Target};
#[cfg(unix)]
use super::descriptor;
use super::listening_socket::ListeningSocket;
#[cfg(unix)]
use super::socket_file::SocketFile;
use super::stream::Stream;
use crate::error::{Error, Result};

/// A listening TCP or Unix socket.
///
/// Any number of threads may call [`accept`](Self::accept) at the same time. The system wakes one
/// of them for each connection. Dropping the listener closes the socket.
///
/// ```
/// use fcgi::net::{Listener, Stream};
/// use std::io::{Read, Write};
///
/// let listener = Listener::bind("127.0.0.1:0")?;
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
    acceptor: Acceptor,
}

impl Listener {
    /// Binds a socket to an address and listens on it.
    ///
    /// A TCP address without a host binds every IPv4 interface (`0.0.0.0`).
    ///
    /// For a Unix socket this creates a file, and replaces the file of a socket on which no process
    /// listens. The file is removed when the listener is closed or dropped, unless another file has
    /// taken its place. If several processes bind the same path at the same time, one of them
    /// succeeds. On systems other than Linux, and between containers that share the directory, two
    /// may succeed if the system suspends one of them at the wrong moment. The socket of the other
    /// one then has no file.
    ///
    /// On Linux the processes exclude each other by a socket with an abstract name. Any local user
    /// can bind this name and thereby delay this call, and closing the listener, by up to one
    /// second each.
    ///
    /// If the processes cannot exclude each other in this way, a file is replaced through a
    /// temporary name in the same directory. That requires a path that is 9 bytes shorter than the
    /// limit of the system.
    ///
    /// # Errors
    /// `AddrInUse` if another process listens on the address, or if the path exists and is not a
    /// socket. Such a file is left unchanged, and so is a symbolic link. To replace the socket of a
    /// running process, call [`take_over`](Self::take_over). Every error of the system is an
    /// [`Error::Socket`] with the address. A text that is not an address is
    /// [`Error::InvalidAddress`].
    ///
    /// ```
    /// use fcgi::net::Listener;
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let address = listener.local_address()?;
    /// assert_eq!(Listener::bind(&address).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn bind<A: TryInto<Address>>(address: A) -> Result<Self>
    where
        Error: From<A::Error>,
    {
        Self::bind_to(&address.try_into()?)
    }

    fn bind_to(address: &Address) -> Result<Self> {
        let listener = match address.target() {
            Target::Tcp { host, port } => {
                let host = if host.is_empty() { "0.0.0.0" } else { host };
                TcpListener::bind((host, *port)).map(Self::from)
            }
            #[cfg(unix)]
            Target::Unix(path) => SocketFile::bind(path).map(Self::with_file),
        };
        listener.map_err(|error| Error::socket("listen on", address, error))
    }

    /// Binds a Unix socket to a path from which another process may still accept, so that a new
    /// process can replace a running one without refusing a connection.
    ///
    /// The socket is bound to a temporary name in the same directory, and its file is then renamed
    /// to the path. Every connection goes either to the old socket or to the new one. The new file
    /// gets the permission bits, owner and group of the old one. If there is no file, this does the
    /// same as [`bind`](Self::bind).
    ///
    /// To replace a running process:
    /// 1. Start the new process. It calls `take_over` when it is ready to serve.
    /// 2. Stop the old process. It closes its listener, and serves the connections that were made
    ///    before the takeover. [`close`](Self::close) does not remove the file, because the file is
    ///    no longer its own.
    ///
    /// On systems other than Linux, a call of [`accept`](Self::accept) that is blocked on the old
    /// socket does not return after `close`, because that socket can no longer be reached.
    ///
    /// The system continues to report the temporary name as the name of the socket, for example in
    /// the output of `ss`, and to a process that inherits the socket. Such a process does not find
    /// its own socket, so its `close` takes as long as on a [`shared`](Self::shared) socket that
    /// cannot be reached.
    ///
    /// The path must be 9 bytes shorter than the limit of the system, because the temporary name is
    /// longer.
    ///
    /// # Errors
    /// - `InvalidInput` for a TCP address. Two processes can share a TCP port if both inherit the
    ///   socket, for example from systemd.
    /// - `AddrInUse` if the path exists and is not a socket.
    /// - `PermissionDenied` if the owner or group of the old file differs and may not be set.
    ///
    /// After an error the old file is still there.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use fcgi::net::{Address, Listener, Stream};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let address = Address::unix(dir.path().join("app.sock"))?;
    /// let old = Listener::bind(&address)?;
    /// let new = Listener::take_over(&address)?;
    /// old.close();
    ///
    /// let client = Stream::connect(&address, None)?;
    /// assert!(old.accept()?.is_none());
    /// assert!(new.accept()?.is_some());
    /// # }
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn take_over<A: TryInto<Address>>(address: A) -> Result<Self>
    where
        Error: From<A::Error>,
    {
        Self::take_over_at(&address.try_into()?)
    }

    fn take_over_at(address: &Address) -> Result<Self> {
        let listener = match address.target() {
            Target::Tcp { .. } => {
                let message = "it is not the path of a Unix socket";
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            #[cfg(unix)]
            Target::Unix(path) => SocketFile::take_over(path).map(Self::with_file),
        };
        listener.map_err(|error| Error::socket("take over", address, error))
    }

    /// Returns the listening socket that a web server or process manager has passed on descriptor 0
    /// ([FastCGI specification], section 2.2).
    ///
    /// The socket is treated as [`shared`](Self::shared) and moved into blocking mode.
    ///
    /// # Errors
    /// [`Error::NotListening`] if descriptor 0 is anything else, such as a terminal, `/dev/null` or
    /// a connection. The process was then not started as a FastCGI application. On systems other
    /// than Unix this is always the result.
    ///
    /// ```
    /// use fcgi::{net::Listener, Error};
    ///
    /// match Listener::from_stdin() {
    ///     Ok(listener) => println!("listening on {}", listener.local_address()?),
    ///     Err(Error::NotListening { found, .. }) => println!("descriptor 0 is {found}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
    #[cfg(unix)]
    pub fn from_stdin() -> Result<Self> {
        Ok(Self::new(descriptor::listening_socket(&io::stdin())?).shared())
    }

    /// Returns an error, because no socket can be passed on descriptor 0 on this system.
    ///
    /// # Errors
    /// [`Error::NotListening`], always.
    #[cfg(not(unix))]
    pub fn from_stdin() -> Result<Self> {
        Err(Error::not_listening("a system handle"))
    }

    /// Declares that other processes accept from the same socket, such as the other children of a
    /// process manager.
    ///
    /// Such a socket is never shut down or moved into non-blocking mode, and its file is never
    /// removed, so the other processes can continue to accept.
    ///
    /// On Linux, [`accept`](Self::accept) sets a receive timeout of the socket, to return after
    /// [`close`](Self::close) even if nothing else ends the call. The timeout is removed when the
    /// listener is dropped.
    ///
    /// ```
    /// use fcgi::net::Listener;
    ///
    /// // Another process has a descriptor of the same socket.
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let other = socket.try_clone()?;
    /// let listener = Listener::from(socket).shared();
    /// listener.close();
    /// assert!(listener.accept()?.is_none());
    /// let _client = std::net::TcpStream::connect(other.local_addr()?)?;
    /// other.accept()?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.acceptor.share();
        self
    }

    /// Sets the permission bits of the socket file, such as `0o660`. They decide which users may
    /// connect: see the guide about [daemons](crate::guide::daemon#who-may-open-the-socket).
    ///
    /// Between [`bind`](Self::bind) and this call the bits follow from the umask of the process. If
    /// they then permit too much, create the file in a directory that other users cannot enter.
    ///
    /// On Linux the change never applies to another file, even if other users may write to the
    /// directory. This requires `/proc`. On other systems, a user who may replace the file by a
    /// symbolic link during the call can direct the change to another file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file: for a TCP socket, for a socket that was not created by
    /// [`bind`](Self::bind) or [`take_over`](Self::take_over), and if another file has taken its
    /// place.
    ///
    /// ```
    /// use fcgi::net::{Address, Listener};
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("app.sock");
    /// let listener = Listener::bind(&Address::unix(&path)?)?;
    /// listener.set_mode(0o660)?;
    /// assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o660);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        let set = self.file().and_then(|file| file.set_mode(mode));
        set.map_err(|error| self.error("set the mode of", error))
    }

    /// Sets the owner and the group of the socket file. `None` leaves them unchanged.
    ///
    /// A symbolic link that has taken the place of the file is not followed. On Linux the change
    /// never applies to another file. This requires `/proc`.
    ///
    /// # Errors
    /// - `NotFound` in the same cases as for [`set_mode`](Self::set_mode).
    /// - `PermissionDenied`: only root may set another owner, and other users may only set a group
    ///   of which they are a member.
    ///
    /// ```no_run
    /// // Requires root: permits the group with the id 33 to connect.
    /// use fcgi::net::Listener;
    ///
    /// let listener = Listener::bind("/run/app.sock")?;
    /// listener.set_owner(None, Some(33))?;
    /// listener.set_mode(0o660)?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let set = self.file().and_then(|file| file.set_owner(uid, gid));
        set.map_err(|error| self.error("set the owner of", error))
    }

    /// Waits for a connection. After [`close`](Self::close), returns the connections that had
    /// arrived before, and then `None`, without waiting.
    ///
    /// A TCP connection gets `TCP_NODELAY`. The wait continues after a signal, and after a
    /// connection that its client has closed before it could be accepted. If another process moves
    /// a shared socket into non-blocking mode, the socket is moved back.
    ///
    /// # Errors
    /// [`Error::Socket`]. Running out of descriptors or memory may be temporary: wait before
    /// calling again. This applies after [`close`](Self::close) too, if connections are left.
    ///
    /// ```
    /// use fcgi::net::{Listener, Stream};
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let _client = Stream::connect(&listener.local_address()?, None)?;
    /// let stream = listener.accept()?.expect("an open listener");
    /// assert_eq!(stream.peer_ip(), Some([127, 0, 0, 1].into()));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn accept(&self) -> Result<Option<Stream>> {
        self.acceptor.accept().map_err(|error| match error {
            Error::Io(error) => self.error("accept on", error),
            error => error,
        })
    }

    /// Ends every call of [`accept`](Self::accept) that is blocked, and stops new connections.
    /// Connections that have been accepted stay open. The first call removes the file of a Unix
    /// socket created by [`bind`](Self::bind). Later calls have no effect.
    ///
    /// No connection is lost: those that have arrived before are still returned by `accept`, which
    /// then returns `None`. Call it until then, or else they are reset when the listener is
    /// dropped.
    ///
    /// What happens to connections that arrive later depends on the system:
    /// - On Linux they are refused. Over TCP, `close` accepts the earlier ones itself, so that each
    ///   takes a descriptor, and then shuts the socket down. A connection that is established in
    ///   the microseconds between the two is reset.
    /// - On other systems `accept` returns them until it finds none. Those that arrive after that
    ///   are reset when the listener is dropped. `close` connects to a Unix socket to end the
    ///   blocked calls, and cannot tell these connections from those that a client has closed.
    ///   Neither is returned.
    ///
    /// A [`shared`](Self::shared) socket stays open for the other processes, and `accept` leaves
    /// them what has not been accepted. A blocked call returns within a few milliseconds: `close`
    /// starts a thread that connects to the socket until no call is blocked. Other processes may
    /// accept some of these connections. Each is closed before any data is sent. Over a Unix socket
    /// `accept` may return one too. If the socket cannot be reached, for example because its file
    /// has been removed, a blocked call returns within half a second on Linux, and with the next
    /// connection on other systems.
    ///
    /// ```
    /// use fcgi::net::Listener;
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// listener.close();
    /// assert!(listener.is_closed());
    /// assert!(listener.accept()?.is_none());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn close(&self) {
        self.acceptor.close();
    }

    /// Returns whether [`close`](Self::close) has been called.
    ///
    /// ```
    /// use fcgi::net::Listener;
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// assert!(!listener.is_closed());
    /// listener.close();
    /// assert!(listener.is_closed());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.acceptor.is_closed()
    }

    /// Returns the address that the listener is bound to. It contains the port that the system has
    /// chosen in place of port 0.
    ///
    /// # Errors
    /// `Unsupported` for a Unix socket without a path, which [`bind`](Self::bind) never creates.
    ///
    /// ```
    /// use fcgi::net::{Address, Listener};
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_address()?, "127.0.0.1:0".parse::<Address>()?);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn local_address(&self) -> Result<Address> {
        self.acceptor.socket().local_address()
    }

    /// Returns whether this is a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        self.acceptor.socket().is_unix()
    }

    fn new(socket: ListeningSocket) -> Self {
        Self { acceptor: Acceptor::new(socket) }
    }

    #[cfg(unix)]
    fn with_file((socket, file): (UnixListener, SocketFile)) -> Self {
        Self::new(ListeningSocket::Unix(socket, Some(file)))
    }

    /// Creates the error of an operation on the socket.
    #[cold]
    fn error(&self, operation: &'static str, error: io::Error) -> Error {
        match self.local_address() {
            Ok(address) => Error::socket(operation, address, error),
            Err(_) => Error::socket(operation, "a listening socket", error),
        }
    }

    #[cfg(unix)]
    fn file(&self) -> io::Result<&SocketFile> {
        match self.acceptor.socket() {
            ListeningSocket::Unix(_, Some(file)) => Ok(file),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it has no socket file that this process created",
            )),
        }
    }
}

impl From<TcpListener> for Listener {
    /// Moves the socket into blocking mode.
    ///
    /// [`close`](Listener::close) shuts the socket down. If another process has the socket too,
    /// call [`shared`](Listener::shared).
    ///
    /// ```
    /// use fcgi::net::Listener;
    ///
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// let listener = Listener::from(socket);
    /// assert_eq!(listener.local_address()?, address.into());
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    fn from(socket: TcpListener) -> Self {
        Self::new(ListeningSocket::Tcp(socket))
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    /// Moves the socket into blocking mode. [`close`](Listener::close) does not remove the socket
    /// file, and shuts the socket down. If another process has the socket too, call
    /// [`shared`](Listener::shared).
    fn from(socket: UnixListener) -> Self {
        Self::new(ListeningSocket::Unix(socket, None))
    }
}

#[cfg(unix)]
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.socket().as_fd()
    }
}
