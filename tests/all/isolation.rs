//! A component that misbehaves hurts its own requests alone: each way to do so runs beside a component that must keep answering.

use integration_tests::{Program, SOON, guest, program, until};
use reqwest::{Client, StatusCode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Requests that misbehave at once: more than the machine has cores.
const AT_ONCE: usize = 4;
/// Answers of the healthy component whose time is taken in each case.
const SAMPLES: usize = 30;
/// How much longer the healthy component may take beside requests that misbehave than beside as many threads of another program
/// that compute: the system shares its cores between those as it likes, the host must do no worse. Without isolation the answers
/// would wait for as long as the others misbehave, which is seconds and for some for ever.
const WORSE: u32 = 4;
/// Added to that, because a few periods of the system's scheduler are no fault of anybody's.
const SLACK: Duration = Duration::from_millis(40);

/// An edge with the healthy component at `/healthy` and the other one, with `settings`, at every other path.
struct Host {
    program: Program,
    url: String,
    client: Client,
    /// The healthy component's median beside threads that compute.
    usual: Duration,
    _folder: tempfile::TempDir,
}

/// How long answers took.
struct Latency {
    median: Duration,
    longest: Duration,
}

impl Latency {
    fn of(mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        Self { median: taken[taken.len() / 2], longest: taken[taken.len() - 1] }
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "median {:?}, longest {:?}", self.median, self.longest)
    }
}

/// Threads that compute until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..AT_ONCE {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(());
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Host {
    async fn start(settings: &str) -> Self {
        Self::start_with("misbehaves", "hello", settings).await
    }

    async fn start_with(misbehaves: &str, healthy: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("spin.toml");
        std::fs::write(&app, manifest(misbehaves, healthy, settings)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut program = Program::new(&program("rollcall-edge"), ["up", "--listen", "127.0.0.1:0"]);
        program.set_flag("--app", &text(&app));
        program.set_flag("--data", &text(&folder.path().join("data")));
        program.start().await;
        let url = program.says("listening ").await;
        let mut host = Self { program, url, client: Client::new(), usual: Duration::ZERO, _folder: folder };
        let alone = host.healthy().await;
        let busy = Busy::start();
        let beside_threads = host.healthy().await;
        drop(busy);
        println!("healthy alone: {alone}; beside threads that compute: {beside_threads}");
        host.usual = beside_threads.median;
        host
    }

    /// Takes the time of the healthy component's answers, one after the other.
    async fn healthy(&self) -> Latency {
        let mut taken = Vec::new();
        for _ in 0..SAMPLES {
            taken.push(self.one_healthy().await);
        }
        Latency::of(taken)
    }

    async fn one_healthy(&self) -> Duration {
        let started = Instant::now();
        assert_eq!(self.get("/healthy").await, 200);
        started.elapsed()
    }

    async fn get(&self, path: &str) -> StatusCode {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().status()
    }

    async fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// Each path misbehaves, is answered as it should be, and leaves the guest's later requests alone.
    async fn lose_their_own_requests(&self, cases: &[(&str, StatusCode)]) {
        for (path, expected) in cases {
            assert_eq!(self.beside(path).await, [*expected; AT_ONCE], "{path}");
            assert_eq!(self.get("/well").await, 200, "after {path}");
        }
    }

    /// Sends requests that misbehave, and meanwhile one after the other to the healthy component; again where they end too soon
    /// to tell how that fares.
    async fn beside(&self, path: &str) -> Vec<StatusCode> {
        let (mut taken, mut statuses) = (Vec::new(), Vec::new());
        while taken.len() < SAMPLES {
            let misbehaving = futures_util::future::join_all((0..AT_ONCE).map(|_| self.get(path)));
            let healthy = async {
                loop {
                    taken.push(self.one_healthy().await);
                }
            };
            statuses = tokio::select! {
                ended = misbehaving => ended,
                () = healthy => unreachable!("it has no end"),
            };
        }
        let latency = Latency::of(taken);
        println!("healthy beside {path}: {latency}");
        let most = self.usual * WORSE + SLACK;
        assert!(latency.median <= most, "{path}: {latency}, the median may be {most:?}");
        statuses
    }
}

fn manifest(misbehaves: &str, healthy: &str, settings: &str) -> String {
    let component = |id: &str, source: &str, route: &str| {
        format!(
            "[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"{id}\"\n\n[component.{id}]\nsource = \"{}\"\n",
            guest(source).display()
        )
    };
    format!(
        "spin_manifest_version = 2\napplication.name = \"isolation\"\n\n{}\n{}{}\n[component.misbehaves.tool.rollcall]\n{settings}\n",
        component("healthy", healthy, "/healthy"),
        component("misbehaves", misbehaves, "/..."),
        "sqlite_databases = [\"default\"]\nkey_value_stores = [\"default\"]",
    )
}

const LIMITS: &str = "cpu_ms = 300\nmemory_mb = 32\nexecution = { timeout_ms = 3000 }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_misbehaves_loses_its_own_requests_and_no_others() {
    let host = Host::start(LIMITS).await;
    let cases = [
        ("/loop", StatusCode::GATEWAY_TIMEOUT),
        ("/yield", StatusCode::GATEWAY_TIMEOUT),
        ("/log", StatusCode::GATEWAY_TIMEOUT),
        ("/never", StatusCode::GATEWAY_TIMEOUT),
        // The guest's own runtime traps when it waits for nothing at all.
        ("/stuck", StatusCode::INTERNAL_SERVER_ERROR),
        ("/allocate", StatusCode::INTERNAL_SERVER_ERROR),
        ("/handles", StatusCode::INTERNAL_SERVER_ERROR),
        ("/trap", StatusCode::INTERNAL_SERVER_ERROR),
    ];
    host.lose_their_own_requests(&cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wasi_0_2_guest_that_misbehaves_loses_its_own_requests_and_no_others() {
    let host = Host::start_with("misbehaves_p2", "hello_p2", LIMITS).await;
    let cases = [
        ("/loop", StatusCode::GATEWAY_TIMEOUT),
        ("/never", StatusCode::GATEWAY_TIMEOUT),
        ("/allocate", StatusCode::INTERNAL_SERVER_ERROR),
        ("/handles", StatusCode::INTERNAL_SERVER_ERROR),
        ("/trap", StatusCode::INTERNAL_SERVER_ERROR),
    ];
    host.lose_their_own_requests(&cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_hoards_what_the_host_keeps_for_it_hurts_no_others() {
    // On one instance, so that what it holds at once is bounded by what one may.
    let host = Host::start_with(
        "hoards",
        "hello",
        "memory_mb = 512\nexecution = { concurrent = 1, queue = 16, timeout_ms = 120000 }",
    )
    .await;
    for (path, expected) in [
        ("/sqlite-lock", "database is locked"),
        ("/sqlite-loop", "statement ran longer than 10 s"),
        ("/sqlite-results", "which is the limit"),
        ("/key-value", " refused"),
    ] {
        let (text, latency) = tokio::join!(host.text(path), host.healthy());
        println!("healthy beside {path}: {latency}");
        assert!(text.contains(expected), "{path}: {text}");
        assert!(latency.median <= host.usual * WORSE + SLACK, "{path}: {latency}");
        assert_eq!(host.get("/well").await, 200, "after {path}");
    }
    assert!(!host.text("/key-value").await.starts_with("0 "), "24 values of 8 MiB do not fit at once");
}

/// Instances that answer requests, of all components (`runtime-host/src/limits.rs`).
const ALL_INSTANCES: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_takes_an_instance_for_each_request_leaves_some_to_the_others() {
    let host = Host::start_with("misbehaves_p2", "hello_p2", "").await;
    let hanging = futures_util::future::join_all((0..ALL_INSTANCES + 20).map(|_| host.get("/never")));
    let others = async {
        until("it to have as many as it gets", SOON, async || {
            (host.get("/well").await == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await;
        host.healthy().await
    };
    tokio::select! {
        ended = hanging => panic!("they wait for a day, and for an answer 30 s: {ended:?}"),
        latency = others => println!("healthy beside {ALL_INSTANCES} that hang: {latency}"),
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
