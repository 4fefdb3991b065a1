//! Tests of the lower layers: records, params, streams and errors.

#[path = "../support/drive.rs"]
mod drive;
#[path = "../support/mod.rs"]
mod support;

mod errors;
mod params;
mod properties;
mod record;
mod stream;
