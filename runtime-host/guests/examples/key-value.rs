//! WASI 0.3: answers with a value of 1 KiB out of the key-value store, which it sets when it is not there.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;
use spin_sdk::key_value::{Error, Store};

const KEY: &str = "benchmark/value";
const VALUE_BYTES: usize = 1024;

#[http_service]
async fn handle(_: Request) -> String {
    value().await.unwrap_or_else(|error| format!("key-value store: {error}"))
}

async fn value() -> Result<String, Error> {
    let store = Store::open_default().await?;
    if let Some(value) = store.get(KEY).await? {
        return Ok(String::from_utf8_lossy(&value).into_owned());
    }
    let value = "v".repeat(VALUE_BYTES);
    store.set(KEY, value.clone()).await?;
    Ok(value)
}
