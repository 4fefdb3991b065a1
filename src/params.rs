//! Name-value pairs: the params of a request, and the variables of a management query.
//!
//! [`Params`] holds the pairs in their wire form ([FastCGI specification], section 3.4), with an
//! index for look-ups.
//!
//! ```
//! let mut params = fcgi::Params::new();
//! params.set("REQUEST_METHOD", "GET")?;
//! assert_eq!(params.get("REQUEST_METHOD"), Some("GET"));
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

mod decimal;
mod decoder;
mod encode;
mod iter;
mod map;
mod pair;

pub(crate) use self::decimal::parse_decimal;
pub(crate) use self::decoder::ParamsDecoder;
pub use self::iter::Iter;
pub use self::map::Params;
