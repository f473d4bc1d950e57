//! WASI 0.3: answers which version of it this is, after as many milliseconds as the query says. A test makes another version of
//! the built component by writing other digits over those of [`VERSION`].

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;
use std::hint::black_box;
use wasip3::clocks::monotonic_clock;

const MILLISECOND_NS: u64 = 1_000_000;

/// Read as data, so that the compiler leaves it in one piece.
static VERSION: [u8; 20] = *b"version-000000000000";

#[http_service]
async fn handle(request: Request) -> String {
    let wait: u64 = request.uri().query().and_then(|query| query.parse().ok()).unwrap_or(0);
    if wait > 0 {
        monotonic_clock::wait_for(wait * MILLISECOND_NS).await;
    }
    String::from_utf8_lossy(black_box(&VERSION)).into_owned()
}
