//! The story that must hold, with three replicas: two of our devices and an unmodified automerge-repo client.

use device::{Command, CommandState, Device, DocumentId, Kind, Priority};
use integration_tests::{Class, House, JsClient, SOON, in_step, until};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const DASHBOARD: &str = "/api/teachers/dashboard";

/// The sheet and the notes of one class, open on three devices of two people.
struct Replicas {
    teacher: Device,
    assistant: Device,
    js: JsClient,
    sheet: DocumentId,
    notes: DocumentId,
}

impl Replicas {
    async fn open(house: &House, class: &Class) -> Self {
        let (teacher, assistant) = (house.device(TEACHER, "phone"), house.device(ASSISTANT, "tablet"));
        let mut js = house.js_client(ASSISTANT).await;
        let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
        let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
        assert_eq!(assistant.register(Kind::Attendance, &class.id).await.unwrap(), sheet);
        assert_eq!(assistant.register(Kind::Notes, &class.id).await.unwrap(), notes);
        for document in [sheet, notes] {
            in_step(&[&teacher, &assistant], document).await;
            js.find(&document.to_string()).await.unwrap();
        }
        let mut replicas = Self { teacher, assistant, js, sheet, notes };
        replicas.are_equal().await;
        replicas
    }

    async fn lose_the_network(&mut self) {
        self.teacher.go_offline();
        self.assistant.go_offline();
        self.js.go_offline().await;
    }

    async fn find_the_network(&mut self) {
        self.teacher.go_online();
        self.assistant.go_online();
        self.js.go_online().await;
    }

    async fn are_equal(&mut self) {
        for document in [self.sheet, self.notes] {
            let id = document.to_string();
            until("all three replicas to be equal", SOON, async || {
                let heads = self.teacher.heads(document).unwrap();
                let mut texts: Vec<String> = heads.iter().map(ToString::to_string).collect();
                texts.sort_unstable();
                let equal =
                    self.assistant.heads(document).unwrap() == heads && self.js.heads(&id).await == texts;
                equal.then_some(())
            })
            .await;
            in_step(&[&self.teacher, &self.assistant], document).await;
        }
    }

    /// The conflict on `student` is shown with both marks, on every replica.
    async fn show_the_conflict(&mut self, student: &str, marks: [&str; 2]) {
        let conflicts = self.teacher.conflicts(self.sheet).unwrap();
        assert_eq!(conflicts.len(), 1, "{conflicts:?}");
        assert_eq!(conflicts[0].student, student);
        assert_eq!(conflicts[0].marks, marks);
        assert_eq!(self.assistant.conflicts(self.sheet).unwrap(), conflicts);
        assert_eq!(self.js.conflicts(&self.sheet.to_string(), &["marks", student]).await, marks);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_edits_of_three_replicas_meet_and_reach_the_tables_and_the_dashboards() {
    edits_meet(House::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_edits_of_three_replicas_meet_and_reach_the_tables_of_postgres_too() {
    edits_meet(House::start_on_postgres().await).await;
}

async fn edits_meet(house: House) {
    let class = house.class().await;
    let mut replicas = Replicas::open(&house, &class).await;
    let cached = until("the teacher's dashboard to be cached", SOON, async || {
        let view = replicas.teacher.get(DASHBOARD).await.unwrap();
        view.is_hit().then_some(view)
    })
    .await;
    assert_eq!(cached.body["today"][0]["attendance"]["present"], 0);

    replicas.lose_the_network().await;
    let Replicas { teacher, assistant, js, sheet, notes } = &mut replicas;
    let (sheet, notes) = (*sheet, *notes);
    let [one, two, both] = [0, 1, 2].map(|at| class.students[at].as_str());
    teacher.mark_attendance(sheet, one, "present").unwrap();
    teacher.mark_attendance(sheet, both, "present").unwrap();
    assistant.mark_attendance(sheet, both, "late").unwrap();
    js.put(&sheet.to_string(), &["marks", two], "absent".into()).await;
    let sentences = ["Tangents meet radii at right angles. ", "Homework: exercise 7. ", "Bring a compass. "];
    teacher.splice_text(notes, "text", 0, 0, sentences[0]).unwrap();
    assistant.splice_text(notes, "text", 0, 0, sentences[1]).unwrap();
    js.splice(&notes.to_string(), "text", 0, 0, sentences[2]).await;

    replicas.find_the_network().await;
    replicas.are_equal().await;
    replicas.show_the_conflict(both, ["late", "present"]).await;
    let text = replicas.teacher.text(notes, "text").unwrap();
    assert!(sentences.iter().all(|sentence| text.matches(sentence).count() == 1), "{text}");
    let marks = replicas.teacher.marks(sheet).unwrap();
    assert_eq!((marks[one].as_str(), marks[two].as_str()), ("present", "absent"));

    let present = marks.values().filter(|mark| *mark == "present").count();
    let at_origin = house.sign_in(TEACHER).await.at(house.origin.url());
    until("the attendance rows at the origin", SOON, async || {
        let dashboard = at_origin.get(DASHBOARD).await.ok();
        let rows = &dashboard["today"][0]["attendance"];
        (rows["present"] == present && rows["absent"] == 1 && rows["conflicts"] == 1).then_some(())
    })
    .await;
    until("the edge's dashboard to show the new figures", SOON, async || {
        let view = replicas.teacher.get(DASHBOARD).await.unwrap();
        (view.body["today"][0]["attendance"]["present"] == present).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grade_that_is_given_while_the_origin_is_stopped_is_there_once_after_it_starts() {
    a_grade_waits(House::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grade_that_is_given_while_an_origin_on_postgres_is_stopped_is_there_once_after_it_starts() {
    a_grade_waits(House::start_on_postgres().await).await;
}

async fn a_grade_waits(mut house: House) {
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let waiting = |view: &serde_json::Value| view["to_grade"]["count"].as_u64().unwrap();
    let before = teacher.get(DASHBOARD).await.unwrap().body;
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
    let stale = teacher.get(DASHBOARD).await.unwrap();
    assert!(stale.is_hit(), "{:?}", stale.cache_status);
    assert_eq!(waiting(&stale.body), waiting(&before));

    house.origin.start_again().await;
    let state = teacher.wait_until_settled(&key, SOON).await.unwrap();
    assert!(matches!(state, CommandState::Committed { bookmark: Some(_), .. }), "{state:?}");
    let after = teacher.get(DASHBOARD).await.unwrap();
    assert_eq!(waiting(&after.body), waiting(&before) - 1, "a device reads its own write, and it was one");
}
