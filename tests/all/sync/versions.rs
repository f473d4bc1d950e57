//! Documents of different versions of their kind between clients that know the versions and clients that do not.

use device::DocumentId;
use integration_tests::{House, Person, SOON, until};
use serde_json::json;
use sync_protocol::kind::Kind;
use sync_protocol::kind::versions::{migration_actor, own_changes};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

/// A sheet of the class as an origin of yesterday has made it: with its first change alone.
async fn old_sheet(house: &House, class: &str) -> DocumentId {
    // Past the edge, which has not heard of it.
    let teacher = Person::sign_in(house.origin.url(), TEACHER, "desk").await;
    let made = teacher.post("/api/documents", &json!({"kind": "attendance", "subject": class})).await.ok();
    let id = made["documentId"].as_str().unwrap().to_owned();
    let document: DocumentId = id.parse().unwrap();
    let first = own_changes(Kind::Attendance, document).remove(0).hash().to_string();
    let store = rusqlite::Connection::open(house.origin.folder().join("origin.sqlite")).unwrap();
    let forgotten = store.execute("DELETE FROM changes WHERE document = ?1 AND position = 2", [&id]).unwrap();
    let heads = json!([first]).to_string();
    let back = "UPDATE documents SET changes = 1, heads = ?2 WHERE document = ?1";
    assert_eq!((forgotten, store.execute(back, [&id, &heads]).unwrap()), (1, 1));
    document
}

/// An unmodified client with an old sheet, offline, and a device that makes it a new one, offline too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_js_client_that_knows_no_versions_and_a_device_that_does_write_one_sheet() {
    let house = House::start().await;
    let class = house.class().await;
    let [first, second, ..] = &class.students[..] else { panic!("a class has students") };
    let sheet = old_sheet(&house, &class.id).await;
    let id = sheet.to_string();
    let mut js = house.js_client(ASSISTANT).await;
    js.find(&id).await.unwrap();
    assert_eq!(js.read(&id).await, json!({"kind": "attendance", "version": 1, "marks": {}}));
    let device = house.device(TEACHER, "phone");
    until("the device to find the sheet", SOON, async || device.find(sheet, SOON).await.ok()).await;
    assert_eq!(device.version(sheet).unwrap(), Some(1));

    js.go_offline().await;
    device.go_offline();
    js.put(&id, &["marks", first], json!("late")).await;
    device.remark(sheet, first, "the bus").unwrap();
    device.mark_attendance(sheet, second, "absent").unwrap();
    js.go_online().await;
    device.go_online();
    let merged = json!({
        "kind": "attendance", "version": 2,
        "marks": {first: "late", second: "absent"}, "remarks": {first: "the bus"},
    });
    until("the JS client to have all of it", SOON, async || (js.read(&id).await == merged).then_some(()))
        .await;

    // It goes on in the new field, which it has found there.
    js.put(&id, &["remarks", second], json!("ill")).await;
    until("the device to have all of it", SOON, async || {
        let remarks: Vec<_> = device.remarks(sheet).unwrap().into_values().collect();
        (remarks.len() == 2 && device.marks(sheet).unwrap().len() == 2).then_some(())
    })
    .await;
    let teacher = house.sign_in(TEACHER).await;
    let roster = format!("/api/classes/{}/roster", class.id);
    until("the roster to have marks and remarks", SOON, async || {
        let roster = teacher.get(&roster).await.ok();
        let students = roster["students"].as_array().unwrap().iter();
        let noted = students.filter(|student| student["remark"].is_string());
        let mut noted: Vec<_> = noted.map(|s| (s["mark"].clone(), s["remark"].clone())).collect();
        noted.sort_by_key(|(mark, _)| mark.to_string());
        (noted == [(json!("absent"), json!("ill")), (json!("late"), json!("the bus"))]).then_some(())
    })
    .await;
}

/// The edge takes the first change of a sheet down at registration, and hears from the origin that there is more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_sheet_that_a_client_asks_for_by_its_subject_comes_as_a_new_one() {
    let house = House::start().await;
    let class = house.class().await;
    let sheet = old_sheet(&house, &class.id).await;
    let teacher = house.sign_in(TEACHER).await;
    let asked = json!({"kind": "attendance", "subject": class.id});
    let found = teacher.post("/api/documents", &asked).await.ok();
    assert_eq!(found["documentId"], sheet.to_string());
    let id = sheet.to_string();
    let mut js = house.js_client(ASSISTANT).await;
    js.find(&id).await.unwrap();
    let new = json!({"kind": "attendance", "version": 2, "marks": {}, "remarks": {}});
    until("the JS client to have a new sheet", SOON, async || (js.read(&id).await == new).then_some(()))
        .await;
}

/// What docs/sync.md says of a migration is enough to make it in another language.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_implementation_makes_the_same_migration() {
    let house = House::start().await;
    let class = house.class().await;
    let sheet = old_sheet(&house, &class.id).await;
    let mut js = house.js_client(ASSISTANT).await;
    js.find(&sheet.to_string()).await.unwrap();
    let actor = migration_actor(sheet, 2).to_hex_string();
    let made = js.migration(&sheet.to_string(), &actor).await;
    assert_eq!(made, own_changes(Kind::Attendance, sheet)[1].hash().to_string());
}
