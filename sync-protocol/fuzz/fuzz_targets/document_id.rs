//! `cargo fuzz run document_id`

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_protocol_fuzz::run("document_id", data));
