use std::io;
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{self, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often [`Waiters::wake`] connects for the threads that still wait.
const WAKE_ROUNDS: usize = 100;

/// How long [`Waiters::wake`] waits after each round for the threads to return.
const WAKE_PAUSE: Duration = Duration::from_millis(1);

/// How long a connection of [`Waiters::wake`] may take. It takes longer only if the backlog is
/// full, and then no thread is blocked.
const WAKE_TIMEOUT: Duration = Duration::from_millis(100);

/// The threads in `accept` on one listening socket, which can be woken by connecting to the socket.
///
/// A thread that accepts a connection may find that [`wake`](Self::wake) has made it. Over TCP
/// [`is_wake_address`](Self::is_wake_address) recognizes it by the address of the peer. `wake`
/// holds the lock of `wake_addresses` until it has added the address, so the address is there even
/// if the connection is accepted before `wake` knows of it. The address belongs to no other
/// connection, because the system does not assign it again while the threads return: `wake` closes
/// its end first, so the address stays reserved (`TIME_WAIT`).
///
/// Over a Unix socket the peer has no address. A connection that its peer has closed therefore
/// counts as one of them, once `wake` has made any. `wake` closes a connection at once, and
/// [`has_connected`](Self::has_connected) waits for that.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    count: AtomicUsize,
    /// The local addresses of the connections that `wake` has made and that have not been accepted.
    wake_addresses: Mutex<Vec<SocketAddr>>,
    /// Whether `wake` has connected to a Unix socket. Changes before it connects.
    has_connected: AtomicBool,
    /// The connections to a Unix socket that `wake` is making and has not closed yet.
    connecting: AtomicUsize,
}

/// The address at which this process can connect to a listening socket.
#[derive(Clone, Debug)]
pub(super) enum WakeAddress {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(net::SocketAddr),
}

impl Waiters {
    /// Counts a thread that is about to call `accept`.
    pub(super) fn add(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    /// Removes a thread that does not call `accept` again.
    pub(super) fn remove(&self) {
        self.count.fetch_sub(1, SeqCst);
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// Connects to the socket until no thread waits, but at most [`WAKE_ROUNDS`] times for each.
    ///
    /// Other processes that wait on the same socket may accept these connections. The system wakes
    /// waiting threads in the order in which they began to wait, so each round brings the threads
    /// of this process nearer to the front.
    ///
    /// Stops at the first error: the socket no longer listens, cannot be reached by its address, or
    /// its backlog is full.
    pub(super) fn wake(&self, address: &WakeAddress) {
        for _ in 0..WAKE_ROUNDS {
            for _ in 0..self.count() {
                if self.connect(address).is_err() {
                    return;
                }
            }
            if self.count() == 0 {
                return;
            }
            thread::sleep(WAKE_PAUSE);
        }
    }

    /// Returns whether [`wake`](Self::wake) has made connections to a Unix socket. Those that have
    /// been accepted before the call are closed when it returns.
    ///
    /// `wake` may be blocked because the backlog is full. Only this thread can make room in it, so
    /// it must not wait indefinitely.
    pub(super) fn has_connected(&self) -> bool {
        let start = Instant::now();
        while self.connecting.load(SeqCst) > 0 && start.elapsed() < WAKE_TIMEOUT {
            thread::yield_now();
        }
        self.has_connected.load(SeqCst)
    }

    /// Returns whether [`wake`](Self::wake) has made the TCP connection from this address. Returns
    /// `true` only once for each connection.
    pub(super) fn is_wake_address(&self, peer: SocketAddr) -> bool {
        let mut addresses = self.lock();
        let found = addresses.iter().position(|address| *address == peer);
        found.map(|index| addresses.swap_remove(index)).is_some()
    }

    fn connect(&self, address: &WakeAddress) -> io::Result<()> {
        match address {
            WakeAddress::Tcp(address) => {
                let mut addresses = self.lock();
                let stream = TcpStream::connect_timeout(address, WAKE_TIMEOUT)?;
                addresses.push(stream.local_addr()?);
            }
            #[cfg(unix)]
            WakeAddress::Unix(address) => {
                self.has_connected.store(true, SeqCst);
                self.connecting.fetch_add(1, SeqCst);
                let outcome = UnixStream::connect_addr(address).map(drop);
                self.connecting.fetch_sub(1, SeqCst);
                outcome?;
            }
        }
        Ok(())
    }

    /// The list is valid after a panic, because each change is a single call.
    fn lock(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.wake_addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
