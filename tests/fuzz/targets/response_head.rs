//! Proves that the result of parsing any bytes as a response head does not depend on how they are
//! split.
#![no_main]

#[path = "../../support/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check_response_head(bytes));
