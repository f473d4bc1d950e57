//! A document that is full, from an unmodified client that fills it to the devices that hear so.

use automerge::transaction::Transactable as _;
use automerge::{ROOT, ReadDoc as _};
use device::{Kind, Receipt};
use integration_tests::{House, SOON, SamodClient, in_step, until};
use samod::DocHandle;
use serde_json::json;
use sync_protocol::document_limits::{ATTENDANCE_BYTES, DOCUMENT_FULL, MAX_CHANGE_BYTES};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const ADMIN: &str = "admin@northside.example";

/// Writes so many bytes beside the marks.
fn remark(handle: &DocHandle, bytes: u64) {
    let text = "x".repeat(usize::try_from(bytes).unwrap());
    handle.with_document(|doc| {
        doc.transact(|tx| tx.put(ROOT, "remark", text.as_str())).expect("a document can be changed");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_sheet_refuses_an_unmodified_client_and_tells_a_device_why() {
    let house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await.at(house.origin.url());
    let device = house.device(ASSISTANT, "tablet");
    let sheet = device.register(Kind::Attendance, &class.id).await.unwrap();
    let notes = device.register(Kind::Notes, &class.id).await.unwrap();
    let client = SamodClient::start(&house, TEACHER).await;
    let handle =
        until("the client to find the sheet", SOON, async || client.find(&sheet.to_string()).await).await;
    remark(&handle, ATTENDANCE_BYTES - 1_000);
    let filled = handle.with_document(|doc| doc.get_heads());
    until("the device to have the full sheet", SOON, async || {
        (device.heads(sheet).unwrap() == filled).then_some(())
    })
    .await;

    remark(&handle, 2_000);
    let quarantined = until("the admin to see that it was refused", SOON, async || {
        let page = admin.get("/admin/v1/quarantine").await.ok();
        page["items"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!((&quarantined["code"], &quarantined["device"]), (&json!(DOCUMENT_FULL), &json!("samod")));
    assert_eq!(device.heads(sheet).unwrap(), filled, "nobody else has it");

    // Marks are small, and there is room for some.
    let mut marked = 0;
    let told = until("a mark to be refused", SOON, async || {
        let student = &class.students[marked % class.students.len()];
        let value = ["present", "absent", "late", "excused"][(marked / class.students.len()) % 4];
        marked += 1;
        device.mark_attendance(sheet, student, value).unwrap();
        let change = device.heads(sheet).unwrap()[0];
        until("the device to hear of its mark", SOON, async || {
            device.receipt(sheet, change).unwrap().filter(|receipt| *receipt != Receipt::Local)
        })
        .await;
        device.receipt(sheet, change).unwrap().filter(|receipt| matches!(receipt, Receipt::Refused(_)))
    })
    .await;
    assert_eq!(told, Receipt::Refused(DOCUMENT_FULL.into()));
    assert!(marked > 1, "the first one still had room");
    device.splice_text(notes, "text", 0, 0, "On with it.").unwrap();
    let reader = house.device(TEACHER, "phone");
    reader.find(notes, SOON).await.unwrap();
    in_step(&[&device, &reader], notes).await;
    assert_eq!(reader.text(notes, "text").unwrap(), "On with it.");
    assert!(
        handle.with_document(|doc| doc.get(ROOT, "remark").unwrap().is_some()),
        "and the client reads on"
    );
}

/// Bytes that no compression makes less.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

/// Larger than a row of the edge's log and than a message of the link, and so many changes that a snapshot is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_tens_of_megabytes_comes_to_another_edge_and_outlives_a_restart() {
    const PARTS: u64 = 6;
    let mut house = House::start().await;
    let device = house.device(TEACHER, "phone");
    let part = |n: u64| noise(MAX_CHANGE_BYTES / 8 * 6, n);
    let document = device.create_private(|tx| tx.put(ROOT, "part 0", part(0))).unwrap();
    for n in 1..PARTS {
        device.edit(document, |tx| tx.put(ROOT, format!("part {n}"), part(n))).unwrap();
        device.wait_until_acknowledged(document, SOON).await.unwrap();
    }
    for n in 0..300 {
        device.edit(document, |tx| tx.put(ROOT, "n", n)).unwrap();
    }
    device.wait_until_acknowledged(document, SOON).await.unwrap();
    let other_edge = house.second_edge().await;
    let other = house.device_at(&other_edge, TEACHER, "tablet");
    device.wait_until_committed(document, SOON).await.unwrap();
    other.find(document, SOON).await.unwrap();
    in_step(&[&device, &other], document).await;

    house.edge.stop().await;
    house.edge.start_again().await;
    let third = house.device(TEACHER, "laptop");
    third.find(document, SOON).await.unwrap();
    in_step(&[&device, &third], document).await;
    let has = |n: u64| third.read(document, |doc| doc.get(ROOT, format!("part {n}")).unwrap().is_some());
    assert!((0..PARTS).all(|n| has(n).unwrap()));
    third.edit(document, |tx| tx.put(ROOT, "n", "the last")).unwrap();
    in_step(&[&device, &third, &other], document).await;
}
