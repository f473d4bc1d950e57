//! Imports of small files made here, and of the whole dataset where it is at hand.

mod turns;

use super::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const INSTITUTE: &str = "eastside.example";

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn import(store: &Store, source: &ImportSource, dry_run: bool) -> Result<Summary, ImportError> {
    run(store, INSTITUTE, Source::read(source, INSTITUTE)?, None, dry_run)
}

fn faults(result: Result<Summary, ImportError>) -> Vec<String> {
    match result {
        Err(ImportError::Faults(faults)) => faults.iter().map(Fault::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn students(store: &Store) -> u64 {
    store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.institute_figures()).unwrap().students
}

const ROSTER: &str = "email,name,role,batch\n\
    ada@eastside.example,Ada,teacher,maths\n\
    bo@eastside.example,Bo,student,maths\n\
    bo@eastside.example,Bo,student,physics\n\
    cy@eastside.example,Cy,admin,\n";

#[test]
fn a_roster_is_imported_once_however_often_it_runs() {
    let (folder, store) = store();
    let source = ImportSource::Roster { file: file(&folder, "roster.csv", ROSTER) };
    let rehearsed = import(&store, &source, true).unwrap();
    assert!(rehearsed.to_string().contains("dry run: nothing was written"));
    assert_eq!(students(&store), 0);
    let first = import(&store, &source, false).unwrap();
    assert_eq!(rehearsed.counts, first.counts);
    assert_eq!(first.counts[0], (3, 1));
    assert_eq!(first.counts[3], (2, 0));
    let second = import(&store, &source, false).unwrap();
    assert!(second.counts.iter().all(|(new, _)| *new == 0), "{second}");
    assert_eq!(second.counts[0], (0, 4));
}

#[test]
fn each_fault_names_file_line_and_field_and_nothing_is_written() {
    let (folder, store) = store();
    let text = "email,name,role,batch\n\
        ada@eastside.example,Ada,teacher,maths\n\
        bo,Bo,student,maths\n\
        \"cy@eastside.example\",\"C\ny\",chef,maths\n\
        di@eastside.example,Di,student,room 1\n\
        ed@eastside.example,Ed\n";
    let source = ImportSource::Roster { file: file(&folder, "roster.csv", text) };
    let told = faults(import(&store, &source, false));
    assert_eq!(
        told,
        [
            "roster.csv:3: email: is \"bo\", not an e-mail address",
            "roster.csv:4: role: is \"chef\", not one of admin, teacher, student, guardian",
            "roster.csv:6: batch: is \"room 1\", not 1 to 64 characters out of A-Z a-z 0-9 . _ -",
            "roster.csv:7: row: has 2 fields, the header has 4",
        ]
    );
    assert_eq!(store.read_blocking::<_, StoreError>(INSTITUTE, |r| r.revision()).unwrap(), 0);
}

#[test]
fn a_missing_column_a_missing_file_and_endless_faults_are_told() {
    let (folder, store) = store();
    let source = ImportSource::Roster { file: file(&folder, "roster.csv", "email,name\na@b.example,A\n") };
    assert_eq!(
        faults(import(&store, &source, false)),
        ["roster.csv:1: role: the column is missing", "roster.csv:1: batch: the column is missing"]
    );
    let source = ImportSource::Roster { file: folder.path().join("none.csv") };
    assert!(matches!(import(&store, &source, false), Err(ImportError::File { .. })));
    let endless = format!("email,name,role,batch\n{}", "x,X,student,\n".repeat(5_000));
    let source = ImportSource::Roster { file: file(&folder, "endless.csv", &endless) };
    assert_eq!(faults(import(&store, &source, false)).len(), MAX_FAULTS);
    let source = ImportSource::Roster { file: file(&folder, "latin.csv", "") };
    std::fs::write(folder.path().join("latin.csv"), b"email,name,role,batch\na@b.example,Jos\xe9,student,\n")
        .unwrap();
    assert!(faults(import(&store, &source, false))[0].starts_with("latin.csv:2: row: "));
}

#[test]
fn people_of_another_institute_or_role_are_not_taken_over() {
    let (folder, store) = store();
    let source = ImportSource::Roster { file: file(&folder, "roster.csv", ROSTER) };
    import(&store, &source, false).unwrap();
    let foreign = Source::read(&source, "westside.example").unwrap();
    let told = faults(run(&store, "westside.example", foreign, None, false));
    assert_eq!(told[0], "roster.csv:2: email: \"ada@eastside.example\" is of another institute");
    let text = "email,name,role,batch\nbo@eastside.example,Bo,teacher,maths\n";
    let source = ImportSource::Roster { file: file(&folder, "changed.csv", text) };
    assert_eq!(
        faults(import(&store, &source, false)),
        ["changed.csv:2: role: \"bo@eastside.example\" is student already"]
    );
}

#[test]
fn results_grade_what_is_there() {
    let (folder, store) = store();
    let roster = ImportSource::Roster { file: file(&folder, "roster.csv", ROSTER) };
    import(&store, &roster, false).unwrap();
    let added = store.write_blocking::<_, StoreError, _>(INSTITUTE, |tx| {
        tx.add_assignment(&Assignment {
            assignment: "test-1".into(),
            batch: "maths".into(),
            title: "Test".into(),
            due_at: None,
            max_score: 20.0,
        })
    });
    assert!(added.unwrap().value);
    let header = "email,assignment,score,max\n";
    let wrong = format!(
        "{header}bo@eastside.example,test-1,21,20\nbo@eastside.example,test-2,1,20\n\
         ada@eastside.example,test-1,1,20\nbo@eastside.example,test-1,5,10\n"
    );
    let source = ImportSource::Results { file: file(&folder, "wrong.csv", &wrong) };
    let told = faults(import(&store, &source, false));
    assert_eq!(
        told,
        [
            "wrong.csv:2: score: is \"21\", not a number from 0 to 20",
            "wrong.csv:3: assignment: there is no assignment \"test-2\"",
            "wrong.csv:4: email: \"ada@eastside.example\" is no student of eastside.example",
            "wrong.csv:5: max: is 10, the assignment's is 20",
        ]
    );
    let right = format!("{header}bo@eastside.example,test-1,17.5,20\n");
    let source = ImportSource::Results { file: file(&folder, "right.csv", &right) };
    assert_eq!(import(&store, &source, false).unwrap().counts[7], (1, 0));
    assert_eq!(import(&store, &source, false).unwrap().counts[7], (0, 1));
}

/// Two courses, three students, gzipped and plain.
fn small_oulad(folder: &Path) {
    let gz = |name: &str, text: &str| {
        let file = std::fs::File::create(folder.join(format!("{name}.csv.gz"))).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, text.as_bytes()).unwrap();
        gz.finish().unwrap();
    };
    gz("courses", "code_module,code_presentation,module_presentation_length\nAAA,2013J,268\nBBB,2014B,240\n");
    gz(
        "assessments",
        "code_module,code_presentation,id_assessment,assessment_type,date,weight\n\
         AAA,2013J,1752,TMA,19,10\nBBB,2014B,1800,Exam,,100\n",
    );
    gz(
        "studentInfo",
        "code_module,code_presentation,id_student\nAAA,2013J,1\nAAA,2013J,2\nBBB,2014B,2\nBBB,2014B,3\n",
    );
    std::fs::write(
        folder.join("studentRegistration.csv"),
        "code_module,code_presentation,id_student,date_registration\n\
         AAA,2013J,1,-159.0\nAAA,2013J,2,\nBBB,2014B,2,3\nBBB,2014B,3,-1\n",
    )
    .unwrap();
    gz("studentAssessment", "id_assessment,id_student,date_submitted,is_banked\n1752,1,18,0\n1800,3,22,0\n");
}

#[test]
fn a_dataset_folder_becomes_batches_people_assignments_and_submissions() {
    let (folder, store) = store();
    small_oulad(folder.path());
    let source = ImportSource::Oulad { folder: folder.path().to_owned() };
    let summary = import(&store, &source, false).unwrap();
    assert_eq!(summary.counts, [(3, 0), (2, 0), (0, 0), (4, 0), (0, 0), (2, 0), (2, 0), (0, 0)]);
    store
        .read_blocking::<_, StoreError>(INSTITUTE, |records| {
            let student = crate::services::seed::user_id_of("oulad-1@eastside.example");
            let work = records.submission("1752", &student)?.unwrap();
            let first_of_october_2013 = 1_380_585_600_000;
            assert_eq!(work.submitted_at, Some(first_of_october_2013 + 18 * 86_400_000));
            assert_eq!(work.assignment.due_at, Some(first_of_october_2013 + 19 * 86_400_000));
            assert_eq!(records.assignment("1800")?.unwrap().due_at, None);
            Ok(())
        })
        .unwrap();
    let second = import(&store, &source, false).unwrap();
    assert!(second.counts.iter().all(|(new, _)| *new == 0), "{second}");
}

#[test]
fn a_dataset_with_rows_that_refer_to_nothing_is_not_imported() {
    let (folder, store) = store();
    small_oulad(folder.path());
    std::fs::write(
        folder.path().join("studentRegistration.csv"),
        "code_module,code_presentation,id_student,date_registration\nCCC,2013J,1,0\nAAA,2013J,9,soon\n",
    )
    .unwrap();
    let source = ImportSource::Oulad { folder: folder.path().to_owned() };
    assert_eq!(
        faults(import(&store, &source, false)),
        [
            "studentRegistration.csv:2: code_presentation: there is no course \"CCC-2013J\"",
            "studentRegistration.csv:3: date_registration: is \"soon\", not a number from -1000 to 1000",
            "studentRegistration.csv:3: id_student: there is no student \"9\"",
        ]
    );
}

/// The whole dataset where it lies beside the project or where `ROLLCALL_OULAD` points; else a small one of the same
/// form, so that the way is always tested.
#[test]
fn the_whole_dataset_loads_when_it_is_there() {
    let (folder, store) = store();
    let named = std::env::var_os("ROLLCALL_OULAD").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/oulad");
    let real = named.unwrap_or(beside);
    let dataset = if real.join("courses.csv.gz").exists() {
        real
    } else {
        small_oulad(folder.path());
        folder.path().to_owned()
    };
    let whole = dataset != folder.path();
    let summary = import(&store, &ImportSource::Oulad { folder: dataset }, false).unwrap();
    let submissions = if whole { 173_912 } else { 2 };
    assert_eq!(summary.counts[6].0 + summary.counts[6].1, submissions);
    let stored = store
        .read_blocking::<_, StoreError>(INSTITUTE, |records| Ok(records.institute_figures()?.submissions));
    assert_eq!(stored.unwrap(), summary.counts[6].0);
}

#[test]
fn institutes_are_named_by_domain() {
    let source = ImportSource::Roster { file: PathBuf::from("none.csv") };
    assert!(matches!(Source::read(&source, "East Side"), Err(ImportError::Institute(_))));
}
