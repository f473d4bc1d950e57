//! WASI 0.2: asks `http://` and what its query says, and answers the header `seen` of what it is told.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

struct Fetch;

fn seen(request: &IncomingRequest) -> Option<Vec<u8>> {
    let query = request.path_with_query()?;
    let authority = query.split_once('?')?.1;
    let ask = OutgoingRequest::new(Fields::new());
    ask.set_scheme(Some(&Scheme::Http)).ok()?;
    ask.set_authority(Some(authority)).ok()?;
    ask.set_path_with_query(Some("/")).ok()?;
    let answer = outgoing_handler::handle(ask, None).ok()?;
    answer.subscribe().block();
    let answer = answer.get()?.ok()?.ok()?;
    answer.headers().get("seen").into_iter().next()
}

impl Guest for Fetch {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let seen = seen(&request).unwrap_or_else(|| b"no answer".to_vec());
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        // Fails when the client is gone, which is nothing to tell anybody.
        let _ = stream.blocking_write_and_flush(&seen);
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasip2::http::proxy::export!(Fetch);
