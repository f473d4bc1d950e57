//! WASI 0.3: reads the body of its request and answers how long it was.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> (StatusCode, String) {
    match request.into_body().bytes().await {
        Ok(body) => (StatusCode::OK, body.len().to_string()),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:?}")),
    }
}
