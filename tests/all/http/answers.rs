//! Answers in pieces: whole, cut off where their guest fails, and held only as long as somebody reads them.

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use integration_tests::{PlainEdge, SOON, guest, until};
use reqwest::Response;
use std::time::{Duration, Instant};

/// Those who answer in pieces, for WASI 0.3 and for 0.2.
const GUESTS: [&str; 2] = ["streams", "misbehaves_p2"];

async fn edge(component: &str, settings: &str) -> PlainEdge {
    let manifest = format!(
        "spin_manifest_version = 2\napplication.name = \"answers\"\n
[[trigger.http]]\nroute = \"/...\"\ncomponent = \"it\"\n
[component.it]\nsource = \"it.wasm\"\n[component.it.tool.rollcall]\n{settings}\n"
    );
    let wasm = std::fs::read(guest(component)).unwrap();
    let files = [("spin.toml", manifest.into_bytes()), ("it.wasm", wasm)];
    PlainEdge::start_with_files("admin = \"127.0.0.1:0\"\n", &files).await
}

async fn get(edge: &PlainEdge, path: &str) -> Response {
    reqwest::get(format!("{}{path}", edge.url())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_answer_whose_guest_fails_is_an_error_or_cut_off_and_has_no_length() {
    for component in GUESTS {
        let edge = edge(component, "").await;
        for _ in 0..10 {
            let answer = get(&edge, "/short-trap").await;
            // Whether the guest fails before or after its head is sent is a matter of turns.
            match answer.status().as_u16() {
                500 => assert!(answer.text().await.unwrap().contains("component-failed"), "{component}"),
                status => {
                    assert_eq!((status, answer.content_length()), (200, None), "{component}");
                    assert!(answer.bytes().await.is_err(), "{component}");
                }
            }
        }
        assert_eq!(get(&edge, "/well").await.text().await.unwrap().len(), 5, "{component}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_guest_fails_after_its_head_is_cut_off_and_does_not_seem_to_be_whole() {
    for (component, paths) in
        GUESTS.into_iter().zip([&["/long-trap", "/long-loop"][..], &["/long-trap", "/unfinished"]])
    {
        let edge = edge(component, "cpu_ms = 300").await;
        for path in paths {
            let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
            let answer = edge.exchange(request.as_bytes()).await;
            let case = format!("{component} {path}, {} bytes", answer.len());
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{case}");
            assert!(answer.len() > 100_000, "what was written is sent: {case}");
            assert!(!answer.ends_with(b"0\r\n\r\n"), "it has no end: {case}");
            assert!(over_http2(&edge, path).await.is_err(), "nor over HTTP/2: {case}");
        }
        assert_eq!(over_http2(&edge, "/well").await.unwrap().len(), 5);
    }
}

async fn over_http2(edge: &PlainEdge, path: &str) -> Result<Bytes, hyper::Error> {
    let stream = TokioIo::new(edge.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://edge{path}")).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.map(|body| body.to_bytes());
    connection.abort();
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_lasts_as_long_as_it_moves_and_is_cut_off_when_nothing_comes_any_more() {
    const MOST: Duration = Duration::from_millis(1_500);
    let settings = "execution = { body_timeout_ms = 1500 }";
    let ticking = edge("streams", settings).await;
    let mut ticks = get(&ticking, "/ticks").await;
    let started = Instant::now();
    while started.elapsed() < MOST * 3 {
        assert!(ticks.chunk().await.unwrap().is_some(), "it goes on for ever");
    }
    for component in GUESTS {
        let edge = edge(component, settings).await;
        let silent = get(&edge, "/silence").await;
        let cut = tokio::time::timeout(MOST + SOON, silent.bytes()).await;
        assert!(cut.expect("it is not waited for").is_err(), "{component}");
        until("the reason in the log", SOON, async || {
            edge.program.log().contains("nothing of its answers has moved for too long").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_its_turn_until_its_answer_has_ended() {
    for component in GUESTS {
        let edge = edge(component, "execution = { concurrent = 1, queue = 0 }").await;
        let reading = get(&edge, "/silence").await;
        assert_eq!(reading.status(), 200);
        assert_eq!(get(&edge, "/well").await.status(), 503, "{component}: the answer is still read");
        drop(reading);
        until("its turn to end", SOON, async || (get(&edge, "/well").await.status() == 200).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_answers_one_request_ends_when_the_reader_of_its_answer_leaves() {
    let edge = edge("misbehaves_p2", "").await;
    let metrics = edge.program.says("metrics ").await;
    let instances = async |count: usize| {
        until("the number of instances", SOON, async || {
            let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
            text.contains(&format!("rollcall_guest_instances{{component=\"it\"}} {count}\n")).then_some(())
        })
        .await;
    };
    let mut reading = get(&edge, "/silence").await;
    assert!(reading.chunk().await.unwrap().is_some());
    instances(1).await;
    drop(reading);
    instances(0).await;
}
