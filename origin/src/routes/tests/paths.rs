//! What is no text, or no text that can be stored, is refused in the form of every other refusal, on each engine.

use crate::testing::{TestOrigin, on_both_engines};
use axum::http::{Method, StatusCode};
use serde_json::json;

async fn on_an_engine(origin: &TestOrigin) {
    let teacher = origin.user("teacher@northside.example").await;
    let bearer = teacher.bearer();
    let send = async |method: &str, path: &str| {
        let method: Method = method.parse().unwrap();
        origin.request(method, path, &[("authorization", &bearer)], "{}").await.problem()
    };
    let missing = (404, "not-found".to_owned());
    let no_text = (400, "invalid-path".to_owned());
    for (method, path) in [
        ("DELETE", "/api/auth/devices/%00"),
        ("PUT", "/api/auth/devices/a%00b"),
        ("DELETE", "/api/auth/sessions/%00"),
        ("GET", "/api/classes/%00/roster"),
        ("GET", "/commands/%00"),
        ("GET", "/nowhere/%00"),
    ] {
        assert_eq!(send(method, path).await, missing, "{method} {path}");
    }
    for (method, path) in [
        ("DELETE", "/api/auth/devices/%ff"),
        ("GET", "/api/classes/%ff/roster"),
        ("GET", "/api/classes/%c3%28/roster"),
        ("GET", "/api/documents/%fe"),
        ("GET", "/admin/v1/users/%ff"),
        ("GET", "/nowhere/%ff"),
    ] {
        assert_eq!(send(method, path).await, no_text, "{method} {path}");
    }
    // What is no escape is what it says.
    assert_eq!(send("GET", "/api/classes/%2500/roster").await, missing);
    assert_eq!(send("GET", "/api/classes/100%/roster").await, missing);
    assert_eq!(send("DELETE", "/api/auth/devices/a%20b").await, (422, "invalid-field".into()));
    let batch =
        json!({"requests": [{"path": "/api/classes/%ff/roster"}, {"path": "/api/classes/%00/roster"}]});
    let answer = origin.post(&teacher, "/api/batch", batch).await.json();
    let codes: Vec<_> =
        answer["responses"].as_array().unwrap().iter().map(|one| &one["body"]["code"]).collect();
    assert_eq!(codes, ["invalid-path", "not-found"], "{answer}");
    // In a body: the engines may see it differently, and neither asks to come again.
    let document = json!({"kind": "notes", "subject": "a\0b"});
    let refused = origin.post(&teacher, "/api/documents", document).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_no_text_are_problems_like_all_others() {
    on_both_engines(on_an_engine).await;
}

/// What the engine cannot hold is no outage: it would fail again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_engine_cannot_hold_is_not_asked_for_again() {
    on_both_engines(async |origin| {
        let read = origin.app.store.read::<_, crate::store::StoreError, _>("northside.example", |records| {
            records.directory_entry("a\0b")
        });
        let Err(error) = read.await else { return };
        assert!(error.is_of_data() && !error.is_outage(), "{error}");
        let problem =
            axum::response::IntoResponse::into_response(crate::routes::error::ApiError::from(error));
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(problem.headers().get("retry-after").is_none());
    })
    .await;
}
