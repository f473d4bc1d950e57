//! `POST /sync/v1/batch`: a device that is awake for a few seconds.

use super::privacy::batch;
use automerge::Automerge;
use automerge::transaction::Transactable as _;
use device::{DocumentId, Kind};
use integration_tests::{House, SOON, in_step, until};
use sync_protocol::batch::Outcome;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_documents_are_in_step_after_at_most_three_requests() {
    let house = House::start().await;
    let class = house.class().await;
    let device = house.batch_device(TEACHER, "phone");
    let sheet = device.register(Kind::Attendance, &class.id).await.unwrap();
    device.register(Kind::Notes, &class.id).await.unwrap();
    let private: Vec<DocumentId> =
        (0..30).map(|n| device.create_private(|tx| tx.put(automerge::ROOT, "number", n)).unwrap()).collect();
    device.mark_attendance(sheet, &class.students[0], "late").unwrap();

    let report = device.sync_batch().await.unwrap();
    assert!(report.requests <= 3, "{report:?}");
    assert_eq!(report.in_step.len(), 32, "{report:?}");
    assert!(private.iter().all(|document| device.acknowledged(*document).unwrap()));
    assert!(device.acknowledged(sheet).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_by_batch_reaches_devices_on_the_websocket_and_the_other_way_round() {
    let house = House::start().await;
    let class = house.class().await;
    let assistant = house.device(ASSISTANT, "tablet");
    let teacher = house.batch_device(TEACHER, "phone");
    let sheet = assistant.register(Kind::Attendance, &class.id).await.unwrap();
    teacher.register(Kind::Attendance, &class.id).await.unwrap();
    in_step(&[&assistant], sheet).await;
    teacher.mark_attendance(sheet, &class.students[0], "present").unwrap();
    let report = teacher.sync_batch().await.unwrap();
    assert!(report.requests <= 3 && report.in_step.contains(&sheet), "{report:?}");
    until("the device on the WebSocket to see the mark", SOON, async || {
        assistant.marks(sheet).unwrap().contains_key(&class.students[0]).then_some(())
    })
    .await;
    assistant.mark_attendance(sheet, &class.students[1], "absent").unwrap();
    assistant.wait_until_acknowledged(sheet, SOON).await.unwrap();
    let report = teacher.sync_batch().await.unwrap();
    assert!(report.requests <= 3, "{report:?}");
    assert_eq!(teacher.marks(sheet).unwrap()[&class.students[1]], "absent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_names_the_documents_that_are_not_to_be_had_and_syncs_the_rest() {
    let house = House::start().await;
    let teacher = house.device(TEACHER, "phone");
    let secret = teacher.create_private(|tx| tx.put(automerge::ROOT, "diary", "mine")).unwrap();
    teacher.wait_until_acknowledged(secret, SOON).await.unwrap();
    let bytes = teacher.read(secret, Automerge::save).unwrap();

    let assistant = house.sign_in(ASSISTANT).await;
    let copy = Automerge::load(&bytes).unwrap();
    let (unknown, own) = (DocumentId::from_bytes([8; 16]), DocumentId::from_bytes([9; 16]));
    let answer = batch(&assistant, &[(secret, &copy), (unknown, &Automerge::new()), (own, &copy)]).await;
    let outcome = |document: DocumentId| {
        let result = answer.results.iter().find(|result| result.document == document);
        result.unwrap_or_else(|| panic!("no result for {document}: {answer:?}")).outcome.clone()
    };
    assert_eq!(outcome(secret), Outcome::Unavailable);
    assert_eq!(outcome(unknown), Outcome::Unavailable);
    assert!(matches!(outcome(own), Outcome::Synced(_)), "{:?}", outcome(own));
}
