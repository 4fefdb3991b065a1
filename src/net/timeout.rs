use std::io;

/// Returns whether a call failed because the timeout of the socket has passed, or because the
/// socket is in non-blocking mode.
///
/// Both are `WouldBlock` on Unix, where `TimedOut` means that the peer no longer acknowledges what
/// the system sends. On Windows a timeout is `TimedOut`.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => true,
        io::ErrorKind::TimedOut => !cfg!(unix),
        _ => false,
    }
}
