//! A component that misbehaves hurts its own requests alone: each way to do so runs beside a component that must keep answering.

use integration_tests::{Program, SOON, guest, program, until};
use reqwest::{Client, StatusCode};
use std::path::Path;
use std::time::Duration;

/// Requests that misbehave at once: more than the machine has cores.
const AT_ONCE: usize = 4;
/// Longest that the healthy component may take for an answer meanwhile: it takes milliseconds, on two cores that others use too;
/// without isolation it would wait for as long as the others misbehave, and for some that is for ever.
const HEALTHY: Duration = Duration::from_secs(5);

/// An edge with the healthy component at `/healthy` and the other one, with `settings`, at every other path.
struct Host {
    program: Program,
    url: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Host {
    async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("spin.toml");
        std::fs::write(&app, manifest(settings)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut program = Program::new(&program("rollcall-edge"), ["up", "--listen", "127.0.0.1:0"]);
        program.set_flag("--app", &text(&app));
        program.set_flag("--data", &text(&folder.path().join("data")));
        program.start().await;
        let url = program.says("listening ").await;
        Self { program, url, client: Client::new(), _folder: folder }
    }

    async fn get(&self, path: &str) -> StatusCode {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().status()
    }

    async fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// Sends requests that misbehave, and meanwhile one after the other to the healthy component.
    async fn beside(&self, path: &str) -> Vec<StatusCode> {
        let misbehaving = futures_util::future::join_all((0..AT_ONCE).map(|_| self.get(path)));
        let healthy = async {
            loop {
                let answer = tokio::time::timeout(HEALTHY, self.get("/healthy")).await;
                assert_eq!(answer.expect("the healthy component answers in time"), 200);
            }
        };
        tokio::select! {
            ended = misbehaving => ended,
            () = healthy => unreachable!("it has no end"),
        }
    }
}

fn manifest(settings: &str) -> String {
    let component = |id: &str, source: &str, route: &str| {
        format!(
            "[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"{id}\"\n\n[component.{id}]\nsource = \"{}\"\n",
            guest(source).display()
        )
    };
    format!(
        "spin_manifest_version = 2\napplication.name = \"isolation\"\n\n{}\n{}\n[component.misbehaves.tool.rollcall]\n{settings}\n",
        component("healthy", "hello", "/healthy"),
        component("misbehaves", "misbehaves", "/..."),
    )
}

const LIMITS: &str = "cpu_ms = 300\nmemory_mb = 32\nexecution = { timeout_ms = 3000 }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_misbehaves_loses_its_own_requests_and_no_others() {
    let host = Host::start(LIMITS).await;
    for (path, expected) in [
        ("/loop", StatusCode::GATEWAY_TIMEOUT),
        ("/yield", StatusCode::GATEWAY_TIMEOUT),
        ("/log", StatusCode::GATEWAY_TIMEOUT),
        ("/never", StatusCode::GATEWAY_TIMEOUT),
        // The guest's own runtime traps when it waits for nothing at all.
        ("/stuck", StatusCode::INTERNAL_SERVER_ERROR),
        ("/allocate", StatusCode::INTERNAL_SERVER_ERROR),
        ("/handles", StatusCode::INTERNAL_SERVER_ERROR),
        ("/trap", StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        assert_eq!(host.beside(path).await, [expected; AT_ONCE], "{path}");
        assert_eq!(host.get("/well").await, 200, "after {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_is_cut_off_and_said_so() {
    let host = Host::start(LIMITS).await;
    host.beside("/log").await;
    let lines = host.program.log().matches("all is well").count();
    // 80 of these in a line of a kilobyte: a flood of some seconds, of which each second may log 64 KiB.
    assert!(lines < 80 * 64 * 20, "{lines}");
    until("the host to say what it dropped", SOON, async || {
        host.get("/trap").await;
        host.program.log().contains("bytes of output were dropped").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_queue_are_refused_at_once_and_told_when_to_come_back() {
    let host = Host::start("execution = { concurrent = 2, queue = 2, timeout_ms = 1000 }").await;
    let ask = || host.client.get(format!("{}/never", host.url)).send();
    let answers = futures_util::future::join_all((0..12).map(|_| ask())).await;
    let mut refused = 0;
    for answer in answers {
        let answer = answer.unwrap();
        match answer.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                assert_eq!(answer.headers()["retry-after"], "1");
                refused += 1;
            }
            status => assert_eq!(status, StatusCode::GATEWAY_TIMEOUT),
        }
    }
    assert!(refused >= 8, "2 run and 2 wait, {refused} of 12 were refused");
    assert_eq!(host.get("/well").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_makes_room_for_the_next_one() {
    let host = Host::start("execution = { concurrent = 1, queue = 0, timeout_ms = 100000 }").await;
    for path in ["/never", "/loop"] {
        let leaving = tokio::time::timeout(Duration::from_millis(200), host.get(path)).await;
        assert!(leaving.is_err(), "{path} has no answer");
        until("room", SOON, async || (host.get("/well").await == 200).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_answers_so_many_requests_and_then_another_takes_over() {
    let host = Host::start("execution = { requests_per_instance = 5, idle_ms = 60000 }").await;
    let mut counts = Vec::new();
    for _ in 0..30 {
        counts.push(host.text("/count").await.parse::<u32>().unwrap());
    }
    assert_eq!(counts.iter().max(), Some(&5), "{counts:?}");
    // Two threads at most have an instance that is not used up when the last request is answered.
    assert!(counts.iter().filter(|count| **count == 5).count() >= 4, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_share_an_instance_up_to_its_bound() {
    let host = Host::start("execution = { concurrent_per_instance = 4 }").await;
    let at_once = futures_util::future::join_all((0..32).map(|_| host.text("/pause"))).await;
    let most = at_once.iter().map(|count| count.parse::<u32>().unwrap()).max();
    assert!(most.is_some_and(|most| (2..=4).contains(&most)), "{at_once:?}");
}
