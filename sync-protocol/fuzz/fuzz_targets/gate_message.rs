//! `cargo fuzz run gate_message`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_protocol_fuzz::run("gate_message", data));
