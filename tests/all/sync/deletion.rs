//! A document is deleted for everybody, whoever was away at the time.

use device::{Device, DocumentId, Event, Kind};
use integration_tests::{House, Person, SOON, in_step, until};
use serde_json::json;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const ADMIN: &str = "admin@northside.example";

async fn delete(admin: &Person, document: DocumentId) {
    let command = json!({"command": "delete-document", "document": document.to_string()});
    let answer = admin.commands(&format!("delete-{document}"), &command).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn gone(device: &Device, document: DocumentId) {
    until("the document to be gone from the device", SOON, async || {
        (!device.documents().unwrap().contains(&document)).then_some(())
    })
    .await;
}

/// One device is connected, one returns by WebSocket with edits of its own, one by the batch route, one at an edge that was cut
/// off. None brings it back, not even after everything has started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_returns_with_an_old_copy_does_not_revive_a_deleted_document() {
    let mut house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await.at(house.origin.url());
    let second = house.second_edge().await;
    let connected = house.device(TEACHER, "phone");
    let sheet = connected.register(Kind::Attendance, &class.id).await.unwrap();
    let away = house.device(ASSISTANT, "tablet");
    let waking = house.batch_device(TEACHER, "watch");
    let elsewhere = house.device_at(&second, ASSISTANT, "laptop");
    for device in [&away, &waking, &elsewhere] {
        device.register(Kind::Attendance, &class.id).await.unwrap();
    }
    connected.mark_attendance(sheet, &class.students[0], "late").unwrap();
    in_step(&[&connected, &away, &elsewhere], sheet).await;
    waking.sync_batch().await.unwrap();
    away.go_offline();
    away.mark_attendance(sheet, &class.students[1], "absent").unwrap();
    waking.mark_attendance(sheet, &class.students[2], "absent").unwrap();
    // The edge of the house hears of it late.
    house.link.cut();
    let mut events = elsewhere.events();
    delete(&admin, sheet).await;
    gone(&elsewhere, sheet).await;
    assert!(std::iter::from_fn(|| events.try_recv().ok()).any(|event| event == Event::Deleted(sheet)));
    connected.mark_attendance(sheet, &class.students[1], "present").unwrap();
    connected.wait_until_acknowledged(sheet, SOON).await.unwrap();
    house.link.mend();
    gone(&connected, sheet).await;

    away.go_online();
    gone(&away, sheet).await;
    let report = waking.sync_batch().await.unwrap();
    assert!(report.deleted.contains(&sheet), "{report:?}");
    gone(&waking, sheet).await;
    house.edge.kill9().await;
    house.origin.kill9().await;
    house.origin.start_again().await;
    house.edge.start_again().await;
    let stranger = house.device(ASSISTANT, "new phone");
    assert!(stranger.find(sheet, SOON).await.is_err());
    let page = admin.get("/admin/v1/quarantine").await.ok();
    assert_eq!(page["items"], json!([]), "nothing of it waits for anybody");
    // The class goes on with a new sheet.
    let next = connected.register(Kind::Attendance, &class.id).await.unwrap();
    assert_ne!(next, sheet);
    connected.mark_attendance(next, &class.students[0], "present").unwrap();
    connected.wait_until_committed(next, SOON).await.unwrap();
}
