//! Proves that a client connection handles any bytes from an application: it neither panics nor
//! hangs, and the result does not depend on how the bytes are split.
#![no_main]

#[path = "../../support/checks.rs"]
mod checks;
mod seqpacket;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::connections::check_client_exchange(
    seqpacket::pair,
    bytes
));
