//! FastCGI/1.0 for blocking code: the application's side, the web server's side, and the records
//! between them.
//!
//! On `std` and `memchr` alone: no async runtime, no `unsafe`, no feature to choose. It is for
//! command-line tools, threaded servers, and programs that want few dependencies.
//!
//! # An application
//!
//! A web server sends it requests; a handler answers them.
//!
//! ```no_run
//! // It would serve for ever.
//! use std::io::Write;
//!
//! fcgi::Server::bind("127.0.0.1:9000")?.serve(|request| {
//!     let query = request.params.get("QUERY_STRING").unwrap_or("");
//!     write!(request.stdout, "Content-Type: text/plain\r\n\r\nYou asked for {query}.\n")?;
//!     Ok(())
//! })?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! [`Server`] has the threads; [`server::Connection`] is for those who want a loop of their own, in
//! one thread. [`run`] is a `Server` for programs that a web server or process manager starts, and
//! that can be plain CGI programs too.
//!
//! # A web server's side
//!
//! ```no_run
//! // It needs an application that listens.
//! use fcgi::{Client, Params};
//! use std::io;
//!
//! let client = Client::new("unix:/run/php/php-fpm.sock")?.keep_alive(true);
//! let mut params = Params::from_pairs([
//!     ("REQUEST_METHOD", "POST"),
//!     ("SCRIPT_FILENAME", "/var/www/index.php"),
//! ])?;
//!
//! // Small: all in memory, and bounded.
//! let reply = client.fetch(&params, b"name=ferris")?;
//!
//! // Large: both directions flow at once, and the length is the caller's to announce.
//! let file = std::fs::File::open("upload.bin")?;
//! params.set("CONTENT_LENGTH", file.metadata()?.len().to_string())?;
//! client.send(&params, file, |response| io::copy(&mut response.stdout, &mut io::stdout()))?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! [`Client`] keeps connections; [`client::Connection`] and its [`Exchange`](client::Exchange) give
//! both directions to the caller. [`cgi`] makes the params of an HTTP request, and reads the head
//! of a response.
//!
//! # The records alone
//!
//! [`record`] has functions over any [`Read`](std::io::Read) and [`Write`](std::io::Write);
//! [`stream`] does the same with fewer system calls.
//!
//! ```
//! use fcgi::record::{self, RecordType};
//!
//! let mut pipe = Vec::new();
//! record::write_record(&mut pipe, RecordType::Stdout, 1, b"hello")?;
//! let header = record::read_header(&mut &pipe[..])?.expect("a record");
//! assert_eq!((header.record_type, header.content_len), (RecordType::Stdout, 5));
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! # What is on the connection
//!
//! ```text
//! web server (Client)                                      application (Server)
//!   BEGIN_REQUEST  id 1, role, keep the connection?   ──►
//!   PARAMS         name-value pairs …, empty record   ──►   the handler starts
//!   STDIN          the body …, empty record           ──►   request.stdin
//!                                                     ◄──   STDOUT  head and body …, empty record
//!                                                     ◄──   STDERR  messages for the log
//!                                                     ◄──   END_REQUEST  the application's status
//! ```
//!
//! Either side may be quick or slow, and both directions may flow at once. A filter gets a file
//! behind its body (DATA); an authorizer gets params alone. ABORT_REQUEST takes a request back;
//! management records (id 0) ask what an application can do.
//!
//! # Bounds
//!
//! Whatever the other side does, memory and time are bounded. Each bound is a field of
//! [`server::Config`] or [`client::Config`], with its default and its reason: connections at work,
//! params of a request, the time of a read or write, the requests of a kept connection, what is
//! drained before a close; the head and the size of a response, stderr, idle connections.
//!
//! # What a request costs
//!
//! A small request on a kept connection costs one `read` and one `write` on either side, and no
//! allocation: the buffers of a connection, and the memory of its params, are used again. A
//! connection for each request costs six system calls: `accept`, `read`, `write`, two that look
//! whether something is left to read, which would make the system reset the connection, and
//! `close`. Time-outs are set when something may have to wait, and not before: that for reads
//! inside a request (with an [idle time-out](server::Config::idle_timeout), at once), that for
//! writes with the second write, or one above 2 KiB. (A socket that other processes share, such as
//! that on descriptor 0, costs one or two more for each `accept`.)
//!
//! Beyond those calls a server of this crate takes some 5 % of the time of a small request, which
//! is 3.6 µs there and back, with 25 params and both ends on one CPU; the rest is that of a server
//! that looks at nothing but the last bytes.
//!
//! - 1.4 % are for the params: a copy of them as they are on the wire, because the buffer is read
//!   into again, and an index. They are indexed at once, because no handler is to see params that
//!   are cut, and finding that out takes the same walk.
//! - 0.5 % are for one that is looked up. The last of a name counts, so the index is searched from
//!   its end.
//! - 0.7 % are for four records, wherever they begin and end in what was read.
//! - 2.7 % are for the rest: what `write!` does in the handler, the records around that, a lock for
//!   handlers that write from two threads, two exchanges of an atomic that tells whether the
//!   connection is idle.
//!
//! Large data is not copied where it need not be: a write of 16 KiB or more leaves from where it
//! is, all its records in one vectored write, unless it fits the buffer and nothing has left
//! before. [`BufRead`](std::io::BufRead) on [`server::Stdin`] and [`client::Stdout`] lends what a
//! read of up to 128 KiB gave, which is quicker than [`Read`](std::io::Read) by the copy.
//! [`Client::fetch`] sends a body of up to 2 MiB from this thread, as long as the application takes
//! it; [`Client::send`] starts a thread for a body that is not all in its first read of 32 KiB
//! (without `CONTENT_LENGTH`: 512 bytes), which takes as long as to send some 300 KiB.
//!
//! `tests/benches/run` measures all that, beside other implementations.
//!
//! # Security
//!
//! Defended against, on both sides: records of any content, length, order or fragmentation; peers
//! that stop, vanish, or send for ever; responses that are cut (which are never taken for whole
//! ones); heads made to split a response; params that collide (`Proxy`, underscores); paths that
//! leave the document root ([`cgi`]).
//!
//! Time is bounded for each read and write, not for a request as a whole: a web server or
//! application that sends a byte now and then keeps its connection for long, and a Unix socket
//! whose application has a full backlog keeps a client waiting.
//!
//! Not defended: FastCGI has no encryption and no authentication. Whoever can connect to an
//! application can send it any params, and thereby be any user: listen on a Unix socket that only
//! the web server may open ([`Listener::set_mode`](net::Listener::set_mode)), on loopback, or
//! behind the address list of [`FCGI_WEB_SERVER_ADDRS`](net::AllowList), which proves an address
//! and nothing more. An application must trust what its web server says of a request; the web
//! server must not pass on what a client says of itself, such as a user's name or a path of the
//! file system. Headers of the HTTP request come as `HTTP_…` params, and are the client's word.

pub mod bridge;
pub mod cgi;
pub mod client;
pub mod error;
pub mod net;
pub mod params;
mod protocol;
pub mod record;
pub mod server;
pub mod stream;
mod vectored;

pub use bridge::run;
pub use client::Client;
pub use error::{Error, Result};
pub use params::Params;
pub use server::Server;

/// The code of the README, compiled by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
