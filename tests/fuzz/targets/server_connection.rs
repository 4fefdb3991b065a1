//! Proves that a server connection handles any bytes from a web server: it neither panics nor
//! hangs, and the result does not depend on how the bytes are split.
#![no_main]

#[path = "../../support/checks.rs"]
mod checks;
mod seqpacket;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::connections::check_server_connection(
    seqpacket::pair,
    bytes
));
