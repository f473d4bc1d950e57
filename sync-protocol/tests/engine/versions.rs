//! Documents of other versions of their kind than the edge knows, and the changes that bring them there.

use super::*;
use sync_protocol::kind::versions::{
    UNKNOWN_VERSION, container, migrate, migration_actor, own_changes, version,
};
use sync_protocol::link::Document as Pulled;

/// An edge that knows versions of kinds up to this one.
fn edge_of(kind_version: u32) -> Edge {
    let limits = Limits { kind_version, ..Limits::default() };
    let engine = Engine::new("northside.example", limits, Position::default());
    Edge { engine, ..Edge::new() }
}

fn sheet(actor: u8) -> Automerge {
    let first = kind::genesis(Kind::Attendance, SHEET).unwrap();
    Automerge::load(&first).unwrap().with_actor(ActorId::from([actor]))
}

fn put(doc: &mut Automerge, field: &str, text: &str) -> Change {
    let before = doc.get_heads();
    let map = container(doc, SHEET, field).unwrap();
    let mut tx = doc.transaction();
    tx.put(&map, "s1", text).unwrap();
    tx.commit();
    doc.get_changes(&before).remove(0)
}

fn migrated(doc: &mut Automerge) -> Change {
    let [step] = &migrate(doc, Kind::Attendance, SHEET)[..] else { panic!("one version is missing") };
    doc.apply_changes([step.clone()]).unwrap();
    step.clone()
}

fn from_origin(changes: &[&Change]) -> Event {
    Event::Link(LinkMessage::Document(Pulled {
        institute: "northside.example".into(),
        document: SHEET,
        record: Some(stored_sheet().record),
        chunks: changes.iter().map(|change| change.raw_bytes().to_vec().into()).collect(),
        heads: changes.iter().map(|change| change.hash().into()).collect(),
        actors: Vec::new(),
        deleted: false,
    }))
}

fn refusals(sent: &[(SessionId, RepoMessage)]) -> Vec<(Hash, &str)> {
    let refused = sent.iter().filter_map(|(_, message)| match message {
        RepoMessage::Refused { hash, code, .. } => Some((*hash, code.as_str())),
        _ => None,
    });
    refused.collect()
}

/// Somebody new opens the sheet.
fn as_vera_gets_it(edge: &mut Edge) -> Automerge {
    edge.join(9, "vera", Role::Teacher, &["b1"]);
    let mut doc = Automerge::new();
    edge.talk(9, SHEET, &mut doc, &mut State::new());
    doc
}

#[test]
fn a_migration_is_anybodys_comes_in_any_order_and_binds_nobody() {
    let mut edge = edge_of(u32::MAX);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut taras, mut toms) = (sheet(1), sheet(2));
    let marked = put(&mut toms, "marks", "late");
    let step = migrated(&mut taras);
    assert_eq!(migrated(&mut toms), step);
    let remarks = [put(&mut taras, "remarks", "the bus"), put(&mut toms, "remarks", "the train")];
    // What depends on it first, and it twice, by both.
    edge.say(1, SHEET, carrying(&taras, &[remarks[0].clone(), step.clone(), step.clone()]));
    edge.say(2, SHEET, carrying(&toms, &[step.clone(), remarks[1].clone(), marked]));
    assert_eq!((edge.appended(), edge.quarantined()), (4, vec![]));
    let bound = edge.written.iter().filter(|effect| matches!(effect, Effect::SaveBinding { .. })).count();
    assert_eq!(bound, 2, "tara and tom, and nobody for the migration");
    let doc = as_vera_gets_it(&mut edge);
    assert_eq!((doc.get_changes(&[]).len(), version(&doc, SHEET)), (5, Some(2)));
    assert_eq!(kind::attendance_remarks(&doc, SHEET)["s1"].values.len(), 2);
}

/// Nothing of it is lost, and edits of what the edge does know go on.
#[test]
fn what_an_older_edge_does_not_know_waits_there_for_the_origin() {
    let mut edge = edge_of(1);
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut taras, mut toms) = (sheet(1), sheet(2));
    let step = migrated(&mut taras);
    let remark = put(&mut taras, "remarks", "the bus");
    let sent = edge.say(1, SHEET, carrying(&taras, &[step.clone(), remark.clone()]));
    assert_eq!(refusals(&sent), [(step.hash().into(), UNKNOWN_VERSION)]);
    let marked = put(&mut toms, "marks", "late");
    edge.say(2, SHEET, carrying(&toms, std::slice::from_ref(&marked)));
    assert_eq!((edge.appended(), edge.quarantined()), (1, vec![UNKNOWN_VERSION]));
    assert!(edge.written.contains(&Effect::ReadQuarantine), "the origin is to hear of it");

    let sent = edge.run([from_origin(&[&step])]);
    assert_eq!((refusals(&sent), edge.appended()), (vec![], 3));
    let doc = as_vera_gets_it(&mut edge);
    assert_eq!(version(&doc, SHEET), Some(2));
    for change in [&step, &remark, &marked] {
        assert!(doc.get_change_meta_by_hash(&change.hash()).is_some());
    }
}

#[test]
fn a_document_of_tomorrow_is_kept_passed_on_and_judged_by_what_is_known() {
    let mut edge = edge_of(u32::MAX);
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = sheet(1);
    doc.apply_changes(own_changes(Kind::Attendance, SHEET)).unwrap();
    let mut tomorrow = doc.fork().with_actor(migration_actor(SHEET, 3));
    let mut tx = tomorrow.transaction();
    tx.put(ROOT, "version", 3).unwrap();
    tx.put(ROOT, "of tomorrow", "unheard of").unwrap();
    tx.commit();
    let [_, second, third] = &tomorrow.get_changes(&[])[..] else { panic!("three versions") };
    let sent = edge.say(1, SHEET, carrying(&tomorrow, &[second.clone(), third.clone()]));
    assert_eq!(refusals(&sent), [(third.hash().into(), UNKNOWN_VERSION)]);

    edge.run([from_origin(&[second, third])]);
    edge.talk(1, SHEET, &mut doc, &mut State::new());
    assert_eq!(version(&doc, SHEET), Some(3));
    assert_eq!(doc.get(ROOT, "of tomorrow").unwrap().unwrap().0.as_str(), Some("unheard of"));
    let good = put(&mut doc, "marks", "late");
    let sent = edge.say(1, SHEET, carrying(&doc, &[good]));
    assert_eq!(refusals(&sent), []);
    let bad = put(&mut doc, "remarks", &"x".repeat(501));
    let sent = edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&bad)));
    assert_eq!(refusals(&sent), [(bad.hash().into(), "invalid-remark")]);
}
