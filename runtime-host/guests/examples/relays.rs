//! WASI 0.3: `/ask?URL` asks there, pretending to be somebody and the host itself; every other path answers who the host says is
//! asking.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{EmptyBody, Request, StatusCode};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> (StatusCode, String) {
    if request.uri().path() != "/ask" {
        let told = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or("nothing").to_owned()
        };
        return (StatusCode::OK, format!("{} {}", told("rollcall-internal"), told("rollcall-identity")));
    }
    let ask = http::Request::get(request.uri().query().unwrap_or_default())
        .header("rollcall-identity", "{\"forged\":true}")
        .header("rollcall-identity-more", "forged")
        .header("rollcall-internal", "1");
    let ask = match ask.body(EmptyBody::new()) {
        Ok(ask) => ask,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()),
    };
    match spin_sdk::http::send(ask).await {
        Ok(answer) => {
            let status = answer.status();
            let body = answer.into_body().bytes().await;
            (
                status,
                body.map_or_else(
                    |error| format!("{error:?}"),
                    |body| String::from_utf8_lossy(&body).into_owned(),
                ),
            )
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:?}")),
    }
}
