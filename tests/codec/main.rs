//! Tests of the lower layers: records, params, streams and errors.

#[path = "../support/checks.rs"]
mod checks;
#[path = "../support/mod.rs"]
mod support;

mod errors;
mod params;
mod properties;
mod record;
mod stream;
