//! WASI 0.3: does what its path says, none of which a host should suffer from.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::{Request, StatusCode};
use spin_sdk::http_service;
use std::cell::Cell;
use std::hint::black_box;
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::Fields;

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 24 * 3600 * SECOND_NS;

thread_local! {
    static REQUESTS: Cell<u32> = const { Cell::new(0) };
    static AT_ONCE: Cell<u32> = const { Cell::new(0) };
}

#[http_service]
async fn handle(request: Request) -> (StatusCode, String) {
    REQUESTS.set(REQUESTS.get() + 1);
    match request.uri().path() {
        "/well" => {}
        // How many requests this instance has had.
        "/count" => return (StatusCode::OK, REQUESTS.get().to_string()),
        // How many requests were in this instance at once; long enough for others to come meanwhile.
        "/pause" => {
            AT_ONCE.set(AT_ONCE.get() + 1);
            monotonic_clock::wait_for(SECOND_NS / 5).await;
            let at_once = AT_ONCE.get();
            AT_ONCE.set(at_once - 1);
            return (StatusCode::OK, at_once.to_string());
        }
        "/loop" => spin_for_ever(),
        "/yield" => loop {
            wasip3::wit_bindgen::yield_async().await;
        },
        "/allocate" => allocate_for_ever(),
        "/handles" => open_for_ever(),
        "/log" => log_for_ever(),
        "/trap" => panic!("as asked"),
        "/never" => monotonic_clock::wait_for(DAY_NS).await,
        "/stuck" => std::future::pending().await,
        _ => return (StatusCode::NOT_FOUND, String::new()),
    }
    (StatusCode::OK, "well".to_owned())
}

fn spin_for_ever() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn allocate_for_ever() {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1024 * 1024]));
    }
}

fn open_for_ever() {
    loop {
        std::mem::forget(Fields::new());
    }
}

fn log_for_ever() {
    loop {
        println!("{}", "all is well ".repeat(80));
    }
}
