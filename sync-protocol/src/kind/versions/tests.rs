//! Migrations merge to one, whoever makes them when.

use super::super::{attendance_marks, attendance_remarks};
use super::*;

const DOCUMENT: DocumentId = DocumentId::from_bytes([9; 16]);
const KINDS: [Kind; 5] = [Kind::Attendance, Kind::Notes, Kind::Doubt, Kind::Planner, Kind::Private];

/// A sheet of version 1 as a device of a time holds it that knew no other.
fn old_sheet(actor: u8) -> Automerge {
    let first = genesis(Kind::Attendance, DOCUMENT).unwrap();
    Automerge::load(&first).unwrap().with_actor(ActorId::from([actor]))
}

fn put(doc: &mut Automerge, field: &str, student: &str, text: &str) {
    let (_, map) = doc.get(ROOT, field).unwrap().unwrap();
    let mut tx = doc.transaction();
    tx.put(&map, student, text).unwrap();
    tx.commit();
}

/// What every replica must make, today and in years. Whoever changes these bytes takes all documents apart that have been
/// migrated.
#[test]
fn the_first_change_and_each_migration_are_these_very_changes() {
    let hashes = |kind| own_changes(kind, DOCUMENT).iter().map(|c| c.hash().to_string()).collect::<Vec<_>>();
    let pinned: [&[&str]; 5] = [
        &[
            "d888609bb092087f020f745bab985fbc700c126a1e77f6c01ca77541a43434a1",
            "2d5c6a242bebc2bb18af0121cf06507d6ce762f9259038002b6ef65ef99fcee9",
        ],
        &["19277689661854f79da62ea3b0cbbdbe5c446cf78872faba32c956aab6a4540f"],
        &["52acd2699062ed8faf6d46ddae49720a33377e7cb79e5c0512e2b80a211615e7"],
        &["89e9cc86f5cddaca089447387442c7e54aed34e27f1dfff8cc675d17266cba91"],
        &[],
    ];
    assert_eq!(KINDS.map(hashes), pinned);
}

#[test]
fn a_migration_depends_on_the_one_before_it_alone_and_only_adds() {
    for kind in KINDS {
        let own = own_changes(kind, DOCUMENT);
        assert_eq!(own.len() as u32, if kind == Kind::Private { 0 } else { kind.version() });
        for (pair, version) in own.windows(2).zip(2..) {
            assert_eq!(pair[1].deps(), [pair[0].hash()]);
            assert_eq!(*pair[1].actor_id(), migration_actor(DOCUMENT, version));
            assert_eq!(pair[1].timestamp(), 0);
            let before = Automerge::new().tap_apply(&own[..version as usize - 1]);
            let after = Automerge::new().tap_apply(&own[..version as usize]);
            for field in before.keys(ROOT).filter(|field| field != VERSION) {
                assert_eq!(before.get(ROOT, &field).unwrap(), after.get(ROOT, &field).unwrap(), "{field}");
            }
        }
    }
}

trait TapApply {
    fn tap_apply(self, changes: &[Change]) -> Self;
}

impl TapApply for Automerge {
    fn tap_apply(mut self, changes: &[Change]) -> Self {
        self.apply_changes(changes.to_vec()).unwrap();
        self
    }
}

#[test]
fn replicas_that_migrate_apart_beside_edits_of_old_ones_have_all_of_it() {
    let mut old = old_sheet(1);
    put(&mut old, "marks", "s1", "late");
    // One migrates before it edits, another in the midst of its work; neither has heard of anybody.
    let mut early = old_sheet(2);
    early.apply_changes(migrate(&early, Kind::Attendance, DOCUMENT)).unwrap();
    put(&mut early, "remarks", "s1", "the bus");
    let mut late = old_sheet(3);
    put(&mut late, "marks", "s2", "absent");
    late.apply_changes(migrate(&late, Kind::Attendance, DOCUMENT)).unwrap();
    put(&mut late, "remarks", "s2", "ill");
    put(&mut late, "marks", "s3", "present");
    put(&mut old, "marks", "s4", "excused");

    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut replicas = [old.fork(), early.fork(), late.fork()];
        let mut merged = old_sheet(9);
        for n in order {
            merged.merge(&mut replicas[n]).unwrap();
        }
        assert_eq!(version(&merged, DOCUMENT), Some(2));
        assert_eq!(merged.get_all(ROOT, "remarks").unwrap().len(), 1, "one map and not two");
        assert_eq!(merged.get_all(ROOT, VERSION).unwrap().len(), 1);
        let marks: Vec<String> = attendance_marks(&merged).into_keys().collect();
        assert_eq!(marks, ["s1", "s2", "s3", "s4"]);
        let remarks = attendance_remarks(&merged, DOCUMENT).into_iter();
        let remarks: Vec<_> = remarks.map(|(student, remark)| (student, remark.text)).collect();
        assert_eq!(remarks, [("s1".into(), "the bus".into()), ("s2".into(), "ill".into())]);
        assert!(migrate(&merged, Kind::Attendance, DOCUMENT).is_empty());
    }
}

#[test]
fn a_migration_that_comes_before_the_first_change_waits_for_it_and_twice_is_once() {
    let [first, second] = &own_changes(Kind::Attendance, DOCUMENT)[..] else { panic!("two versions") };
    let mut doc = Automerge::new();
    doc.apply_changes([second.clone()]).unwrap();
    assert_eq!(version(&doc, DOCUMENT), None);
    assert!(migrate(&doc, Kind::Attendance, DOCUMENT).is_empty(), "there is nothing to migrate yet");
    doc.apply_changes([first.clone(), second.clone()]).unwrap();
    doc.apply_changes([second.clone(), first.clone()]).unwrap();
    assert_eq!(version(&doc, DOCUMENT), Some(2));
    assert_eq!(doc.get_changes(&[]).len(), 2);
}

/// Somebody used the free name before there was such a version: what is shown is his, what is read is the kind's.
#[test]
fn what_somebody_has_put_where_a_later_version_puts_its_own_does_not_hide_it() {
    let mut squatted = old_sheet(1);
    let mut tx = squatted.transaction();
    for n in 0..9 {
        tx.put(ROOT, "remarks", n).unwrap();
    }
    tx.commit();
    squatted.apply_changes(migrate(&squatted, Kind::Attendance, DOCUMENT)).unwrap();
    let shown = squatted.get(ROOT, "remarks").unwrap().unwrap().0;
    assert!(!shown.is_object(), "the later operation is shown: {shown:?}");
    let remarks = container(&squatted, DOCUMENT, "remarks").unwrap();
    let mut tx = squatted.transaction();
    tx.put(&remarks, "s1", "the bus").unwrap();
    tx.commit();
    assert_eq!(attendance_remarks(&squatted, DOCUMENT)["s1"].text, "the bus");
}

#[test]
fn a_version_of_the_future_is_told_from_one_that_anybody_has_written() {
    let mut doc = old_sheet(1);
    let mut tx = doc.transaction();
    tx.put(ROOT, VERSION, 7).unwrap();
    tx.commit();
    assert_eq!(version(&doc, DOCUMENT), None, "written over, as was free in some kinds once");
    doc.apply_changes(migrate(&doc, Kind::Attendance, DOCUMENT)).unwrap();
    assert_eq!(version(&doc, DOCUMENT), Some(2));
    doc.set_actor(migration_actor(DOCUMENT, 3));
    let mut tx = doc.transaction();
    tx.put(ROOT, VERSION, 3).unwrap();
    tx.commit();
    assert_eq!(version(&doc, DOCUMENT), Some(3));
    assert!(migrate(&doc, Kind::Attendance, DOCUMENT).is_empty());
}

#[test]
fn actors_of_the_kinds_own_are_known_by_their_form() {
    let own = |bytes: &[u8]| is_own_actor(DOCUMENT, &ActorId::from(bytes));
    assert!(own(&[9; 16]));
    assert!(
        own(migration_actor(DOCUMENT, 2).to_bytes()) && own(migration_actor(DOCUMENT, u32::MAX).to_bytes())
    );
    assert!(!own(&[9; 15]) && !own(&[9; 17]) && !own(&[8; 16]) && !own(&[9; 21]));
    assert!(!own(&[&[9; 16][..], b"v"].concat()));
}

#[test]
fn empty_and_overlong_remarks_are_none() {
    let mut doc = old_sheet(1);
    doc.apply_changes(migrate(&doc, Kind::Attendance, DOCUMENT)).unwrap();
    put(&mut doc, "remarks", "s1", "");
    put(&mut doc, "remarks", "s2", &"x".repeat(super::super::MAX_REMARK_BYTES + 1));
    put(&mut doc, "remarks", "s3", &"x".repeat(super::super::MAX_REMARK_BYTES));
    assert_eq!(attendance_remarks(&doc, DOCUMENT).into_keys().collect::<Vec<_>>(), ["s3"]);
}
