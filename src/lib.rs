//! FastCGI.
pub mod error;
pub mod net;
pub mod params;
pub mod record;
pub mod stream;

pub use error::{Error, Result};
pub use params::Params;
