//! What operators see: that it is all there, and that Prometheus has nothing to say against it.

use integration_tests::{PlainEdge, SOON, guest, until};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What there must be once each component has been asked and one has trapped.
const EXPECTED: [&str; 19] = [
    "rollcall_edge_http_connections ",
    "rollcall_edge_http_requests_total{route=\"/well\",component=\"guest\",status=\"2xx\"} 2",
    "rollcall_edge_http_requests_total{route=\"/trap\",component=\"guest\",status=\"5xx\"} 1",
    "rollcall_edge_http_requests_total{route=\"/static\",component=\"(static response)\",status=\"2xx\"} 1",
    "rollcall_edge_http_request_duration_seconds_count{route=\"/well\",component=\"guest\"} 2",
    "rollcall_edge_http_requests_running{route=\"/well\",component=\"guest\"} 0",
    "rollcall_edge_http_response_body_bytes_total{route=\"/well\",component=\"guest\"} 8",
    "rollcall_edge_reloads_total{result=\"done\"} 0",
    "rollcall_edge_reload_failing 0",
    "rollcall_guest_requests_total{component=\"guest\"} 4",
    "rollcall_guest_errors_total{component=\"guest\",kind=\"failed\"} 1",
    "rollcall_guest_errors_total{component=\"guest\",kind=\"timed-out\"} 1",
    "rollcall_guest_traps_total{component=\"guest\",kind=\"unreachable\"} 1",
    "rollcall_guest_traps_total{component=\"guest\",kind=\"cpu\"} 1",
    "rollcall_guest_instances{component=\"guest\"} ",
    "rollcall_guest_instances_created_total{component=\"guest\"} ",
    "rollcall_guest_instances_reused_total{component=\"guest\"} ",
    "rollcall_guest_instance_cpu_seconds_count{component=\"guest\"} ",
    "rollcall_guest_memory_peak_bytes{component=\"guest\"} ",
];

fn manifest() -> Vec<u8> {
    let route = |path: &str| format!("[[trigger.http]]\nroute = \"{path}\"\ncomponent = \"guest\"\n\n");
    let routes: String = ["/well", "/trap", "/loop"].map(route).concat();
    format!(
        "spin_manifest_version = 2\napplication.name = \"metrics\"\n\n{routes}\
         [[trigger.http]]\nroute = \"/static\"\nstatic_response = {{ body = \"static\" }}\n\n\
         [component.guest]\nsource = \"guest.wasm\"\n[component.guest.tool.rollcall]\ncpu_ms = 100\n"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_are_all_there_and_prometheus_finds_no_fault_with_them() {
    let files = [("guest.wasm", std::fs::read(guest("misbehaves")).unwrap()), ("spin.toml", manifest())];
    let edge = PlainEdge::start_with_files("admin = \"127.0.0.1:0\"\n", &files).await;
    for (path, status) in [("/well", 200), ("/well", 200), ("/trap", 500), ("/loop", 504), ("/static", 200)] {
        let answer = reqwest::get(format!("{}{path}", edge.url())).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        answer.bytes().await.unwrap();
    }
    let url = edge.program.says("metrics ").await;
    // A request is counted when its answer has gone out, which the client may see before.
    let text = until("the metrics", SOON, async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let there = |expected: &&str| text.lines().any(|line| line.starts_with(*expected));
        let not_there = EXPECTED.iter().find(|expected| !there(expected)).copied();
        // What a failure of this test shows last.
        if let Some(expected) = not_there {
            eprintln!("{expected} in\n{text}");
        }
        not_there.is_none().then_some(text)
    })
    .await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: `cargo xtask test` installs it");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let judged = promtool.wait_with_output().await.unwrap();
    let said =
        [judged.stdout, judged.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(judged.status.success() && said.is_empty(), "{said}");
}
