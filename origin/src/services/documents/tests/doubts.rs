//! Doubt threads: their rows follow the documents, and are found by whoever may read them and by nobody else.

use super::projection::rebuild;
use super::*;
use crate::services::documents::projection::Rebuilt;
use crate::store::DoubtRow;
use crate::testing::{Answer, on_both_engines};
use automerge::ObjId;
use serde_json::Value;

async fn row(origin: &TestOrigin, subject: &str) -> Option<DoubtRow> {
    let subject = subject.to_owned();
    let row = origin.app.store.read(NORTHSIDE, move |records| records.doubt(&subject));
    let row: Result<_, StoreError> = row.await;
    row.unwrap()
}

fn ask(doc: &mut Automerge, text: &str) -> Vec<u8> {
    let (_, question) = doc.get(ROOT, "question").unwrap().unwrap();
    edit(doc, |tx| tx.splice_text(&question, 0, 0, text).unwrap())
}

fn answer(doc: &mut Automerge, at: usize, author: &User, text: &str) -> (Vec<u8>, ObjId) {
    let (_, answers) = doc.get(ROOT, "answers").unwrap().unwrap();
    let mut made = None;
    let bytes = edit(doc, |tx| {
        let answer = tx.insert_object(&answers, at, ObjType::Map).unwrap();
        tx.put(&answer, "author", author.claims.sub.as_str()).unwrap();
        tx.put(&answer, "text", text).unwrap();
        made = Some(answer);
    });
    (bytes, made.unwrap())
}

/// A thread with a question, by the student.
async fn asked(origin: &TestOrigin, student: &User, subject: &str, text: &str) -> (DocumentId, Automerge) {
    let doubt = register(origin, student, "doubt", subject).await;
    let mut doc = replica(origin, doubt).await;
    let bytes = ask(&mut doc, text);
    assert_eq!(codes(&push(origin, vec![item(1, doubt, student, &bytes)]).await), []);
    (doubt, doc)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_becomes_a_row_that_can_be_made_again_from_the_log() {
    on_both_engines(async |origin| {
        let student = origin.user("student@northside.example").await;
        let teacher = origin.user("teacher@northside.example").await;
        let doubt = register(origin, &student, "doubt", "maths-a/limits").await;
        assert_eq!(row(origin, "maths-a/limits").await, None, "nobody has written anything");
        let (_, mut doc) = asked(origin, &student, "maths-a/limits", "Why is 1/x\0 unbounded?").await;
        let first = row(origin, "maths-a/limits").await.unwrap();
        assert_eq!((first.asked_by.as_str(), first.batch.as_str()), (student.claims.sub.as_str(), "maths-a"));
        assert_eq!((first.question.as_str(), first.answered_by), ("Why is 1/x\u{fffd} unbounded?", None));
        assert_eq!(first.words, "1 is unbounded why x");

        // An answer of the one who asked is none; the teacher's is written on two devices at once.
        let (own, _) = answer(&mut doc, 0, &student, "I have tried x = 0.");
        push(origin, vec![item(2, doubt, &student, &own)]).await;
        assert_eq!(row(origin, "maths-a/limits").await.unwrap().answered_by, None);
        let mut phone = replica(origin, doubt).await;
        let (theirs, map) = answer(&mut phone, 1, &teacher, "Look");
        let mut tablet = phone.fork();
        let here = edit(&mut phone, |tx| tx.put(&map, "text", "Look at page 3").unwrap());
        let there = edit(&mut tablet, |tx| tx.put(&map, "text", "Look at page 4").unwrap());
        let there = PushItem { device: "tablet".into(), ..item(5, doubt, &teacher, &there) };
        let items = vec![item(3, doubt, &teacher, &theirs), item(4, doubt, &teacher, &here), there];
        assert_eq!(codes(&push(origin, items).await), []);
        let good = row(origin, "maths-a/limits").await.unwrap();
        assert_eq!((good.answer_count, good.conflicts, good.omitted_bytes), (2, 1, 0));
        assert_eq!(good.answered_by.as_deref(), Some(teacher.claims.sub.as_str()));
        assert_eq!(good.asked_at, first.asked_at);
        assert!(good.updated_at >= first.updated_at);
        let answers: Value = serde_json::from_str(&good.answers).unwrap();
        assert_eq!(answers[0], json!({"author": student.claims.sub, "text": "I have tried x = 0."}));
        let writers = answers[1]["writers"].as_array().unwrap();
        assert_eq!(writers[1]["text"], answers[1]["text"], "the shown one last");
        let mut written: Vec<(&str, &str)> = writers
            .iter()
            .map(|writer| (writer["text"].as_str().unwrap(), writer["device"].as_str().unwrap()))
            .collect();
        written.sort_unstable();
        assert_eq!(written, [("Look at page 3", "phone"), ("Look at page 4", "tablet")]);
        assert!(good.words.contains(" 3 4 "), "{}", good.words);
        let heads: Vec<String> = serde_json::from_str(&good.heads).unwrap();
        let mut now = replica::hex_heads(&replica(origin, doubt).await);
        now.sort_unstable();
        assert_eq!(heads, now);

        assert_eq!(rebuild(origin).await, Rebuilt { documents: 1, corrected: 0 });
        let spoilt = DoubtRow { question: "spoilt".into(), words: "spoilt".into(), ..good.clone() };
        let spoil = origin.app.store.write::<_, StoreError, _>(NORTHSIDE, move |tx| tx.put_doubt(&spoilt));
        spoil.await.unwrap();
        assert_eq!(rebuild(origin).await, Rebuilt { documents: 1, corrected: 1 });
        assert_eq!(row(origin, "maths-a/limits").await.unwrap(), good);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_follows_a_cut_and_goes_with_its_document() {
    on_both_engines(async |origin| {
        let student = origin.user("student@northside.example").await;
        let admin = origin.user("admin@northside.example").await;
        let (doubt, mut doc) = asked(origin, &student, "maths-a/limits", "Why?").await;
        let before = row(origin, "maths-a/limits").await.unwrap();
        let heads = replica::hex_heads(&replica(origin, doubt).await);
        let path = format!("/admin/v1/documents/{doubt}/cut-history");
        let cut = origin.post(&admin, &path, json!({"heads": heads})).await.json();
        let successor: DocumentId = cut["successor"].as_str().unwrap().parse().unwrap();
        let after = row(origin, "maths-a/limits").await.unwrap();
        assert_eq!((after.document.clone(), after.question.as_str()), (successor.to_string(), "Why?"));
        assert_eq!(
            (after.asked_at, after.updated_at),
            (before.asked_at, before.updated_at),
            "a cut is no writing"
        );

        // What is written into the old one arrives in the row by the successor.
        let late = ask(&mut doc, "Really: ");
        push(origin, vec![item(9, doubt, &student, &late)]).await;
        let now = row(origin, "maths-a/limits").await.unwrap();
        assert_eq!((now.document, now.question.as_str()), (successor.to_string(), "Really: Why?"));
        assert_eq!(rebuild(origin).await, Rebuilt { documents: 1, corrected: 0 });

        let delete = json!({"command": "delete-document", "document": successor.to_string()});
        assert_eq!(origin.command(&admin, "delete", delete).await.status, StatusCode::OK);
        assert_eq!(row(origin, "maths-a/limits").await, None);
        let found = origin.get(&student, "/api/doubts?q=really").await.json();
        assert_eq!(found, json!({"doubts": [], "next": null}));
        let path = format!("/admin/v1/doubts/{successor}");
        assert_eq!(origin.get(&admin, &path).await.problem(), (404, "not-found".into()));
    })
    .await;
}

#[tokio::test]
async fn a_thread_without_end_has_a_row_of_limited_size() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let doubt = register(&origin, &student, "doubt", "maths-a/long").await;
    let mut doc = replica(&origin, doubt).await;
    // Two bytes a letter, and no place to cut between them.
    let asked = ask(&mut doc, &"é".repeat(35_000));
    let more = ask(&mut doc, &format!("x{}", "é".repeat(35_000)));
    let (unseen, _) = answer(&mut doc, 0, &student, "unseen");
    let changes = [&asked, &more, &unseen].into_iter().zip(1..);
    let items = changes.map(|(bytes, n)| item(n, doubt, &student, bytes)).collect();
    assert_eq!(codes(&push(&origin, items).await), []);
    let row = row(&origin, "maths-a/long").await.unwrap();
    assert_eq!(row.question.len(), 128 * 1024 - 1);
    assert_eq!(row.omitted_bytes, 140_001 - row.question.len() as u64 + 6 - 1);
    assert_eq!(row.answers, format!(r#"[{{"author":"{}","text":"u"}}]"#, student.claims.sub));
}

fn found(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let found = answer.json()["doubts"].as_array().unwrap().clone();
    found.iter().map(|doubt| doubt["subject"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_read_a_thread_finds_it_and_nobody_else() {
    on_both_engines(async |origin| {
        let student = origin.user("student@northside.example").await;
        let teacher = origin.user("teacher@northside.example").await;
        asked(origin, &student, "maths-a/limits", "Why is the LIMIT infinite? नमस्ते").await;
        asked(origin, &student, "physics-a/light", "How limited is light's speed?").await;
        let doubt = register(origin, &student, "doubt", "maths-a/limits").await;
        let mut doc = replica(origin, doubt).await;
        let (said, _) = answer(&mut doc, 0, &teacher, "Archimedes knew.");
        assert_eq!(codes(&push(origin, vec![item(7, doubt, &teacher, &said)]).await), []);
        register(origin, &student, "doubt", "maths-a/empty").await;

        let both = ["maths-a/limits", "physics-a/light"].map(str::to_owned);
        let get = async |user: &User, query: &str| origin.get(user, &format!("/api/doubts{query}")).await;
        assert_eq!(found(&get(&student, "").await), both, "who wrote last first");
        for (query, hits) in [
            ("?q=limit", &both[..]),
            ("?q=LIMIT", &both[..]),
            ("?q=limited", &both[1..]),
            ("?q=why+lim", &both[..1]),
            ("?q=archi", &both[..1]),
            ("?q=archi&answered=false", &both[..0]),
            ("?q=%E0%A4%A8%E0%A4%AE", &both[..1]),
            ("?q=imit", &both[..0]),
            ("?batch=physics-a", &both[1..]),
            ("?q=limit&batch=maths-a", &both[..1]),
            ("?answered=true", &both[..1]),
            ("?answered=false", &both[1..]),
        ] {
            assert_eq!(found(&get(&teacher, query).await), hits, "{query}");
        }
        let view = get(&teacher, "?q=archi").await;
        assert_eq!(view.header("cache-control"), "private, no-store");
        let view = view.json()["doubts"][0].clone();
        assert_eq!((&view["asked_by"], &view["answers"]), (&json!("Sam Student"), &json!(1)));
        assert_eq!((&view["answered"], &view["conflicts"]), (&json!(true), &json!(0)));
        assert_eq!(view["document"], doubt.to_string());

        // Those of other batches, of no batch and of another institute; a guardian reads what the child does.
        let nadia = origin.user("nadia@northside.example").await;
        assert_eq!(found(&get(&nadia, "?q=limit").await), Vec::<String>::new());
        assert_eq!(get(&nadia, "?batch=maths-a").await.problem(), (403, "forbidden".into()));
        assert_eq!(get(&nadia, "?batch=nowhere").await.problem(), (403, "forbidden".into()));
        let guardian = origin.user("guardian@northside.example").await;
        assert_eq!(found(&get(&guardian, "?q=limit").await), both);
        let foreign = origin.user("student@riverside.example").await;
        assert_eq!(found(&get(&foreign, "?q=limit").await), Vec::<String>::new());
        let admin = origin.user("admin@northside.example").await;
        assert_eq!(get(&admin, "").await.problem(), (422, "invalid-field".into()));
        assert_eq!(get(&admin, "?batch=%00").await.problem(), (422, "invalid-field".into()));
        assert_eq!(found(&get(&admin, "?batch=no-batch").await), Vec::<String>::new());
        assert_eq!(found(&get(&admin, "?batch=maths-a").await), both[..1]);
        for wrong in ["?q=%3F", "?before=x", "?colour=red", "?answered=perhaps"] {
            assert_eq!(get(&teacher, wrong).await.problem(), (422, "invalid-field".into()), "{wrong}");
        }
        lists(origin, &admin, doubt).await;
    })
    .await;
}

/// What admins read of the same.
async fn lists(origin: &TestOrigin, admin: &User, doubt: DocumentId) {
    let list = async |query: &str| {
        let page = origin.get(admin, &format!("/admin/v1/doubts{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        page.json()
    };
    let subjects = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["subject"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["physics-a/light", "maths-a/limits"].map(str::to_owned);
    assert_eq!(subjects(&list("").await), all, "the oldest first");
    let first = list("?sort=-asked_at&limit=1").await;
    let second = list(&format!("?sort=-asked_at&limit=1&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!([subjects(&first), subjects(&second)].concat(), all);
    assert_eq!(subjects(&list("?q=lim&answered=true").await), all[1..]);
    assert_eq!(subjects(&list("?batch=physics-a&q=speed+light").await), all[..1]);
    assert_eq!(subjects(&list("?q=nothing").await), Vec::<String>::new());
    let wrong = origin.get(admin, "/admin/v1/doubts?q=%21").await;
    assert_eq!(wrong.problem(), (422, "invalid-field".into()));
    let one = origin.get(admin, &format!("/admin/v1/doubts/{doubt}")).await;
    assert!(!one.header("etag").is_empty());
    assert_eq!(one.json()["question"], "Why is the LIMIT infinite? नमस्ते");
    assert_eq!(one.json()["answers"][0]["text"], "Archimedes knew.");
    let teacher = origin.user("teacher@northside.example").await;
    assert_eq!(origin.get(&teacher, "/admin/v1/doubts").await.problem(), (403, "forbidden".into()));
}

/// 120 threads in two batches, some of them written in at the same time.
fn many(asker: &User) -> Vec<(DocumentId, DoubtRow)> {
    let row = |n: u8| {
        let (document, batch) =
            (DocumentId::from_bytes([n + 1; 16]), ["maths-a", "physics-a"][usize::from(n) % 2]);
        let row = DoubtRow {
            subject: format!("{batch}/t{n}"),
            document: document.to_string(),
            batch: batch.into(),
            asked_by: asker.claims.sub.clone(),
            question: "Why?".into(),
            answers: "[]".into(),
            answer_count: 0,
            answered_by: None,
            conflicts: 0,
            omitted_bytes: 0,
            words: "why".into(),
            asked_at: 1,
            updated_at: 1_000 + i64::from(n / 3),
            heads: "[]".into(),
        };
        (document, row)
    };
    (0..120).map(row).collect()
}

async fn put(origin: &TestOrigin, rows: Vec<(DocumentId, DoubtRow)>) {
    let put = origin.app.store.write::<_, StoreError, _>(NORTHSIDE, move |tx| {
        for (document, row) in rows {
            let (kind, subject) = ("doubt".to_owned(), row.subject.clone());
            let (batch, owner) = (Some(row.batch.clone()), row.asked_by.clone());
            let record = DocumentRecord { document, kind, subject, batch, owner };
            assert!(tx.add_document(&crate::store::NewDocument { record, created_at: 1 })?);
            tx.put_doubt(&row)?;
        }
        Ok(())
    });
    put.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_search_go_on_where_the_one_before_ended() {
    on_both_engines(async |origin| {
        let student = origin.user("student@northside.example").await;
        put(origin, many(&student)).await;
        for search in ["?", "?q=why&"] {
            let (mut before, mut seen, mut times) = (String::new(), Vec::new(), Vec::new());
            loop {
                let page = origin.get(&student, &format!("/api/doubts{search}{before}")).await;
                seen.extend(found(&page));
                let page = page.json();
                let doubts = page["doubts"].as_array().unwrap().iter();
                times.extend(doubts.map(|doubt| doubt["updated_at"].to_string()));
                let Some(next) = page["next"].as_str() else { break };
                before = format!("before={next}");
            }
            assert_eq!(seen.len(), 120, "{search}");
            assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 120, "none twice");
        }
    })
    .await;
}
