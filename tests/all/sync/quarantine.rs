//! Changes that were refused, from the device that made them to the admin who decides.

use device::{Device, Kind, Receipt};
use integration_tests::{Class, House, Person, SOON, in_step, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const STUDENT: &str = "student@northside.example";
const ADMIN: &str = "admin@northside.example";

fn path(item: &Value, action: &str) -> String {
    let part = |name: &str| item[name].as_str().unwrap().to_owned();
    format!("/admin/v1/quarantine/{}/{}{action}", part("document"), part("hash"))
}

/// What waits for the admin at the origin, once there is so much.
async fn items(admin: &Person, count: usize) -> Vec<Value> {
    until("the admin to see what was refused", SOON, async || {
        let page = admin.get("/admin/v1/quarantine").await.ok();
        Some(page["items"].as_array().unwrap().clone()).filter(|items| items.len() == count)
    })
    .await
}

async fn command(commands: &Person, key: String, name: &str, teacher: &str, class: &Class) {
    let command = json!({"command": name, "teacher": teacher, "batch": class.batch});
    let answer = commands.commands(&key, &command).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A reader writes all the same: the device learns which change was not taken and why, the admin sees what it would do, and
/// after the acceptance everybody has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_students_edit_of_the_notes_is_refused_looked_at_and_accepted() {
    let house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await.at(house.origin.url());
    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    teacher.splice_text(notes, "text", 0, 0, "Limits.").unwrap();
    let student = house.device(STUDENT, "tablet");
    student.find(notes, SOON).await.unwrap();
    in_step(&[&teacher, &student], notes).await;

    student.splice_text(notes, "text", 7, 0, " And their use.").unwrap();
    let change = student.heads(notes).unwrap()[0];
    let receipt = until("the student to be told", SOON, async || {
        student.receipt(notes, change).unwrap().filter(|receipt| *receipt != Receipt::Local)
    })
    .await;
    assert_eq!(receipt, Receipt::Refused("forbidden".into()));
    // The document goes on in both directions.
    teacher.splice_text(notes, "text", 0, 0, "Chapter 1. ").unwrap();
    until("the student to read on", SOON, async || {
        student.text(notes, "text").unwrap().starts_with("Chapter 1. ").then_some(())
    })
    .await;
    assert_eq!(teacher.text(notes, "text").unwrap(), "Chapter 1. Limits.");

    let listed = items(&admin, 1).await;
    let item = admin.get(&path(&listed[0], "")).await.ok();
    assert_eq!((&item["code"], &item["edge"]), (&json!("forbidden"), &json!("edge-1")));
    assert_eq!(item["change"]["steps"][0]["value"], " And their use.");
    assert_eq!(admin.post(&path(&listed[0], "/accept"), &json!({})).await.status, 200);
    until("the accepted change to reach the teacher", SOON, async || {
        (teacher.text(notes, "text").unwrap() == "Chapter 1. Limits. And their use.").then_some(())
    })
    .await;
    until("the student to hear that it was accepted", SOON, async || {
        (student.receipt(notes, change).unwrap() == Some(Receipt::AtOrigin)).then_some(())
    })
    .await;
    assert!(student.refusals(notes).unwrap().is_empty());
    items(&admin, 0).await;
}

/// The batch route tells it too, and one who lost the right altogether is asked for what is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_of_somebody_who_has_lost_the_class_are_refused_by_name_on_both_ways() {
    let house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await.at(house.origin.url());
    let assistant_id = house.sign_in(ASSISTANT).await.claims()["sub"].as_str().unwrap().to_owned();
    let teacher = house.device(TEACHER, "phone");
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    let connected = house.device(ASSISTANT, "tablet");
    let waking = house.batch_device(ASSISTANT, "watch");
    for device in [&connected, &waking] {
        device.register(Kind::Attendance, &class.id).await.unwrap();
    }
    in_step(&[&teacher, &connected], sheet).await;
    command(&admin, "unassign".into(), "unassign-teacher", &assistant_id, &class).await;
    until("the assistant to be told", SOON, async || connected.is_unavailable(sheet).unwrap().then_some(()))
        .await;

    let mark = |device: &Device, student: usize| {
        device.mark_attendance(sheet, &class.students[student], "present").unwrap();
        device.heads(sheet).unwrap()[0]
    };
    let told = mark(&connected, 0);
    until("the connected device to be told", SOON, async || {
        (connected.receipt(sheet, told).unwrap() == Some(Receipt::Refused("forbidden".into()))).then_some(())
    })
    .await;
    let told = mark(&waking, 1);
    let report = waking.sync_batch().await.unwrap();
    assert_eq!(report.refused.get(&sheet).map(String::as_str), Some("forbidden"), "{report:?}");
    assert_eq!(waking.receipt(sheet, told).unwrap(), Some(Receipt::Refused("forbidden".into())));
    assert!(teacher.marks(sheet).unwrap().is_empty());

    let listed = items(&admin, 2).await;
    assert!(listed.iter().all(|item| item["user"] == *assistant_id), "{listed:?}");
    assert_eq!(admin.post(&path(&listed[0], "/drop"), &json!({})).await.status, 204);
    items(&admin, 1).await;
}

/// From the answer to the admin, which follows the commit, to the end of the right at a device of the edge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_is_revoked_within_a_second_of_the_commit() {
    /// The promise is a second; the rest is for a machine that does other things.
    const BOUND: Duration = Duration::from_secs(5);
    const ROUNDS: usize = 10;
    let house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await.at(house.origin.url());
    let assistant_id = house.sign_in(ASSISTANT).await.claims()["sub"].as_str().unwrap().to_owned();
    let assistant = house.device(ASSISTANT, "tablet");
    let notes = assistant.register(Kind::Notes, &class.id).await.unwrap();
    in_step(&[&assistant], notes).await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        command(&admin, format!("out-{round}"), "unassign-teacher", &assistant_id, &class).await;
        let committed = Instant::now();
        until("the right to end", BOUND, async || assistant.is_unavailable(notes).unwrap().then_some(()))
            .await;
        times.push(committed.elapsed());
        command(&admin, format!("in-{round}"), "assign-teacher", &assistant_id, &class).await;
        until("the right to return", SOON, async || {
            (!assistant.is_unavailable(notes).unwrap()).then_some(())
        })
        .await;
    }
    times.sort_unstable();
    println!("revoked after: median {:?}, longest {:?} of {ROUNDS}", times[ROUNDS / 2], times[ROUNDS - 1]);
    assert!(times[ROUNDS / 2] < Duration::from_secs(1), "{times:?}");
}
