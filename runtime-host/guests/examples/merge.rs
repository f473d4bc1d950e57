//! WASI 0.3: merges a hundred keystrokes into a text of a thousand, as the benchmark does without a component.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use host_guests::Merge;
use spin_sdk::http::Request;
use spin_sdk::http_service;
use std::cell::OnceCell;

thread_local! {
    static MERGE: OnceCell<Merge> = const { OnceCell::new() };
}

#[http_service]
async fn handle(_: Request) -> String {
    let merged = MERGE.with(|merge| match merge.get() {
        Some(merge) => merge.run(),
        None => {
            let made = Merge::new()?;
            merge.get_or_init(|| made).run()
        }
    });
    match merged {
        Ok(length) => length.to_string(),
        Err(error) => format!("merge: {error}"),
    }
}
