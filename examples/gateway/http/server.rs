//! Accepts connections, and starts a thread for each.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::connection::{Connection, Handler};
use crate::log;

/// The maximum number of open connections. Further connections wait in the backlog.
const MAX_CONNECTIONS: usize = 512;
/// The time to wait before `accept` is called again after an error.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A server for HTTP.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    listener: TcpListener,
    /// The open connections, by number. Addresses of clients are not unique: one that has reset its
    /// connection can connect from the same port before the gateway has closed the first one.
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// The number of the next connection.
    next: AtomicU64,
    /// Signalled when a connection has been closed.
    closed: Condvar,
    /// Invariant: set before `stop` reads `connections`. A connection that is not yet there is
    /// inserted later, and is stopped by the thread that has accepted it.
    is_stopping: AtomicBool,
}

impl Server {
    pub fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self(Arc::new(Shared {
            listener,
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            closed: Condvar::new(),
            is_stopping: AtomicBool::new(false),
        })))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.listener.local_addr()
    }

    /// Accepts connections and serves them. Never returns.
    pub fn serve(&self, handler: &Arc<Handler>) {
        loop {
            self.wait_for_connections(|open| open < MAX_CONNECTIONS, None);
            let accepted = self.0.listener.accept();
            let served = accepted.and_then(|(stream, remote)| self.start(stream, remote, handler));
            if let Err(error) = served {
                log::message(&format!("cannot accept a connection: {error}"));
                thread::sleep(ACCEPT_RETRY_DELAY);
            }
        }
    }

    /// Closes the idle connections, and waits until the requests in flight have been answered, or
    /// until the timeout expires.
    pub fn stop(&self, timeout: Duration) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
        self.connections().values().for_each(|connection| connection.stop());
        self.wait_for_connections(|open| open == 0, Some(timeout));
    }

    /// Starts a thread that serves a connection.
    fn start(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        handler: &Arc<Handler>,
    ) -> io::Result<()> {
        let connection = Arc::new(Connection::new(stream));
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let open = Open { server: self.clone(), number };
        self.connections().insert(number, Arc::clone(&connection));
        if self.0.is_stopping.load(Ordering::Relaxed) {
            connection.stop();
        }
        let handler = Arc::clone(handler);
        // If no thread can be started, the closure is dropped, and `open` with it.
        thread::Builder::new().spawn(move || {
            let _open = open;
            if let Err(error) = connection.serve(remote, &*handler) {
                log::message(&format!("{remote}: {error}"));
            }
        })?;
        Ok(())
    }

    /// Waits until the number of open connections satisfies the condition, or until the timeout
    /// expires.
    fn wait_for_connections(&self, is_enough: impl Fn(usize) -> bool, timeout: Option<Duration>) {
        let connections = self.connections();
        let condition = |connections: &mut HashMap<_, _>| !is_enough(connections.len());
        match timeout {
            Some(timeout) => {
                drop(self.0.closed.wait_timeout_while(connections, timeout, condition));
            }
            None => drop(self.0.closed.wait_while(connections, condition)),
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection. It is removed when this is dropped, even if its thread panics.
struct Open {
    server: Server,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.server.connections().remove(&self.number);
        self.server.0.closed.notify_all();
    }
}
