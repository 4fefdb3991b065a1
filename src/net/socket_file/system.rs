//! What systems offer for socket files: `linux` or `portable`.

#[cfg(all(target_os = "linux", not(fcgi_portable)))]
pub(super) use super::linux::{set_mode, set_owner, PathLock};
#[cfg(not(all(target_os = "linux", not(fcgi_portable))))]
pub(super) use super::portable::{set_mode, set_owner, PathLock};
