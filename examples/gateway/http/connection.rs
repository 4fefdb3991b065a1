//! One connection: its requests are answered in order.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::body::RequestBody;
use super::client::Client;
use super::guard::ConnectionGuard;
use super::head::Request;
use super::input::{receive, Input, IO_TIMEOUT};
use super::response::Reply;
use crate::failure::Failure;
use crate::log;

/// The time to wait for a client to stop sending before its connection is closed.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A function that answers a request.
pub type Handler = dyn Fn(&Request, &mut RequestBody<'_>, &mut Reply) + Send + Sync;

/// A connection, as seen by the thread that stops the server.
pub(super) struct Connection {
    stream: Arc<TcpStream>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether a request has begun and has not been answered.
    is_busy: bool,
    is_stopping: bool,
    /// Whether [`Connection::stop`] has shut down the read half.
    is_read_shut_down: bool,
}

/// What follows a response.
enum Next {
    Request,
    Close,
    /// The client could mistake the incomplete response for a complete one.
    Reset,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Arc::new(stream), state: Mutex::default() }
    }

    /// Closes the connection after the request that has begun, or now if there is none.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        if !state.is_busy {
            // The lock prevents a request from beginning. If this fails, the client has left. A
            // request that has arrived can still be read, and is answered.
            state.is_read_shut_down = true;
            let _ = self.stream.shutdown(Shutdown::Read);
        }
    }

    /// Answers requests until one side closes the connection.
    pub(super) fn serve(&self, remote: SocketAddr, handler: &Handler) -> io::Result<()> {
        let stream = &self.stream;
        let addresses = (remote, stream.local_addr()?);
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        let client = Arc::<Client>::default();
        let (sender, pieces) = mpsc::sync_channel(1);
        let (receiving, received_all) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let receiver = thread::Builder::new().spawn_scoped(scope, || {
                let (_receiving, sender) = (receiving, sender);
                self.receive(&sender, &client);
            });
            receiver.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start a thread: {error}"))
            })?;
            // It ends the thread that receives, even if this one panics.
            let mut guard = ConnectionGuard::new(stream);
            let next = self.answer_all(Input::new(pieces), &client, addresses, handler);
            if !matches!(next, Next::Reset) {
                // Closing a socket with unread input resets the connection, which can destroy the
                // response on its way to the client.
                let _ = stream.shutdown(Shutdown::Write);
                let _ = received_all.recv_timeout(LINGER_TIMEOUT);
                guard.complete();
            }
            Ok(())
        })
    }

    /// Receives from the client until it disconnects, or until the read half is shut down.
    fn receive(&self, sender: &SyncSender<io::Result<Vec<u8>>>, client: &Client) {
        let received = receive(&self.stream, sender);
        if !self.lock().is_read_shut_down {
            client.set_disconnected();
        }
        if let Err(error) = received {
            // Sending fails if all requests have been answered.
            let _ = sender.send(Err(error));
        }
    }

    /// Answers requests until the connection has to be closed or reset.
    fn answer_all(
        &self,
        mut input: Input,
        client: &Arc<Client>,
        addresses: (SocketAddr, SocketAddr),
        handler: &Handler,
    ) -> Next {
        loop {
            match self.read_head(&mut input, addresses) {
                Ok(Some(request)) => match self.answer(&request, &mut input, client, handler) {
                    Next::Request => {}
                    next => return next,
                },
                Ok(None) => return Next::Close,
                Err(failure) => {
                    log::message(&format!("{}: {failure}", addresses.0));
                    Reply::to_invalid_request(&self.stream, client).fail(&failure);
                    return Next::Close;
                }
            }
        }
    }

    /// Waits for a request and parses its head. Returns `None` if there is none.
    fn read_head(
        &self,
        input: &mut Input,
        addresses: (SocketAddr, SocketAddr),
    ) -> Result<Option<Request>, Failure> {
        let deadline = Instant::now() + IO_TIMEOUT;
        loop {
            if !input.buffered().is_empty() {
                self.lock().is_busy = true;
            }
            if let Some((request, len)) = Request::parse(input.buffered(), addresses)? {
                input.consume(len);
                return Ok(Some(request));
            }
            match input.fill(deadline) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && self.lock().is_busy => {
                    return Err(Failure::new(408, "the request head took too long"));
                }
                // The client has left, or an idle connection is closed.
                _ => return Ok(None),
            }
        }
    }

    /// Answers a request.
    fn answer(
        &self,
        request: &Request,
        input: &mut Input,
        client: &Arc<Client>,
        handler: &Handler,
    ) -> Next {
        let mut reply = Reply::new(&self.stream, client, request);
        if self.lock().is_stopping {
            reply.close_after();
        }
        let length = match request.check() {
            Ok(length) => length,
            Err(failure) => {
                log::message(&format!("{} {}: {failure}", request.method, request.target));
                reply.close_after();
                reply.fail(&failure);
                return Next::Close;
            }
        };
        let mut body = RequestBody::new(input, &self.stream, length, request.expects_continue());
        handler(request, &mut body, &mut reply);
        let mut state = self.lock();
        state.is_busy = false;
        if reply.must_reset() {
            Next::Reset
        } else if reply.is_reusable() && body.is_ended() && !state.is_stopping {
            Next::Request
        } else {
            Next::Close
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
