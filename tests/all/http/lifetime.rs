//! How long a connection may stay, and how the edge ends.

use integration_tests::{PlainEdge, Program, SOON, guest, read_to_close, until, wasm};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

const IMPATIENT: &str = "[http]\nheader_timeout_ms = 500\nidle_timeout_ms = 1500\n";
const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_ask_for_nothing_or_dribble_are_closed() {
    let edge = PlainEdge::start(IMPATIENT).await;
    for (what, said) in [
        ("nothing", &b""[..]),
        ("half a preface", b"PRI * HT"),
        ("half a request", b"GET /health HTTP/1.1\r\nHo"),
        ("HTTP/2 and then nothing", PREFACE_AND_SETTINGS),
        ("HTTP/2 with half a header", &[PREFACE_AND_SETTINGS, b"\0\0\x09\x01\0\0\0\0\x01\x82"].concat()),
    ] {
        let mut stream = edge.connect().await;
        stream.write_all(said).await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{what}: {answer:?}");
    }
    // A byte now and then does not help.
    let (mut reading, mut writing) = edge.connect().await.into_split();
    let dribble = tokio::spawn(async move {
        for byte in get("/health").bytes().cycle() {
            if writing.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let began = Instant::now();
    let mut answer = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut answer);
    let _ = tokio::time::timeout(SOON, closed).await.expect("the edge closes");
    assert!(answer.is_empty(), "after {:?}: {answer:?}", began.elapsed());
    dribble.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_in_use_stays_past_the_idle_time() {
    let edge = PlainEdge::start(IMPATIENT).await;
    let mut stream = edge.connect().await;
    for _ in 0..6 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = tokio::io::AsyncReadExt::read(&mut stream, &mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        // What is tested is the passing of time.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_ends_before_the_edge_does_which_ends_well() {
    let mut edge = PlainEdge::start("[http]\ndrain_delay_ms = 60000\n").await;
    let status = async |path: &str| {
        let answer = edge.exchange(get(path).as_bytes()).await;
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(status("/health/ready").await, "HTTP/1.1 200 OK");
    edge.program.send(Signal::TERM);
    until("readiness to end", SOON, async || {
        (status("/health/ready").await == "HTTP/1.1 503 Service Unavailable").then_some(())
    })
    .await;
    assert_eq!(status("/health").await, "HTTP/1.1 200 OK", "what comes is still answered");
    // The second signal cuts the delay short.
    let ended = edge.program.stop().await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut edge = PlainEdge::start("").await;
    let mut held = Vec::new();
    for said in [&b""[..], b"PRI * HT", PREFACE_AND_SETTINGS, b"GET /health HTTP/1.1\r\nHost: edge\r\n\r\n"] {
        let mut stream = edge.connect().await;
        stream.write_all(said).await.unwrap();
        held.push(stream);
    }
    until("the answer", SOON, async || edge.program.log().contains("/health").then_some(())).await;
    let began = Instant::now();
    let ended = edge.program.stop().await;
    assert!(ended.success(), "{ended}");
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_does_not_come_does_not_hold_up_the_end() {
    let certificate =
        |name: &str| std::fs::read(integration_tests::workspace().join("tests/tls").join(name)).unwrap();
    let tls = "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n";
    let proxies = "[proxies]\ntrusted = [\"127.0.0.0/8\"]\nproxy_protocol = true\n";
    for settings in [tls, proxies] {
        // Longer than the test waits for the end.
        let settings = format!("{settings}[http]\nheader_timeout_ms = 600000\ndrain_timeout_ms = 600000\n");
        let files = [("tls.pem", certificate("first.pem")), ("tls.key", certificate("first.key"))];
        let mut edge = PlainEdge::start_with_files(&settings, &files).await;
        let silent = edge.connect().await;
        // Taken after the silent one, and so is it when this one is answered.
        let mut other = edge.connect().await;
        other.write_all(b"neither a header nor a handshake\r\n\r\n").await.unwrap();
        read_to_close(&mut other).await;
        let ended = edge.program.stop().await;
        assert!(ended.success(), "{ended}");
        drop(silent);
    }
}

/// Components that take long to compile together: each is other code than the others.
fn slow_to_compile(files: usize) -> Vec<(String, Vec<u8>)> {
    let mut manifest = "spin_manifest_version = 2\napplication.name = \"slow\"\n".to_owned();
    let wasm = std::fs::read(wasm("sync")).unwrap();
    let mut made = Vec::new();
    for n in 0..files {
        manifest.push_str(&format!("\n[component.c{n}]\nsource = \"c{n}.wasm\"\n"));
        // A section that nobody reads.
        made.push((format!("c{n}.wasm"), [&wasm[..], &[0, 2, 1, n as u8]].concat()));
    }
    made.push(("spin.toml".to_owned(), manifest.into_bytes()));
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_components_compile_ends_the_edge_soon() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in slow_to_compile(8) {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let mut edge = PlainEdge::program(folder.path(), "up");
    edge.start().await;
    // Made by what comes before compiling, and after signals are listened to.
    let started = async || folder.path().join("data/cache").exists().then_some(());
    until("components to compile", SOON, started).await;
    let began = Instant::now();
    let ended = edge.stop().await;
    assert!(ended.success(), "{ended}: {}", edge.log());
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
    assert!(!edge.log().contains("listening"), "it was still compiling");
}

fn one_component(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    let manifest = "spin_manifest_version = 2\napplication.name = \"one\"\n\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"one\"\n\n\
        [component.one]\nsource = \"one.wasm\"\n";
    vec![("one.wasm", std::fs::read(guest(name)).unwrap()), ("spin.toml", manifest.as_bytes().to_vec())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_runs_when_the_edge_is_stopped_gets_its_answer() {
    let mut edge = PlainEdge::start_with_files("", &one_component("version")).await;
    let mut slow = edge.connect().await;
    slow.write_all(get("/?2000").as_bytes()).await.unwrap();
    let mut ready = edge.connect().await;
    ready.write_all(get("/").as_bytes()).await.unwrap();
    assert!(read_to_close(&mut ready).await.starts_with(b"HTTP/1.1 200"), "the component is at work");
    let began = Instant::now();
    let (ended, answer) = tokio::join!(edge.program.stop(), read_to_close(&mut slow));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("version-000000000000"), "{answer}");
    assert!(ended.success(), "{ended}");
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "the request was still at work when the edge was stopped"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_dribbles_is_given_up_and_one_that_is_slow_is_not() {
    let edge = PlainEdge::start_with_files("", &one_component("length")).await;
    let head = "POST / HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
    // The least is 240 bytes in a second once 10 seconds have gone by.
    let send = async |bytes: usize| {
        let (mut reading, mut writing) = edge.connect().await.into_split();
        writing.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b'x'; bytes];
        let sending = async {
            let mut left = 100_000;
            while left > 0 && writing.write_all(&chunk[..bytes.min(left)]).await.is_ok() {
                left -= bytes.min(left);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut answer);
        tokio::select! {
            read = read => drop(read),
            () = sending => unreachable!("it has no end"),
            () = tokio::time::sleep(Duration::from_secs(40)) => panic!("no answer to {bytes} bytes at a time"),
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (dribbled, slow) = tokio::join!(send(1), send(700));
    assert!(dribbled.starts_with("HTTP/1.1 408") && dribbled.contains("body-too-slow"), "{dribbled}");
    assert!(slow.starts_with("HTTP/1.1 200") && slow.ends_with("\r\n\r\n100000"), "{slow}");
}

/// An operator's habit, and what a closed terminal sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_ends_neither_the_edge_nor_a_connection() {
    let edge = PlainEdge::start("").await;
    let mut stream = edge.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
        let mut answer = [0; 512];
        let length = tokio::io::AsyncReadExt::read(&mut stream, &mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        edge.program.send(Signal::HUP);
    }
    assert!(edge.exchange(get("/health").as_bytes()).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_answers_as_we_and_as_spin_do() {
    let manifest = "spin_manifest_version = 2\napplication = { name = \"plain\", version = \"1.2.3\" }\n
[[trigger.http]]\nroute = \"/...\"\nstatic_response = { status_code = 418 }\n";
    let everything = PlainEdge::start_with_files("", &[("spin.toml", manifest.as_bytes().to_vec())]).await;
    let edge = PlainEdge::start("").await;
    let answer = async |path: &str| {
        let answer = edge.exchange(get(path).as_bytes()).await;
        String::from_utf8(answer).unwrap()
    };
    for (path, begins, ends) in [
        ("/.well-known/spin/health", "HTTP/1.1 200", "\r\n\r\nOK"),
        ("/.well-known/spin/info", "HTTP/1.1 200", "\r\n\r\n{\"name\":\"plain\",\"version\":\"1.2.3\"}"),
        ("/.well-known/spin/other", "HTTP/1.1 404", "}"),
        ("/.well-known/spin/", "HTTP/1.1 404", "}"),
        ("/.well-known/spin", "HTTP/1.1 418", ""),
    ] {
        let answer = everything.exchange(get(path).as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(begins) && answer.ends_with(ends), "{path}: {answer}");
    }
    assert!(answer("/.well-known/spin/info").await.ends_with("\r\n\r\n{\"name\":\"plain\"}"));
    assert!(answer("/health").await.ends_with("\r\n\r\n{\"status\":\"ok\"}"));
    assert!(answer("/.well-known/spin/health").await.ends_with("\r\n\r\nOK"));
    assert!(answer("/metrics").await.starts_with("HTTP/1.1 404"), "metrics are not for the public");
    let said = edge.program.says("Serving ").await;
    assert_eq!(said, edge.url());
    let _ = edge.program.says("Available Routes:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_served_where_the_operator_asked_for_them() {
    let edge = PlainEdge::start("admin = \"127.0.0.1:0\"\n").await;
    let url = edge.program.says("metrics ").await;
    let _ = edge.exchange(get("/health").as_bytes()).await;
    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert!(text.contains("# TYPE rollcall_edge_http_connections gauge"), "{text}");
    let ready = reqwest::get(url.replace("/metrics", "/health/ready")).await.unwrap();
    assert_eq!(ready.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_names_the_trace_and_no_token() {
    let edge = PlainEdge::start("").await;
    let request = "GET /nowhere?access_token=hush-query HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer hush-header\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nConnection: close\r\n\r\n";
    let _ = edge.exchange(request.as_bytes()).await;
    let line = log_line(&edge.program, "/nowhere").await;
    for part in
        ["status=404", "problem=\"not-found\"", "trace=4bf92f3577b34da6a3ce929d0e0e4736", "client=127.0.0.1"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!edge.program.log().contains("hush-"), "{}", edge.program.log());
}

/// The line of the access log about a path.
pub(super) async fn log_line(program: &Program, path: &str) -> String {
    until("the access log", SOON, async || {
        program.log().lines().find(|line| line.contains("access") && line.contains(path)).map(str::to_owned)
    })
    .await
}
