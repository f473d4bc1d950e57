//! WASI 0.2: does what its path says, none of which a host should suffer from.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use std::hint::black_box;
use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;
/// More than the host gathers before it sends the head.
const LONG: usize = 100_000;

struct Misbehaves;

impl Guest for Misbehaves {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/loop" => spin_for_ever(),
            "/never" => wait_a_day(),
            "/allocate" => allocate_for_ever(),
            "/handles" => open_for_ever(),
            "/trap" => panic!("as asked"),
            _ => {}
        }
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        match path.as_str() {
            "/short-trap" => {
                write(&body, 5);
                panic!("as asked");
            }
            "/long-trap" => {
                write(&body, LONG);
                panic!("as asked");
            }
            // One piece, and nothing more for a day.
            "/silence" => {
                write(&body, LONG);
                wait_a_day();
            }
            // Returns without having said that the body is whole.
            "/unfinished" => {
                write(&body, LONG);
                std::mem::forget(body);
                return;
            }
            _ => write(&body, 5),
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Stops when nobody reads it.
fn write(body: &OutgoingBody, mut bytes: usize) {
    let stream = body.write().expect("the stream is taken once");
    while bytes > 0 {
        let piece = bytes.min(4096);
        if stream.blocking_write_and_flush(&vec![b'x'; piece]).is_err() {
            return;
        }
        bytes -= piece;
    }
}

fn wait_a_day() {
    monotonic_clock::subscribe_duration(DAY_NS).block();
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

wasip2::http::proxy::export!(Misbehaves);
