//! A blocking server for HTTP/1.0 and HTTP/1.1. `httparse` parses what clients send.
//!
//! A connection has two threads. One reads from the client, so that its disconnect is noticed at
//! any time, and the other one answers the requests in order. The response of an application has a
//! third thread, which sends it to the client: see [`pipe`].

mod body;
mod client;
mod connection;
mod guard;
mod head;
mod input;
mod pipe;
mod response;
mod server;

pub use self::body::RequestBody;
pub use self::connection::Handler;
pub use self::head::Request;
pub use self::pipe::{pipe, PipeWriter};
pub use self::response::{Reply, ResponseHead};
pub use self::server::Server;
