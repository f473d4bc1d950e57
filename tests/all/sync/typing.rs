//! Two people type one text at the same time, through the edge.

use automerge::ChangeHash;
use automerge::transaction::Transactable as _;
use device::{Device, DocumentId, Kind};
use integration_tests::{EditingTrace, House, SOON, in_step, shared_data};
use tokio::sync::watch;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

/// The changes of the edits that have been typed.
type Typed = watch::Sender<Vec<Option<ChangeHash>>>;

/// Types what `agent` typed, each edit as soon as the device has the state that it was typed on.
async fn type_along(device: &Device, notes: DocumentId, agent: usize, trace: &EditingTrace, typed: &Typed) {
    let first = device.heads(notes).unwrap();
    let text = device.field(notes, "text").unwrap();
    let mut others = typed.subscribe();
    for (at, edit) in trace.edits.iter().enumerate().filter(|(_, edit)| edit.agent == agent) {
        let state = || {
            let typed = typed.borrow();
            let hashes: Option<Vec<ChangeHash>> = edit.parents.iter().map(|parent| typed[*parent]).collect();
            let hashes = hashes.map(|hashes| if hashes.is_empty() { first.clone() } else { hashes })?;
            let has = |doc: &automerge::Automerge| {
                hashes.iter().all(|hash| doc.get_change_meta_by_hash(hash).is_some())
            };
            device.read(notes, has).unwrap().then_some(hashes)
        };
        let heads = loop {
            others.borrow_and_update();
            // Either may come last: the word that the other has typed, or what was typed.
            let ready = tokio::select! {
                ready = device.wait_for("what the other typed", SOON, |_| state()) => Some(ready.unwrap()),
                _ = others.changed() => state(),
            };
            if let Some(heads) = ready {
                break heads;
            }
        };
        let made = device.edit_at(notes, &heads, |tx| {
            for patch in &edit.patches {
                tx.splice_text(&text, patch.0, patch.1 as isize, &patch.2)?;
            }
            Ok(())
        });
        let made = made.unwrap().expect("every edit of a trace changes something");
        typed.send_modify(|typed| typed[at] = Some(made));
    }
}

async fn two_devices_type(trace: &EditingTrace) {
    let house = House::start().await;
    let class = house.class().await;
    let (teacher, assistant) = (house.device(TEACHER, "phone"), house.device(ASSISTANT, "tablet"));
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    assert_eq!(assistant.register(Kind::Notes, &class.id).await.unwrap(), notes);
    let typed = watch::Sender::new(vec![None; trace.edits.len()]);
    tokio::join!(
        type_along(&teacher, notes, 0, trace, &typed),
        type_along(&assistant, notes, 1, trace, &typed),
    );
    in_step(&[&teacher, &assistant], notes).await;
    for device in [&teacher, &assistant] {
        assert_eq!(device.text(notes, "text").unwrap(), trace.end);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lines_typed_at_once_are_whole_on_both_devices() {
    two_devices_type(&EditingTrace::of_two_lines(20)).await;
}

/// 26,078 keystrokes of two friends, where the recording is at hand; else 2,000 that are made up.
///
/// On one thread, where what one person types in a row goes out together, as when people type no quicker than they can.
#[tokio::test]
async fn a_recorded_conversation_typed_on_two_devices_ends_as_it_was_recorded() {
    let trace = match shared_data("editing-traces/friendsforever.json.gz") {
        Some(file) => EditingTrace::read(&file),
        None => EditingTrace::of_two_lines(100),
    };
    two_devices_type(&trace).await;
}
