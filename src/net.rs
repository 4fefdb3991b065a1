//! Sockets for FastCGI: addresses, listening sockets and connections, over TCP and Unix sockets.
//!
//! A [`Stream`] carries any bytes. [`Listener::from_stdin`] and [`AllowList`] implement sections
//! 2.2 and 3.2 of the [FastCGI specification].
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
//!
//! ```
//! use fcgi::net::{Listener, Stream};
//! use std::io::{Read, Write};
//! use std::time::Duration;
//!
//! let listener = Listener::bind("127.0.0.1:0")?;
//! let address = listener.local_address()?;
//! let mut client = Stream::connect(&address, Some(Duration::from_secs(10)))?;
//! let mut server = listener.accept()?.expect("an open listener");
//!
//! client.write_all(b"hello")?;
//! let mut received = [0; 5];
//! server.read_exact(&mut received)?;
//! assert_eq!(&received, b"hello");
//! # Ok::<(), fcgi::Error>(())
//! ```

mod acceptor;
mod address;
mod allow_list;
#[cfg(unix)]
mod descriptor;
mod listener;
mod listening_socket;
mod read_wait;
mod socket;
#[cfg(unix)]
mod socket_file;
mod stream;
mod timeout;
mod waiters;

pub use self::address::Address;
pub use self::allow_list::AllowList;
pub use self::listener::Listener;
pub(crate) use self::socket::PeerState;
pub use self::stream::Stream;
