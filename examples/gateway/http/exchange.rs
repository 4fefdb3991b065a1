//! One HTTP request and its response, as seen by the thread that runs the handler and by hyper.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::channel::{channel, thread_waker, Receiver, Sender};
use super::client_status::ClientStatus;
use super::socket::IO_TIMEOUT;
use crate::log;

/// The maximum number of bytes of a response that are passed to hyper at once.
const MAX_CHUNK: usize = 64 * 1024;

/// A function that answers a request, in a thread of its own.
pub type Handler = dyn Fn(Request, Responder) + Send + Sync;

/// A request, as seen by the handler.
pub struct Request {
    /// Method, target, version and header fields.
    pub head: Parts,
    pub body: RequestBody,
    /// The address of the client.
    pub remote: SocketAddr,
    /// The local address of the connection.
    pub local: SocketAddr,
}

/// The body of a request. Reading it blocks until bytes arrive.
pub struct RequestBody {
    incoming: Incoming,
    /// Received bytes that have not been read.
    buffered: Bytes,
}

/// Starts the response to a request. If it is dropped without a response, the client receives
/// status 500.
pub struct Responder {
    head: Sender<Response<ResponseBody>>,
    body: (Sender<Chunk>, Receiver<Chunk>),
    client: Arc<ClientStatus>,
}

/// Writes the body of a response. Each write is sent at once. If it is dropped without
/// [`finish`](Self::finish), the response is broken off in a way that the client can detect.
pub struct ResponseWriter(Sender<Chunk>);

enum Chunk {
    Data(Bytes),
    /// The end of the body.
    End,
}

impl RequestBody {
    /// Returns the length of the body, if the client has announced it.
    pub fn length(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// Blocks until bytes arrive. Returns `None` at the end of the body.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let waker = thread_waker();
        let mut context = Context::from_waker(&waker);
        let deadline = Instant::now() + IO_TIMEOUT;
        loop {
            match Pin::new(&mut self.incoming).poll_frame(&mut context) {
                Poll::Ready(Some(frame)) => match frame.map_err(io::Error::other)?.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
                Poll::Ready(None) => return Ok(None),
                Poll::Pending if Instant::now() >= deadline => {
                    return Err(io::ErrorKind::TimedOut.into())
                }
                Poll::Pending => {
                    thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
                }
            }
        }
    }
}

impl Read for RequestBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.buffered.is_empty() {
            match self.next_chunk()? {
                Some(bytes) => self.buffered = bytes,
                None => return Ok(0),
            }
        }
        let len = self.buffered.len().min(out.len());
        out[..len].copy_from_slice(&self.buffered.split_to(len));
        Ok(len)
    }
}

impl Responder {
    /// Returns the client that waits for the response.
    pub fn client(&self) -> Arc<ClientStatus> {
        Arc::clone(&self.client)
    }

    /// Sends the head of the response and returns a writer for its body. `length` is the length of
    /// the body, if it is known.
    pub fn respond(self, head: Response<()>, length: Option<u64>) -> ResponseWriter {
        let (sender, chunks) = self.body;
        let body =
            ResponseBody { chunks, length, received: 0, is_ended: false, client: self.client };
        // If the client has disconnected, writing the body fails.
        let _ = self.head.send(head.map(|()| body));
        ResponseWriter(sender)
    }
}

impl ResponseWriter {
    /// Ends the response.
    pub fn finish(self) {
        let _ = self.0.send(Chunk::End);
    }
}

impl Write for ResponseWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(MAX_CHUNK)];
        if !data.is_empty() {
            let chunk = Chunk::Data(Bytes::copy_from_slice(data));
            self.0.send(chunk).map_err(|_| {
                io::Error::new(io::ErrorKind::BrokenPipe, "the client disconnected")
            })?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of a response, as hyper reads it. hyper drops it early if the client disconnects.
pub(super) struct ResponseBody {
    chunks: Receiver<Chunk>,
    length: Option<u64>,
    received: u64,
    /// Whether hyper has been told that the body has ended or has been broken off.
    is_ended: bool,
    client: Arc<ClientStatus>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.chunks.poll_next(context).map(|chunk| match chunk {
            Some(Chunk::Data(data)) => {
                self.received += data.len() as u64;
                Some(Ok(Frame::data(data)))
            }
            Some(Chunk::End) => {
                self.is_ended = true;
                None
            }
            None => {
                self.is_ended = true;
                let reason = "the response was broken off";
                Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason)))
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| {
            SizeHint::with_exact(length.saturating_sub(self.received))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(self.received)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.is_ended && !self.is_end_stream() {
            self.client.set_disconnected();
        }
    }
}

/// A request whose response has not been started. hyper drops it if the client disconnects.
struct PendingRequest {
    /// `None` once the response has been started.
    client: Option<Arc<ClientStatus>>,
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client.set_disconnected();
        }
    }
}

/// Runs the handler for a request in a new thread, and waits for the head of the response.
pub(super) async fn dispatch(
    request: hyper::Request<Incoming>,
    (remote, local): (SocketAddr, SocketAddr),
    handler: &Arc<Handler>,
    in_flight: &Arc<AtomicUsize>,
) -> Result<Response<ResponseBody>, Infallible> {
    let client = ClientStatus::new(in_flight);
    let (head, mut response) = channel();
    let mut pending = PendingRequest { client: Some(Arc::clone(&client)) };

    let responder = Responder { head, body: channel(), client: Arc::clone(&client) };
    let (head, incoming) = request.into_parts();
    let body = RequestBody { incoming, buffered: Bytes::new() };
    let line = format!("{} {}", head.method, head.uri);
    let request = Request { head, body, remote, local };
    let handler = Arc::clone(handler);
    if let Err(error) = thread::Builder::new().spawn(move || handler(request, responder)) {
        log::message(&format!("{line}: 503: cannot start a thread: {error}"));
        pending.client = None;
        return Ok(empty(StatusCode::SERVICE_UNAVAILABLE, client));
    }

    let response = poll_fn(|context| response.poll_next(context)).await;
    pending.client = None;
    Ok(response.unwrap_or_else(|| empty(StatusCode::INTERNAL_SERVER_ERROR, client)))
}

fn empty(status: StatusCode, client: Arc<ClientStatus>) -> Response<ResponseBody> {
    let (_, chunks) = channel();
    let body = ResponseBody { chunks, length: Some(0), received: 0, is_ended: true, client };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
