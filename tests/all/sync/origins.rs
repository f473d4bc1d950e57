//! Two origins on one store: what holds for one process holds for both together.

use device::{Command, CommandState, Kind, Priority};
use integration_tests::{House, SOON, in_step, until};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const DASHBOARD: &str = "/api/teachers/dashboard";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_and_grades_at_one_origin_reach_the_devices_and_dashboards_of_the_other() {
    let house = House::start_on_postgres().await;
    let (mut far_origin, far_edge) = house.second_origin().await;
    let class = house.class().await;
    let near = house.device(TEACHER, "phone");
    let far = house.device_at(&far_edge, ASSISTANT, "tablet");
    let sheet = near.register(Kind::Attendance, &class.id).await.unwrap();
    let notes = near.register(Kind::Notes, &class.id).await.unwrap();
    assert_eq!(far.register(Kind::Attendance, &class.id).await.unwrap(), sheet);
    assert_eq!(far.register(Kind::Notes, &class.id).await.unwrap(), notes);
    in_step(&[&near, &far], sheet).await;
    in_step(&[&near, &far], notes).await;

    // Both origins append to the same logs at the same time.
    for round in 0..20 {
        near.splice_text(notes, "text", 0, 0, "near. ").unwrap();
        far.splice_text(notes, "text", 0, 0, "far. ").unwrap();
        let mark = if round % 2 == 0 { "present" } else { "late" };
        near.mark_attendance(sheet, &class.students[0], mark).unwrap();
        far.mark_attendance(sheet, &class.students[1], mark).unwrap();
    }
    in_step(&[&near, &far], sheet).await;
    in_step(&[&near, &far], notes).await;
    let text = near.text(notes, "text").unwrap();
    assert_eq!((text.matches("near. ").count(), text.matches("far. ").count()), (20, 20), "{text}");
    for origin in [house.origin.url(), far_origin.url()] {
        let teacher = house.sign_in(TEACHER).await.at(origin);
        until("both marks in the tables", SOON, async || {
            let figures = &teacher.get(DASHBOARD).await.ok()["today"][0]["attendance"];
            (figures["late"].as_u64() >= Some(2) && figures["conflicts"] == 0).then_some(())
        })
        .await;
    }

    let waiting = |view: &serde_json::Value| view["to_grade"]["count"].as_u64().unwrap();
    let cached = until("the far edge to cache the dashboard", SOON, async || {
        let view = far.get(DASHBOARD).await.unwrap();
        view.is_hit().then_some(view.body)
    })
    .await;
    let work = &near.get(DASHBOARD).await.unwrap().body["to_grade"]["submissions"][0];
    let command = Command::GradeSubmission {
        assignment: work["assignment"].as_str().unwrap().to_owned(),
        student: work["student"].as_str().unwrap().to_owned(),
        score: 11.0,
        feedback: None,
    };
    let key = near.submit(&command, Priority::Normal).unwrap();
    let state = near.wait_until_settled(&key, SOON).await.unwrap();
    assert!(matches!(state, CommandState::Committed { bookmark: Some(_), .. }), "{state:?}");
    until("the far edge to drop what it had cached", SOON, async || {
        let view = far.get(DASHBOARD).await.unwrap();
        (waiting(&view.body) == waiting(&cached) - 1).then_some(())
    })
    .await;

    // An origin that dies takes nothing with it.
    far_origin.kill9().await;
    near.splice_text(notes, "text", 0, 0, "alone. ").unwrap();
    far_origin.start_again().await;
    in_step(&[&near, &far], notes).await;
    assert!(far.text(notes, "text").unwrap().contains("alone. "));
}
