use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::fd::AsFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::listening_socket::ListeningSocket;
use super::socket::PeerState;
use super::stream::Stream;
use super::timeout::is_timeout;
use super::waiters::Waiters;
use crate::error::Result;

/// Whether the column "Linux" of the table at [`Acceptor`] applies to this system.
///
/// Compiling with `--cfg fcgi_portable` selects the other column, to test it on Linux.
#[cfg(unix)]
const LINUX: bool = cfg!(target_os = "linux") && !cfg!(fcgi_portable);

/// How long one `accept` call waits on a shared socket before it checks whether the acceptor has
/// been closed.
const SHARED_WAIT: Duration = Duration::from_millis(500);

/// How long a thread sleeps after it has found the listening socket in non-blocking mode. A call
/// that returns sooner than this has not waited for a timeout.
const NONBLOCKING_PAUSE: Duration = Duration::from_millis(10);

/// The maximum number of connections that [`Acceptor::close`] accepts, so that it returns even if
/// clients connect faster than it accepts. No usual backlog is longer, so a connection that is left
/// has arrived after `close`.
const DRAIN_LIMIT: usize = 65_536;

/// A listening socket whose blocked `accept` calls can be ended by another thread, without losing a
/// connection.
///
/// `std` cannot interrupt `accept`, so the method depends on the system, and on whether other
/// processes share the socket:
///
/// | | Linux | Other systems |
/// | --- | --- | --- |
/// | `close` ends a blocked call by | shutting down the socket | connecting to the socket |
/// | on a shared socket, by | connecting, or a receive timeout | connecting to the socket |
/// | The backlog at the time of `close` | is accepted | is accepted |
/// | on a shared socket | stays there | stays there |
/// | Connections that arrive after `close` | are refused | are accepted until a call would block |
/// | on a shared socket | stay in the backlog | stay in the backlog |
/// | An accepted socket inherits non-blocking mode | never | perhaps |
/// | inherits `TCP_NODELAY` | always | perhaps |
/// | inherits the receive timeout | over TCP | there is none |
///
/// The column for Linux applies if `control` is `Some`. The other column applies otherwise. There,
/// `std` can make a socket refuse connections only by closing it, which happens on drop.
///
/// # No connection is lost
/// [`accept`](Self::accept) returns every connection that the system call returns, except those
/// that [`Waiters::wake`] has made. What is in the backlog of a socket that is not shared at the
/// time of [`close`](Self::close) is accepted as follows:
/// - A Unix socket on Linux keeps its backlog when it is shut down. Later calls of `accept` return
///   these connections, and then fail.
/// - A TCP socket on Linux resets its backlog when it is shut down. `close` therefore moves the
///   socket into non-blocking mode, accepts all connections into `remaining`, and then shuts the
///   socket down. A connection that is established between the last two calls is reset.
/// - On other systems `close` does the same, but cannot shut the socket down. Later calls of
///   `accept` return the connections in `remaining`, and then those in the backlog, until a call
///   would block.
///
/// `close` holds the lock of `remaining` from before it sets `is_closed` until it has finished. A
/// thread that observes `is_closed` acquires this lock before it accepts again. Therefore it finds
/// all connections that `close` has accepted, and its next system call does not block.
///
/// # Every blocked call ends
/// Shutting the socket down ends every call. Connecting relies on `waiters`: a thread in `accept`
/// adds itself and then reads `is_closed`, and `close` sets `is_closed` and then reads the number
/// of waiters. All of these operations are sequentially consistent. Therefore either the thread
/// observes that the acceptor is closed and does not block, or `close` counts the thread and
/// connects until it has returned.
///
/// On a shared socket other processes may accept the connections that are meant to wake a thread,
/// and the socket may not be reachable: its file may have been removed or replaced, or this process
/// may lack the permission to connect. On Linux the blocked call then ends after [`SHARED_WAIT`],
/// and on other systems with the next connection. A shared socket is never shut down or moved into
/// non-blocking mode. Its waiters are woken by a thread of their own, because connecting to a Unix
/// socket blocks while the backlog is full.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: ListeningSocket,
    /// A second handle of `socket`. It has the type of a stream because `std` offers shutdown,
    /// receive timeout and `TCP_NODELAY` only there, and it is opened in advance because `close`
    /// must work in a process that has run out of descriptors. `None` on systems other than Linux,
    /// and if it could not be opened.
    control: Option<TcpStream>,
    /// Whether other processes accept from the same socket.
    is_shared: bool,
    /// Never changes back to `false`.
    is_closed: AtomicBool,
    waiters: Arc<Waiters>,
    remaining: Mutex<Remaining>,
}

/// The connections that `accept` returns after `close`.
#[derive(Debug, Default)]
struct Remaining {
    /// Connections that `close` has accepted, in order of arrival.
    accepted: VecDeque<Stream>,
    /// Whether there are no others. Never changes back to `false`.
    is_complete: bool,
}

impl Acceptor {
    /// Moves the socket into blocking mode and prepares it for `accept`.
    pub(super) fn new(socket: ListeningSocket) -> Self {
        // If this fails, `accept` finds the socket in non-blocking mode and tries again.
        let _ = socket.set_nonblocking(false);
        Self {
            control: control(&socket),
            socket,
            is_shared: false,
            is_closed: AtomicBool::new(false),
            waiters: Arc::default(),
            remaining: Mutex::default(),
        }
    }

    pub(super) fn socket(&self) -> &ListeningSocket {
        &self.socket
    }

    /// Declares that other processes accept from the same socket, so that `close` must not shut it
    /// down or remove its file.
    pub(super) fn share(&mut self) {
        self.is_shared = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    /// Waits for a connection. After [`close`](Self::close), returns the connections that are left,
    /// and then `None`.
    pub(super) fn accept(&self) -> Result<Option<Stream>> {
        self.waiters.add();
        let outcome = self.accept_until_closed();
        // Before the lock of `remaining` is acquired, because `close` may hold it until no thread
        // waits.
        self.waiters.remove();
        match outcome? {
            Some(stream) => Ok(Some(stream)),
            None if self.is_shared => Ok(None),
            None => self.accept_after_close(),
        }
    }

    /// Ends every blocked [`accept`](Self::accept) call, and makes later ones return at once.
    /// Removes the socket file. Does nothing if the acceptor has been closed before.
    pub(super) fn close(&self) {
        if self.is_shared {
            if !self.is_closed.swap(true, SeqCst) {
                self.wake_in_background();
            }
            return;
        }
        let mut remaining = self.lock_remaining();
        if self.is_closed.swap(true, SeqCst) {
            return;
        }
        match (&self.control, &self.socket) {
            #[cfg(unix)]
            (Some(_), ListeningSocket::Unix(..)) => {
                self.socket.remove_file();
                self.refuse_connections();
            }
            (Some(_), ListeningSocket::Tcp(_)) => {
                if self.drain(&mut remaining.accepted) {
                    self.refuse_connections();
                    remaining.is_complete = true;
                }
            }
            (None, _) => {
                // This makes room in the backlog, so that connecting does not block.
                self.drain(&mut remaining.accepted);
                self.wake();
                self.socket.remove_file();
            }
        }
    }

    fn accept_until_closed(&self) -> Result<Option<Stream>> {
        let mut last_timeout = None;
        while !self.is_closed() {
            match self.accept_one() {
                Ok((stream, peer)) if self.is_wake_connection(&stream, peer) => {}
                Ok((stream, _)) => return Ok(Some(stream)),
                Err(error) if is_timeout(&error) => {
                    if let Some(previous) = last_timeout.replace(Instant::now()) {
                        self.pause_if_nonblocking(previous);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) if self.is_closed() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Returns the next connection that is left after `close` on a socket that is not shared. Does
    /// not block.
    fn accept_after_close(&self) -> Result<Option<Stream>> {
        let mut remaining = self.lock_remaining();
        while !remaining.is_complete && remaining.accepted.is_empty() {
            match self.accept_one() {
                Ok((stream, peer)) if self.is_wake_connection(&stream, peer) => {}
                Ok((stream, _)) => return Ok(Some(stream)),
                // The socket has been shut down, or is in non-blocking mode.
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::InvalidInput => {
                    self.refuse_connections();
                    remaining.is_complete = true;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(remaining.accepted.pop_front())
    }

    /// Moves the socket into non-blocking mode, and the backlog into `accepted`. Returns whether
    /// the socket can then be shut down without losing a connection.
    ///
    /// If the process has run out of descriptors, the backlog may not be empty. It usually is if a
    /// thread waits in `accept`, and shutting down is then the only way to end that call. If the
    /// thread was only about to call `accept`, the connections of the backlog are reset. Without
    /// such a thread the socket stays open, and `accept_after_close` returns the rest.
    fn drain(&self, accepted: &mut VecDeque<Stream>) -> bool {
        let _ = self.socket.set_nonblocking(true);
        for _ in 0..DRAIN_LIMIT {
            match self.accept_one() {
                Ok((stream, _)) => accepted.push_back(stream),
                Err(error) if is_timeout(&error) => return true,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return self.waiters.count() > 0,
            }
        }
        true
    }

    /// Accepts one connection. Returns the address of the peer if it is a TCP connection.
    fn accept_one(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        if self.is_shared {
            // Before each call, because a process that shares the socket removes the timeout when
            // it ends.
            self.set_receive_timeout(Some(SHARED_WAIT));
        }
        match &self.socket {
            ListeningSocket::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                Ok((self.tcp_stream(stream), Some(peer)))
            }
            #[cfg(unix)]
            ListeningSocket::Unix(socket, _) => Ok((self.unix_stream(socket.accept()?.0), None)),
        }
    }

    /// Returns whether `close` has made this connection to wake a thread. Over a Unix socket, a
    /// connection that its client has closed counts as one.
    fn is_wake_connection(&self, stream: &Stream, peer: Option<SocketAddr>) -> bool {
        self.is_closed()
            && match peer {
                Some(peer) => self.waiters.is_wake_address(peer),
                None => {
                    self.waiters.has_connected()
                        && matches!(stream.peer_state(), Ok(PeerState::Closed))
                }
            }
    }

    /// Corrects what a TCP connection has inherited from the listening socket. The calls cannot
    /// fail on an open socket.
    fn tcp_stream(&self, socket: TcpStream) -> Stream {
        if self.control.is_none() {
            let _ = socket.set_nonblocking(false);
            return socket.into();
        }
        if self.is_shared {
            let _ = socket.set_read_timeout(None);
        }
        Stream::with_nodelay(socket)
    }

    /// Corrects what a Unix connection has inherited from the listening socket.
    #[cfg(unix)]
    fn unix_stream(&self, socket: UnixStream) -> Stream {
        if self.control.is_none() {
            let _ = socket.set_nonblocking(false);
        }
        socket.into()
    }

    /// Moves the listening socket back into blocking mode and sleeps, if the time since the
    /// `previous` timeout is too short for another one.
    ///
    /// The mode belongs to the socket, so a process that shares it can change it at any time. The
    /// sleep keeps this loop from using the processor if that process does so repeatedly.
    fn pause_if_nonblocking(&self, previous: Instant) {
        if previous.elapsed() < NONBLOCKING_PAUSE {
            self.set_blocking();
            thread::sleep(NONBLOCKING_PAUSE);
        }
    }

    fn set_receive_timeout(&self, timeout: Option<Duration>) {
        if let Some(control) = &self.control {
            let _ = control.set_read_timeout(timeout);
        }
    }

    /// Moves the socket into blocking mode, unless `close` has moved it into non-blocking mode.
    fn set_blocking(&self) {
        // `close` holds the lock from before it sets `is_closed`.
        let lock = self.remaining.try_lock();
        if lock.is_ok() && !self.is_closed() {
            let _ = self.socket.set_nonblocking(false);
        }
    }

    /// Makes the system refuse connections, and ends every blocked call. Has no effect on systems
    /// other than Linux.
    fn refuse_connections(&self) {
        if let Some(control) = &self.control {
            // This fails only if the socket has been shut down before.
            let _ = control.shutdown(Shutdown::Both);
        }
    }

    /// Connects to the socket until no thread waits in `accept`.
    fn wake(&self) {
        if let Ok(address) = self.socket.wake_address() {
            self.waiters.wake(&address);
        }
    }

    /// Connects to the socket in another thread, until no thread waits in `accept`. If that thread
    /// cannot be started, the blocked calls end as they do on a socket that cannot be reached.
    fn wake_in_background(&self) {
        if self.waiters.count() == 0 {
            return;
        }
        if let Ok(address) = self.socket.wake_address() {
            let waiters = Arc::clone(&self.waiters);
            let builder = thread::Builder::new().name("fcgi-wake".into());
            let _ = builder.spawn(move || waiters.wake(&address));
        }
    }

    /// The connections are valid after a panic, because each change is a single call.
    fn lock_remaining(&self) -> MutexGuard<'_, Remaining> {
        self.remaining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if self.is_shared {
            // Otherwise each connection that another process accepts would inherit the timeout.
            self.set_receive_timeout(None);
        } else {
            self.socket.remove_file();
        }
    }
}

/// Opens a second handle of a listening socket, and sets `TCP_NODELAY` if it is a TCP socket.
#[cfg(unix)]
fn control(socket: &ListeningSocket) -> Option<TcpStream> {
    if !LINUX {
        return None;
    }
    let control = TcpStream::from(socket.as_fd().try_clone_to_owned().ok()?);
    match socket {
        ListeningSocket::Tcp(_) => control.set_nodelay(true).is_ok().then_some(control),
        ListeningSocket::Unix(..) => Some(control),
    }
}

#[cfg(not(unix))]
fn control(_: &ListeningSocket) -> Option<TcpStream> {
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns an acceptor without a control handle, as on systems other than Linux.
    fn portable_acceptor(address: &str) -> Result<Acceptor> {
        let mut acceptor = Acceptor::new(ListeningSocket::Tcp(TcpListener::bind(address)?));
        acceptor.control = None;
        Ok(acceptor)
    }

    #[test]
    fn accept_returns_connections_without_a_control_handle() -> Result<()> {
        let acceptor = portable_acceptor("127.0.0.1:0")?;
        let _client = Stream::connect(&acceptor.socket.local_address()?, None)?;
        assert!(acceptor.accept()?.is_some());
        Ok(())
    }

    #[cfg(all(target_os = "linux", not(fcgi_portable)))]
    #[test]
    fn socket_that_does_not_block_is_moved_back_into_blocking_mode() -> Result<()> {
        const TIMEOUT: Duration = Duration::from_millis(40);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let acceptor = Acceptor::new(ListeningSocket::Tcp(listener.try_clone()?));
        acceptor.set_receive_timeout(Some(TIMEOUT));
        listener.set_nonblocking(true)?;
        acceptor.pause_if_nonblocking(Instant::now());
        let start = Instant::now();
        assert!(is_timeout(&acceptor.accept_one().expect_err("there is no connection")));
        assert!(start.elapsed() > TIMEOUT / 2, "{:?}", start.elapsed());
        Ok(())
    }

    /// Proves that `close` ends every blocked call without a control handle, whatever the system.
    #[test]
    fn close_ends_accept_by_connecting() -> Result<()> {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let acceptor = portable_acceptor(address)?;
            thread::scope(|scope| {
                let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| acceptor.accept())).collect();
                while acceptor.waiters.count() < 4 {
                    thread::yield_now();
                }
                acceptor.close();
                for waiter in waiters {
                    assert!(waiter.join().unwrap().unwrap().is_none());
                }
            });
        }
        Ok(())
    }

    /// Proves that `close` keeps the backlog without a control handle, whatever the system.
    #[test]
    fn close_keeps_the_backlog_without_a_control_handle() -> Result<()> {
        let acceptor = portable_acceptor("127.0.0.1:0")?;
        let address = acceptor.socket.local_address()?;
        let _clients = [Stream::connect(&address, None)?, Stream::connect(&address, None)?];
        acceptor.close();
        let _late = Stream::connect(&address, None)?;
        for _ in 0..3 {
            assert!(acceptor.accept()?.is_some());
        }
        assert!(acceptor.accept()?.is_none());
        Ok(())
    }

    /// `close` counts a thread that accepts nothing, so the connections that are meant to wake it
    /// stay in the backlog.
    #[test]
    fn connections_that_wake_threads_are_not_returned_after_close() -> Result<()> {
        let acceptor = portable_acceptor("127.0.0.1:0")?;
        let _client = Stream::connect(&acceptor.socket.local_address()?, None)?;
        acceptor.waiters.add();
        acceptor.close();
        acceptor.waiters.remove();
        assert!(acceptor.accept()?.is_some(), "the connection of the client");
        assert!(acceptor.accept()?.is_none());
        Ok(())
    }
}
