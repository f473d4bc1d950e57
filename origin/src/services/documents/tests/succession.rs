//! Histories that are cut, and what comes late: all of it arrives in the successor, once.

use super::*;
use crate::testing::Answer;
use automerge::ObjId;
use mirror::said;
use sync_protocol::kind;

async fn cut_at(origin: &TestOrigin, user: &User, document: DocumentId, heads: &[String]) -> Answer {
    origin.post(user, &format!("/admin/v1/documents/{document}/cut-history"), json!({"heads": heads})).await
}

/// Cuts where the origin stands.
async fn cut(origin: &TestOrigin, document: DocumentId) -> DocumentId {
    let admin = origin.user("admin@northside.example").await;
    let heads = replica::hex_heads(&replica(origin, document).await);
    let answer = cut_at(origin, &admin, document, &heads).await;
    assert_eq!(answer.json()["cut"], true, "{answer:?}");
    answer.json()["successor"].as_str().unwrap().parse().unwrap()
}

fn typed(doc: &mut Automerge, at: usize, text: &str) -> Vec<u8> {
    let (_, field) = doc.get(ROOT, "text").unwrap().unwrap();
    edit(doc, |tx| tx.splice_text(&field, at, 0, text).unwrap())
}

fn text(doc: &Automerge) -> String {
    doc.text(doc.get(ROOT, "text").unwrap().unwrap().1).unwrap()
}

async fn check_sheet(origin: &TestOrigin) {
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let sheet = register(origin, &teacher, "attendance", &class).await;
    let mut doc = replica(origin, sheet).await;
    let marks = ["late", "absent", "present"].map(|value| mark(&mut doc, &student.claims.sub, value));
    let items = marks.iter().zip(1..).map(|(bytes, n)| item(n, sheet, &teacher, bytes)).collect();
    assert_eq!(codes(&push(origin, items).await), []);
    let heads = replica::hex_heads(&doc);

    assert_eq!(cut_at(origin, &teacher, sheet, &heads).await.problem(), (403, "forbidden".into()));
    let foreign = origin.user("admin@riverside.example").await;
    assert_eq!(cut_at(origin, &foreign, sheet, &heads).await.problem(), (404, "not-found".into()));
    for wrong in [vec![], vec!["00".repeat(32)], vec!["short".into()], vec![heads[0].clone(); 65]] {
        let refused = cut_at(origin, &admin, sheet, &wrong).await;
        assert_eq!(refused.problem(), (422, "invalid-field".into()), "{wrong:?}");
    }
    let first = cut_at(origin, &admin, sheet, &heads).await.json();
    let again = cut_at(origin, &admin, sheet, &heads).await.json();
    assert_eq!((&first["cut"], &again["cut"]), (&json!(true), &json!(false)));
    assert_eq!(first["successor"], again["successor"]);
    let genesis: Vec<String> = vec![hex::encode(doc.get_changes(&[])[0].hash().0)];
    assert_eq!(cut_at(origin, &admin, sheet, &genesis).await.problem(), (409, "already-cut".into()));

    let successor: DocumentId = first["successor"].as_str().unwrap().parse().unwrap();
    assert_eq!(register(origin, &teacher, "attendance", &class).await, successor);
    let new = replica(origin, successor).await;
    assert_eq!(said(&new), said(&doc));
    let first_change = Automerge::load(&kind::genesis(Kind::Attendance, successor).unwrap()).unwrap();
    assert!(replica::has_change(&new, &first_change.get_heads()[0]), "as every replica begins it");
    let old = replica(origin, sheet).await;
    let link = old.get(ROOT, kind::SUCCESSOR).unwrap().unwrap().0;
    assert_eq!(link.as_str(), Some(format!("automerge:{successor}").as_str()), "any client can see it");

    // Rows, and what is written from now on, are the successor's.
    let mut new = new.fork();
    let marked = mark(&mut new, &student.claims.sub, "excused");
    assert_eq!(codes(&push(origin, vec![item(9, successor, &teacher, &marked)]).await), []);
    let schedule = origin.get(&student, "/api/students/schedule").await.json();
    let today = schedule["classes"].as_array().unwrap().iter().find(|c| c["class"] == *class).unwrap();
    assert_eq!(today["mark"], "excused");
    let documents = origin.app.documents.clone();
    let rebuilt =
        tokio::task::spawn_blocking(move || documents.rebuild_projections(NORTHSIDE)).await.unwrap();
    assert_eq!(rebuilt.unwrap().corrected, 0, "the rows of the old sheet do not come back");
    let entry = origin.get(&admin, &format!("/admin/v1/documents/{sheet}")).await.json();
    assert_eq!(entry["successor"], successor.to_string());
    let audit = origin.get(&admin, "/admin/v1/audit").await.json()["items"][0].clone();
    assert_eq!((&audit["command"], &audit["record"]), (&json!("cut-history"), &json!(sheet.to_string())));
    assert_eq!(audit["after"], json!({"heads": heads, "successor": successor.to_string()}));
}

#[tokio::test]
async fn a_sheet_goes_on_from_the_agreed_point_on_sqlite() {
    check_sheet(&TestOrigin::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sheet_goes_on_from_the_agreed_point_on_postgres() {
    let database = TestDatabase::create();
    check_sheet(&TestOrigin::start_on_postgres(database.config()).await).await;
}

async fn check_late(origin: TestOrigin, restart: bool) {
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let assistant = origin.user("assistant@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut base = replica(&origin, notes).await;
    let begun = typed(&mut base, 0, "one two three");
    push(&origin, vec![item(1, notes, &teacher, &begun)]).await;
    // Both are away from here on, one of them in the middle of a sentence.
    let (mut away, mut far) = (base.fork(), base.fork());
    let letters: Vec<Vec<u8>> = (0..5).map(|n| typed(&mut away, 8 + n, &"ABCDE"[n..=n])).collect();
    let beside = typed(&mut far, 13, " four");
    let successor = cut(&origin, notes).await;
    let mut new = replica(&origin, successor).await;
    let here = typed(&mut new, 0, "zero ");
    push(&origin, vec![item(2, successor, &teacher, &here)]).await;

    // One part, then the rest with the first part again, by another edge's log too.
    let late = |range: std::ops::Range<usize>| -> Vec<PushItem> {
        letters[range.clone()]
            .iter()
            .zip(10 + range.start as u64..)
            .map(|(bytes, n)| item(n, notes, &teacher, bytes))
            .collect()
    };
    assert_eq!(codes(&push(&origin, late(0..2)).await), []);
    let origin = if restart { origin.restart().await } else { origin };
    let mut rest = late(0..5);
    rest.push(item(20, notes, &assistant, &beside));
    assert_eq!(codes(&push(&origin, rest.clone()).await), []);
    let merged = replica(&origin, successor).await;
    assert_eq!(text(&merged), "zero one two ABCDEthree four");
    let origin = if restart { origin.restart().await } else { origin };
    assert_eq!(codes(&push(&origin, rest).await), []);
    let again = replica(&origin, successor).await;
    assert_eq!(again.get_heads(), merged.get_heads(), "each once");
    // Genesis, the cut, the mark of the old document, what was written here, two pieces and the other device's.
    assert_eq!(again.get_changes(&[]).len(), 7);

    // What comes upon late changes, when both have met in the old document.
    let mut met = replica(&origin, notes).await;
    assert_eq!(text(&met), "one two ABCDEthree four");
    let upon = typed(&mut met, 0, "(met) ");
    assert_eq!(codes(&push(&origin, vec![item(30, notes, &assistant, &upon)]).await), []);
    let whole = text(&replica(&origin, successor).await);
    assert!(whole.contains("(met) ") && whole.contains("one two ABCDEthree four"), "{whole}");
}

#[tokio::test]
async fn what_was_written_offline_before_the_cut_arrives_once_on_sqlite() {
    check_late(TestOrigin::start().await, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_offline_before_the_cut_arrives_once_on_postgres() {
    let database = TestDatabase::create();
    check_late(TestOrigin::start_on_postgres(database.config()).await, false).await;
}

/// Two who did not know of each other disagree in the successor as they did in the old document, and it is known who they are.
#[tokio::test]
async fn late_marks_that_disagree_are_a_conflict_of_the_successor() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let assistant = origin.user("assistant@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let sheet = register(&origin, &teacher, "attendance", &class).await;
    let base = replica(&origin, sheet).await;
    let (mut one, mut two) = (base.fork(), base.fork());
    let present = mark(&mut one, &student.claims.sub, "present");
    let late = mark(&mut two, &student.claims.sub, "late");
    let successor = cut(&origin, sheet).await;
    push(&origin, vec![item(1, sheet, &teacher, &present)]).await;
    push(&origin, vec![item(2, sheet, &assistant, &late)]).await;
    let marks = kind::attendance_marks(&replica(&origin, successor).await);
    let mut values: Vec<&str> =
        marks[&student.claims.sub].values.iter().map(|value| value.text.as_str()).collect();
    values.sort_unstable();
    assert_eq!(values, ["late", "present"]);
    let view = origin.get(&teacher, "/api/teachers/dashboard").await.json();
    let today = view["today"].as_array().unwrap().iter().find(|today| today["class"] == *class).unwrap();
    assert_eq!(today["attendance"]["conflicts"], 1, "{today}");
    assert_eq!(today["documents"]["attendance"], successor.to_string());
    let bindings = origin.app.store.read(NORTHSIDE, move |records| records.bindings(successor));
    let bindings: Result<Vec<_>, StoreError> = bindings.await;
    let bindings = bindings.unwrap();
    for user in [&teacher, &assistant] {
        assert!(bindings.iter().any(|binding| binding.user == user.claims.sub), "{bindings:?}");
    }
    // Rights and rules hold as before for what comes late.
    let mut three = base.fork();
    let cheat = mark(&mut three, &student.claims.sub, "excused");
    let mut four = base.fork();
    let asleep = mark(&mut four, &student.claims.sub, "asleep");
    let items = vec![item(3, sheet, &student, &cheat), item(4, sheet, &teacher, &asleep)];
    assert_eq!(codes(&push(&origin, items).await), [(3, "forbidden"), (4, "invalid-mark")]);
    let admin = origin.user("admin@northside.example").await;
    let listed = origin.get(&admin, "/admin/v1/quarantine").await.json()["items"].clone();
    let forbidden = listed.as_array().unwrap().iter().find(|item| item["code"] == "forbidden").unwrap();
    let path = format!("/admin/v1/quarantine/{sheet}/{}/accept", forbidden["hash"].as_str().unwrap());
    assert_eq!(origin.post(&admin, &path, json!({})).await.status, StatusCode::OK);
    let marks = kind::attendance_marks(&replica(&origin, successor).await);
    assert_eq!(marks[&student.claims.sub].values.len(), 3, "what an admin accepts late is carried over too");
}

#[tokio::test]
async fn what_is_beyond_the_agreed_point_is_carried_over_by_the_cut() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let admin = origin.user("admin@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut doc = replica(&origin, notes).await;
    let agreed = typed(&mut doc, 0, "agreed");
    let heads = replica::hex_heads(&doc);
    let (mut left, mut right) = (doc.fork(), doc.fork());
    let (before, behind) = (typed(&mut left, 0, "< "), typed(&mut right, 6, " >"));
    let items = [&agreed, &before, &behind].into_iter().zip(1..);
    push(&origin, items.map(|(bytes, n)| item(n, notes, &teacher, bytes)).collect()).await;
    let answer = cut_at(&origin, &admin, notes, &heads).await.json();
    let successor: DocumentId = answer["successor"].as_str().unwrap().parse().unwrap();
    let new = replica(&origin, successor).await;
    assert_eq!(text(&new), "< agreed >");
    let point = new.get_changes(&[]).into_iter().map(|change| change.hash());
    let texts: Vec<String> = point.map(|hash| new.fork_at(&[hash]).unwrap()).map(|doc| text(&doc)).collect();
    assert!(texts.contains(&"agreed".to_owned()), "{texts:?}");
}

#[tokio::test]
async fn a_change_to_the_first_of_three_reaches_the_last() {
    let origin = TestOrigin::start().await;
    let class = origin.class_today("maths-a").await;
    let teacher = origin.user("teacher@northside.example").await;
    let notes = register(&origin, &teacher, "notes", &class).await;
    let mut doc = replica(&origin, notes).await;
    push(&origin, vec![item(1, notes, &teacher, &typed(&mut doc, 0, "middle"))]).await;
    let second = cut(&origin, notes).await;
    let third = cut(&origin, second).await;
    let before = typed(&mut doc, 0, "front ");
    let mut between = replica(&origin, second).await;
    let behind = typed(&mut between, 6, " back");
    push(&origin, vec![item(2, second, &teacher, &behind), item(3, notes, &teacher, &before)]).await;
    assert_eq!(text(&replica(&origin, second).await), "front middle back");
    assert_eq!(text(&replica(&origin, third).await), "front middle back");
    assert_eq!(register(&origin, &teacher, "notes", &class).await, third);

    // The words are gone wherever they were.
    let admin = origin.user("admin@northside.example").await;
    let delete = json!({"command": "delete-document", "document": third.to_string()});
    assert_eq!(origin.command(&admin, "delete", delete).await.json()["outcome"]["deleted"], true);
    let more = typed(&mut doc, 0, "more ");
    assert_eq!(codes(&push(&origin, vec![item(4, notes, &teacher, &more)]).await), [(4, "document-deleted")]);
    for document in [notes, second, third] {
        assert!(pull(&origin, document, &[]).await.deleted);
    }
}

/// One process cuts while another takes changes: whichever is first, nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_beside_another_processs_pushes_loses_nothing() {
    const ROUNDS: u64 = 20;
    let database = TestDatabase::create();
    let one = TestOrigin::start_on_postgres(database.config()).await;
    let other = TestOrigin::start_on_postgres(database.config()).await;
    let teacher = one.user("teacher@northside.example").await;
    let class = one.class_today("maths-a").await;
    let notes = register(&one, &teacher, "notes", &class).await;
    let mut doc = replica(&other, notes).await;
    push(&one, vec![item(1, notes, &teacher, &typed(&mut doc, 0, "."))]).await;
    let heads = replica::hex_heads(&doc);
    let admin = one.user("admin@northside.example").await;
    let writes = async {
        for n in 0..ROUNDS {
            let change = typed(&mut doc, 0, "a");
            assert_eq!(codes(&push(&other, vec![item(2 + n, notes, &teacher, &change)]).await), []);
        }
    };
    let (cut, ()) = tokio::join!(cut_at(&one, &admin, notes, &heads), writes);
    let successor: DocumentId = cut.json()["successor"].as_str().unwrap().parse().unwrap();
    for origin in [&one, &other] {
        assert_eq!(text(&replica(origin, successor).await), format!("{}.", "a".repeat(ROUNDS as usize)));
    }
    let carried = database.sql("SELECT count(*), count(DISTINCT hash) FROM carried");
    assert_eq!(carried, format!("{0}|{0}", ROUNDS + 1));
}

/// Documents of all that there is: whatever a device makes of the old one is made of the new one.
#[tokio::test]
async fn private_documents_of_any_shape_are_mirrored() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let (mut compared, mut sequence) = (0, 0);
    for seed in 1..=12_u64 {
        let document = DocumentId::from_bytes([seed as u8; 16]);
        let mut random = Random(seed);
        let mut doc = Automerge::new();
        let mut send = async |doc: &mut Automerge, random: &mut Random, document| {
            let change = edit(doc, |tx| random.write(tx));
            sequence += 1;
            let pushed = push(&origin, vec![item(sequence, document, &student, &change)]).await;
            assert_eq!(codes(&pushed), [], "seed {seed}");
        };
        for _ in 0..15 {
            send(&mut doc, &mut random, document).await;
        }
        let successor = cut(&origin, document).await;
        assert_eq!(said(&replica(&origin, successor).await), said(&doc), "seed {seed}");
        for _ in 0..15 {
            send(&mut doc, &mut random, document).await;
            assert_eq!(said(&replica(&origin, successor).await), said(&doc), "seed {seed}");
            compared += 1;
        }
    }
    assert_eq!(compared, 180);
}

fn is_object((id, value): (ObjId, automerge::Value<'_>)) -> (bool, ObjId) {
    (value.is_object(), id)
}

/// Writes at random (SplitMix64) into maps, lists, texts and counters.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn write(&mut self, tx: &mut automerge::transaction::Transaction<'_>) {
        tx.put(ROOT, "count", self.0 as i64).unwrap();
        for _ in 0..=self.below(4) {
            let mut at = ROOT;
            while let Some(inner) = self.inner(tx, &at) {
                at = inner;
            }
            match tx.object_type(&at).unwrap() {
                ObjType::Map | ObjType::Table => self.write_map(tx, &at),
                ObjType::List => self.write_list(tx, &at),
                ObjType::Text => self.write_text(tx, &at),
            }
        }
    }

    /// An object in this one, now and then.
    fn inner(&mut self, tx: &automerge::transaction::Transaction<'_>, of: &ObjId) -> Option<ObjId> {
        let objects: Vec<(bool, ObjId)> = match tx.object_type(of).unwrap() {
            ObjType::Map | ObjType::Table => {
                tx.map_range(of, ..).map(|i| (i.id(), i.value.into_value())).map(is_object).collect()
            }
            ObjType::List => {
                tx.list_range(of, ..).map(|i| (i.id(), i.value.into_value())).map(is_object).collect()
            }
            ObjType::Text => return None,
        };
        let inner: Vec<ObjId> = objects.into_iter().filter(|(is, _)| *is).map(|(_, id)| id).collect();
        let pick = self.below(inner.len() + 1);
        inner.get(pick).cloned()
    }

    fn write_map(&mut self, tx: &mut automerge::transaction::Transaction<'_>, map: &ObjId) {
        let key = ["a", "b", "c", "d"][self.below(4)];
        match self.below(8) {
            0 => drop(tx.put_object(map, key, ObjType::Map).unwrap()),
            1 | 2 => drop(tx.put_object(map, key, ObjType::List).unwrap()),
            3 | 4 => drop(tx.put_object(map, key, ObjType::Text).unwrap()),
            5 => tx.put(map, key, automerge::ScalarValue::counter(3)).unwrap(),
            6 => match tx.get(map, key).unwrap() {
                Some((value, _)) if value.is_counter() => tx.increment(map, key, 5).unwrap(),
                Some(_) | None => tx.put(map, key, 1.5).unwrap(),
            },
            _ => match tx.get(map, key).unwrap() {
                Some(_) => tx.delete(map, key).unwrap(),
                None => tx.put(map, key, true).unwrap(),
            },
        }
    }

    fn write_list(&mut self, tx: &mut automerge::transaction::Transaction<'_>, list: &ObjId) {
        let length = tx.length(list);
        let at = self.below(length + 1);
        match self.below(5) {
            0 if at < length => tx.delete(list, at).unwrap(),
            1 if at < length => tx.put(list, at, "put").unwrap(),
            2 => drop(tx.insert_object(list, at, ObjType::Text).unwrap()),
            3 => drop(tx.insert_object(list, at, ObjType::Map).unwrap()),
            _ => tx.insert(list, at, self.below(100) as i64).unwrap(),
        }
    }

    fn write_text(&mut self, tx: &mut automerge::transaction::Transaction<'_>, text: &ObjId) {
        let length = tx.length(text);
        let at = self.below(length + 1);
        let deleted = self.below(length - at + 1).min(3) as isize;
        tx.splice_text(text, at, deleted, ["x", "yy", "\u{1f600}", ""][self.below(4)]).unwrap();
    }
}
