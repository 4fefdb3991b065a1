//! A request and its response, between hyper and the thread that answers.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::pipe::{pipe, unparker, Receiver, Sender};
use super::{Handler, PATIENCE};

/// The most of a response that is handed on at a time.
const PIECE: usize = 64 * 1024;

/// A request, as a handler sees it.
pub struct Request {
    /// Method, target, version and headers.
    pub head: Parts,
    pub body: RequestBody,
    /// The client's address.
    pub remote: SocketAddr,
    /// The address that it has connected to.
    pub local: SocketAddr,
}

/// The body of a request, as it comes.
pub struct RequestBody {
    incoming: Incoming,
    /// What came and was not read yet.
    piece: Bytes,
}

/// Answers a request. Dropped without an answer, it answers with status 500.
pub struct Responder {
    head: Sender<Response<ResponseBody>>,
    pieces: (Sender<Piece>, Receiver<Piece>),
    client: Arc<Client>,
}

/// Writes the body of a response. Each write is sent at once. Dropped without
/// [`finish`](Self::finish), it breaks off the response, and the client knows.
pub struct ResponseWriter(Sender<Piece>);

enum Piece {
    Data(Bytes),
    /// The body is whole.
    End,
}

impl RequestBody {
    /// The length of the body, if the client has announced it.
    pub fn length(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// Waits for what comes next.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let waker = unparker();
        let mut context = Context::from_waker(&waker);
        let deadline = Instant::now() + PATIENCE;
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
                    thread::park_timeout(deadline.saturating_duration_since(Instant::now()))
                }
            }
        }
    }
}

impl Read for RequestBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.next()? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let len = self.piece.len().min(out.len());
        out[..len].copy_from_slice(&self.piece.split_to(len));
        Ok(len)
    }
}

impl Responder {
    /// The client that waits for the response.
    pub fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Sends the head of the response; its body, of this length if that is known, is written.
    pub fn respond(self, head: Response<()>, length: Option<u64>) -> ResponseWriter {
        let (sender, pieces) = self.pieces;
        let body =
            ResponseBody { pieces, length, received: 0, is_over: false, client: self.client };
        // If the client has gone, writing fails.
        let _ = self.head.send(head.map(|()| body));
        ResponseWriter(sender)
    }
}

impl ResponseWriter {
    /// Ends the response.
    pub fn finish(self) {
        let _ = self.0.send(Piece::End);
    }
}

impl Write for ResponseWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(PIECE)];
        if !data.is_empty() {
            let piece = Piece::Data(Bytes::copy_from_slice(data));
            self.0
                .send(piece)
                .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of a response as hyper reads it. If hyper drops it before its end, the client has gone.
pub(super) struct ResponseBody {
    pieces: Receiver<Piece>,
    length: Option<u64>,
    received: u64,
    /// Whether hyper was told of its end, or that it is broken off.
    is_over: bool,
    client: Arc<Client>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_next(context).map(|piece| match piece {
            Some(Piece::Data(data)) => {
                self.received += data.len() as u64;
                Some(Ok(Frame::data(data)))
            }
            Some(Piece::End) => {
                self.is_over = true;
                None
            }
            None => {
                self.is_over = true;
                Some(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the response was broken off",
                )))
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
        if !self.is_over && !self.is_end_stream() {
            self.client.leave();
        }
    }
}

/// The client of a request that is under way.
pub struct Client {
    state: Mutex<State>,
    /// The requests of its connection that are under way.
    busy: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    is_gone: bool,
    /// What is to be done when it goes.
    action: Option<Box<dyn FnOnce() + Send>>,
}

impl Client {
    fn new(busy: &Arc<AtomicUsize>) -> Arc<Self> {
        busy.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self { state: Mutex::default(), busy: Arc::clone(busy) })
    }

    /// Has something done if the client leaves before it has the whole response.
    pub fn when_gone(&self, action: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if state.is_gone {
            drop(state);
            action();
        } else {
            state.action = Some(action);
        }
    }

    /// Whether it has left before it had the whole response.
    pub fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.is_gone = true;
        let action = state.action.take();
        drop(state);
        if let Some(action) = action {
            action();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request that waits for its response. If hyper drops it before that, the client has gone.
struct Waiting(Option<Arc<Client>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            client.leave();
        }
    }
}

/// Has a thread answer a request, and waits for the head of the response.
pub(super) async fn dispatch(
    request: hyper::Request<Incoming>,
    (remote, local): (SocketAddr, SocketAddr),
    handler: &Arc<Handler>,
    busy: &Arc<AtomicUsize>,
) -> Result<Response<ResponseBody>, Infallible> {
    let client = Client::new(busy);
    let (head, mut response) = pipe();
    let mut waiting = Waiting(Some(Arc::clone(&client)));

    let responder = Responder { head, pieces: pipe(), client: Arc::clone(&client) };
    let (head, incoming) = request.into_parts();
    let request =
        Request { head, body: RequestBody { incoming, piece: Bytes::new() }, remote, local };
    let handler = Arc::clone(handler);
    // Where no thread can be had, the responder is dropped.
    let _ = thread::Builder::new().spawn(move || handler(request, responder));

    let response = poll_fn(|context| response.poll_next(context)).await;
    waiting.0 = None;
    Ok(response.unwrap_or_else(|| empty(StatusCode::INTERNAL_SERVER_ERROR, client)))
}

fn empty(status: StatusCode, client: Arc<Client>) -> Response<ResponseBody> {
    let (_, pieces) = pipe();
    let body = ResponseBody { pieces, length: Some(0), received: 0, is_over: true, client };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
