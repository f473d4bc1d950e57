//! WASI 0.3: answers bodies in pieces, and does after some of them what its path says.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;
use std::hint::black_box;
use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{Fields, Response};
use wasip3::wit_bindgen::StreamWriter;
use wasip3::{spawn, wit_future, wit_stream};

const MILLISECOND_NS: u64 = 1_000_000;
const DAY_NS: u64 = 24 * 3_600_000 * MILLISECOND_NS;
/// More than the host gathers before it sends the head.
const LONG: usize = 100_000;

#[http_service]
async fn handle(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (mut writer, contents) = wit_stream::new();
    let (done, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
    spawn(async move {
        write(&path, &mut writer).await;
        drop(writer);
        // Fails when nobody reads it, which is nothing to tell anybody.
        let _ = done.write(Ok(None)).await;
    });
    response
}

async fn write(path: &str, writer: &mut StreamWriter<u8>) {
    match path {
        "/short-trap" => {
            writer.write_all(b"short".to_vec()).await;
            panic!("as asked");
        }
        "/long-trap" => {
            writer.write_all(vec![b'x'; LONG]).await;
            panic!("as asked");
        }
        "/long-loop" => {
            writer.write_all(vec![b'x'; LONG]).await;
            let mut turns = 0_u64;
            loop {
                turns = black_box(turns.wrapping_add(1));
            }
        }
        // For ever, a piece now and then.
        "/ticks" => loop {
            if !writer.write_all(b"tick\n".to_vec()).await.is_empty() {
                return;
            }
            monotonic_clock::wait_for(200 * MILLISECOND_NS).await;
        },
        // One piece, and nothing more for a day.
        "/silence" => {
            writer.write_all(vec![b'x'; LONG]).await;
            monotonic_clock::wait_for(DAY_NS).await;
        }
        _ => drop(writer.write_all(b"whole".to_vec()).await),
    }
}
