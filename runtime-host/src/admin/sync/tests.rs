//! The operators' routes over engines that are small enough to read.

use super::*;
use crate::sync::institutes::Institutes;
use crate::test_host::{TestHost, echo_engine};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SETTINGS: &str = "sqlite_databases = [\"default\"]\ntool.rollcall.sqlite = \"per-institute\"";
const NORTHSIDE: &str = "northside.example";
const RIVERSIDE: &str = "riverside.example";

struct Edge {
    host: TestHost,
    sync: SyncFront,
}

impl Edge {
    fn new() -> Self {
        let host = TestHost::new();
        let guest = host.load(Some(&echo_engine(b"")), SETTINGS).unwrap();
        let stop = CancellationToken::new();
        let institutes = Institutes::new(guest, watch::channel(None).1, stop.clone()).unwrap();
        let (path, component) = ("/sync".to_owned(), "test".to_owned());
        Self { host, sync: SyncFront { path, component, institutes: Arc::new(institutes), stop } }
    }

    /// Status and body of the answer to `GET /sync/…`.
    async fn get(&self, target: &str) -> (u16, Value) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let answer = answer(Some(&self.sync), &Method::GET, path, query).await;
        let response = answer.unwrap_or_else(Problem::into_response);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn refuses(&self, target: &str, status: u16, code: &str, field: Value) {
        let (answered, problem) = self.get(target).await;
        assert_eq!(
            (answered, &problem["code"], &problem["field"]),
            (status, &json!(code), &field),
            "{target}"
        );
    }

    fn institute_folder(&self, institute: &str) -> std::path::PathBuf {
        self.host.folder.path().join("data/institutes").join(institute)
    }

    async fn stop(self) {
        self.sync.stop.cancel();
        self.sync.institutes.drain().await;
    }
}

#[tokio::test]
async fn active_institutes_their_sessions_and_their_documents_are_shown() {
    let edge = Edge::new();
    assert_eq!(edge.get("institutes").await, (200, json!({"items": [], "next": null})));
    edge.sync.institutes.activate(NORTHSIDE).unwrap();
    let active = json!({"institute": NORTHSIDE, "sessions": 0, "bytes_waiting": 0});
    assert_eq!(edge.get("institutes").await, (200, json!({"items": [active], "next": null})));
    assert_eq!(edge.get("sessions?limit=5&after=0").await, (200, json!({"items": [], "next": null})));
    let (status, page) = edge.get(&format!("documents?institute={NORTHSIDE}&limit=5")).await;
    assert_eq!((status, &page["next"]), (200, &Value::Null));
    assert_eq!((&page["items"][0]["id"], &page["items"][0]["bytes"]), (&json!("document"), &json!(123)));
    let id = DocumentId::from_bytes([1; 16]);
    let none = format!("documents/{id}?institute={NORTHSIDE}");
    edge.refuses(&none, 404, "document-unknown", Value::Null).await;
    edge.stop().await;
}

#[tokio::test]
async fn an_institute_without_a_log_is_unknown_and_asking_makes_none() {
    let edge = Edge::new();
    for target in [
        format!("documents?institute={NORTHSIDE}"),
        format!("documents/{}?institute={NORTHSIDE}", DocumentId::from_bytes([1; 16])),
    ] {
        edge.refuses(&target, 404, "institute-unknown", json!("institute")).await;
    }
    assert!(!edge.institute_folder(NORTHSIDE).exists());
    assert_eq!(edge.sync.institutes.active().len(), 0);
    // One that was active before this process began has a log, and no engine yet.
    std::fs::create_dir_all(edge.institute_folder(RIVERSIDE)).unwrap();
    std::fs::write(edge.institute_folder(RIVERSIDE).join("test.db"), b"").unwrap();
    assert_eq!(edge.get(&format!("documents?institute={RIVERSIDE}&limit=5")).await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said_by_its_field() {
    let edge = Edge::new();
    for (target, field) in [
        ("documents", "institute"),
        ("documents?institute=", "institute"),
        ("documents?institute=../up", "institute"),
        ("sessions?institute=NORTH", "institute"),
        ("documents?institute=a.example&limit=0", "limit"),
        ("documents?institute=a.example&limit=501", "limit"),
        ("documents?institute=a.example&limit=many", "limit"),
        ("documents?institute=a.example&after=nothing", "after"),
        ("documents?institute=a.example&order=size", "order"),
        ("documents?institute=a.example&institute=b.example", "institute"),
        ("documents/nothing?institute=a.example", "document"),
        ("sessions?after=-1", "after"),
        ("institutes?limit=1", "limit"),
    ] {
        edge.refuses(target, 400, "invalid-field", json!(field)).await;
    }
    for target in ["", "document", "documents/a/b?institute=a.example", "institutes/x"] {
        let (status, problem) = edge.get(target).await;
        assert!(status == 404 || problem["field"] == "document", "{target}: {problem}");
    }
    let post = answer(Some(&edge.sync), &Method::POST, "institutes", None).await.unwrap();
    assert_eq!(
        (post.status(), &post.headers()[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("GET, HEAD"))
    );
    let plain = answer(None, &Method::GET, "institutes", None).await.unwrap_err();
    assert_eq!(plain.status, StatusCode::NOT_FOUND);
    edge.stop().await;
}

#[test]
fn a_page_names_the_next_one_when_there_is_more() {
    let full = page(vec![1, 2, 3], 2, |number| *number);
    assert_eq!((full.items, full.next), (vec![1, 2], Some(2)));
    let last = page(vec![1, 2], 2, |number| *number);
    assert_eq!((last.items, last.next), (vec![1, 2], None));
}
