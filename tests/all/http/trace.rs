//! The trace of a request goes on in what its component asks of others.

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use integration_tests::{PlainEdge, SOON, guest};
use reqwest::Client;
use std::sync::Arc;
use tokio::sync::Barrier;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A server that answers which trace a request says that it belongs to; below `/both` only once two requests are there.
async fn other_server() -> String {
    let seen = |headers: HeaderMap| {
        let value = |name| headers.get(name).map_or("none", |value| value.to_str().unwrap()).to_owned();
        [("seen", format!("{} {}", value("traceparent"), value("tracestate")))]
    };
    let both = Arc::new(Barrier::new(2));
    let wait = move |headers: HeaderMap| async move {
        both.wait().await;
        seen(headers)
    };
    let app = Router::new()
        .route("/", get(move |headers: HeaderMap| async move { seen(headers) }))
        .route("/both", get(wait));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address.to_string()
}

async fn edge() -> PlainEdge {
    let manifest = "spin_manifest_version = 2\napplication.name = \"trace\"\n\n\
        [[trigger.http]]\nroute = \"/p3\"\ncomponent = \"p3\"\n\n[[trigger.http]]\nroute = \"/p2\"\ncomponent = \"p2\"\n\n\
        [component.p3]\nsource = \"p3.wasm\"\nallowed_outbound_hosts = [\"http://127.0.0.1:*\"]\n\n\
        [component.p2]\nsource = \"p2.wasm\"\nallowed_outbound_hosts = [\"http://127.0.0.1:*\"]\n";
    let wasm = |name| std::fs::read(guest(name)).unwrap();
    let files = [
        ("p3.wasm", wasm("fetch")),
        ("p2.wasm", wasm("fetch_p2")),
        ("spin.toml", manifest.as_bytes().to_vec()),
    ];
    PlainEdge::start_with_files("", &files).await
}

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

async fn ask(edge: &PlainEdge, path: &str, headers: &[(&str, &str)]) -> String {
    let request = Client::new().get(format!("{}{path}", edge.url()));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = tokio::time::timeout(SOON, request.send()).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_components_requests_belong_to_the_trace_of_the_request_that_it_answers() {
    let (edge, server) = (edge().await, other_server().await);
    for path in [format!("/p3?http://{server}/"), format!("/p2?{server}")] {
        let parent = traceparent(TRACE);
        let seen = ask(&edge, &path, &[("traceparent", &parent), ("tracestate", "vendor=1")]).await;
        let (seen, state) = seen.split_once(' ').unwrap();
        assert!(seen.starts_with(&format!("00-{TRACE}-")) && seen.ends_with("-01"), "{path}: {seen}");
        assert_ne!(seen, parent, "the edge's own span is the parent");
        assert_eq!(state, "vendor=1", "{path}");
        let begun = ask(&edge, &path, &[]).await;
        assert!(begun.starts_with("00-") && begun.ends_with("-00 none"), "{path}: {begun}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_component_says_of_its_trace_stays() {
    let (edge, server) = (edge().await, other_server().await);
    let own = "00-11111111111111111111111111111111-2222222222222222-00";
    let parent = traceparent(TRACE);
    let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=1"), ("own-traceparent", own)];
    let seen = ask(&edge, &format!("/p3?http://{server}/"), &headers).await;
    assert_eq!(seen, format!("{own} none"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_one_instance_answers_at_once_keep_their_traces_apart() {
    let (edge, server) = (edge().await, other_server().await);
    let path = format!("/p3?http://{server}/both");
    for _ in 0..10 {
        let (first, second) = (traceparent(TRACE), traceparent(OTHER_TRACE));
        // On one connection's thread or on two: the server answers only when both have asked.
        let first = [("traceparent", first.as_str())];
        let second = [("traceparent", second.as_str())];
        let (first, second) = tokio::join!(ask(&edge, &path, &first), ask(&edge, &path, &second));
        assert!(first.contains(TRACE), "{first}");
        assert!(second.contains(OTHER_TRACE), "{second}");
    }
}
