//! The same claims, checked on each engine.

use super::fees::{invoice, payment};
use super::*;
use std::collections::HashMap;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::DocumentRecord;
use sync_protocol::quarantine::Usage;
use sync_protocol::token::Role;

/// A time with milliseconds that a coarser or binary fraction would lose.
pub(super) const AT: i64 = 1_795_348_800_123;

on_each_engine! {
    the_feed_has_no_gap_under_concurrent_writers_some_of_which_fail,
    a_write_that_touches_nothing_makes_no_revision,
    a_panic_undoes_its_own_write_and_the_writer_goes_on,
    an_attempt_that_fails_is_undone_with_its_tags_and_the_rest_commits,
    a_commit_of_too_many_tags_touches_everything,
    a_watcher_wakes_after_each_commit,
    documents_append_only_where_the_log_ends,
    the_quarantine_is_listed_counted_and_settled,
    decisions_are_kept_as_they_were,
    what_is_written_is_read_back_alike,
    a_refresh_token_is_found_before_its_institute_is_known,
    messages_of_several_mailboxes_come_newest_first,
    what_arrives_late_is_unread_whenever_it_was_written,
    attendance_is_counted_by_mark_and_by_conflict,
}

fn the_feed_has_no_gap_under_concurrent_writers_some_of_which_fail(TestStore { store, .. }: &TestStore) {
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            std::thread::spawn(move || {
                for n in 0..40 {
                    let failed = write(&store, move |tx| {
                        tx.add_batch(&format!("failed-{writer}-{n}"), "Undone")?;
                        tx.touch_everything();
                        Err(StoreError::Closed)
                    });
                    assert!(failed.is_err());
                    add_batch(&store, format!("batch-{writer}-{n}")).unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let feed = feed(store);
    assert_eq!(feed.len(), 1 + 8 * 40);
    for (row, revision) in feed.iter().zip(1..) {
        assert_eq!(row.revision, revision);
        assert!(row.tags.contains(&tag::INSTITUTE.to_owned()));
    }
    let batches = store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.institute_figures());
    assert_eq!(batches.unwrap().batches, 8 * 40);
}

fn a_write_that_touches_nothing_makes_no_revision(TestStore { store, .. }: &TestStore) {
    assert_eq!(write(store, |_| Ok(())).unwrap(), 1);
    assert_eq!(add_batch(store, "b".into()).unwrap(), 2);
}

fn a_panic_undoes_its_own_write_and_the_writer_goes_on(TestStore { store, .. }: &TestStore) {
    let panicked = write(store, |tx| {
        tx.add_batch("lost", "Lost")?;
        panic!("on purpose");
    });
    assert!(matches!(panicked, Err(StoreError::Panicked)));
    assert_eq!(add_batch(store, "kept".into()).unwrap(), 2);
    let lost = store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.batch_exists("lost"));
    assert!(!lost.unwrap());
}

fn an_attempt_that_fails_is_undone_with_its_tags_and_the_rest_commits(TestStore { store, .. }: &TestStore) {
    let revision = write(store, |tx| {
        let refused = tx.attempt::<(), StoreError>(|tx| {
            tx.add_batch("refused", "Refused")?;
            tx.touch(tag::batch("refused"));
            Err(StoreError::Closed)
        });
        assert!(refused.is_err());
        tx.add_batch("kept", "Kept").map(drop)
    });
    assert_eq!(revision.unwrap(), 1);
    let exist = store.read_blocking::<_, StoreError>(INSTITUTE, |records| {
        Ok((records.batch_exists("refused")?, records.batch_exists("kept")?))
    });
    assert_eq!(exist.unwrap(), (false, true));
}

fn a_commit_of_too_many_tags_touches_everything(TestStore { store, .. }: &TestStore) {
    write(store, |tx| {
        (0..=tag::MAX_TAGS).for_each(|n| tx.touch(tag::batch(&n.to_string())));
        Ok(())
    })
    .unwrap();
    assert_eq!(feed(store)[1].tags, [tag::EVERYTHING, tag::INSTITUTE]);
}

fn a_watcher_wakes_after_each_commit(TestStore { store, .. }: &TestStore) {
    let mut changed = store.watch(INSTITUTE);
    assert_eq!(add_batch(store, "b".into()).unwrap(), 2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(changed.changed()).unwrap();
    assert_eq!(*changed.borrow_and_update(), 2);
}

/// A teacher, two students, a batch that they meet in, a class of it, an assignment.
fn add_school(tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
    for (user, role) in [("teacher", Role::Teacher), ("ann", Role::Student), ("bob", Role::Student)] {
        let (email, name) = (format!("{user}@northside.example"), user.to_uppercase());
        let user = NewUser { user: user.into(), email, name, role, password_hash: None };
        assert!(tx.add_user(&user, AT)?);
        assert!(!tx.add_user(&user, AT)?);
    }
    tx.add_batch("maths", "Mathematics")?;
    tx.add_teacher("maths", "teacher")?;
    tx.add_enrolment("maths", "ann", AT)?;
    tx.add_enrolment("maths", "bob", AT)?;
    let (class, batch, title, room) = ("c1".into(), "maths".into(), "Algebra".into(), "1".into());
    let (starts_at, ends_at) = (AT, AT + 3_600_000);
    tx.add_class(&NewClass { class, batch, title, room, teacher: "teacher".into(), starts_at, ends_at })?;
    let (assignment, batch, title) = ("a1".into(), "maths".into(), "Exercise".into());
    tx.add_assignment(&Assignment { assignment, batch, title, due_at: None, max_score: 0.1 + 0.2 })?;
    tx.touch_everything();
    Ok(())
}

pub(super) fn school(store: &Store) {
    write(store, add_school).unwrap();
}

pub(super) fn read<T>(store: &Store, work: impl FnOnce(&dyn Records) -> Result<T, StoreError>) -> T {
    store.read_blocking(INSTITUTE, work).unwrap()
}

fn what_is_written_is_read_back_alike(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        let (submission, assignment) = ("s1".into(), "a1".into());
        let (student, submitted_at, text) = ("ann".into(), Some(AT - 1), Some("x = 2".into()));
        tx.add_submission(&NewSubmission { submission, assignment, student, submitted_at, text })?;
        tx.add_invoice(&invoice("i1", 1_000))?;
        let payment = payment("p1", 400);
        assert!(tx.add_payment(&payment)?);
        assert!(!tx.add_payment(&payment)?, "the same payment counts once");
        Ok(())
    })
    .unwrap();
    read(store, |records| {
        let waiting = records.work_to_grade("teacher", 10)?;
        assert_eq!((waiting.len(), records.work_to_grade_count("teacher")?), (1, 1));
        assert_eq!((waiting[0].student_name.as_str(), waiting[0].submitted_at), ("ANN", Some(AT - 1)));
        assert_eq!(waiting[0].assignment.max_score, 0.1 + 0.2);
        let open = records.open_assignments("bob", 10)?;
        assert_eq!((open.len(), open[0].due_at), (1, None));
        assert!(records.open_assignments("ann", 10)?.is_empty());
        let maths = ["maths".to_owned()];
        let class = records.class("c1")?.unwrap();
        assert_eq!((class.starts_at, class.teacher_name.as_str()), (AT, "TEACHER"));
        assert_eq!(records.classes_of(&maths, AT, AT + 1, 10)?.len(), 1);
        assert!(records.classes_of(&maths, AT + 1, AT + 2, 10)?.is_empty());
        assert_eq!(records.classes_taught("teacher", AT, AT + 1, 10)?[0].class, "c1");
        assert!(records.classes_taught("teacher", AT + 1, AT + 2, 10)?.is_empty());
        assert!(records.classes_taught("ann", AT, AT + 1, 10)?.is_empty());
        let today = records.classes_figures(AT, AT + 1)?;
        assert_eq!((today.classes, today.expected), (1, 2));
        assert_eq!((records.enrolled("maths")?, records.enrolled("no-batch")?), (2, 0));
        let invoice = &records.student_invoices("ann")?[0];
        assert_eq!((invoice.paid_minor, invoice.due_on.as_str()), (400, "2026-12-31"));
        let figures = records.institute_figures()?;
        assert_eq!((figures.outstanding_minor, records.received_since_minor(AT)?), (600, 400));
        assert_eq!(figures.submissions, 1);
        assert_eq!(records.recent_payments(5)?[0].student_name, "ANN");
        assert!(records.share_batch("ann", "bob")? && !records.share_batch("ann", "nobody")?);
        assert_eq!(records.studied_batches("ann")?[0].teachers, ["TEACHER"]);
        assert_eq!(records.taught_batches("teacher")?[0].students, 2);
        assert_eq!((figures.admins, figures.teachers, figures.students, figures.batches), (0, 1, 2, 1));
        let account = records.account_by_email("ann@northside.example")?.unwrap();
        assert_eq!(account.role, Role::Student);
        assert_eq!(records.batches_of(&account)?, ["maths"]);
        assert_eq!(records.epoch(), store.epoch());
        Ok(())
    });
    write(store, |tx| tx.grade_submission("s1", 0.3, Some("fine"), "teacher", AT)).unwrap();
    let (average, work) =
        read(store, |records| Ok((records.student_average("ann")?, records.student_work("ann", 5)?)));
    assert_eq!((average, work[0].graded_at), (Some(0.3 / (0.1 + 0.2)), Some(AT)));
    assert_eq!(read(store, |records| records.student_average("bob")), None);
}

fn decisions_are_kept_as_they_were(TestStore { store, .. }: &TestStore) {
    let outcome = r#"{"b":1, "a" : [1.50,"\u00e9"]}"#;
    write(store, move |tx| {
        let decision = Decision {
            user: "u".into(),
            device: "d".into(),
            request_hash: vec![0, 255],
            status: DecisionStatus::Refused,
            outcome: outcome.into(),
            revision: 7,
            entity_tag: Some("\"e\"".into()),
        };
        tx.add_decision("key", &decision, AT)
    })
    .unwrap();
    let kept = read(store, |records| records.decision("key")).unwrap();
    assert_eq!((kept.outcome.as_str(), kept.status, kept.revision), (outcome, DecisionStatus::Refused, 7));
    assert_eq!(
        (kept.request_hash.as_slice(), kept.entity_tag.as_deref()),
        ([0, 255].as_slice(), Some("\"e\""))
    );
    assert!(read(store, |records| records.decision("other")).is_none());
}

fn a_refresh_token_is_found_before_its_institute_is_known(TestStore { store, .. }: &TestStore) {
    school(store);
    let token = RefreshToken {
        token_hash: vec![1, 2, 3],
        family: "f".into(),
        user: "ann".into(),
        device: "phone".into(),
        issued_at: AT,
        expires_at: AT + 1,
        rotated_at: None,
        revoked_at: None,
        successor: None,
    };
    write(store, move |tx| tx.add_refresh_token(&token)).unwrap();
    let institute = store.read_blocking::<_, StoreError>(NO_INSTITUTE, |records| {
        assert!(records.institute_of_refresh_token(&[9])?.is_none());
        records.institute_of_refresh_token(&[1, 2, 3])
    });
    assert_eq!(institute.unwrap().as_deref(), Some(INSTITUTE));
    write(store, |tx| {
        tx.mark_rotated(&[1, 2, 3], Some(&[4]), AT)?;
        // Its place is taken by another one; when it was used first stays.
        tx.mark_rotated(&[1, 2, 3], Some(&[5]), AT + 3)?;
        tx.revoke_family("f", AT + 5)
    })
    .unwrap();
    let token = read(store, |records| records.refresh_token(&[1, 2, 3])).unwrap();
    assert_eq!((token.expires_at, token.rotated_at, token.revoked_at), (AT + 1, Some(AT), Some(AT + 5)));
    assert_eq!(token.successor.as_deref(), Some([5].as_slice()));
}

fn messages_of_several_mailboxes_come_newest_first(TestStore { store, .. }: &TestStore) {
    school(store);
    let message = |n: i64, author: &str, recipient: Option<&str>, batch: Option<&str>| NewMessage {
        message: format!("m{n}"),
        author: author.into(),
        recipient: recipient.map(str::to_owned),
        batch: batch.map(str::to_owned),
        text: "hello".into(),
        posted_at: AT + n,
        arrived: None,
    };
    // Years apart: on Postgres these rows are in several partitions and the default one.
    let old = NewMessage { posted_at: 0, ..message(0, "teacher", Some("ann"), None) };
    let new = [
        message(1, "teacher", None, Some("maths")),
        message(2, "bob", None, Some("maths")),
        message(3, "ann", None, Some("maths")),
        message(4, "teacher", Some("ann"), None),
        message(5, "teacher", Some("bob"), None),
        old,
    ];
    write(store, move |tx| {
        new.iter().try_for_each(|message| {
            assert!(tx.add_message(message)?);
            assert!(!tx.add_message(message)?);
            Ok(())
        })
    })
    .unwrap();
    let batches = ["maths".to_owned(), "other".to_owned()];
    let ids = |limit| {
        let rows = read(store, |records| records.messages_to("ann", &batches, limit));
        rows.into_iter().map(|row| row.message).collect::<Vec<_>>()
    };
    assert_eq!(ids(10), ["m4", "m2", "m1", "m0"]);
    assert_eq!(ids(2), ["m4", "m2"]);
    // Three of others in the batch, two of which ann can count, and two to her alone.
    let unread = |most| read(store, |records| records.unread_messages("ann", &batches, most));
    assert_eq!((unread(10).count, unread(0).count), (4, 0));
}

fn what_arrives_late_is_unread_whenever_it_was_written(TestStore { store, .. }: &TestStore) {
    school(store);
    let post = |message: &str, recipient: Option<&str>, posted_at: i64, arrived: Option<i64>| {
        let message = NewMessage {
            message: message.into(),
            author: "teacher".into(),
            recipient: recipient.map(str::to_owned),
            batch: if recipient.is_none() { Some("maths".into()) } else { None },
            text: "hello".into(),
            posted_at,
            arrived,
        };
        write(store, move |tx| {
            assert!(tx.add_message(&message)?);
            tx.touch(tag::batch("maths"));
            Ok(())
        })
        .unwrap()
    };
    let batches = ["maths".to_owned()];
    let unread = |user: &'static str| {
        let unread = read(store, |records| records.unread_messages(user, &batches, 100));
        (unread.count, unread.newest)
    };
    let mark = |user: &'static str, until: i64| {
        store
            .write_blocking::<_, StoreError, _>(INSTITUTE, move |tx| tx.read_messages(user, until))
            .unwrap()
            .value
    };
    // Two that came with records, of which ann had read the older.
    let history = [AT - 2_000, AT - 1_000].map(arrival_of_history);
    post("old", None, AT - 2_000, Some(history[0]));
    post("older than new", None, AT - 1_000, Some(history[1]));
    assert_eq!((unread("ann"), unread("nobody")), ((2, Some(history[1])), (0, None)));
    assert!(mark("ann", history[0]));
    assert_eq!(unread("ann"), (1, Some(history[1])));

    let first = post("m1", Some("ann"), AT + 1_000, None);
    assert_eq!(unread("ann"), (2, Some(first as i64)));
    assert!(mark("ann", first as i64));
    assert!(!mark("ann", first as i64) && !mark("ann", 0), "nothing becomes unread again");
    assert_eq!(unread("ann"), (0, None));
    // An edge brings what was written before all that ann has read.
    let late = post("m2", None, AT - 3_000, None);
    assert_eq!((unread("ann"), unread("bob")), ((1, Some(late as i64)), (3, Some(late as i64))));
    let few = read(store, |records| records.unread_messages("bob", &batches, 2));
    assert_eq!((few.count, few.newest), (2, Some(late as i64)), "of each mailbox as many as are asked for");
    assert!(mark("bob", i64::MAX), "up to now and no further");
    let next = post("m3", None, AT, None);
    assert_eq!((unread("bob"), unread("ann")), ((1, Some(next as i64)), (2, Some(next as i64))));
    write(store, |tx| tx.retract_message("m3", "admin", "wrong", AT).map(drop)).unwrap();
    assert_eq!(unread("bob"), (0, None));
    assert_eq!(unread("teacher").0, 0, "one's own are read");
    let elsewhere =
        store.write_blocking::<_, StoreError, _>("riverside.example", |tx| tx.read_messages("ann", 9));
    assert!(!elsewhere.unwrap().value);
}

fn attendance_is_counted_by_mark_and_by_conflict(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        let row = |student: &str, mark: &str, marks: Option<&str>| AttendanceRow {
            student: student.into(),
            mark: mark.into(),
            marks: marks.map(str::to_owned),
            document: Some("sheet".into()),
            heads: Some(r#"["ab"]"#.into()),
            writers: marks.map(|_| r#"[{"mark":"late"}]"#.into()),
            remark: marks.map(|_| "the bus".into()),
            remark_writers: marks.map(|_| r#"[{"remark":"the bus"}]"#.into()),
        };
        tx.put_attendance("c1", &row("ann", "absent", None))?;
        tx.put_attendance("c1", &row("ann", "late", Some(r#"["present","late"]"#)))?;
        tx.put_attendance("c1", &row("bob", "present", None))
    })
    .unwrap();
    read(store, |records| {
        let figures = AttendanceFigures { present: 1, absent: 0, late: 1, excused: 0, conflicts: 1 };
        let several = ["c1".to_owned(), "no-class".to_owned()];
        assert_eq!(records.figures_of_classes(&several)?, HashMap::from([("c1".to_owned(), figures)]));
        let batches = ["maths".to_owned(), "no-batch".to_owned()];
        assert_eq!(records.figures_of_batches(&batches, AT, AT + 1)?, figures);
        assert_eq!(records.figures_of_batches(&batches[1..], AT, AT + 1)?, AttendanceFigures::default());
        assert_eq!(records.classes_figures(AT, AT + 1)?.marks, figures);
        assert_eq!(records.classes_figures(AT + 1, AT + 2)?, ClassesFigures::default());
        let conflicts = records.conflicts_of_classes(&several)?;
        let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
        assert_eq!(
            (&conflict.class[..], &conflict.student[..], &conflict.marks[..]),
            ("c1", "ann", r#"["present","late"]"#)
        );
        assert_eq!(records.attendance("c1")?[0].marks.as_deref(), Some(r#"["present","late"]"#));
        let ann = &records.attendance("c1")?[0];
        assert_eq!(ann.heads.as_deref(), Some(r#"["ab"]"#));
        assert_eq!(ann.writers.as_deref(), Some(r#"[{"mark":"late"}]"#));
        assert_eq!(ann.remark.as_deref(), Some("the bus"));
        assert_eq!(ann.remark_writers.as_deref(), Some(r#"[{"remark":"the bus"}]"#));
        assert_eq!(records.attendance("c1")?[1].remark, None);
        assert_eq!(records.marked_classes("ann", 1)?[0].remark.as_deref(), Some("the bus"));
        assert_eq!(records.mark_of("c1", "bob")?.as_deref(), Some("present"));
        Ok(())
    });
    write(store, |tx| tx.remove_attendance("c1", "bob")).unwrap();
    assert!(read(store, |records| records.mark_of("c1", "bob")).is_none());
}

fn refused(document: DocumentId, n: u8, refused_at: i64) -> QuarantineRow {
    let (user, device, edge) = ("ann".into(), "phone".into(), "edge".into());
    let code = "forbidden".into();
    QuarantineRow { document, hash: [n; 32], user, device, edge, code, bytes: vec![n; 10], refused_at }
}

fn the_quarantine_is_listed_counted_and_settled(TestStore { store, .. }: &TestStore) {
    school(store);
    let (one, two) = (DocumentId::from_bytes([1; 16]), DocumentId::from_bytes([2; 16]));
    write(store, move |tx| {
        for (document, n, at) in [(two, 1, AT), (one, 2, AT), (one, 3, AT), (one, 4, AT - 1)] {
            assert!(tx.quarantine(&refused(document, n, at))?);
        }
        Ok(())
    })
    .unwrap();
    let listed = |of: DocumentId| {
        let rows =
            store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.quarantine_of(of, 10)).unwrap();
        rows.into_iter()
            .map(|row| {
                assert!(row.bytes.is_empty());
                row.hash[0]
            })
            .collect::<Vec<u8>>()
    };
    assert_eq!(listed(one), [4, 2, 3], "the oldest first");
    assert_eq!(listed(two), [1]);
    read(store, |records| {
        let usage = |items| Usage { items, bytes: items * 10 };
        assert_eq!(records.quarantine_usage("phone")?, (usage(4), usage(4)));
        assert_eq!(records.quarantine_usage("tablet")?, (usage(0), usage(4)));
        assert_eq!(records.quarantined(one, &[3; 32])?, Some(refused(one, 3, AT)));
        assert_eq!(records.quarantined(two, &[3; 32])?, None);
        Ok(())
    });
    write(store, move |tx| {
        let settle = |n, by| tx.settle_quarantined(one, &[n; 32], QuarantineOutcome::Dropped, by, AT);
        assert!(settle(3, Some("ada"))?);
        assert!(!settle(3, Some("ada"))?, "it is settled");
        assert!(!settle(9, None)?);
        tx.settle_arrived(one, &[[2; 32], [9; 32]], AT)?;
        assert!(!tx.quarantine(&refused(one, 3, AT))?, "what is settled does not come back");
        Ok(())
    })
    .unwrap();
    assert_eq!((listed(one), listed(two)), (vec![4], vec![1]));
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        Ok((records.quarantine_of(two, 10)?.len(), records.quarantined(two, &[1; 32])?))
    });
    assert_eq!(elsewhere.unwrap(), (0, None));
}

fn documents_append_only_where_the_log_ends(TestStore { store, .. }: &TestStore) {
    school(store);
    let document = DocumentId::from_bytes([7; 16]);
    let change = |n: u8| ChangeRow {
        hash: [n; 32],
        bytes: vec![n, 0, 255],
        user: "teacher".into(),
        device: "phone".into(),
        edge: "edge".into(),
        received_at: AT,
    };
    let heads = ["ab".to_owned()];
    let record = DocumentRecord {
        document,
        kind: "notes".into(),
        subject: "c1".into(),
        batch: Some("maths".into()),
        owner: "teacher".into(),
    };
    write(store, move |tx| {
        assert!(tx.add_document(&NewDocument { record: record.clone(), created_at: AT })?);
        assert!(!tx.add_document(&NewDocument { record, created_at: AT })?);
        assert!(tx.append_changes(document, 0, &[change(1), change(2)], &heads)?);
        assert!(!tx.append_changes(document, 1, &[change(3)], &heads)?, "the log has moved on");
        assert!(tx.append_changes(document, 2, &[change(3)], &heads)?);
        tx.put_snapshot(document, 2, b"saved")?;
        tx.acknowledge("log", "edge", 5)?;
        tx.acknowledge("log", "edge", 4)?;
        assert!(tx.quarantine(&refused(document, 9, AT))?);
        assert!(!tx.quarantine(&refused(document, 9, AT + 1))?);
        tx.touch_document(document, vec!["ab".into()]);
        Ok(())
    })
    .unwrap();
    read(store, |records| {
        assert_eq!(records.changes_after(document, 0)?, [[1, 0, 255], [2, 0, 255], [3, 0, 255]]);
        assert_eq!(records.changes_after(document, 2)?, [[3, 0, 255]]);
        assert_eq!(records.snapshot(document)?, Some((2, b"saved".to_vec())));
        assert_eq!(records.document_by_subject("notes", "c1")?.unwrap().record.document, document);
        let several = records.documents_by_subjects("notes", &["no-class".into(), "c1".into()])?;
        assert_eq!(several.iter().map(|known| known.record.document).collect::<Vec<_>>(), [document]);
        assert_eq!(records.changes_among(document, &[[9; 32], [3; 32], [1; 32]])?.len(), 2);
        assert_eq!(records.acknowledged("log")?, 5);
        let figures = records.institute_figures()?;
        assert_eq!((figures.kinds, figures.quarantined), ([("notes".to_owned(), (1, 3))].into(), 1));
        let feed = records.feed_after(2, 10)?;
        assert_eq!(feed[0].documents, [(document, vec!["ab".to_owned()])]);
        Ok(())
    });
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        assert!(records.document_by_subject("notes", "c1")?.is_none());
        records.document_anywhere(document)
    });
    assert_eq!(elsewhere.unwrap().unwrap().institute, INSTITUTE);
}
