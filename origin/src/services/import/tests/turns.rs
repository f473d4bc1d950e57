//! Imports beside other writers, after changes of people and work, and cut off; on each engine.

use super::*;
use crate::services::seed::user_id_of;
use crate::store::collections::{AUDIT, Cell, Selection};
use crate::testing::TestDatabase;
use std::sync::mpsc;
use sync_protocol::token::Role;

/// Longest wait for what waits for nobody, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn on_both_engines(test: impl Fn(&TempDir, &Store)) {
    let (folder, store) = store();
    test(&folder, &store);
    let database = TestDatabase::create();
    let store = Store::connect(&database.config()).unwrap();
    test(&folder, &store);
}

fn roster(folder: &TempDir, rows: &str) -> ImportSource {
    ImportSource::Roster {
        file: file(folder, "roster.csv", &format!("email,name,role,batch,student\n{rows}")),
    }
}

fn results(folder: &TempDir, rows: &str) -> ImportSource {
    ImportSource::Results {
        file: file(folder, "results.csv", &format!("email,assignment,score,max\n{rows}")),
    }
}

fn write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    store.write_blocking(INSTITUTE, work).unwrap().value
}

fn add_test(store: &Store) {
    write(store, |tx| {
        tx.add_assignment(&Assignment {
            assignment: "test-1".into(),
            batch: "maths".into(),
            title: "Test".into(),
            due_at: None,
            max_score: 20.0,
        })
    });
}

fn revision(store: &Store) -> u64 {
    store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.revision()).unwrap()
}

fn holder(store: &Store, email: &str) -> String {
    let found =
        store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.holder_of_address(email)).unwrap();
    found.unwrap().user
}

const PEOPLE: &str = "ada@eastside.example,Ada,teacher,maths,\n\
    bo@eastside.example,Bo,student,maths,\n\
    bo@eastside.example,Bo,student,physics,\n\
    gus@eastside.example,Gus,guardian,,bo@eastside.example\n\
    bo@eastside.example,Bo,student,maths,\n\
    gus@eastside.example,Gus,guardian,,bo@eastside.example\n";

#[test]
fn a_rehearsal_tells_what_the_import_then_does() {
    on_both_engines(|folder, store| {
        let both = |source: &ImportSource| {
            let before =
                store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.revision()).unwrap();
            let rehearsed = import(store, source, true).unwrap();
            assert!(rehearsed.dry_run);
            assert_eq!(revision(store), before, "a rehearsal writes nothing");
            let done = import(store, source, false).unwrap();
            assert_eq!(rehearsed.counts, done.counts);
            done.counts
        };
        let first = both(&roster(folder, PEOPLE));
        assert_eq!(
            (first[0], first[1], first[2], first[3], first[4]),
            ((3, 3), (2, 2), (1, 0), (2, 1), (1, 1))
        );
        let more =
            format!("{PEOPLE}cy@eastside.example,Cy,student,physics,\nbo@eastside.example,Bo,student,art,\n");
        let second = both(&roster(folder, &more));
        assert_eq!((second[0], second[1], second[3]), ((1, 7), (1, 5), (2, 3)));
        add_test(store);
        let scores = "bo@eastside.example,test-1,5,20\nbo@eastside.example,test-1,5,20\n\
            bo@eastside.example,test-1,6,20\ncy@eastside.example,test-1,7,20\n";
        assert_eq!(both(&results(folder, scores))[7], (3, 1));
        assert_eq!(both(&results(folder, "bo@eastside.example,test-1,6,20\n"))[7], (0, 1));
    });
    let (folder, store) = store();
    small_oulad(folder.path());
    let source = ImportSource::Oulad { folder: folder.path().to_owned() };
    let rehearsed = import(&store, &source, true).unwrap();
    assert_eq!(rehearsed.counts, import(&store, &source, false).unwrap().counts);
}

#[test]
fn a_rehearsal_waits_for_no_writer_and_none_for_it() {
    on_both_engines(|folder, store| {
        import(store, &roster(folder, PEOPLE), false).unwrap();
        add_test(store);
        let source = results(folder, "bo@eastside.example,test-1,5,20\n");
        let (release, held) = mpsc::channel::<()>();
        let (holds, held_now) = mpsc::channel();
        let writer = store.clone();
        // The institute's row, and on SQLite the only writer there is.
        let writer = std::thread::spawn(move || {
            write(&writer, move |_| {
                holds.send(()).unwrap();
                // Until the test is over, however it ends.
                held.recv().unwrap_err();
                Ok(())
            });
        });
        held_now.recv().unwrap();
        let (done, rehearsed) = mpsc::channel();
        let rehearsing = store.clone();
        std::thread::spawn(move || done.send(import(&rehearsing, &source, true)));
        let rehearsed = rehearsed.recv_timeout(PATIENCE).expect("a rehearsal ends beside a writer");
        assert_eq!(rehearsed.unwrap().counts[7], (1, 0));
        drop(release);
        writer.join().unwrap();
    });
}

#[test]
fn an_import_takes_turns_with_whoever_else_writes() {
    on_both_engines(|folder, store| {
        let Source { records, .. } = Source::read(&roster(folder, PEOPLE), INSTITUTE).unwrap();
        let records: Vec<Record> = records.into_iter().map(|(record, _)| record).collect();
        let rows = records.len() as u64;
        // Over at once: each record has a transaction of its own.
        let counts = super::super::write(store, INSTITUTE, records, None, Duration::ZERO).unwrap();
        let (new, there) = counts.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!(new + there, rows);
        assert_eq!(revision(store), new, "a commit for each that was new");
        let again = import(store, &roster(folder, PEOPLE), false).unwrap();
        assert!(again.counts.iter().all(|(new, _)| *new == 0), "{again}");
    });
}

fn audited(store: &Store) -> Vec<(String, String, u64)> {
    let rows = store.read_blocking::<_, StoreError>(INSTITUTE, |records| {
        let (sort, filters) = (&AUDIT.sorts[0], Vec::new());
        records.select(&AUDIT, &Selection { filters, sort, descending: false, after: None, limit: 10 })
    });
    let columns: Vec<_> = AUDIT.columns.iter().filter(|column| !column.alone).collect();
    let at = |name: &str| columns.iter().position(|column| column.name == name).unwrap();
    let told = |row: Vec<Cell>| {
        let (Cell::Text(command), Cell::Integer(revision)) = (&row[at("command")], &row[at("revision")])
        else {
            panic!("{row:?}")
        };
        (command.clone(), format!("{:?}", row[at("after")]), *revision as u64)
    };
    rows.unwrap().into_iter().map(told).collect()
}

#[test]
fn what_an_import_wrote_is_in_the_audit_log_wherever_it_is_cut_off() {
    on_both_engines(|folder, store| {
        import(store, &roster(folder, PEOPLE), false).unwrap();
        assert!(audited(store).is_empty(), "nobody imports from the command line");
        let before = revision(store);
        let claims = Claims {
            iss: "rollcall".into(),
            aud: "rollcall".into(),
            sub: user_id_of("ada@eastside.example"),
            inst: INSTITUTE.into(),
            role: Role::Admin,
            name: "Ada".into(),
            dev: "laptop".into(),
            batches: Vec::new(),
            iat: 0,
            exp: 0,
            jti: "j".into(),
            sid: "s".into(),
        };
        let importer = Importer { claims, upload: Upload::Roster };
        let records = |rows: &str| -> Vec<Record> {
            let source = Source::read(&roster(folder, rows), INSTITUTE).unwrap();
            source.records.into_iter().map(|(record, _)| record).collect()
        };
        // The second cannot be written: there is nobody with that address.
        let mut broken = records("di@eastside.example,Di,student,,\n");
        broken.push(Record::Teacher { batch: "maths".into(), email: "nobody@eastside.example".into() });
        let broken = super::super::write(store, INSTITUTE, broken, Some(&importer), Duration::ZERO);
        assert!(broken.is_err());
        let log = audited(store);
        assert_eq!((log.len(), log[0].0.as_str(), log[0].2), (1, "begin-import-roster", before + 1));
        assert!(log[0].1.contains("rows"), "{log:?}");

        let parts = records("ed@eastside.example,Ed,student,maths,\n");
        super::super::write(store, INSTITUTE, parts, Some(&importer), Duration::ZERO).unwrap();
        let whole = records("flo@eastside.example,Flo,student,maths,\n");
        super::super::write(store, INSTITUTE, whole, Some(&importer), PATIENCE).unwrap();
        let log = audited(store);
        let commands: Vec<_> = log.iter().skip(1).map(|(command, ..)| command.as_str()).collect();
        assert_eq!(commands, ["begin-import-roster", "import-roster", "import-roster"]);
        assert!(log[2].1.contains("enrolments") && log[2].1.contains("users"), "{log:?}");
        // The entry is of the commit that wrote the last of it.
        assert_eq!(log[3].2, revision(store));
    });
}

#[test]
fn an_address_that_was_given_up_may_be_imported_for_somebody_else() {
    on_both_engines(|folder, store| {
        import(store, &roster(folder, "bo@eastside.example,Bo,student,maths,\n"), false).unwrap();
        let bo = user_id_of("bo@eastside.example");
        let user = bo.clone();
        assert!(write(store, move |tx| tx.change_user(&user, None, Some("robert@eastside.example"))));
        let rows = "bo@eastside.example,Bonnie,student,maths,\nbo@eastside.example,Bonnie,student,art,\n";
        let done = import(store, &roster(folder, rows), false).unwrap();
        assert_eq!((done.counts[0], done.counts[3]), ((1, 1), (2, 0)), "{done}");
        assert_eq!(holder(store, "robert@eastside.example"), bo);
        let bonnie = holder(store, "bo@eastside.example");
        assert_ne!(bonnie, bo);
        // In another institute too, which learns nothing of it.
        let user = bonnie.clone();
        assert!(write(store, move |tx| tx.change_user(&user, None, Some("bonnie@eastside.example"))));
        let source = roster(folder, "bo@eastside.example,Bob,student,maths,\n");
        let elsewhere = Source::read(&source, "westside.example").unwrap();
        let done = run(store, "westside.example", elsewhere, None, false).unwrap();
        assert_eq!((done.counts[0], done.counts[3]), ((1, 0), (1, 0)), "{done}");
    });
}

#[test]
fn somebody_who_was_deactivated_is_there_and_stays_so() {
    on_both_engines(|folder, store| {
        import(store, &roster(folder, "bo@eastside.example,Bo,student,maths,\n"), false).unwrap();
        let bo = user_id_of("bo@eastside.example");
        let user = bo.clone();
        assert!(write(store, move |tx| tx.set_deactivated(&user, Some(1))));
        let rows = roster(folder, "bo@eastside.example,Bo,student,art,\n");
        assert_eq!(import(store, &rows, true).unwrap().counts[3], (1, 0));
        let done = import(store, &rows, false).unwrap();
        assert_eq!((done.counts[0], done.counts[3]), ((0, 1), (1, 0)), "{done}");
        let entry = store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.directory_entry(&bo));
        assert!(!entry.unwrap().unwrap().active);
        let foreign = Source::read(&rows, "westside.example").unwrap();
        let told = faults(run(store, "westside.example", foreign, None, false));
        assert_eq!(told, ["roster.csv:2: email: \"bo@eastside.example\" is of another institute"]);
    });
}

#[test]
fn a_result_leaves_what_the_teacher_wrote() {
    on_both_engines(|folder, store| {
        import(store, &roster(folder, PEOPLE), false).unwrap();
        add_test(store);
        import(store, &results(folder, "bo@eastside.example,test-1,5,20\n"), false).unwrap();
        let bo = user_id_of("bo@eastside.example");
        let work = || {
            let bo = bo.clone();
            let work =
                store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.submission("test-1", &bo));
            work.unwrap().unwrap()
        };
        let submission = work().submission;
        write(store, move |tx| tx.grade_submission(&submission, 5.0, Some("Mind the signs."), "ada", 1));
        import(store, &results(folder, "bo@eastside.example,test-1,8.5,20\n"), false).unwrap();
        let work = work();
        assert_eq!((work.score, work.feedback.as_deref()), (Some(8.5), Some("Mind the signs.")));
    });
}
