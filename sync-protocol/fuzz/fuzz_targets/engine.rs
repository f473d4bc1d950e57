//! `cargo fuzz run engine`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_protocol_fuzz::run("engine", data));
