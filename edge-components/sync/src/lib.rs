//! The `sync` component: merges documents, for WebSocket sessions through `rollcall:sync/engine` and for HTTP clients
//! through `wasi:http/handler`; `rollcall:sync/inspection` is for operators.
//!
//! Both ways run the same engine over the same log. The host keeps one engine instance for each institute; HTTP
//! requests come to instances of their own, and the log tells either what the other has written.

mod batch;
mod documents;
mod engine;
mod inspection;
mod log;
mod runner;

use http::{Method, StatusCode};
use rollcall_guest::{Answer, Problem, identity};
use spin_sdk::http::Request;
use spin_sdk::http_service;

/// Bindings of the world `sync-engine` in `wit/`.
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "sync-engine",
        generate_all,
    });
    export!(Engine with_types_in self);
    use crate::engine::Engine;
}

#[http_service]
async fn handle(request: Request) -> Answer {
    route(request).await.unwrap_or_else(Problem::into_answer)
}

async fn route(request: Request) -> Result<Answer, Problem> {
    let path = request.uri().path();
    let is_batch = path == "/sync/v1/batch";
    if !is_batch && path != "/api/documents" {
        return Err(Problem::not_found());
    }
    if request.method() != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    let claims = identity(&request).await?;
    if is_batch { batch::exchange(claims, request).await } else { documents::register(claims, request).await }
}

/// The log's cause goes to the operator, a plain sentence to the client.
fn store_problem(error: &log::LogError) -> Problem {
    eprintln!("document log: {error}");
    match error {
        log::LogError::Full => {
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "store-full", "the edge's document log is full")
        }
        log::LogError::Store(_) => Problem::store_unavailable(),
    }
}
