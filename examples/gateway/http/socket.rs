//! An adapter that lets hyper use a blocking socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::rt::ReadBufCursor;

use super::channel::{Receiver, Sender};

/// The timeout for reading from a client and for writing to it.
pub(super) const IO_TIMEOUT: Duration = Duration::from_secs(60);

/// The maximum number of bytes per read.
const READ_LEN: usize = 16 * 1024;

/// The connection to a client. Writes block. Another thread reads, in [`read_all`], so that hyper
/// notices that a client disconnects while its request is being answered.
pub(super) struct Socket<'a> {
    stream: &'a TcpStream,
    incoming: Receiver<io::Result<Bytes>>,
    /// Received bytes for which hyper's buffer had no room.
    rest: Bytes,
}

impl<'a> Socket<'a> {
    pub(super) fn new(stream: &'a TcpStream, incoming: Receiver<io::Result<Bytes>>) -> Self {
        Self { stream, incoming, rest: Bytes::new() }
    }
}

impl hyper::rt::Read for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            self.rest = match self.incoming.poll_next(context) {
                Poll::Ready(Some(bytes)) => bytes?,
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

/// Reads from a client until it disconnects, or until a timeout expires while the connection has no
/// request in flight. If the receiver has been dropped, the bytes are discarded.
pub(super) fn read_all(
    mut stream: &TcpStream,
    incoming: &Sender<io::Result<Bytes>>,
    in_flight: &AtomicUsize,
) {
    let _ = stream.set_read_timeout(Some(IO_TIMEOUT));
    let mut buffer = vec![0; READ_LEN];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                let _ = incoming.send(Ok(Bytes::copy_from_slice(&buffer[..n])));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && in_flight.load(Ordering::SeqCst) > 0 => {}
            Err(error) if is_timeout(&error) => return,
            Err(error) => {
                let _ = incoming.send(Err(error));
                return;
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
