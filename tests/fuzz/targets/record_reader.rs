//! Proves that the record readers find the same records in any bytes as a reference decoder,
//! however the bytes are split.
#![no_main]

#[path = "../../support/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check_records(bytes));
