#![no_main]

#[path = "../../support/checks.rs"]
mod checks;
mod messages;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::connections::check_client_exchange(
    messages::pair,
    bytes
));
