//! FastCGI.
pub mod bridge;
pub mod cgi;
pub mod client;
pub mod error;
pub mod net;
pub mod params;
pub mod record;
pub mod server;
pub mod stream;

pub use bridge::run;
pub use client::Client;
pub use error::{Error, Result};
pub use params::Params;
pub use server::Server;
