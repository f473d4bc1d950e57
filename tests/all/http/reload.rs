//! New versions of components and manifests take over while requests come in.

use integration_tests::{PlainEdge, SOON, guest, until};
use reqwest::Client;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// How often a component is replaced under load.
const REPLACEMENTS: usize = 20;
/// Clients that ask without a pause meanwhile.
const CLIENTS: usize = 8;

const WATCHING: &str = "watch = true\nadmin = \"127.0.0.1:0\"\n";

fn manifest(rest: &str) -> Vec<u8> {
    format!(
        "spin_manifest_version = 2\napplication.name = \"reload\"\n\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"version\"\n\n\
         [component.version]\nsource = \"version.wasm\"\n{rest}"
    )
    .into_bytes()
}

/// The component `version` that calls itself this one.
fn version(number: usize) -> Vec<u8> {
    let mut wasm = std::fs::read(guest("version")).unwrap();
    let old = b"version-000000000000";
    let at = wasm.windows(old.len()).position(|found| found == old).expect("the version is data");
    wasm[at..at + old.len()].copy_from_slice(name(number).as_bytes());
    wasm
}

fn name(number: usize) -> String {
    format!("version-{number:012}")
}

async fn start(settings: &str) -> PlainEdge {
    let files = [("version.wasm", version(0)), ("spin.toml", manifest(""))];
    PlainEdge::start_with_files(settings, &files).await
}

async fn text(edge: &PlainEdge, path: &str) -> String {
    let answer = reqwest::get(format!("{}{path}", edge.url())).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

async fn answers(edge: &PlainEdge, expected: &str) {
    until("the new version to answer", SOON, async || (text(edge, "/").await == expected).then_some(()))
        .await;
}

async fn metric(edge: &PlainEdge, line: &str) -> Option<u64> {
    let metrics = reqwest::get(edge.program.says("metrics ").await).await.unwrap().text().await.unwrap();
    metrics.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_is_replaced_twenty_times_under_load_and_no_request_fails() {
    let edge = start(WATCHING).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (url, stop, asked) = (edge.url().to_owned(), stop.clone(), asked.clone());
            tokio::spawn(async move {
                // Some stay in the guest for a while, so that the old code is at work when the new one comes.
                let url = format!("{url}/?{}", if client % 2 == 0 { 0 } else { 50 });
                let (client, mut last) = (Client::new(), String::new());
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await.expect("a request is answered");
                    assert_eq!(answer.status(), 200);
                    let version = answer.text().await.expect("an answer is whole");
                    assert!(version >= last, "{version} after {last}");
                    last = version;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for number in 1..=REPLACEMENTS {
        let before = asked.load(Ordering::Relaxed);
        edge.write("version.wasm", version(number));
        answers(&edge, &name(number)).await;
        assert!(asked.load(Ordering::Relaxed) > before, "requests were answered meanwhile");
    }
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    let done = metric(&edge, "rollcall_edge_reloads_total{result=\"done\"}").await;
    assert_eq!(done, Some(REPLACEMENTS as u64));
    let only_the_last = async || {
        let instances = metric(&edge, "rollcall_guest_instances{component=\"version\"}").await;
        (instances == Some(0)).then_some(())
    };
    until("the instances of all versions to end", SOON, only_the_last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_loaded_leaves_the_old_version_at_work_and_says_so() {
    let edge = start(WATCHING).await;
    let refused = async |expected: &str| {
        let told = async || edge.program.log().contains(expected).then_some(());
        until(expected, SOON, told).await;
        assert_eq!(text(&edge, "/").await, name(0), "{expected}");
        assert_eq!(metric(&edge, "rollcall_edge_reload_failing").await, Some(1));
    };
    edge.write("version.wasm", &version(1)[..1000]);
    refused("the new version is not used, the old one runs on: component `version`").await;
    edge.write("version.wasm", version(0));
    until("it to be mended", SOON, async || {
        (metric(&edge, "rollcall_edge_reload_failing").await == Some(0)).then_some(())
    })
    .await;
    edge.write("spin.toml", manifest("nonsense = 1\n"));
    refused("unknown key `nonsense`").await;
    std::fs::remove_file(edge.write("version.wasm", "")).unwrap();
    edge.write("spin.toml", manifest(""));
    refused("version.wasm is missing").await;
    edge.write("spin.toml", [manifest(""), b"\n[application.tool.rollcall]\n".to_vec()].concat());
    edge.write("version.wasm", version(2));
    refused("takes a new start").await;
    edge.write("spin.toml", manifest(""));
    answers(&edge, &name(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_ends_on_the_code_that_it_began_on() {
    let edge = start(WATCHING).await;
    let slow = tokio::spawn({
        let url = format!("{}/?3000", edge.url());
        async move { reqwest::get(url).await.unwrap().text().await.unwrap() }
    });
    let running = "rollcall_edge_http_requests_running{route=\"/...\",component=\"version\"}";
    until("it to run", SOON, async || (metric(&edge, running).await == Some(1)).then_some(())).await;
    edge.write("version.wasm", version(1));
    answers(&edge, &name(1)).await;
    assert!(!slow.is_finished(), "the old code is still at work");
    assert_eq!(slow.await.unwrap(), name(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reloads_routes_variables_and_copied_files_without_watching() {
    let edge = start("").await;
    edge.write("version.wasm", version(7));
    edge.write("page.txt", "page");
    let more = "files = [\"page.txt\"]\n\n[[trigger.http]]\nroute = \"/static\"\nstatic_response = { body = \"new route\" }\n";
    edge.write("spin.toml", manifest(more));
    // What nobody asked for does not happen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(text(&edge, "/").await, name(0));
    edge.program.send(Signal::HUP);
    answers(&edge, &name(7)).await;
    assert_eq!(text(&edge, "/static").await, "new route");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_file_that_changes_or_comes_is_a_change() {
    let edge = start(WATCHING).await;
    std::fs::create_dir(edge.write("files", "").with_file_name("site")).unwrap();
    edge.write("site/a.txt", "a");
    edge.write("spin.toml", manifest("files = [\"site/*.txt\"]\n"));
    let reloads = async |at_least: u64| {
        until("a reload", SOON, async || {
            (metric(&edge, "rollcall_edge_reloads_total{result=\"done\"}").await >= Some(at_least))
                .then_some(())
        })
        .await;
    };
    reloads(1).await;
    edge.write("site/a.txt", "another");
    reloads(2).await;
    edge.write("site/b.txt", "b");
    reloads(3).await;
}

const EXIT: &str = "package test:exit;
world exits { export wasi:cli/exit@0.2.6; }
package wasi:cli@0.2.6 { interface exit { exit: func(status: result); } }
";

/// A component that satisfies an import of every Rust component, and traps where it is called, which it is not. `number` makes
/// its bytes its own.
fn exit(number: u8) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("exit.wit", EXIT).unwrap();
    let world = resolve.select_world(&[package], Some("exits")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut wasm = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    // A section that nobody reads.
    wasm.extend([0, 3, 1, b'n', number]);
    wasm
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_answers_with_its_dependency_and_is_loaded_anew_when_that_changes() {
    let depends = "dependencies = { \"wasi:cli/exit\" = { path = \"exit.wasm\" } }\n";
    let files = [("version.wasm", version(0)), ("exit.wasm", exit(0)), ("spin.toml", manifest(depends))];
    let edge = PlainEdge::start_with_files(WATCHING, &files).await;
    assert_eq!(text(&edge, "/").await, name(0));
    edge.write("exit.wasm", exit(1));
    let done = "rollcall_edge_reloads_total{result=\"done\"}";
    until("a reload", SOON, async || (metric(&edge, done).await == Some(1)).then_some(())).await;
    edge.write("exit.wasm", "no component");
    let failing = "rollcall_edge_reload_failing";
    until("the reload to fail", SOON, async || (metric(&edge, failing).await == Some(1)).then_some(())).await;
    assert!(
        edge.program.log().contains("dependency `wasi:cli/exit` is no component"),
        "{}",
        edge.program.log()
    );
    assert_eq!(text(&edge, "/").await, name(0));
}
