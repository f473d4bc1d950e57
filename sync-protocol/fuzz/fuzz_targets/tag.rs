//! `cargo fuzz run tag`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_protocol_fuzz::run("tag", data));
