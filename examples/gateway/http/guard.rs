//! The end of a connection.

use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// Ends a connection when it is dropped, even by a panic. This also ends a thread that reads from
/// the connection.
///
/// The connection is reset unless [`complete`](Self::complete) has been called. The end of a
/// response without a length is the end of the connection, so only a reset shows the client that
/// the response is incomplete.
pub(super) struct ConnectionGuard<'a> {
    stream: &'a TcpStream,
    is_complete: bool,
}

impl<'a> ConnectionGuard<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Self {
        Self { stream, is_complete: false }
    }

    /// Lets the connection end without a reset. The responses are complete, or the client detects
    /// that they are not.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }
}

impl Drop for ConnectionGuard<'_> {
    /// Errors are ignored: the client has left.
    fn drop(&mut self) {
        if self.is_complete {
            let _ = self.stream.shutdown(Shutdown::Both);
        } else {
            // With a linger time of zero, the connection is reset when the socket is closed.
            // Shutting down the write half would end the response before that.
            let _ = SockRef::from(self.stream).set_linger(Some(Duration::ZERO));
            let _ = self.stream.shutdown(Shutdown::Read);
        }
    }
}
