//! Programs that are killed in the middle.

use device::Kind;
use integration_tests::{House, SOON, in_step, until};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

/// Each round kills the edge in the moment in which it has acknowledged; a device that has never seen the edits
/// finds them all afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_killed_right_after_an_acknowledgement_loses_nothing() {
    let mut house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    // Nothing reaches the origin: what survives, survives at the edge.
    house.link.cut();
    for round in 0..5 {
        teacher.wait_until_connected(SOON).await.unwrap();
        for word in ["alpha ", "beta ", "gamma "] {
            teacher.splice_text(notes, "text", 0, 0, word).unwrap();
        }
        teacher.wait_until_acknowledged(notes, SOON).await.unwrap();
        house.edge.kill9().await;
        teacher.splice_text(notes, "text", 0, 0, &format!("offline {round} ")).unwrap();
        house.edge.start_again().await;
    }
    teacher.wait_until_acknowledged(notes, SOON).await.unwrap();
    let (text, heads) = (teacher.text(notes, "text").unwrap(), teacher.heads(notes).unwrap());
    teacher.close().await;

    house.link.mend();
    let assistant = house.device(ASSISTANT, "tablet");
    assistant.find(notes, SOON).await.unwrap();
    in_step(&[&assistant], notes).await;
    assert_eq!(assistant.heads(notes).unwrap(), heads);
    assert_eq!(assistant.text(notes, "text").unwrap(), text);
    assert_eq!(text.matches("gamma beta alpha ").count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_at_the_edge_reach_an_origin_that_was_killed_and_started_again() {
    let mut house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    teacher.mark_attendance(sheet, &class.students[0], "present").unwrap();
    teacher.wait_until_acknowledged(sheet, SOON).await.unwrap();
    house.origin.kill9().await;
    teacher.mark_attendance(sheet, &class.students[1], "present").unwrap();
    teacher.wait_until_acknowledged(sheet, SOON).await.unwrap();
    house.origin.start_again().await;
    let person = house.sign_in(TEACHER).await.at(house.origin.url());
    until("both marks to be rows at the origin", SOON, async || {
        let dashboard = person.get("/api/teachers/dashboard").await.ok();
        (dashboard["today"][0]["attendance"]["present"] == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_offline_over_a_restart_of_everything_still_delivers_its_edits() {
    let mut house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    in_step(&[&teacher], notes).await;
    teacher.go_offline();
    teacher.splice_text(notes, "text", 0, 0, "Written in the basement.").unwrap();
    teacher.close().await;
    house.edge.stop().await;
    house.origin.stop().await;
    house.origin.start_again().await;
    house.edge.start_again().await;
    let (teacher, assistant) = (house.device(TEACHER, "phone"), house.device(ASSISTANT, "tablet"));
    assert_eq!(assistant.register(Kind::Notes, &class.id).await.unwrap(), notes);
    in_step(&[&teacher, &assistant], notes).await;
    assert_eq!(assistant.text(notes, "text").unwrap(), "Written in the basement.");
}

/// They are logged in statements of many rows, and what is left over in statements of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_offline_edits_survive_an_edge_that_is_killed_and_reach_the_origin() {
    const EDITS: usize = 300;
    let mut house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    in_step(&[&teacher], notes).await;
    house.link.cut();
    teacher.go_offline();
    for edit in 0..EDITS {
        teacher.splice_text(notes, "text", 0, 0, &format!("{edit} ")).unwrap();
    }
    teacher.go_online();
    teacher.wait_until_acknowledged(notes, SOON).await.unwrap();
    house.edge.kill9().await;
    let heads = teacher.heads(notes).unwrap();
    teacher.close().await;
    house.edge.start_again().await;

    house.link.mend();
    let assistant = house.device(ASSISTANT, "tablet");
    assistant.find(notes, SOON).await.unwrap();
    in_step(&[&assistant], notes).await;
    assert_eq!(assistant.heads(notes).unwrap(), heads);
    let written: String = (0..EDITS).rev().map(|edit| format!("{edit} ")).collect();
    assert_eq!(assistant.text(notes, "text").unwrap(), written);
    assistant.wait_until_committed(notes, SOON).await.unwrap();
}
