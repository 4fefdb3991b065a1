//! How blocked reads of a TCP socket end when its read half is shut down in another thread.
//!
//! Under Unix the shutdown ends them. The documentation of Windows does not say whether it does.
//! Under Wine it does not.

#[cfg(all(unix, not(fcgi_portable)))]
mod native;
#[cfg(not(all(unix, not(fcgi_portable))))]
mod polling;

#[cfg(all(unix, not(fcgi_portable)))]
pub(super) use self::native::ReadWait;
#[cfg(not(all(unix, not(fcgi_portable))))]
pub(super) use self::polling::ReadWait;
