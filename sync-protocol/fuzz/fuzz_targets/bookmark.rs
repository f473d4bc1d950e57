//! `cargo fuzz run bookmark`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_protocol_fuzz::run("bookmark", data));
