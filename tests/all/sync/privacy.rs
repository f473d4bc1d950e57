//! Nobody sees or changes a document that is not theirs.

use automerge::Automerge;
use automerge::sync::{State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use device::{DeviceError, DocumentId, Kind};
use integration_tests::{House, Person, SOON, in_step, until};
use sync_protocol::batch::{BatchMessage, BatchRequest, BatchResponse, CONTENT_TYPE, Priority};

const TEACHER: &str = "teacher@northside.example";
const STUDENT: &str = "student@northside.example";
const ELSEWHERE: &str = "teacher@riverside.example";

/// Sends the first sync message of each document in one batch.
pub(super) async fn batch(person: &Person, documents: &[(DocumentId, &Automerge)]) -> BatchResponse {
    let messages = documents.iter().map(|(document, doc)| {
        let message = doc.generate_sync_message(&mut State::new()).unwrap();
        BatchMessage { document: *document, priority: Priority::Normal, data: message.encode().into() }
    });
    let request = BatchRequest { messages: messages.collect() };
    let posted = person
        .request("POST".parse().unwrap(), "/sync/v1/batch")
        .header("content-type", CONTENT_TYPE)
        .body(request.encode());
    let answer = person.send(posted).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    BatchResponse::decode(&answer.body).unwrap()
}

async fn is_unavailable(device: &device::Device, document: DocumentId) {
    let found = device.find(document, SOON).await;
    assert!(matches!(found, Err(DeviceError::Unavailable(_))), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_document_is_unavailable_to_a_colleague_and_to_another_institute() {
    let house = House::start().await;
    let teacher = house.device(TEACHER, "phone");
    let diary = teacher.create_private(|tx| tx.put(automerge::ROOT, "diary", "mine")).unwrap();
    teacher.wait_until_acknowledged(diary, SOON).await.unwrap();
    is_unavailable(&house.device("assistant@northside.example", "tablet"), diary).await;
    is_unavailable(&house.device(ELSEWHERE, "phone"), diary).await;
    // The answer is the same for a document that there is not.
    is_unavailable(&house.device(STUDENT, "phone"), DocumentId::from_bytes([4; 16])).await;
    let second = house.device(TEACHER, "laptop");
    second.find(diary, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attendance_sheet_is_unavailable_to_students_and_to_another_institute() {
    let house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    teacher.mark_attendance(sheet, &class.students[0], "absent").unwrap();
    teacher.wait_until_acknowledged(sheet, SOON).await.unwrap();
    is_unavailable(&house.device(STUDENT, "phone"), sheet).await;
    is_unavailable(&house.device(ELSEWHERE, "phone"), sheet).await;
    for who in [STUDENT, ELSEWHERE] {
        let person = house.sign_in(who).await;
        let body = serde_json::json!({"kind": "attendance", "subject": class.id});
        let answer = person.post("/api/documents", &body).await;
        // The classes of both institutes have the same ids: elsewhere it is another sheet.
        match answer.status {
            200 => assert_ne!(answer.json()["documentId"], sheet.to_string(), "{who}"),
            status => assert!(matches!(status, 403 | 404), "{who}: {}", answer.text()),
        }
    }
}

/// A student reads the notes; what the student writes into them goes nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_the_notes_and_cannot_change_them() {
    let house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let student = house.device(STUDENT, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    teacher.splice_text(notes, "text", 0, 0, "For all to read.").unwrap();
    in_step(&[&teacher], notes).await;
    student.find(notes, SOON).await.unwrap();
    until("the student to read the notes", SOON, async || {
        (student.text(notes, "text").ok()? == "For all to read.").then_some(())
    })
    .await;
    student.splice_text(notes, "text", 0, 0, "Scribble! ").unwrap();
    // The teacher's next edit passes the scribble on its way through the same engine.
    teacher.splice_text(notes, "text", 16, 0, " And to keep.").unwrap();
    until("the teacher's edit to reach the student", SOON, async || {
        student.text(notes, "text").unwrap().contains("And to keep.").then_some(())
    })
    .await;
    in_step(&[&teacher], notes).await;
    assert_eq!(teacher.text(notes, "text").unwrap(), "For all to read. And to keep.");
    assert!(!student.acknowledged(notes).unwrap());
}
