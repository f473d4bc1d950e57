//! `cargo fuzz run repo_message`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_protocol_fuzz::run("repo_message", data));
