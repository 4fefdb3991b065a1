//! A blocking socket as hyper sees it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::Bytes;
use hyper::rt::ReadBufCursor;

use super::pipe::{Receiver, Sender};
use super::PATIENCE;

/// The most that is read at a time.
const PIECE: usize = 16 * 1024;
/// Writes block; reads are made by [`read_all`] in another thread, so that hyper sees a client
/// leave while it waits for a response.
pub(super) struct Socket<'a> {
    stream: &'a TcpStream,
    pieces: Receiver<io::Result<Bytes>>,
    /// What hyper had no room for.
    rest: Bytes,
}

impl<'a> Socket<'a> {
    pub(super) fn new(stream: &'a TcpStream, pieces: Receiver<io::Result<Bytes>>) -> Self {
        Self { stream, pieces, rest: Bytes::new() }
    }
}

impl hyper::rt::Read for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            self.rest = match self.pieces.poll_next(context) {
                Poll::Ready(Some(piece)) => piece?,
                Poll::Ready(None) => Bytes::new(),
                Poll::Pending => return Poll::Pending,
            };
        }
        let len = self.rest.len().min(out.remaining());
        out.put_slice(&self.rest.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Socket<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.stream;
        Poll::Ready(stream.write(data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}

/// Hands on what the client sends, until it leaves or is silent for too long while no request is
/// `busy`. When nobody listens any more, what comes is dropped.
pub(super) fn read_all(
    mut stream: &TcpStream,
    pieces: &Sender<io::Result<Bytes>>,
    busy: &AtomicUsize,
) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = vec![0; PIECE];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                let _ = pieces.send(Ok(Bytes::copy_from_slice(&buffer[..n])));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_expiry(&error) && busy.load(Ordering::SeqCst) > 0 => {}
            Err(error) if is_expiry(&error) => return,
            Err(error) => {
                let _ = pieces.send(Err(error));
                return;
            }
        }
    }
}

fn is_expiry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
