//! Devices over the WebSocket against an Automerge peer in this process.

use crate::error::DeviceError;
use crate::test_edge::TestEdge;
use crate::{Device, Event, Priority};
use automerge::transaction::{Transactable as _, Transaction};
use automerge::{Automerge, AutomergeError, ROOT};
use std::time::Duration;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::Kind;
use tempfile::tempdir;

const SOON: Duration = Duration::from_secs(10);

fn title(tx: &mut Transaction<'_>) -> Result<(), AutomergeError> {
    tx.put(ROOT, "title", "plan")
}

async fn in_step(one: &Device, two: &Device, document: DocumentId) {
    for device in [one, two] {
        device.wait_until_acknowledged(document, SOON).await.unwrap();
    }
    let equal = |_: &Device| (one.heads(document).unwrap() == two.heads(document).unwrap()).then_some(());
    // What arrives at the one device may be all that the other has waited for.
    tokio::select! {
        equal = one.wait_for("both devices to be equal", SOON, equal) => equal.unwrap(),
        equal = two.wait_for("both devices to be equal", SOON, equal) => equal.unwrap(),
    }
}

#[tokio::test]
async fn offline_edits_of_two_devices_meet_and_the_conflict_is_told() {
    let edge = TestEdge::start().await;
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let (one, two) = (edge.device(&one, "one").open(), edge.device(&two, "two").open());
    let sheet = one.register(Kind::Attendance, "c1").await.unwrap();
    assert_eq!(two.register(Kind::Attendance, "c1").await.unwrap(), sheet);
    in_step(&one, &two, sheet).await;

    one.go_offline();
    two.go_offline();
    one.mark_attendance(sheet, "s1", "present").unwrap();
    one.mark_attendance(sheet, "s3", "late").unwrap();
    two.mark_attendance(sheet, "s2", "absent").unwrap();
    two.mark_attendance(sheet, "s3", "excused").unwrap();
    assert!(!one.acknowledged(sheet).unwrap());
    one.go_online();
    two.go_online();
    in_step(&one, &two, sheet).await;

    assert_eq!(one.marks(sheet).unwrap(), two.marks(sheet).unwrap());
    assert_eq!(one.marks(sheet).unwrap().len(), 3);
    let conflicts = one.conflicts(sheet).unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].marks, ["excused", "late"]);
    assert_eq!(conflicts, two.conflicts(sheet).unwrap());
}

/// The edge has a sheet of version 1. Each device makes it one of version 2, and it is one.
#[tokio::test]
async fn devices_that_bring_an_old_sheet_up_to_date_apart_have_one_sheet() {
    let edge = TestEdge::start().await;
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let (one, two) = (edge.device(&one, "one").open(), edge.device(&two, "two").open());
    let sheet = one.register(Kind::Attendance, "c1").await.unwrap();
    assert_eq!(two.register(Kind::Attendance, "c1").await.unwrap(), sheet);
    in_step(&one, &two, sheet).await;
    assert_eq!(one.version(sheet).unwrap(), Some(1));

    one.go_offline();
    two.go_offline();
    one.remark(sheet, "s1", "the bus").unwrap();
    one.mark_attendance(sheet, "s1", "late").unwrap();
    two.mark_attendance(sheet, "s2", "absent").unwrap();
    two.remark(sheet, "s2", "ill").unwrap();
    two.remark(sheet, "s3", "?").unwrap();
    two.remark(sheet, "s3", "").unwrap();
    let long = "x".repeat(501);
    assert!(matches!(two.remark(sheet, "s3", &long), Err(DeviceError::LongRemark(501))));
    one.go_online();
    two.go_online();
    in_step(&one, &two, sheet).await;
    for device in [&one, &two] {
        assert_eq!(device.version(sheet).unwrap(), Some(2));
        let remarks: Vec<_> = device.remarks(sheet).unwrap().into_iter().collect();
        assert_eq!(remarks, [("s1".into(), "the bus".into()), ("s2".into(), "ill".into())]);
        assert_eq!(device.marks(sheet).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_edit_before_a_crash_reaches_the_edge_after_it_under_the_same_actor() {
    let edge = TestEdge::start().await;
    let (folder, copy) = (tempdir().unwrap(), tempdir().unwrap());
    let device = edge.device(&folder, "one").open();
    let notes = device.register(Kind::Notes, "c1").await.unwrap();
    device.go_offline();
    device.splice_text(notes, "text", 0, 0, "Day one. ").unwrap();
    // What the disk holds at this moment is what a killed process leaves.
    for file in ["device.db", "device.db-wal"] {
        std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let actor = device.read(notes, |doc| doc.get_actor().clone()).unwrap();
    drop(device);

    let device = edge.device(&copy, "one").open();
    assert_eq!(device.register(Kind::Notes, "c1").await.unwrap(), notes);
    assert_eq!(device.text(notes, "text").unwrap(), "Day one. ");
    assert_eq!(device.read(notes, |doc| doc.get_actor().clone()).unwrap(), actor);
    device.splice_text(notes, "text", 9, 0, "Day two.").unwrap();
    device.wait_until_acknowledged(notes, SOON).await.unwrap();
    let at_edge = edge.document(notes).unwrap();
    assert_eq!(at_edge.get_heads(), device.heads(notes).unwrap());
}

#[tokio::test]
async fn many_edits_are_folded_into_snapshots_and_all_come_back() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").open();
    let notes = device.register(Kind::Notes, "c1").await.unwrap();
    device.go_offline();
    for _ in 0..600 {
        device.splice_text(notes, "text", 0, 0, "x").unwrap();
    }
    let heads = device.heads(notes).unwrap();
    device.close().await;
    let device = edge.device(&folder, "one").offline().open();
    assert_eq!(device.heads(notes).unwrap(), heads);
    assert_eq!(device.text(notes, "text").unwrap(), "x".repeat(600));
}

#[tokio::test]
async fn a_device_finds_a_document_by_its_id_and_is_told_of_later_changes() {
    let edge = TestEdge::start().await;
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let (one, two) = (edge.device(&one, "one").open(), edge.device(&two, "two").open());
    let plan = one.create_private(title).unwrap();
    one.wait_until_acknowledged(plan, SOON).await.unwrap();
    two.find(plan, SOON).await.unwrap();
    assert_eq!(two.heads(plan).unwrap(), one.heads(plan).unwrap());
    let mut events = two.events();
    one.edit(plan, |tx| tx.put(ROOT, "title", "a better plan")).unwrap();
    in_step(&one, &two, plan).await;
    let told = std::iter::from_fn(|| events.try_recv().ok()).any(|event| event == Event::RemoteChange(plan));
    assert!(told);
}

#[tokio::test]
async fn an_unknown_document_is_unavailable_until_it_turns_up() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").open();
    let unknown = DocumentId::from_bytes([9; 16]);
    assert!(matches!(device.find(unknown, SOON).await, Err(DeviceError::Unavailable(_))));
    assert_eq!(device.documents().unwrap(), []);
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    tx.put(ROOT, "title", "late").unwrap();
    tx.commit();
    edge.put_document(unknown, doc);
    device.find(unknown, SOON).await.unwrap();
    assert_eq!(device.documents().unwrap(), [unknown]);
}

#[tokio::test]
async fn an_edge_that_lost_a_document_gets_it_again() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").open();
    let notes = device.register(Kind::Notes, "c1").await.unwrap();
    device.splice_text(notes, "text", 0, 0, "kept here").unwrap();
    device.wait_until_acknowledged(notes, SOON).await.unwrap();
    edge.forget_document(notes);
    let heads = device.heads(notes).unwrap();
    let back = |_: &Device| (edge.document(notes)?.get_heads() == heads).then_some(());
    device.wait_for("the edge to have the document again", SOON, back).await.unwrap();
    device.wait_until_acknowledged(notes, SOON).await.unwrap();
}

#[tokio::test]
async fn documents_of_high_priority_are_opened_first() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").offline().open();
    let documents: Vec<DocumentId> = (0..40).map(|_| device.create_private(title).unwrap()).collect();
    device.set_priority(documents[17], Priority::High).unwrap();
    device.set_priority(documents[5], Priority::Low).unwrap();
    device.go_online();
    for document in &documents {
        device.wait_until_acknowledged(*document, SOON).await.unwrap();
    }
    let opened = edge.opened();
    assert_eq!(opened.len(), 40);
    assert_eq!((opened[0], opened[39]), (documents[17], documents[5]));
}

#[tokio::test]
async fn a_revoked_token_is_refreshed_and_an_ended_session_is_signed_in_again() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").open();
    device.register(Kind::Notes, "c1").await.unwrap();
    assert_eq!(edge.logins(), 1);
    edge.revoke_access_tokens();
    device.register(Kind::Notes, "c2").await.unwrap();
    assert_eq!(edge.logins(), 1, "the refresh token does");
    edge.end_sessions();
    device.register(Kind::Notes, "c3").await.unwrap();
    assert_eq!(edge.logins(), 2);
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_a_wrong_password_is_told() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").open();
    device.wait_until_connected(SOON).await.unwrap();
    device.close().await;
    let device = edge.device(&folder, "one").open();
    device.wait_until_connected(SOON).await.unwrap();
    assert_eq!(edge.logins(), 1);
    device.go_offline();
    assert!(matches!(device.register(Kind::Notes, "c9").await, Err(DeviceError::Offline)));

    let stranger = tempdir().unwrap();
    let mut config = device.inner.config.clone();
    config.password = "guess".into();
    config.online = true;
    let stranger = Device::open(&stranger.path().join("device.db"), config).unwrap();
    let refused = stranger.register(Kind::Notes, "c1").await.unwrap_err();
    assert!(
        matches!(&refused, DeviceError::Refused(problem) if problem.code == "wrong-credentials"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_edit_of_an_older_state_is_merged_with_what_came_since() {
    let edge = TestEdge::start().await;
    let folder = tempdir().unwrap();
    let device = edge.device(&folder, "one").offline().open();
    let list = device.create_private(title).unwrap();
    let early = device.heads(list).unwrap();
    device.edit(list, |tx| tx.put(ROOT, "a", 1)).unwrap();
    device.edit_at(list, &early, |tx| tx.put(ROOT, "b", 2)).unwrap();
    assert_eq!(device.heads(list).unwrap().len(), 2);
    let unknown = [automerge::ChangeHash([1; 32])];
    assert!(device.edit_at(list, &unknown, |tx| tx.put(ROOT, "c", 3)).is_err());
}
