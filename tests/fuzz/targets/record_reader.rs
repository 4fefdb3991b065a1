#![no_main]

#[path = "../../support/drive.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drive::check_records(bytes));
