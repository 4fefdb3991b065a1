//! Proves that any bytes are decoded as params in the same way as by a reference decoder, or are
//! rejected by both.
#![no_main]

#[path = "../../support/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::check_params(bytes));
