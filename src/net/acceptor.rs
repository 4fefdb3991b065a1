use std::io;
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::fd::AsFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::listening_socket::ListeningSocket;
use super::stream::{is_timeout, Stream};
use crate::error::Result;

/// Whether the system behaves as the column for Linux in the table at [`Acceptor`] says.
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

/// How long [`Acceptor::close`] waits for each TCP connection that it makes to its own socket.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// A listening socket whose blocked `accept` calls can be ended by another thread.
///
/// `std` cannot interrupt `accept`, so the method depends on the system:
///
/// | | Linux | Other systems |
/// | --- | --- | --- |
/// | `close` ends a blocked call by | shutting down the socket | connecting to the socket |
/// | on a shared socket, by | a receive timeout ([`SHARED_WAIT`]) | connecting to the socket |
/// | Connections that arrive after `close` | are refused | stay in the backlog |
/// | An accepted socket inherits non-blocking mode | never | perhaps |
/// | inherits `TCP_NODELAY` | always | perhaps |
/// | inherits the receive timeout | over TCP | there is none |
///
/// The column for Linux applies if `control` is `Some`. The other column applies otherwise:
/// - `close` makes one connection for each blocked call, and `accept` drops what it accepts after
///   `close`. If another process accepts such a connection from a shared socket, the call ends with
///   the next connection.
/// - `std` can make a socket refuse connections only by closing it, which happens on drop.
///
/// A thread in [`accept`](Self::accept) increments `waiting` and then reads `is_closed`;
/// [`close`](Self::close) sets `is_closed` and then reads `waiting`. All of these operations are
/// sequentially consistent, so either the thread observes that the acceptor is closed and does not
/// block, or `close` counts the thread and makes a connection for it.
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
    /// The number of threads in `accept`.
    waiting: AtomicUsize,
}

impl Acceptor {
    /// Moves the socket into blocking mode and prepares it for `accept`.
    pub(super) fn new(socket: ListeningSocket) -> Self {
        // If this fails, `accept` finds the socket in non-blocking mode and tries again.
        let _ = socket.set_blocking();
        Self {
            control: control(&socket),
            socket,
            is_shared: false,
            is_closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn socket(&self) -> &ListeningSocket {
        &self.socket
    }

    /// Declares that other processes accept from the same socket, so that `close` must not shut it
    /// down.
    pub(super) fn share(&mut self) {
        self.is_shared = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }

    /// Waits for a connection. Returns `None` after [`close`](Self::close).
    pub(super) fn accept(&self) -> Result<Option<Stream>> {
        self.waiting.fetch_add(1, SeqCst);
        let outcome = self.accept_until_closed();
        self.waiting.fetch_sub(1, SeqCst);
        outcome
    }

    /// Ends every blocked [`accept`](Self::accept) call, and makes later ones return at once.
    pub(super) fn close(&self) {
        self.is_closed.store(true, SeqCst);
        match &self.control {
            Some(_) if self.is_shared => {}
            Some(control) => {
                // This fails only if the socket has been shut down before.
                let _ = control.shutdown(Shutdown::Both);
            }
            None => self.wake_by_connecting(),
        }
    }

    fn accept_until_closed(&self) -> Result<Option<Stream>> {
        let mut last_timeout = None;
        while !self.is_closed() {
            match self.accept_one() {
                // It may be the connection that `close` has made to end this call.
                Ok(_) if self.control.is_none() && self.is_closed() => {}
                Ok(stream) => return Ok(Some(stream)),
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

    fn accept_one(&self) -> io::Result<Stream> {
        if self.is_shared {
            // Before each call, because a process that shares the socket removes the timeout when
            // it ends.
            self.set_receive_timeout(Some(SHARED_WAIT));
        }
        match &self.socket {
            ListeningSocket::Tcp(socket) => Ok(self.tcp_stream(socket.accept()?.0)),
            #[cfg(unix)]
            ListeningSocket::Unix(socket) => Ok(self.unix_stream(socket.accept()?.0)),
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
            let _ = self.socket.set_blocking();
            thread::sleep(NONBLOCKING_PAUSE);
        }
    }

    fn set_receive_timeout(&self, timeout: Option<Duration>) {
        if let Some(control) = &self.control {
            let _ = control.set_read_timeout(timeout);
        }
    }

    /// Makes one connection for each thread in `accept`.
    fn wake_by_connecting(&self) {
        let Ok(address) = self.socket.loopback_address() else { return };
        for _ in 0..self.waiting.load(SeqCst) {
            // If this fails, the socket no longer listens and no call is blocked.
            let _ = Stream::connect(&address, Some(WAKE_TIMEOUT));
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if self.is_shared {
            // Otherwise each connection that another process accepts would inherit the timeout.
            self.set_receive_timeout(None);
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
        ListeningSocket::Unix(_) => Some(control),
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

    #[test]
    fn accept_returns_connections_without_a_control_handle() -> Result<()> {
        let mut acceptor = Acceptor::new(ListeningSocket::Tcp(TcpListener::bind("127.0.0.1:0")?));
        acceptor.control = None;
        let _client = Stream::connect(&acceptor.socket().local_address()?, None)?;
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
            let socket = ListeningSocket::Tcp(TcpListener::bind(address)?);
            let mut acceptor = Acceptor::new(socket);
            acceptor.control = None;
            thread::scope(|scope| {
                let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| acceptor.accept())).collect();
                while acceptor.waiting.load(SeqCst) < 4 {
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
}
