use std::time::Duration;

#[cfg(unix)]
use super::connect_thread;
use crate::error::{Error, Result};
use crate::net::{Address, Stream};

/// Connects within `max`. [`Duration::MAX`] leaves the time to the operating system.
///
/// With `directly`, the time for a Unix socket is not limited, and no thread is started. Use it
/// only if the application has just accepted a connection.
///
/// # Errors
/// [`Error::Connect`].
#[cfg_attr(not(unix), allow(unused_variables))]
pub(super) fn connect(address: &Address, max: Duration, directly: bool) -> Result<Stream> {
    if max.is_zero() {
        return Err(Error::connect(address, Error::timed_out("connect", max)));
    }
    let is_limited = max < Duration::MAX;
    #[cfg(unix)]
    if let Some(path) = address.path().filter(|_| is_limited && !directly) {
        let connected = connect_thread::connect(path, max);
        return connected.map_err(|error| Error::connect(address, error));
    }
    Stream::connect(address, is_limited.then_some(max))
}
