//! FastCGI.
pub mod cgi;
pub mod error;
pub mod params;
pub mod record;

pub use error::{Error, Result};
pub use params::Params;
