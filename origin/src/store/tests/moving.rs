//! From the embedded store to Postgres, and from one schema to the next.

use super::*;
use crate::services::seed;

#[test]
fn a_copy_has_every_row_and_refuses_a_database_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let store = Store::open(folder.path()).unwrap();
        seed::load(&store, crate::clock::unix_ms()).unwrap();
        write(&store, |tx| {
            let decision = Decision {
                user: "u".into(),
                device: "d".into(),
                request_hash: vec![1],
                status: DecisionStatus::Delivered,
                outcome: r#"{"z":1,"a":"é"}"#.into(),
                revision: 2,
                entity_tag: Some("\"tag\"".into()),
            };
            tx.add_decision("key", &decision, 1)?;
            let signs_from = 1_795_348_800_124;
            let key = StoredKey { kid: "kid".into(), secret: vec![7; 32], signs_from };
            tx.add_signing_key(&key, 1_795_348_800_123)?;
            let user = |local: &str| seed::user_id_of(&format!("{local}@northside.example"));
            let mut revocation = sync_protocol::revocation::Revocation::default();
            revocation.end_all(7);
            tx.set_revocation(&user("student"), &revocation)?;
            tx.set_deactivated(&user("assistant"), Some(1_795_348_800_125))?;
            tx.add_guardian(&user("teacher"), &user("student"))?;
            let refund = NewRefund {
                refund: "r".into(),
                payment: "tuition-student-1".into(),
                amount_minor: 5,
                reason: None,
                refunded_by: None,
                refunded_at: 1,
            };
            tx.add_refund(&refund)?;
            add_doubt(tx, &user("student"))?;
            tx.touch_everything();
            Ok(())
        })
        .unwrap();
        summary(&store)
    };
    let database = TestDatabase::create();
    let copied = copy(folder.path(), &database.config()).unwrap();
    let rows = |table: &str| copied.iter().find(|copied| copied.table == table).unwrap().rows;
    assert!(rows("users") > 20 && rows("classes") > 100 && rows("messages") > 3, "{copied:?}");
    assert_eq!((rows("feed"), rows("idempotency"), rows("signing_keys")), (3, 1, 1));
    assert_eq!(rows("doubts"), 1);
    assert!(rows("figures") > 10 && rows("class_figures") > 50, "{copied:?}");

    let store = Store::connect(&database.config()).unwrap();
    assert!(summary(&store) == before, "the institute reads differently after the copy");
    let again = copy(folder.path(), &database.config()).unwrap_err().to_string();
    assert!(again.contains("not empty"), "{again}");
}

/// A doubt, which can be found by its words on both sides.
fn add_doubt(tx: &WriteTx<'_>, student: &str) -> Result<(), StoreError> {
    let document = sync_protocol::document_id::DocumentId::from_bytes([7; 16]);
    let record = sync_protocol::link::DocumentRecord {
        document,
        kind: "doubt".into(),
        subject: "maths-a/why".into(),
        batch: Some("maths-a".into()),
        owner: student.into(),
    };
    assert!(tx.add_document(&NewDocument { record, created_at: 1 })?);
    tx.put_doubt(&DoubtRow {
        subject: "maths-a/why".into(),
        document: document.to_string(),
        batch: "maths-a".into(),
        asked_by: student.into(),
        question: "Why?".into(),
        answers: r#"[{"z":1, "a":"é"}]"#.into(),
        answer_count: 1,
        answered_by: None,
        conflicts: 0,
        omitted_bytes: 0,
        words: "why".into(),
        asked_at: 1_795_348_800_123,
        updated_at: 1_795_348_800_124,
        heads: r#"["ab"]"#.into(),
    })
}

/// Enough of an institute to see that both stores have the same.
fn summary(store: &Store) -> String {
    let read = store.read_blocking::<_, StoreError>(INSTITUTE, |records| {
        let student = records.account_by_email("student@northside.example")?.unwrap();
        Ok(format!(
            "{:?}",
            (
                records.revision()?,
                records.institute()?,
                records.student_work(&student.user, 100)?,
                records.student_invoices(&student.user)?,
                records.recent_payments(100)?,
                records.feed_after(0, 10)?,
                records.decision("key")?,
                records.signing_keys()?,
                records.student_figures(&student.user)?,
                records.directory()?,
                (
                    records.ledger(&student.user, 100)?,
                    records.doubt("maths-a/why")?,
                    records.doubts_of(&DoubtQuery {
                        batches: vec!["maths-a".into()],
                        words: Some(Words::of(["wh"])),
                        answered: None,
                        before: None,
                        limit: 2,
                    })?,
                ),
                (
                    records.institute_figures()?,
                    records.classes_figures(0, i64::MAX / 1_000_000)?,
                    records.unread_messages(&student.user, &["maths-a".to_owned()], 100)?,
                ),
            )
        ))
    });
    read.unwrap()
}

#[test]
fn origins_that_start_at_once_migrate_once() {
    let database = TestDatabase::create();
    let config = database.config();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let config = config.clone();
            std::thread::spawn(move || migrate(&config).unwrap())
        })
        .collect();
    let ran: Vec<usize> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    assert!(ran.iter().filter(|ran| **ran > 0).count() == 1, "{ran:?}");
    assert_eq!(migrate(&config).unwrap(), 0);
}

#[test]
fn a_schema_of_the_future_is_refused() {
    let database = TestDatabase::create();
    migrate(&database.config()).unwrap();
    database.sql("INSERT INTO refinery_schema_history VALUES (9999, 'future', now()::text, '1')");
    let refused = Store::connect(&database.config()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("schema 9999"), "{refused}");
}
