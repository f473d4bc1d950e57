//! `rollcall-edge documents` and `sessions`: what operators see of a running edge, and what they are told when there is none.

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ROOT};
use device::Kind;
use integration_tests::{House, SOON, SamodClient, in_step, until};
use serde_json::{Value, json};
use std::process::{Command, Output};
use sync_protocol::document_limits::{PRIVATE_BYTES, PRIVATE_CHANGES};

const TEACHER: &str = "teacher@northside.example";
const STUDENT: &str = "student@northside.example";
const NORTHSIDE: &str = "northside.example";

/// An edge that serves operators, and where.
async fn with_operators(mut house: House) -> (House, String) {
    house.edge.stop().await;
    house.edge.program.set_flag("--admin", "127.0.0.1:0");
    house.edge.start_again().await;
    let metrics = house.edge.program.says("metrics http://").await;
    let address = metrics.strip_suffix("/metrics").unwrap().to_owned();
    house.edge_knows_the_origin().await;
    (house, address)
}

/// Runs the command where no settings file is found.
fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(integration_tests::program("rollcall-edge"));
    command.current_dir(folder.path()).args(arguments).output().unwrap()
}

fn ask(admin: &str, arguments: &[&str]) -> String {
    let output = run(&[arguments, &["--admin", admin]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the command says as JSON, line by line.
fn ask_json(admin: &str, arguments: &[&str]) -> Vec<Value> {
    let said = ask(admin, &[arguments, &["--json"]].concat());
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The document's line in the list.
fn figures(admin: &str, document: &str) -> Value {
    let listed = ask_json(admin, &["documents", "--institute", NORTHSIDE]);
    listed.into_iter().find(|figures| figures["id"] == document).unwrap_or_default()
}

fn state(admin: &str, document: &str) -> Value {
    ask_json(admin, &["documents", document]).pop().unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unmodified_clients_session_and_the_heads_of_its_document_are_shown() {
    let (house, admin) = with_operators(House::start().await).await;
    let client = SamodClient::start(&house, STUDENT).await;
    let mut content = Automerge::new();
    for value in 1..=3 {
        content.transact(|tx| tx.put(ROOT, "n", value)).unwrap();
    }
    let handle = client.create(content).await;
    let id = handle.document_id().to_string();
    let heads = json!(handle.with_document(|doc| doc.get_heads()[0].to_string()));

    until("the edge to hold the document", SOON, async || {
        (figures(&admin, &id) != Value::Null).then_some(())
    })
    .await;
    let committed = json!([heads]);
    let state = until("the origin to have it and the client to know that we have", SOON, async || {
        Some(state(&admin, &id)).filter(|state| state["committed"] == committed)
    })
    .await;
    assert_eq!(state["heads"], committed, "{state}");
    assert_eq!((&state["changes"], &state["uncommitted_changes"]), (&json!(3), &json!(0)), "{state}");
    assert_eq!((&state["fault"], &state["reader_count"]), (&Value::Null, &json!(1)), "{state}");
    assert_eq!(
        (&state["most_changes"], &state["most_content_bytes"]),
        (&json!(PRIVATE_CHANGES), &json!(PRIVATE_BYTES)),
        "{state}"
    );
    assert!(state["content_bytes"].as_u64().unwrap() > 100, "{state}");
    let reader = &state["readers"][0];
    assert_eq!((&reader["device"], &reader["heads"]), (&json!("samod"), &committed), "{state}");
    assert_eq!(reader["lacking_changes"], 0, "{state}");
    assert_eq!(state["figures"]["kind"], "private", "{state}");
    assert!(state["figures"]["bytes"].as_u64().unwrap() > 0, "{state}");

    let sessions = ask_json(&admin, &["sessions", "--institute", NORTHSIDE]);
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((&session["session"], &session["device"]), (&reader["session"], &json!("samod")));
    for counter in ["frames_received", "bytes_received", "frames_sent", "bytes_sent", "opened_at_ms"] {
        assert!(session[counter].as_u64().unwrap() > 0, "{counter} in {session}");
    }
    assert_eq!(session["bytes_waiting"], 0, "{session}");
    assert_eq!(ask_json(&admin, &["sessions", "--institute", "riverside.example"]), [Value::Null; 0]);

    let (list, one) = (ask(&admin, &["documents"]), ask(&admin, &["documents", &id]));
    assert!(list.lines().any(|line| line.starts_with(&id) && line.contains("private")), "{list}");
    assert!(one.contains(heads.as_str().unwrap()) && one.contains("samod"), "{one}");
    assert!(ask(&admin, &["sessions"]).contains("samod"));
    let metrics = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("rollcall_sync_sessions 1"), "{metrics}");
    assert!(metrics.contains("rollcall_sync_bytes_total{direction=\"received\"} "), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_what_waits_for_the_origin_and_what_is_behind_is_shown() {
    let (house, admin) = with_operators(House::start().await).await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    let student = house.device(STUDENT, "tablet");
    student.find(notes, SOON).await.unwrap();
    let second_edge = house.second_edge().await;
    let elsewhere = house.device_at(&second_edge, TEACHER, "laptop");
    elsewhere.find(notes, SOON).await.unwrap();
    in_step(&[&teacher, &student, &elsewhere], notes).await;
    let id = notes.to_string();

    student.splice_text(notes, "text", 0, 0, "Mine. ").unwrap();
    let refused = until("the refusal to be seen", SOON, async || {
        Some(figures(&admin, &id)).filter(|figures| figures["refused_changes"] == 1)
    })
    .await;
    assert_eq!(refused["last_refusal"]["code"], "forbidden", "{refused}");
    assert_eq!((&refused["behind"], &refused["unacknowledged_changes"]), (&json!(false), &json!(0)));

    house.link.deafen();
    teacher.splice_text(notes, "text", 0, 0, "Here. ").unwrap();
    until("a change that waits for the origin to be seen", SOON, async || {
        (figures(&admin, &id)["unacknowledged_changes"] == 1).then_some(())
    })
    .await;
    elsewhere.splice_text(notes, "text", 0, 0, "There. ").unwrap();
    let behind = until("the origin's news to be seen", SOON, async || {
        Some(figures(&admin, &id)).filter(|figures| figures["behind"] == true)
    })
    .await;
    assert_eq!(behind["unacknowledged_changes"], 1, "{behind}");
    let text = ask(&admin, &["documents", "--institute", NORTHSIDE]);
    let line = text.lines().find(|line| line.starts_with(&id)).unwrap();
    assert!(line.contains("forbidden") && line.ends_with("yes"), "{text}");

    house.link.mend();
    until("all to be where it belongs", SOON, async || {
        let state = state(&admin, &id);
        let figures = &state["figures"];
        let done = figures["behind"] == false && figures["unacknowledged_changes"] == 0;
        (done && state["uncommitted_changes"] == 0 && state["heads"] == state["committed"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_in_vain_is_told_why() {
    let said = refusal(&run(&["documents"]));
    assert!(said.contains("no operators' address is configured"), "{said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let said = refusal(&run(&["sessions", "--admin", &free]));
    assert!(said.contains(&format!("no edge answers at {free}")), "{said}");
    let said = refusal(&run(&["documents", "--institute", "../up", "--admin", &free]));
    assert!(said.contains("domain name"), "{said}");
    let said = refusal(&run(&["documents", "nothing", "--institute", NORTHSIDE, "--admin", &free]));
    assert!(said.contains("`nothing` is no document id"), "{said}");

    let (house, admin) = with_operators(House::start().await).await;
    let said = refusal(&run(&["documents", "--institute", "nowhere.example", "--admin", &admin]));
    assert!(said.contains("this edge has no log of nowhere.example"), "{said}");
    assert!(!house.edge.folder().join("institutes/nowhere.example").exists());
    let unknown = "p3u5PhN9wrNpsGCwfkeef2LzF9";
    house.sign_in(STUDENT).await.get("/api/students/dashboard").await.ok();
    let said = refusal(&run(&["documents", unknown, "--admin", &admin]));
    assert!(said.contains(&format!("holds no document {unknown}")), "{said}");
}
