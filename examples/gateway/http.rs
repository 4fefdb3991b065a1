//! HTTP for threads: hyper, which is written for asynchronous code, with a blocking face.
//!
//! Each connection has a thread that polls hyper, and one that waits in `read` for it; each request
//! has one that runs the handler. The crates that offer HTTP to blocking code by themselves can't
//! answer while they read, can't break off an answer, or hold back what should be streamed.

mod exchange;
mod pipe;
mod socket;

use std::collections::HashMap;
use std::error::Error;
use std::future::{poll_fn, Future};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{service_fn, HttpService};

pub use self::exchange::{Client, Request, RequestBody, Responder, ResponseWriter};

use self::exchange::{dispatch, ResponseBody};
use self::socket::Socket;
use crate::log;

/// The connections that are open at once; the next ones wait.
const MAX_CONNECTIONS: usize = 512;
/// How long a client may take nothing, or send nothing while a request of its own is awaited.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client that is told no more may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// What answers requests, each in a thread of its own.
pub type Handler = dyn Fn(Request, Responder) + Send + Sync;

/// A server of HTTP/1.1 and 1.0.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    listener: TcpListener,
    /// The threads of the open connections.
    connections: Mutex<HashMap<ThreadId, Thread>>,
    /// Signalled when a connection has ended.
    ended: Condvar,
    is_stopping: AtomicBool,
}

impl Server {
    pub fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let (connections, ended, is_stopping) =
            (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Ok(Self(Arc::new(Shared { listener, connections, ended, is_stopping })))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.listener.local_addr()
    }

    /// Accepts connections, for ever.
    pub fn serve(&self, handler: impl Fn(Request, Responder) + Send + Sync + 'static) {
        let handler: Arc<Handler> = Arc::new(handler);
        loop {
            self.wait_for_connections(|open| open < MAX_CONNECTIONS, None);
            let accepted = self
                .0
                .listener
                .accept()
                .and_then(|(stream, remote)| self.start(stream, remote, &handler));
            if let Err(error) = accepted {
                log::line(&format!("cannot accept a connection: {error}"));
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Lets the requests end that are under way, for so long, and closes the other connections.
    pub fn stop(&self, patience: Duration) {
        self.0.is_stopping.store(true, Ordering::SeqCst);
        self.connections().values().for_each(Thread::unpark);
        self.wait_for_connections(|open| open == 0, Some(patience));
    }

    fn start(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        handler: &Arc<Handler>,
    ) -> io::Result<()> {
        let (server, handler) = (self.clone(), Arc::clone(handler));
        let mut connections = self.connections();
        let thread = thread::Builder::new().spawn(move || {
            if let Err(error) = server.serve_connection(&stream, remote, &handler) {
                log::line(&format!("{remote}: {error}"));
            }
            server.connections().remove(&thread::current().id());
            server.0.ended.notify_all();
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
        stream.set_write_timeout(Some(PATIENCE))?;
        let busy = &Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = pipe::pipe();
        let (reading, has_read) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let _reading = reading;
                socket::read_all(stream, &sender, busy);
            });
            let service = service_fn(|request| dispatch(request, (remote, local), handler, busy));
            // What was wrong with a client, or with a response that was broken off, has been said
            // where it was seen.
            let _ = self.run(
                http1::Builder::new().serve_connection(Socket::new(stream, receiver), service),
            );
            // A client that still sends reads what it was told only if it is let; closing at once
            // would destroy that.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = has_read.recv_timeout(LINGER);
            let _ = stream.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Has hyper serve a connection to its end; when the server stops, to the end of the request
    /// that is under way.
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

    fn wait_for_connections(&self, enough: impl Fn(usize) -> bool, patience: Option<Duration>) {
        let connections = self.connections();
        let condition = |connections: &mut HashMap<_, _>| !enough(connections.len());
        match patience {
            Some(patience) => {
                drop(self.0.ended.wait_timeout_while(connections, patience, condition))
            }
            None => drop(self.0.ended.wait_while(connections, condition)),
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<ThreadId, Thread>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a future in this thread, which sleeps while there is nothing to do.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = pipe::unparker();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
