//! What admins need of the store: changes of records, collections, the audit log. On each engine.

use super::collections::{self, Cell, Collection, Selection};
use super::conformance::{AT, read, school};
use super::*;
use sync_protocol::token::Role;

on_each_engine! {
    records_change_where_something_is_named_and_stay_elsewhere,
    a_cancelled_class_is_on_no_timetable_and_keeps_its_marks,
    an_audit_entry_is_read_as_it_was_written_and_never_changes,
    pages_of_every_collection_together_are_the_whole_in_both_orders,
    people_are_found_by_words_of_their_names_addresses_and_ids,
    a_student_has_marked_classes_and_a_batch_its_active_students,
}

fn records_change_where_something_is_named_and_stay_elsewhere(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        assert!(tx.change_user("ann", Some("Ann"), None)?);
        assert!(tx.change_user("ann", None, Some("new@northside.example"))?);
        assert!(tx.change_user("ann", None, Some("new@northside.example"))?, "their own address");
        tx.set_deactivated("bob", Some(AT))?;
        assert!(
            !tx.change_user("ann", Some("Bob"), Some("bob@northside.example"))?,
            "taken, though deactivated"
        );
        tx.change_batch("maths", "Algebra")?;
        tx.change_class("c1", &ClassChange { room: Some("2".into()), ..ClassChange::default() })?;
        tx.change_class("c1", &ClassChange { times: Some((AT + 1, AT + 2)), ..ClassChange::default() })?;
        tx.change_assignment("a1", None, Some(AT), None)?;
        tx.change_assignment("a1", Some("Exam"), None, Some(50.0))?;
        tx.change_institute(None, Some("Asia/Kolkata"), None)
    })
    .unwrap();
    read(store, |records| {
        let ann = records.account("ann")?.unwrap();
        assert_eq!((ann.name.as_str(), ann.email.as_str()), ("Ann", "new@northside.example"));
        assert_eq!(records.studied_batches("ann")?[0].title, "Algebra");
        let class = records.class("c1")?.unwrap();
        assert_eq!((class.room.as_str(), class.title.as_str()), ("2", "Algebra"));
        assert_eq!((class.starts_at, class.ends_at), (AT + 1, AT + 2));
        let exam = records.assignment("a1")?.unwrap();
        assert_eq!((exam.title.as_str(), exam.due_at, exam.max_score), ("Exam", Some(AT), 50.0));
        let institute = records.institute()?.unwrap();
        assert_eq!((institute.name.as_str(), institute.time_zone.as_str()), ("Northside", "Asia/Kolkata"));
        assert_eq!(records.highest_score("a1")?, None);
        Ok(())
    });
    let elsewhere = store.write_blocking::<_, StoreError, _>("riverside.example", |tx| {
        assert!(!tx.change_user("ann", Some("Stolen"), None)?);
        tx.change_batch("maths", "Stolen")?;
        tx.change_assignment("a1", Some("Stolen"), None, None)
    });
    elsewhere.unwrap();
    assert_eq!(read(store, |records| records.account("ann")).unwrap().name, "Ann");
}

fn a_cancelled_class_is_on_no_timetable_and_keeps_its_marks(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        tx.put_attendance("c1", &AttendanceRow::without_sheet("ann".into(), "late".into()))?;
        assert!(tx.cancel_class("c1", AT)?);
        assert!(!tx.cancel_class("c1", AT + 1)?);
        Ok(())
    })
    .unwrap();
    read(store, |records| {
        assert!(records.classes_of(&["maths".to_owned()], AT, AT + 1, 10)?.is_empty());
        assert_eq!(records.classes_figures(AT, AT + 1)?, ClassesFigures::default());
        assert!(records.is_cancelled("c1")?);
        assert_eq!(records.mark_of("c1", "ann")?.as_deref(), Some("late"));
        assert!(records.class("c1")?.is_some());
        Ok(())
    });
}

fn audit_entry(n: u32) -> AuditEntry {
    AuditEntry {
        entry: format!("entry-{n:03}"),
        at: AT + i64::from(n),
        user: if n.is_multiple_of(2) { "ann" } else { "bob" }.into(),
        device: "phone".into(),
        command: "change-batch",
        key: format!("k{n}"),
        kind: "batch",
        record: Some("maths".into()),
        before: Some(r#"{"title":"é"}"#.into()),
        after: None,
        refusal: None,
        revision: 7,
    }
}

fn an_audit_entry_is_read_as_it_was_written_and_never_changes(
    TestStore { store, _folder, _database }: &TestStore,
) {
    school(store);
    write(store, |tx| tx.add_audit(&audit_entry(1))).unwrap();
    let row = read(store, |records| records.read_record(&collections::AUDIT, &["entry-001"])).unwrap();
    assert_eq!(row[..3], [text("entry-001"), Cell::Time(AT + 1), text("bob")]);
    assert_eq!(
        row[8..],
        [Cell::Json(r#"{"title":"é"}"#.into()), Cell::Null, Cell::Null, Cell::Integer(1), Cell::Integer(7)]
    );
    let twice = write(store, |tx| tx.add_audit(&audit_entry(1)));
    assert!(twice.is_err(), "an entry is written once");
    if let Some(database) = _database {
        for sql in ["UPDATE audit SET command = 'x'", "DELETE FROM audit", "TRUNCATE audit"] {
            let refused = database.sql(&format!(
                "SET ROLE rollcall_app; SET rollcall.institute = '{INSTITUTE}';
                 DO $$ BEGIN {sql}; RAISE 'done'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
                 SELECT 'refused'"
            ));
            assert!(refused.ends_with("refused"), "{sql}: {refused}");
        }
    }
    if let Some(folder) = _folder {
        let connection = rusqlite::Connection::open(folder.path().join("origin.sqlite")).unwrap();
        for sql in ["UPDATE audit SET command = 'x'", "DELETE FROM audit"] {
            let refused = connection.execute(sql, []).unwrap_err().to_string();
            assert!(refused.contains("the audit log is not"), "{refused}");
        }
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

/// All of a collection, read in pages of two.
fn pages(store: &Store, from: &'static Collection, descending: bool) -> Vec<Vec<Cell>> {
    let sort = &from.sorts[0];
    let columns: Vec<_> = from.columns.iter().filter(|column| !column.alone).collect();
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let selection = Selection { filters: Vec::new(), sort, descending, after, limit: 2 };
        let rows = read(store, |records| records.select(from, &selection));
        let Some(last) = rows.last() else { return all };
        let at = |name: &&str| columns.iter().position(|column| column.name == *name).unwrap();
        after = Some(sort.columns.iter().map(|name| last[at(name)].clone()).collect());
        all.extend(rows);
    }
}

fn pages_of_every_collection_together_are_the_whole_in_both_orders(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        for n in 0..5 {
            tx.add_batch(&format!("b{n}"), "A batch")?;
            tx.add_enrolment(&format!("b{n}"), "ann", AT)?;
            tx.add_audit(&audit_entry(n))?;
            tx.add_activity(&Activity {
                activity: format!("activity-{n}"),
                at: AT + i64::from(n),
                user: "ann".into(),
                kind: ActivityKind::SignedIn,
                device: "phone".into(),
            })?;
            let (class, batch, room) = (format!("class-{n}"), format!("b{n}"), String::new());
            let (title, teacher) = ("Class".into(), "teacher".into());
            // All at the same time: the id tells them apart.
            tx.add_class(&NewClass { class, batch, title, room, teacher, starts_at: AT, ends_at: AT + 1 })?;
        }
        tx.add_guardian("teacher", "ann")?;
        tx.acknowledge("log", "edge", 3)?;
        Ok(())
    })
    .unwrap();
    for (from, count) in [
        (&collections::INSTITUTES, 1),
        (&collections::USERS, 3),
        (&collections::BATCHES, 6),
        (&collections::ENROLMENTS, 7),
        (&collections::TEACHINGS, 1),
        (&collections::GUARDIANS, 1),
        (&collections::CLASSES, 6),
        (&collections::ASSIGNMENTS, 1),
        (&collections::SUBMISSIONS, 0),
        (&collections::INVOICES, 0),
        (&collections::PAYMENTS, 0),
        (&collections::PAYMENT_EVENTS, 0),
        (&collections::DOCUMENTS, 0),
        (&collections::QUARANTINE, 0),
        (&collections::SESSIONS, 0),
        (&collections::EDGE_LOGS, 1),
        (&collections::ATTENDANCE, 0),
        (&collections::AUDIT, 5),
        (&collections::ACTIVITIES, 5),
    ] {
        let mut forwards = pages(store, from, false);
        assert_eq!(forwards.len(), count, "{}", from.record);
        forwards.reverse();
        assert_eq!(forwards, pages(store, from, true), "{}", from.record);
    }
    let filter = collections::AUDIT.filters.iter().find(|filter| filter.name == "user").unwrap();
    let sort = &collections::AUDIT.sorts[0];
    let filters = vec![(filter, text("ann"))];
    let selection = Selection { filters, sort, descending: false, after: None, limit: 10 };
    assert_eq!(read(store, |records| records.select(&collections::AUDIT, &selection)).len(), 3);
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        assert!(records.read_record(&collections::USERS, &["ann"])?.is_none());
        let selection = Selection { filters: Vec::new(), ..selection };
        records.select(&collections::AUDIT, &selection)
    });
    assert!(elsewhere.unwrap().is_empty());
}

fn people_are_found_by_words_of_their_names_addresses_and_ids(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        for (user, name) in [("u1", "Maria del Mar"), ("u2", "Omar Marsh"), ("u3", "100% _Sure")] {
            let email = format!("{user}@northside.example");
            let (user, name, role) = (user.into(), name.into(), Role::Student);
            tx.add_user(&NewUser { user, email, name, role, password_hash: None }, AT)?;
        }
        Ok(())
    })
    .unwrap();
    let find = |words: &[&str], start: &str| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = read(store, |records| records.search_people(&words, start, 10));
        found.into_iter().map(|[user, ..]| user).collect::<Vec<_>>()
    };
    assert_eq!(find(&["mar"], "mar"), ["u1", "u2"]);
    assert_eq!(find(&["mar", "del"], "mar del"), ["u1"]);
    assert_eq!(find(&["arsh"], "arsh"), [""; 0], "not in the middle of a word");
    assert_eq!(find(&["u2"], "u2@n"), ["u2"]);
    assert_eq!(find(&[], "u3"), ["u3"]);
    assert_eq!(find(&[], "%"), [""; 0]);
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        records.search_people(&["mar".into()], "u", 10)
    });
    assert!(elsewhere.unwrap().is_empty());
    let titles = read(store, |records| records.search_titles("EXER", 10));
    assert_eq!(titles, [["assignment", "a1", "Exercise", "maths"].map(str::to_owned)]);
    assert!(read(store, |records| records.search_titles("100%", 10)).is_empty());
}

fn a_student_has_marked_classes_and_a_batch_its_active_students(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        tx.put_attendance("c1", &AttendanceRow::without_sheet("ann".into(), "late".into()))?;
        tx.set_deactivated("bob", Some(AT))?;
        Ok(())
    })
    .unwrap();
    read(store, |records| {
        let marked = records.marked_classes("ann", 10)?;
        assert_eq!((marked[0].class.class.as_str(), marked[0].mark.as_str()), ("c1", "late"));
        assert!(records.marked_classes("bob", 10)?.is_empty());
        assert_eq!(records.batch_students("maths", 10)?, [("ann".to_owned(), "ANN".to_owned())]);
        Ok(())
    });
}
