//! Sockets over which pieces arrive as they were cut.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use socket2::{Domain, Socket, Type};

/// A pair of sockets that keep the bounds of what is written to them: a read gives what one write
/// took.
pub fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) =
        Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("a pair of sockets");
    (OwnedFd::from(ours).into(), OwnedFd::from(theirs).into())
}
