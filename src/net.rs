//! Where FastCGI is spoken: addresses, listening sockets and connections, over TCP and Unix
//! sockets.
//!
//! ```
//! use fcgi::net::{Address, Listener, Stream};
//! use std::time::Duration;
//!
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?)?;
//! let address: Address = listener.local_address()?;
//! let stream = Stream::connect(&address, Some(Duration::from_secs(10)))?;
//! # Ok::<(), fcgi::Error>(())
//! ```

mod address;
mod allow;
#[cfg(unix)]
mod descriptor;
mod listener;
#[cfg(unix)]
mod socket_file;
mod stream;

pub use address::Address;
pub use allow::AllowList;
pub use listener::Listener;
pub use stream::Stream;
