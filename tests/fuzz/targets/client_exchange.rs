#![no_main]

#[path = "../../support/drive.rs"]
mod drive;
mod messages;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drive::connections::check_client_exchange(
    messages::pair,
    bytes
));
