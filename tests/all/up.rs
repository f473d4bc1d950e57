//! `cargo xtask up`: the first command of the README.

use integration_tests::{Person, Program, SOON, program, until, workspace};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

const DASHBOARD: &str = "/api/teachers/dashboard";

fn up(data: &Path, arguments: &[&str]) -> Program {
    let mut all =
        vec!["up", "--data", data.to_str().unwrap(), "--edge", "127.0.0.1:0", "--origin", "127.0.0.1:0"];
    all.extend(arguments);
    // The story does not wait for a reader.
    Program::new(&program("xtask"), all)
        .in_folder(&workspace())
        .with_environment("ROLLCALL_DEMO_PAUSE_MS", "0")
}

/// Edge and origin of the line `ready edge=… origin=…`.
async fn ready(up: &mut Program) -> (String, String) {
    let line = up.says("ready ").await;
    let value = |name: &str| {
        let found = line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{name} in {line:?}")).to_owned()
    };
    (value("edge"), value("origin"))
}

async fn stops(up: &mut Program, signal: Signal, urls: &[&str]) {
    up.send(signal);
    let began = Instant::now();
    let status = up.ends().await;
    let took = began.elapsed();
    assert!(status.success(), "{status}:\n{}", up.log());
    assert!(took < Duration::from_secs(5), "it took {took:?} to stop");
    for url in urls {
        let address = url.trim_start_matches("http://");
        assert!(std::net::TcpStream::connect(address).is_err(), "{url} still answers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gets_ready_stops_within_five_seconds_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = up(folder.path(), &["--no-demo"]);
    first.start().await;
    let (edge, origin) = ready(&mut first).await;
    let student = Person::sign_in(&edge, "student@northside.example", "phone").await;
    let id = student.claims()["sub"].clone();
    let teacher = Person::sign_in(&edge, "teacher@northside.example", "phone").await;
    let message =
        serde_json::json!({"command": "post-message", "to": {"user": id}, "text": "Kept over night."});
    assert_eq!(teacher.commands("kept", &message).await.status, 200);
    stops(&mut first, Signal::INT, &[&edge, &origin]).await;

    let mut second = up(folder.path(), &["--no-demo"]);
    second.start().await;
    let (edge, origin) = ready(&mut second).await;
    let dashboard = student.at(&edge).get("/api/students/dashboard").await;
    assert!(dashboard.text().contains("Kept over night."), "{}", dashboard.text());
    stops(&mut second, Signal::TERM, &[&edge, &origin]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_is_played_on_the_first_start_and_again_on_the_second() {
    let folder = tempfile::tempdir().unwrap();
    for start in 1..=2 {
        let mut up = up(folder.path(), &[]);
        up.start().await;
        let (edge, origin) = ready(&mut up).await;
        let end = until("the story's end", SOON * 3, async || {
            let log = up.log();
            let ended = log.lines().find(|line| line.starts_with("The story is over")).map(str::to_owned);
            assert!(!log.contains("stopped early"), "start {start}:\n{log}");
            ended
        })
        .await;
        assert!(end.contains("Nothing was lost"), "{end}");
        let teacher = Person::sign_in(&edge, "teacher@northside.example", "phone").await;
        let attendance = teacher.get(DASHBOARD).await.ok()["today"][0]["attendance"].clone();
        assert!(attendance["unmarked"].as_u64().is_some_and(|left| left < 21), "{attendance}");
        assert_eq!(attendance["conflicts"], 1, "{attendance}");
        stops(&mut up, Signal::INT, &[&edge, &origin]).await;
    }
}
