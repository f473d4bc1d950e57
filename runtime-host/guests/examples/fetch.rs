//! WASI 0.3: asks the URL in its query, and answers the status and the header `seen` of what it is told. With the header
//! `own-traceparent` it asks as part of a trace of its own.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::{EmptyBody, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> (StatusCode, String) {
    let url = request.uri().query().unwrap_or_default();
    let mut ask = http::Request::get(url);
    if let Some(own) = request.headers().get("own-traceparent") {
        ask = ask.header("traceparent", own);
    }
    let ask = match ask.body(EmptyBody::new()) {
        Ok(ask) => ask,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()),
    };
    match spin_sdk::http::send(ask).await {
        Ok(answer) => {
            let seen = answer.headers().get("seen").and_then(|seen| seen.to_str().ok());
            (answer.status(), seen.unwrap_or_default().to_owned())
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:?}")),
    }
}
