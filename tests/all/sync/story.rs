//! The story that must hold, with three replicas: two of our devices and an unmodified automerge-repo client.

use device::{Command, CommandState, Kind, Priority};
use integration_tests::{House, SOON, in_step, until};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_edits_of_three_replicas_meet_and_reach_the_tables_and_the_dashboards() {
    let house = House::start().await;
    let class = house.class().await;
    let (teacher, assistant) = (house.device(TEACHER, "phone"), house.device(ASSISTANT, "tablet"));
    let mut js = house.js_client(ASSISTANT).await;
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    assert_eq!(assistant.register(Kind::Attendance, &class.id).await.unwrap(), sheet);
    assert_eq!(assistant.register(Kind::Notes, &class.id).await.unwrap(), notes);
    teacher.splice_text(notes, "text", 0, 0, "Today: circles. ").unwrap();
    for document in [sheet, notes] {
        in_step(&[&teacher, &assistant], document).await;
        js.find(&document.to_string()).await.unwrap();
    }
    let cached = until("the teacher's dashboard to be cached", SOON, async || {
        let view = teacher.get("/api/teachers/dashboard").await.unwrap();
        view.is_hit().then_some(view)
    })
    .await;
    assert_eq!(cached.body["today"][0]["attendance"]["present"], 0);

    teacher.go_offline();
    assistant.go_offline();
    js.go_offline().await;
    let (sheet_id, notes_id) = (sheet.to_string(), notes.to_string());
    let [one, two, both] = [0, 1, 2].map(|at| class.students[at].as_str());
    teacher.mark_attendance(sheet, one, "present").unwrap();
    teacher.mark_attendance(sheet, both, "present").unwrap();
    assistant.mark_attendance(sheet, both, "late").unwrap();
    js.put(&sheet_id, &["marks", two], "absent".into()).await;
    let end = "Today: circles. ".len();
    teacher.splice_text(notes, "text", end, 0, "Tangents meet radii at right angles. ").unwrap();
    assistant.splice_text(notes, "text", end, 0, "Homework: exercise 7. ").unwrap();
    js.splice(&notes_id, "text", end, 0, "Bring a compass. ").await;

    teacher.go_online();
    assistant.go_online();
    js.go_online().await;
    for document in [sheet, notes] {
        until("all three replicas to be equal", SOON, async || {
            let heads = teacher.heads(document).unwrap();
            let mut texts: Vec<String> = heads.iter().map(ToString::to_string).collect();
            texts.sort_unstable();
            let equal =
                assistant.heads(document).unwrap() == heads && js.heads(&document.to_string()).await == texts;
            equal.then_some(())
        })
        .await;
        in_step(&[&teacher, &assistant], document).await;
    }
    let text = teacher.text(notes, "text").unwrap();
    for sentence in ["Tangents meet radii at right angles. ", "Homework: exercise 7. ", "Bring a compass. "] {
        assert_eq!(text.matches(sentence).count(), 1, "{text}");
    }
    let marks = teacher.marks(sheet).unwrap();
    assert_eq!((marks[one].as_str(), marks[two].as_str()), ("present", "absent"));
    let conflicts = teacher.conflicts(sheet).unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(
        (conflicts[0].student.as_str(), &conflicts[0].marks[..]),
        (both, &["late".into(), "present".into()][..])
    );
    assert_eq!(assistant.conflicts(sheet).unwrap(), conflicts);
    assert_eq!(js.conflicts(&sheet_id, &["marks", both]).await, ["late", "present"]);

    let shown_present = marks.values().filter(|mark| *mark == "present").count();
    let at_origin = house.sign_in(TEACHER).await.at(house.origin.url());
    until("the attendance rows at the origin", SOON, async || {
        let dashboard = at_origin.get("/api/teachers/dashboard").await.ok();
        let attendance = &dashboard["today"][0]["attendance"];
        (attendance["present"] == shown_present && attendance["absent"] == 1 && attendance["conflicts"] == 1)
            .then_some(())
    })
    .await;
    until("the edge's dashboard to show the new figures", SOON, async || {
        let view = teacher.get("/api/teachers/dashboard").await.unwrap();
        (view.body["today"][0]["attendance"]["present"] == shown_present).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grade_that_is_given_while_the_origin_is_stopped_is_there_once_after_it_starts() {
    let mut house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let waiting = |view: &serde_json::Value| view["to_grade"]["count"].as_u64().unwrap();
    let before = teacher.get("/api/teachers/dashboard").await.unwrap().body;
    let work = before["to_grade"]["submissions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|w| w["batch"] == *class.batch)
        .unwrap();
    let command = Command::GradeSubmission {
        assignment: work["assignment"].as_str().unwrap().to_owned(),
        student: work["student"].as_str().unwrap().to_owned(),
        score: 17.0,
        feedback: None,
    };

    house.origin.stop().await;
    let key = teacher.submit(&command, Priority::Normal).unwrap();
    assert_eq!(teacher.wait_until_sent(&key, SOON).await.unwrap(), CommandState::AtEdge);
    let stale = teacher.get("/api/teachers/dashboard").await.unwrap();
    assert!(stale.is_hit(), "{:?}", stale.cache_status);
    assert_eq!(waiting(&stale.body), waiting(&before));

    house.origin.start_again().await;
    let state = teacher.wait_until_settled(&key, SOON).await.unwrap();
    assert!(matches!(state, CommandState::Committed { bookmark: Some(_), .. }), "{state:?}");
    let after = teacher.get("/api/teachers/dashboard").await.unwrap();
    assert_eq!(waiting(&after.body), waiting(&before) - 1, "a device reads its own write, and it was one");
}
