//! For systems on which a shutdown ends a blocked read.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// A wait that does nothing: the read itself blocks, and a shutdown ends it.
#[derive(Debug)]
pub(crate) struct ReadWait;

#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the methods are called like those of the type for other systems"
)]
impl ReadWait {
    pub(crate) fn new(_: &TcpStream) -> Self {
        Self
    }

    /// Sets how long a read may block.
    #[inline]
    pub(crate) fn set_timeout(
        &self,
        socket: &TcpStream,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        socket.set_read_timeout(timeout)
    }

    /// Returns how long a read may block.
    pub(crate) fn timeout(&self, socket: &TcpStream) -> io::Result<Option<Duration>> {
        socket.read_timeout()
    }

    /// Does nothing.
    #[inline]
    pub(crate) fn note_shutdown(&self) {}

    /// Does nothing: the read itself blocks.
    #[inline]
    pub(crate) fn wait(&self, _: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}
