//! The router called in process, on a store of its own for each test.

mod administration;
mod auth;
mod batch;
mod commands;
mod failover;
mod fees;
mod foreign;
mod guardians;
mod messages;
mod notifications;
mod operation;
mod paths;
mod patroni;
mod plans;
mod retries;
mod sessions;
mod states;
mod tables;
mod timetable;
mod views;

use crate::testing::TestOrigin;
use axum::http::Method;

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let origin = TestOrigin::start().await;
    let lost = origin.request(Method::GET, "/nowhere", &[], "").await;
    assert_eq!(lost.problem(), (404, "not-found".into()));
    let wrong = origin.request(Method::DELETE, "/commands", &[], "").await;
    assert_eq!(wrong.problem(), (405, "method-not-allowed".into()));
    let healthy = origin.request(Method::GET, "/health/ready", &[], "").await;
    let in_process = serde_json::json!({"status": "ok", "kind": "in-process"});
    let embedded = serde_json::json!({"status": "ok", "kind": "embedded"});
    let ready =
        serde_json::json!({"status": "ok", "store": embedded, "cache": in_process, "queue": in_process});
    assert_eq!(healthy.json(), ready);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    let origin = TestOrigin::start().await;
    let body = vec![b' '; super::MAX_BODY_BYTES + 1];
    let refused = origin.request(Method::POST, "/api/auth/login", &[], body).await;
    assert_eq!(refused.problem(), (413, "body-too-large".into()));
    assert_eq!(refused.json()["limit"], super::MAX_BODY_BYTES);
}

#[tokio::test]
async fn the_link_asks_for_the_secret_and_a_websocket() {
    let origin = TestOrigin::start().await;
    let wrong = [("authorization", "Bearer guess"), ("rollcall-edge", "e1")];
    let refused = origin.request(Method::GET, "/edge/v1/link", &wrong, "").await;
    assert_eq!(refused.problem(), (401, "wrong-edge-secret".into()));
    let secret = format!("Bearer {}", crate::testing::SECRET);
    let plain = [("authorization", secret.as_str()), ("rollcall-edge", "e1")];
    let refused = origin.request(Method::GET, "/edge/v1/link", &plain, "").await;
    assert_eq!(refused.problem(), (426, "websocket-required".into()));
}
