//! A blocking HTTP server on top of hyper, which is asynchronous.
//!
//! Each connection has two threads: one polls hyper, and one blocks in `read`. Each request has a
//! thread that runs the handler. The HTTP servers that are blocking by themselves cannot send a
//! response while they read the request, cannot break off a response, or buffer responses that
//! should be streamed.

mod channel;
mod client_status;
mod exchange;
mod socket;

use std::collections::HashMap;
use std::error::Error;
use std::future::{poll_fn, Future};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{service_fn, HttpService};

pub use self::client_status::ClientStatus;
pub use self::exchange::{Request, RequestBody, Responder, ResponseWriter};

use self::channel::{channel, thread_waker};
use self::exchange::{dispatch, Handler, ResponseBody};
use self::socket::{Socket, IO_TIMEOUT};
use crate::log;

/// The maximum number of open connections. Further connections wait in the backlog.
const MAX_CONNECTIONS: usize = 512;
/// The time to wait for a client to stop sending before its connection is closed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// The time to wait before `accept` is called again after an error.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A server for HTTP/1.0 and HTTP/1.1.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    listener: TcpListener,
    /// The threads of the open connections that poll hyper.
    connections: Mutex<HashMap<ThreadId, Thread>>,
    /// Signalled when a connection has been closed.
    closed: Condvar,
    is_stopping: AtomicBool,
}

impl Server {
    pub fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let (connections, closed, is_stopping) =
            (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Ok(Self(Arc::new(Shared { listener, connections, closed, is_stopping })))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.listener.local_addr()
    }

    /// Accepts connections and serves them. Never returns.
    pub fn serve(&self, handler: impl Fn(Request, Responder) + Send + Sync + 'static) {
        let handler: Arc<Handler> = Arc::new(handler);
        loop {
            self.wait_for_connections(|open| open < MAX_CONNECTIONS, None);
            let accepted = self.0.listener.accept();
            let served = accepted.and_then(|(stream, remote)| self.start(stream, remote, &handler));
            if let Err(error) = served {
                log::message(&format!("cannot accept a connection: {error}"));
                thread::sleep(ACCEPT_RETRY_DELAY);
            }
        }
    }

    /// Closes the idle connections, and waits until the requests in flight have been answered, or
    /// until the timeout expires.
    pub fn stop(&self, timeout: Duration) {
        self.0.is_stopping.store(true, Ordering::SeqCst);
        self.connections().values().for_each(Thread::unpark);
        self.wait_for_connections(|open| open == 0, Some(timeout));
    }

    /// Starts a thread that serves a connection.
    fn start(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        handler: &Arc<Handler>,
    ) -> io::Result<()> {
        let (server, handler) = (self.clone(), Arc::clone(handler));
        // Holding the lock prevents the thread from removing itself before it has been added.
        let mut connections = self.connections();
        let thread = thread::Builder::new().spawn(move || {
            let connection = OpenConnection(server);
            if let Err(error) = connection.0.serve_connection(&stream, remote, &handler) {
                log::message(&format!("{remote}: {error}"));
            }
        })?;
        connections.insert(thread.thread().id(), thread.thread().clone());
        Ok(())
    }

    fn serve_connection(
        &self,
        stream: &TcpStream,
        remote: SocketAddr,
        handler: &Arc<Handler>,
    ) -> io::Result<()> {
        let local = stream.local_addr()?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        let in_flight = &Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel();
        let (reading, reading_ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let reader = thread::Builder::new().spawn_scoped(scope, move || {
                let _reading = reading;
                socket::read_all(stream, &sender, in_flight);
            });
            reader.map_err(|error| not_started(&error))?;
            let service =
                service_fn(|request| dispatch(request, (remote, local), handler, in_flight));
            // Errors are ignored: the handler has logged them, or they are the client's.
            let _ = self.run(
                http1::Builder::new().serve_connection(Socket::new(stream, receiver), service),
            );
            // Closing a socket with unread input resets the connection, which can destroy the
            // response on its way to the client.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = reading_ended.recv_timeout(LINGER_TIMEOUT);
            let _ = stream.shutdown(Shutdown::Both);
            Ok(())
        })
    }

    /// Polls hyper until the connection ends. If the server is stopping, it ends after the request
    /// in flight.
    fn run<S>(&self, connection: http1::Connection<Socket<'_>, S>) -> hyper::Result<()>
    where
        S: HttpService<Incoming, ResBody = ResponseBody>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut connection = pin!(connection);
        block_on(poll_fn(|context| {
            if self.0.is_stopping.load(Ordering::SeqCst) {
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        }))
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

    fn connections(&self) -> MutexGuard<'_, HashMap<ThreadId, Thread>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection that the current thread serves. It is removed when this is dropped, even if the
/// thread panics.
struct OpenConnection(Server);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections().remove(&thread::current().id());
        self.0 .0.closed.notify_all();
    }
}

/// Describes why a thread could not be started.
fn not_started(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot start a thread: {error}"))
}

/// Runs a future in the current thread, which is parked while the future is pending.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
