use std::time::Duration;

#[cfg(unix)]
use super::connect_thread;
use crate::error::{Error, Result};
use crate::net::{Address, Stream};

/// Connects within `max`. [`Duration::MAX`] leaves the time to the operating system.
///
/// # Errors
/// [`Error::Connect`].
pub(super) fn connect(address: &Address, max: Duration) -> Result<Stream> {
    #[cfg(unix)]
    if let Some(path) = address.path().filter(|_| !max.is_zero() && max < Duration::MAX) {
        let connected = connect_thread::connect(path, max);
        return connected.map_err(|error| Error::connect(address, error));
    }
    connect_directly(address, max)
}

/// Connects like [`connect`], but without a thread. This leaves the time for a Unix socket to the
/// operating system. Use it only if the application has just accepted a connection.
///
/// # Errors
/// [`Error::Connect`].
pub(super) fn connect_directly(address: &Address, max: Duration) -> Result<Stream> {
    if max.is_zero() {
        return Err(Error::connect(address, Error::timed_out("connect", max)));
    }
    Stream::connect(address, (max < Duration::MAX).then_some(max))
}
