//! A blocking socket as hyper sees it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::rt::ReadBufCursor;

use super::pipe::{Receiver, Sender};
use super::PATIENCE;

/// The most that is read at a time.
const PIECE: usize = 16 * 1024;
/// What is still read of a client that is told no more, so that closing doesn't destroy what it was told.
const DRAIN: u64 = 16 * 1024 * 1024;

/// Writes block; reads are made by [`read_all`] in another thread, so that hyper sees a client leave while it waits for a
/// response.
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
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
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

/// Hands on what the client sends, until it leaves, is silent for too long while no request is `busy`, or nobody listens
/// any more.
pub(super) fn read_all(mut stream: &TcpStream, pieces: Sender<io::Result<Bytes>>, busy: &AtomicUsize) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = vec![0; PIECE];
    loop {
        let piece = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if busy.load(Ordering::SeqCst) == 0 {
                    return;
                }
                continue;
            }
            Err(error) => Err(error),
        };
        if piece.is_err() || pieces.send(piece).is_err() {
            break;
        }
    }
    drop(pieces);
    drain(stream);
}

fn drain(stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = io::copy(&mut stream.take(DRAIN), &mut io::sink());
}
