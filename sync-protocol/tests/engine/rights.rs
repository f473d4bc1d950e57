//! Rights follow the directory that the link brings, whatever the token says, and a change of them takes effect at once.

use super::*;
use sync_protocol::link::{DirectoryPage, Document as Pulled, Feed, Following, LinkMessage, Pushed, Refused};
use sync_protocol::revocation::Revocation;

const INSTITUTE: &str = "northside.example";

fn entry(user: &str, role: Role, batches: &[&str]) -> DirectoryEntry {
    DirectoryEntry {
        user: user.into(),
        role,
        active: true,
        batches: batches.iter().map(|batch| (*batch).to_owned()).collect(),
        guardian_of: Vec::new(),
        revocation: Revocation::default(),
    }
}

fn page(page: u32, last: bool, entries: &[DirectoryEntry]) -> Event {
    Event::Link(LinkMessage::Directory(DirectoryPage {
        institute: INSTITUTE.into(),
        page,
        last,
        entries: entries.to_vec(),
    }))
}

fn feed(revision: u64, members: &[DirectoryEntry]) -> Event {
    let (institute, members) = (INSTITUTE.into(), members.to_vec());
    Event::Link(LinkMessage::Feed(Feed { institute, revision, tags: vec![], documents: vec![], members }))
}

/// An edge that follows the institute and has its directory.
fn edge_with(entries: &[DirectoryEntry]) -> Edge {
    let mut edge = Edge::new();
    let following = Following { reset: true, ..following() };
    edge.run([Event::LinkUp, Event::Link(LinkMessage::Following(following)), page(0, true, entries)]);
    edge
}

fn is_unavailable(sent: &[(SessionId, RepoMessage)], to: SessionId) -> bool {
    matches!(sent, [(session, RepoMessage::Unavailable { document, .. })] if *session == to && *document == NOTES)
}

fn is_refused_and_unavailable(sent: &[(SessionId, RepoMessage)], to: SessionId) -> bool {
    let [(session, RepoMessage::Refused { code, .. }), rest @ ..] = sent else { return false };
    *session == to && code == "forbidden" && is_unavailable(rest, to)
}

#[test]
fn the_directory_counts_and_not_the_token() {
    let mut edge = edge_with(&[entry("tara", Role::Teacher, &[]), entry("tom", Role::Teacher, &["b1"])]);
    edge.join(1, "tara", Role::Admin, &["b1"]);
    assert!(is_unavailable(&edge.say(1, NOTES, first_message(&notes(1))), 1));
    edge.join(2, "tom", Role::Student, &[]);
    let (mut doc, mut state) = (notes(2), State::new());
    write(&mut doc, "a", "1");
    edge.talk(2, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 1);
}

#[test]
fn a_right_that_is_taken_away_ends_the_reading_and_the_writing_of_an_open_session() {
    let all = [entry("tara", Role::Teacher, &["b1"]), entry("tom", Role::Teacher, &["b1"])];
    let mut edge = edge_with(&all);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut taras, mut state) = (notes(1), State::new());
    let (mut toms, mut toms_state) = (notes(2), State::new());
    edge.talk(1, NOTES, &mut taras, &mut state);
    edge.talk(2, NOTES, &mut toms, &mut toms_state);

    let sent = edge.run([feed(1, &[entry("tara", Role::Teacher, &["b2"])])]);
    assert!(is_unavailable(&sent, 1), "{sent:?}");
    // What others write does not reach her.
    write(&mut toms, "a", "1");
    let sent = edge.say(2, NOTES, toms.generate_sync_message(&mut toms_state).unwrap().encode());
    assert!(!sent.is_empty() && sent.iter().all(|(session, _)| *session == 2), "{sent:?}");
    // What she writes is not taken.
    write(&mut taras, "b", "2");
    let message = taras.generate_sync_message(&mut state).unwrap();
    let appended = edge.appended();
    let sent = edge.say(1, NOTES, message.encode());
    assert!(is_refused_and_unavailable(&sent, 1), "{sent:?}");
    assert_eq!((edge.appended(), edge.quarantined()), (appended, vec!["forbidden"]));
}

#[test]
fn a_right_that_appears_starts_the_sync_without_a_new_connection_and_nothing_is_lost() {
    let mut edge = edge_with(&[entry("tara", Role::Teacher, &[])]);
    edge.join(1, "tara", Role::Teacher, &[]);
    let (mut doc, mut state) = (notes(1), State::new());
    write(&mut doc, "a", "1");
    // Asked for, so that the device learns that it is refused; the device takes it for sent.
    let first = doc.generate_sync_message(&mut state).unwrap().encode();
    let sent = edge.say(1, NOTES, first);
    let [(1, RepoMessage::Sync { data, .. }), (1, RepoMessage::Unavailable { .. })] = &sent[..] else {
        panic!("{sent:?}")
    };
    let question = Message::decode(data).unwrap();
    assert!(question.heads.is_empty() && question.changes.is_empty(), "nothing of the document is told");
    doc.receive_sync_message(&mut state, question).unwrap();
    let answer = doc.generate_sync_message(&mut state).unwrap().encode();
    let sent = edge.say(1, NOTES, answer);
    assert!(is_refused_and_unavailable(&sent, 1), "{sent:?}");

    let sent = edge.run([feed(1, &[entry("tara", Role::Teacher, &["b1"])])]);
    let [(1, RepoMessage::Sync { data, .. })] = &sent[..] else { panic!("{sent:?}") };
    doc.receive_sync_message(&mut state, Message::decode(data).unwrap()).unwrap();
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 1);
}

/// The edge asks for all that the device has by a message without heads, and gets what it has already. The device was not told
/// again what the edge has, until one of them had something else to say: it waited for the acknowledgement.
#[test]
fn a_device_whose_right_appears_is_told_that_the_edge_has_what_it_brings() {
    let mut edge = edge_with(&[entry("tara", Role::Teacher, &[])]);
    edge.join(1, "tara", Role::Teacher, &[]);
    let (mut doc, mut state) = (notes(1), State::new());
    let first = doc.generate_sync_message(&mut state).unwrap().encode();
    assert!(is_unavailable(&edge.say(1, NOTES, first), 1));

    let sent = edge.run([feed(1, &[entry("tara", Role::Teacher, &["b1"])])]);
    let [(1, RepoMessage::Sync { data, .. })] = &sent[..] else { panic!("{sent:?}") };
    let question = Message::decode(data).unwrap();
    assert!(question.heads.is_empty(), "it asks for everything");
    doc.receive_sync_message(&mut state, question).unwrap();
    let everything = doc.generate_sync_message(&mut state).unwrap().encode();
    let sent = edge.say(1, NOTES, everything);
    let [(1, RepoMessage::Sync { data, .. })] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(Message::decode(data).unwrap().heads, doc.get_heads());
    edge.talk(1, NOTES, &mut doc, &mut state);
}

#[test]
fn a_reader_who_becomes_a_writer_is_asked_for_what_was_passed_over() {
    let mut edge = edge_with(&[entry("sam", Role::Student, &["b1"])]);
    edge.join(1, "sam", Role::Student, &["b1"]);
    let (mut doc, mut state) = (notes(1), State::new());
    write(&mut doc, "a", "1");
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 0);
    let sent = edge.run([feed(1, &[entry("sam", Role::Teacher, &["b1"])])]);
    let [(1, RepoMessage::Sync { data, .. })] = &sent[..] else { panic!("{sent:?}") };
    doc.receive_sync_message(&mut state, Message::decode(data).unwrap()).unwrap();
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 1);

    edge.run([feed(2, &[entry("sam", Role::Student, &["b1"])])]);
    write(&mut doc, "b", "2");
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 1, "a writer who becomes a reader writes no more");
}

#[test]
fn a_deactivated_users_sessions_end_and_none_opens_again() {
    let all = [entry("tara", Role::Teacher, &["b1"]), entry("tom", Role::Teacher, &["b1"])];
    let mut edge = edge_with(&all);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let gone = DirectoryEntry { active: false, ..all[0].clone() };
    let sent = edge.run([feed(1, std::slice::from_ref(&gone))]);
    assert!(matches!(&sent[..], [(1, RepoMessage::Error { .. })]), "{sent:?}");
    let closed = |edge: &Edge, id| {
        edge.written.iter().any(|e| matches!(e, Effect::Close { session, .. } if *session == id))
    };
    assert!(closed(&edge, 1) && !closed(&edge, 2));
    edge.run([Event::Opened { session: 3, claims: claims("tara", Role::Teacher, &["b1"]) }]);
    assert!(closed(&edge, 3));
    // A restart finds the directory in the log.
    edge.restart(Some(vec![gone, all[1].clone()]));
    edge.run([Event::Opened { session: 4, claims: claims("tara", Role::Teacher, &["b1"]) }]);
    assert!(closed(&edge, 4));
}

#[test]
fn a_guardian_stops_reading_when_the_child_leaves_the_batch() {
    let gita = DirectoryEntry { guardian_of: vec!["sam".into()], ..entry("gita", Role::Guardian, &[]) };
    let mut edge = edge_with(&[gita, entry("sam", Role::Student, &["b1"])]);
    edge.join(1, "gita", Role::Guardian, &[]);
    let (mut doc, mut state) = (Automerge::new(), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(doc.get_heads(), notes(1).get_heads());
    write(&mut doc, "a", "1");
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 0);
    assert!(is_unavailable(&edge.run([feed(1, &[entry("sam", Role::Student, &[])])]), 1));
}

/// The directory may be from before the role, which has a guardian as a student.
#[test]
fn a_guardian_founds_no_document() {
    for (told, signed_in, founds) in [
        (Role::Student, Role::Student, 1),
        (Role::Guardian, Role::Guardian, 0),
        (Role::Student, Role::Guardian, 0),
        (Role::Guardian, Role::Student, 0),
    ] {
        let mut edge = edge_with(&[entry("gita", told, &[])]);
        // Without an origin that could know the document, who brings it founds it.
        edge.run([Event::LinkDown]);
        edge.join(1, "gita", signed_in, &[]);
        let (mut doc, mut state) = (Automerge::new(), State::new());
        write(&mut doc, "a", "1");
        edge.talk(1, UNKNOWN, &mut doc, &mut state);
        assert_eq!(edge.appended(), founds, "{told:?} {signed_in:?}");
    }
}

#[test]
fn a_directory_counts_when_it_is_whole_and_its_pages_may_come_twice() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (notes(1), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    let (tara, tom) = (entry("tara", Role::Teacher, &[]), entry("tom", Role::Teacher, &["b1"]));
    let saved =
        |edge: &Edge| edge.written.iter().filter(|e| matches!(e, Effect::SaveDirectory { .. })).count();
    // The second page without the first, then the first twice.
    assert_eq!(edge.run([page(1, true, std::slice::from_ref(&tom))]), []);
    assert_eq!(edge.run([page(0, false, std::slice::from_ref(&tara))]), []);
    assert_eq!(edge.run([page(0, false, std::slice::from_ref(&tara))]), []);
    assert_eq!(saved(&edge), 0);
    assert!(is_unavailable(&edge.run([page(1, true, &[tom])]), 1), "the token is no longer asked");
    assert_eq!(saved(&edge), 1);
}

/// The change waits for one that it depends on; meanwhile its author loses the right.
#[test]
fn a_change_that_is_held_back_is_not_merged_after_its_author_has_lost_the_right() {
    let all = [entry("tara", Role::Teacher, &["b1"]), entry("tom", Role::Teacher, &["b1"])];
    let mut edge = edge_with(&all);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let mut doc = notes(7);
    write(&mut doc, "a", "1");
    write(&mut doc, "b", "2");
    let changes = doc.get_changes(&notes(7).get_heads());
    edge.say(1, NOTES, carrying(&doc, &changes[1..]));
    edge.run([feed(1, &[entry("tara", Role::Teacher, &[])])]);
    edge.say(2, NOTES, carrying(&doc, &changes[..1]));
    assert_eq!(edge.appended(), 1);
}

/// The origin's answer about a document that this edge does not know.
fn origin_knows(doc: &Automerge) -> Event {
    Event::Link(LinkMessage::Document(Pulled {
        institute: INSTITUTE.into(),
        document: UNKNOWN,
        record: Some(DocumentRecord { document: UNKNOWN, ..stored_notes().record }),
        chunks: vec![doc.save().into()],
        heads: doc.get_heads().into_iter().map(Hash::from).collect(),
        actors: Vec::new(),
        deleted: false,
    }))
}

fn heads_told(sent: &[(SessionId, RepoMessage)], to: SessionId) -> Vec<automerge::ChangeHash> {
    let heads = |(session, message): &(SessionId, RepoMessage)| match message {
        RepoMessage::Sync { data, .. } if *session == to => Some(Message::decode(data).unwrap().heads),
        _ => None,
    };
    sent.iter().filter_map(heads).flatten().collect()
}

/// The origin is slow, so that the edge takes whoever brings the document for its founder. He read all of it when the answer came.
#[test]
fn who_was_taken_for_the_founder_reads_nothing_of_what_is_not_his() {
    let mut edge = edge_with(&[entry("mallory", Role::Teacher, &[]), entry("tara", Role::Teacher, &["b1"])]);
    edge.join(1, "mallory", Role::Teacher, &[]);
    let mut mallorys = notes(6);
    write(&mut mallorys, "a", "forged");
    write(&mut mallorys, "a", "forged again");
    let changes = mallorys.get_changes(&[]);
    // What the first of them depends on is not there: it is held back.
    edge.say(1, UNKNOWN, carrying(&mallorys, &changes[2..]));
    edge.wait(Limits::default().pull_ms);
    let sent = edge.run([origin_knows(&notes(1))]);
    assert_eq!(heads_told(&sent, 1), []);
    let unavailable = |(to, message): &(SessionId, RepoMessage)| {
        *to == 1 && matches!(message, RepoMessage::Unavailable { document: UNKNOWN, .. })
    };
    assert!(sent.iter().any(unavailable), "{sent:?}");

    // Nor does what was held back of him go in when what it waits for comes another way.
    edge.join(2, "tara", Role::Teacher, &["b1"]);
    edge.say(2, UNKNOWN, carrying(&mallorys, &changes[1..2]));
    assert_eq!(edge.appended(), 1);
}

/// Without the origin's word an edge takes what a client brings for private. What it takes in so was judged by the wrong rights and
/// rules: everybody who reads the document in truth got it with the origin's copy.
#[test]
fn what_was_taken_in_on_a_guess_reaches_nobody_when_the_document_is_another() {
    let all = [entry("mallory", Role::Teacher, &[]), entry("tara", Role::Teacher, &["b1"])];
    let mut edge = edge_with(&all);
    edge.run([Event::LinkDown]);
    edge.join(1, "mallory", Role::Teacher, &[]);
    edge.join(2, "tara", Role::Teacher, &["b1"]);
    edge.say(2, UNKNOWN, first_message(&Automerge::new()));
    let mut mallorys = notes(6);
    write(&mut mallorys, "a", "forged");
    edge.say(1, UNKNOWN, carrying(&mallorys, &mallorys.get_changes(&[])));
    assert_eq!(edge.appended(), 2, "it counts as private");

    edge.run([Event::LinkUp]);
    edge.run([followed()]);
    let doc = notes(1);
    let sent = edge.run([origin_knows(&doc)]);
    assert_eq!((heads_told(&sent, 1), heads_told(&sent, 2)), (vec![], vec![]), "{sent:?}");
    assert!(edge.written.contains(&Effect::Discard { document: UNKNOWN, refused: Vec::new() }));
    let sent = edge.run([origin_knows(&doc)]);
    assert!(sent.iter().all(|(to, _)| *to == 2), "{sent:?}");
    let mut taras = Automerge::new();
    edge.talk(2, UNKNOWN, &mut taras, &mut State::new());
    assert_eq!(taras.get_heads(), doc.get_heads());

    // A right that appears makes her device bring it again, and it is judged as what it is.
    let sent = edge.run([feed(1, &[entry("mallory", Role::Teacher, &["b1"])])]);
    assert!(sent.iter().any(|(to, _)| *to == 1));
    edge.say(1, UNKNOWN, carrying(&mallorys, &mallorys.get_changes(&doc.get_heads())));
    assert_eq!(edge.appended(), 3);
}

/// The link comes up between the founder's first words and the content, which the origin has already, so that no feed speaks of
/// it. The edge asked no more: to it the document stayed private, and nobody heard what of it is committed.
#[test]
fn the_origin_is_asked_about_a_guess_that_was_made_after_the_link_came_up() {
    let mut edge = edge_with(&[entry("tara", Role::Teacher, &["b1"]), entry("tom", Role::Teacher, &["b1"])]);
    edge.run([Event::LinkDown]);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let doc = notes(1);
    edge.say(1, UNKNOWN, first_message(&doc));
    edge.run([Event::LinkUp, followed()]);
    edge.written.clear();
    edge.say(1, UNKNOWN, carrying(&doc, &doc.get_changes(&[])));
    let at = |sought: &dyn Fn(&Effect) -> bool| edge.written.iter().position(sought);
    let record = at(&|effect| matches!(effect, Effect::SaveRecord(record) if record.kind == "private"));
    let behind = at(&|effect| *effect == Effect::MarkBehind(UNKNOWN));
    assert!(
        record.is_some() && record < behind,
        "a restart before the answer asks again: {:?}",
        edge.written
    );
    let asks =
        |effect: &Effect| matches!(effect, Effect::Link(LinkMessage::Pull(pull)) if pull.document == UNKNOWN);
    assert!(at(&asks).is_some(), "{:?}", edge.written);

    edge.run([origin_knows(&doc)]);
    let sent = edge.run([origin_knows(&doc)]);
    let heads: Vec<Hash> = doc.get_heads().into_iter().map(Hash::from).collect();
    let receipt = |(to, message): &(SessionId, RepoMessage)| {
        *to == 1 && matches!(message, RepoMessage::Committed { heads: told, .. } if *told == heads)
    };
    assert!(sent.iter().any(receipt), "{sent:?}");
    // Others who have the right get at it here.
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let mut toms = Automerge::new();
    edge.talk(2, UNKNOWN, &mut toms, &mut State::new());
    assert_eq!(toms.get_heads(), doc.get_heads());
}

/// The link was lost between the origin's commit and its answer: the number in `Following` says nothing of what was refused.
#[test]
fn what_was_not_answered_is_pushed_again_however_far_the_origin_has_come() {
    let mut edge = edge_with(&[entry("tara", Role::Teacher, &["b1"])]);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = notes(1);
    write(&mut doc, "a", "1");
    edge.talk(1, NOTES, &mut doc, &mut State::new());
    edge.run([Event::LinkDown]);
    edge.written.clear();
    let following = Following { revision: 1, acknowledged: 7, ..following() };
    edge.run([Event::LinkUp, Event::Link(LinkMessage::Following(following))]);
    assert!(edge.written.contains(&Effect::ReadLog { after: 0 }), "{:?}", edge.written);
    assert!(!edge.written.iter().any(|effect| matches!(effect, Effect::SaveAcknowledged(_))));
}

/// Her device counts on a change that the edge told it it had, and has no more. Both said so to each other without end, and she
/// never got what others had written.
#[test]
fn who_counts_on_a_change_that_the_origin_has_refused_gets_the_document_all_the_same() {
    let mut edge = edge_with(&[entry("tara", Role::Teacher, &["b1"])]);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (notes(1), State::new());
    write(&mut doc, "a", "1");
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 1);

    edge.run([feed(1, &[entry("tara", Role::Student, &["b1"])])]);
    let refused = vec![Refused { sequence: 1, document: NOTES, code: "forbidden".into() }];
    let (institute, log) = (INSTITUTE.into(), String::new());
    edge.run([Event::Link(LinkMessage::Pushed(Pushed { institute, log, acknowledged: 1, refused }))]);
    let mut toms = notes(2);
    write(&mut toms, "b", "2");
    let sent = edge.run([Event::Link(LinkMessage::Document(Pulled {
        institute: INSTITUTE.into(),
        document: NOTES,
        record: Some(stored_notes().record),
        chunks: toms.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec().into()).collect(),
        heads: toms.get_heads().into_iter().map(Hash::from).collect(),
        actors: Vec::new(),
        deleted: false,
    }))]);
    for (_, message) in sent {
        if let RepoMessage::Sync { data, .. } = message {
            doc.receive_sync_message(&mut state, Message::decode(&data).unwrap()).unwrap();
        }
    }
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert!(doc.get(ROOT, "b").unwrap().is_some());
}
