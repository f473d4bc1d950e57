//! WASI 0.3: answers with a line of text, as an application made with Spin's SDK does.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;

#[http_service]
async fn handle(_: Request) -> String {
    "Hello, world!".to_owned()
}
