//! Sockets that deliver bytes in the same pieces in which they were written.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use socket2::{Domain, Socket, Type};

/// Returns two connected sockets. A read returns the bytes of exactly one write.
pub fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) =
        Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("a pair of sockets");
    (OwnedFd::from(ours).into(), OwnedFd::from(theirs).into())
}
