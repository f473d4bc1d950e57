//! Rights that change while devices are connected.

use automerge::transaction::Transactable as _;
use device::{Device, Kind};
use integration_tests::{House, Person, SOON, in_step, until};
use serde_json::{Value, json};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const STUDENT: &str = "student@northside.example";
const ADMIN: &str = "admin@northside.example";
const GUARDIAN: &str = "guardian@northside.example";

async fn command(admin: &Person, key: &str, command: Value) {
    let posted = admin
        .request("POST".parse().unwrap(), "/commands")
        .header("idempotency-key", key)
        .body(command.to_string());
    let answer = admin.send(posted).await;
    assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
}

fn user_of(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let json = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap();
    serde_json::from_slice::<Value>(&json).unwrap()["sub"].as_str().unwrap().to_owned()
}

async fn writes(device: &Device, notes: device::DocumentId, text: &str) {
    device.splice_text(notes, "text", 0, 0, text).unwrap();
}

/// An assistant loses the batch while connected, goes on typing, and gets it back: nothing of it reached anybody
/// meanwhile, and all of it does afterwards, over the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_ends_while_the_session_is_open_and_returns_without_a_new_connection() {
    let house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await;
    let assistant_id = user_of(&house.sign_in(ASSISTANT).await.token);
    let teacher = house.device(TEACHER, "phone");
    let assistant = house.device(ASSISTANT, "tablet");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    assistant.register(Kind::Notes, &class.id).await.unwrap();
    writes(&teacher, notes, "Together. ").await;
    in_step(&[&teacher, &assistant], notes).await;

    let change = |name: &str| json!({"command": name, "teacher": assistant_id, "batch": class.batch});
    let commands = admin.at(house.origin.url());
    command(&commands, "unassign", change("unassign-teacher")).await;
    until("the assistant to be told", SOON, async || assistant.is_unavailable(notes).unwrap().then_some(()))
        .await;

    writes(&assistant, notes, "In secret. ").await;
    writes(&teacher, notes, "Alone. ").await;
    teacher.wait_until_acknowledged(notes, SOON).await.unwrap();
    assert_eq!(teacher.text(notes, "text").unwrap(), "Alone. Together. ");
    assert!(!assistant.text(notes, "text").unwrap().contains("Alone"));
    assert!(!assistant.acknowledged(notes).unwrap());

    command(&commands, "assign", change("assign-teacher")).await;
    in_step(&[&teacher, &assistant], notes).await;
    let text = teacher.text(notes, "text").unwrap();
    assert!(text.contains("In secret. ") && text.contains("Alone. "), "{text}");
}

/// The edge keeps the directory: what it knew counts while the origin is away, over a restart too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deactivated_user_is_shut_out_of_the_edge_even_when_it_restarts_without_the_origin() {
    let mut house = House::start().await;
    let admin = house.sign_in(ADMIN).await;
    let student = house.sign_in(STUDENT).await;
    let device = house.device(STUDENT, "phone");
    device.wait_until_connected(SOON).await.unwrap();
    assert_eq!(student.get("/api/students/dashboard").await.status, 200);

    let user = user_of(&student.token);
    command(&admin.at(house.origin.url()), "gone", json!({"command": "deactivate-user", "user": user})).await;
    until("the session to end", SOON, async || (!device.is_connected()).then_some(())).await;
    assert_eq!(student.get("/api/students/dashboard").await.problem(401), "user-deactivated");
    assert_eq!(student.get("/api/students/schedule").await.problem(401), "user-deactivated");

    house.origin.stop().await;
    house.edge.kill9().await;
    house.edge.start_again().await;
    assert_eq!(student.get("/api/students/dashboard").await.problem(401), "user-deactivated");
    assert!(!device.is_connected());
}

/// Over the WebSocket and over the batch route: the device learns which change was not taken and why, and the other
/// teacher's work goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_told_which_change_broke_the_rules_and_nobody_else_sees_it() {
    let house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    for (who, device) in
        [("phone-2", house.device(ASSISTANT, "phone-2")), ("batch", house.batch_device(ASSISTANT, "batch"))]
    {
        device.register(Kind::Attendance, &class.id).await.unwrap();
        let marks = device.field(sheet, "marks").unwrap();
        let before = device.heads(sheet).unwrap();
        device.edit(sheet, |tx| tx.put(&marks, &class.students[0], "asleep")).unwrap();
        let mut bad = device.heads(sheet).unwrap();
        bad.retain(|head| !before.contains(head));
        if who == "batch" {
            let report = device.sync_batch().await.unwrap();
            assert_eq!(report.refused.get(&sheet).map(String::as_str), Some("invalid-mark"));
        }
        let refused = until("the device to be told", SOON, async || {
            Some(device.refusals(sheet).unwrap()).filter(|refused| !refused.is_empty())
        })
        .await;
        let told: Vec<_> = refused.into_iter().collect();
        assert_eq!(told, [(bad[0], "invalid-mark".to_owned())], "{who}");
        assert!(!device.acknowledged(sheet).unwrap(), "{who}");
    }
    teacher.mark_attendance(sheet, &class.students[1], "late").unwrap();
    in_step(&[&teacher], sheet).await;
    assert_eq!(teacher.marks(sheet).unwrap().into_values().collect::<Vec<_>>(), ["late"]);
}

/// What is the students' the guardian's phone shows, and nothing that it writes gets any further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guardian_reads_at_an_edge_what_their_students_read_and_writes_nothing() {
    let house = House::start().await;
    let class = house.class().await;
    let guardian = house.sign_in(GUARDIAN).await;
    assert_eq!(guardian.claims()["role"], "guardian");
    let home = async || guardian.get("/api/guardians/dashboard").await;
    let wards = home().await.ok()["students"].as_array().unwrap().clone();
    assert_eq!(wards.len(), 2);
    until("the view to be kept", SOON, async || home().await.is_hit().then_some(())).await;
    for ward in &wards {
        let fees = format!("/api/students/fees?student={}", ward["student"].as_str().unwrap());
        assert_eq!(guardian.get(&fees).await.ok()["student"]["id"], ward["student"]);
    }
    let stranger =
        class.students.iter().find(|student| wards.iter().all(|ward| ward["student"] != **student));
    let stranger = format!("/api/students/fees?student={}", stranger.unwrap());
    for path in [&stranger, "/api/students/fees", "/api/teachers/dashboard", "/api/admin/fees"] {
        assert_eq!(guardian.get(path).await.problem(403), "forbidden", "{path}");
    }

    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    writes(&teacher, notes, "For all. ").await;
    teacher.wait_until_acknowledged(notes, SOON).await.unwrap();
    let phone = house.device(GUARDIAN, "family phone");
    assert_eq!(phone.register(Kind::Notes, &class.id).await.unwrap(), notes);
    in_step(&[&teacher, &phone], notes).await;
    writes(&phone, notes, "From home. ").await;
    let private = phone.create_private(|tx| tx.put(automerge::ROOT, "mine", 1)).unwrap();
    let refused = until("the phone to be told", SOON, async || {
        Some(phone.refusals(notes).unwrap()).filter(|refused| !refused.is_empty())
    })
    .await;
    assert_eq!(refused.into_values().collect::<Vec<_>>(), ["forbidden"]);
    until("the phone to be told", SOON, async || phone.is_unavailable(private).unwrap().then_some(())).await;
    assert_eq!(teacher.text(notes, "text").unwrap(), "For all. ");
    assert!(!phone.acknowledged(private).unwrap());
}
