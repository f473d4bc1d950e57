//! Doubts: rows, times and the index of words, the same on each engine.

use super::conformance::{AT, read, school};
use super::*;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::DocumentRecord;

on_each_engine! {
    threads_are_found_by_the_beginnings_of_their_words,
    a_thread_was_asked_when_its_first_document_was_made,
}

fn document(n: u8) -> DocumentId {
    DocumentId::from_bytes([n; 16])
}

fn add_document(tx: &WriteTx<'_>, n: u8, subject: &str, created_at: i64) -> Result<(), StoreError> {
    let record = DocumentRecord {
        document: document(n),
        kind: "doubt".into(),
        subject: subject.into(),
        batch: Some("maths".into()),
        owner: "ann".into(),
    };
    assert!(tx.add_document(&NewDocument { record, created_at })?);
    Ok(())
}

fn row(n: u8, text: &str) -> DoubtRow {
    DoubtRow {
        subject: format!("maths/{n}"),
        document: document(n).to_string(),
        batch: "maths".into(),
        asked_by: "ann".into(),
        question: text.into(),
        answers: r#"[{"b":1, "a" : "é"}]"#.into(),
        answer_count: 1,
        answered_by: n.is_multiple_of(2).then(|| "teacher".into()),
        conflicts: 2,
        omitted_bytes: 3,
        words: Words::of([text]).text(),
        asked_at: AT,
        updated_at: AT + i64::from(n),
        heads: r#"["ab"]"#.into(),
    }
}

fn found(store: &Store, text: &str, answered: Option<bool>) -> Vec<String> {
    let words = Some(Words::of([text]));
    let batches = vec!["maths".to_owned(), "other".to_owned()];
    let query = DoubtQuery { batches, words, answered, before: None, limit: 10 };
    let found = read(store, |records| records.doubts_of(&query));
    found.into_iter().map(|doubt| doubt.subject).collect()
}

fn threads_are_found_by_the_beginnings_of_their_words(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        for (n, text) in [(1, "Why is the limit x²?"), (2, "Limits of Größe: क्या 3D?"), (3, "A & B | !C (d)")]
        {
            add_document(tx, n, &format!("maths/{n}"), AT)?;
            tx.put_doubt(&row(n, text))?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(read(store, |records| records.doubt("maths/2")), Some(row(2, "Limits of Größe: क्या 3D?")));
    for (text, subjects) in [
        ("lim", &["maths/2", "maths/1"][..]),
        ("limit why", &["maths/1"][..]),
        ("GRÖSS", &[][..]),
        ("Größ", &["maths/2"][..]),
        ("gro", &[][..]),
        ("क", &["maths/2"][..]),
        ("3d", &["maths/2"][..]),
        ("a b c d", &["maths/3"][..]),
        ("mit", &[][..]),
    ] {
        assert_eq!(found(store, text, None), subjects, "{text}");
    }
    assert_eq!(found(store, "limit", Some(true)), ["maths/2"]);
    assert_eq!(found(store, "limit", Some(false)), ["maths/1"]);

    // The index follows the rows.
    write(store, |tx| {
        tx.put_doubt(&row(1, "Other words"))?;
        assert!(!tx.remove_doubt("maths/2", &document(1).to_string())?, "of another document");
        assert!(tx.remove_doubt("maths/2", &document(2).to_string())?);
        Ok(())
    })
    .unwrap();
    assert_eq!(
        (found(store, "lim", None), found(store, "other", None)),
        (vec![], vec!["maths/1".to_owned()])
    );
    write(store, |tx| {
        tx.delete_document(document(1), "ann", AT)?;
        assert_eq!(tx.remove_stray_doubts()?, 1);
        Ok(())
    })
    .unwrap();
    assert_eq!(found(store, "other", None), Vec::<String>::new());
    assert_eq!(found(store, "a", None), ["maths/3"]);
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        let words = Some(Words::of(["a"]));
        let batches = vec!["maths".to_owned()];
        records.doubts_of(&DoubtQuery { batches, words, answered: None, before: None, limit: 10 })
    });
    assert_eq!(elsewhere.unwrap(), []);
}

fn change(n: u8, edge: &str, received_at: i64) -> ChangeRow {
    let (user, device, edge) = ("ann".into(), "phone".into(), edge.into());
    ChangeRow { hash: [n; 32], bytes: vec![n], user, device, edge, received_at }
}

fn a_thread_was_asked_when_its_first_document_was_made(TestStore { store, .. }: &TestStore) {
    school(store);
    let times = |n| read(store, |records| records.thread_times(document(n), "origin"));
    assert_eq!(times(1), None);
    write(store, |tx| {
        add_document(tx, 1, "maths/t", AT)?;
        assert!(tx.append_changes(document(1), 0, &[change(1, "origin", AT + 1)], &[])?);
        Ok(())
    })
    .unwrap();
    assert_eq!(times(1), Some(ThreadTimes { asked_at: AT, updated_at: AT }), "nobody has written");
    write(store, |tx| {
        let written = [change(2, "edge", AT + 5), change(3, "origin", AT + 9)];
        assert!(tx.append_changes(document(1), 1, &written, &[])?);
        let (heads, first) = (vec![[3; 32]], [4; 32]);
        assert!(tx.succeed_document(document(1), &Succession { successor: document(2), heads, first })?);
        add_document(tx, 2, "maths/t", AT + 10)?;
        assert!(tx.append_changes(document(2), 0, &[change(4, "origin", AT + 10)], &[])?);
        Ok(())
    })
    .unwrap();
    assert_eq!(times(2), Some(ThreadTimes { asked_at: AT, updated_at: AT + 5 }));
    write(store, |tx| tx.delete_document(document(1), "ann", AT + 11)).unwrap();
    assert_eq!(times(2).unwrap().asked_at, AT, "a deleted document keeps its row");
}
