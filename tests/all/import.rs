//! Rosters, results and the Open University data, from files into the tables.

use integration_tests::{EDGE_SECRET, Person, Program, program, shared_data};
use std::path::Path;
use tempfile::TempDir;

const ROSTER: &str = "\
email,name,role,batch
tess@hillside.example,Tess Teacher,teacher,maths
sami@hillside.example,Sami Student,student,maths
noor@hillside.example,Noor Student,student,maths
noor@hillside.example,Noor Student,student,physics
ada@hillside.example,Ada Admin,admin,
";
/// Of the sample institute.
const RESULTS: &str = "\
email,assignment,score,max
student@northside.example,maths-a-homework-2,17,20
student@northside.example,physics-a-homework-2,12.5,20
";

struct Import {
    folder: TempDir,
    institute: &'static str,
}

impl Import {
    /// Into an institute that is not there yet.
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), institute: "hillside.example" }
    }

    /// Into a sample institute.
    async fn into_samples() -> Self {
        let import = Self { folder: tempfile::tempdir().unwrap(), institute: "northside.example" };
        let data = import.folder.path().join("origin").into_os_string();
        let mut seed = Program::new(&program("rollcall-origin"), ["seed".into(), "--data".into(), data]);
        seed.start().await;
        assert!(seed.ends().await.success(), "{}", seed.log());
        import
    }

    fn write(&self, name: &str, content: &str) -> std::path::PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    }

    /// Runs the import and gives whether it went well, and what it said.
    async fn run(&self, arguments: &[&str], kind: &str, file: &Path) -> (bool, String) {
        let data = self.folder.path().join("origin");
        let mut all = vec!["import", "--data", data.to_str().unwrap(), "--institute", self.institute];
        all.extend(arguments);
        all.extend([kind, file.to_str().unwrap()]);
        let mut import = Program::new(&program("rollcall-origin"), all);
        import.start().await;
        let status = import.ends().await;
        let log = import.log();
        assert!(!log.contains("panicked"), "{log}");
        (status.success(), log)
    }
}

/// What an import says that it has added.
fn added(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains(" new, ") && !line.contains(": 0 new, ")).collect()
}

#[tokio::test]
async fn a_roster_is_loaded_once_however_often_it_comes() {
    let import = Import::new();
    let roster = import.write("roster.csv", ROSTER);
    let (done, said) = import.run(&["--dry-run"], "roster", &roster).await;
    assert!(done && said.contains("nothing was written"), "{said}");
    for line in ["users: 4 new", "batches: 2 new", "batch teachers: 1 new", "enrolments: 3 new"] {
        assert!(said.contains(line), "{line} in:\n{said}");
    }
    let rehearsed: Vec<String> = added(&said).into_iter().map(str::to_owned).collect();
    let (done, said) = import.run(&[], "roster", &roster).await;
    assert!(done, "{said}");
    assert_eq!(added(&said), rehearsed, "a dry run tells what a run does, and writes nothing");
    let (done, said) = import.run(&[], "roster", &roster).await;
    assert!(done, "{said}");
    assert_eq!(added(&said), Vec::<&str>::new());
}

#[tokio::test]
async fn results_are_loaded_once_and_those_of_nobody_are_named() {
    let import = Import::into_samples().await;
    let results = import.write("results.csv", RESULTS);
    let (done, said) = import.run(&[], "results", &results).await;
    assert!(done && said.contains("results: 2 new"), "{said}");
    let (done, said) = import.run(&[], "results", &results).await;
    assert!(done, "{said}");
    assert_eq!(added(&said), Vec::<&str>::new());

    let broken = format!(
        "{RESULTS}nobody@northside.example,maths-a-homework-2,1,20\nstudent@northside.example,chess,1,20\n"
    );
    let broken = import.write("broken.csv", &broken);
    let (done, said) = import.run(&[], "results", &broken).await;
    assert!(!done);
    for fault in ["broken.csv:4: email", "broken.csv:5: assignment"] {
        assert!(said.contains(fault), "{fault} in:\n{said}");
    }
}

#[tokio::test]
async fn every_fault_of_a_malformed_file_is_named_by_its_row_and_nothing_is_written() {
    let import = Import::new();
    let broken = "\
email,name,role,batch
tess@hillside.example,Tess Teacher,teacher,maths
not an address,Nobody,student,maths
sami@hillside.example,Sami Student,wizard,maths
noor@hillside.example,Noor Student,student,no such batch!
";
    let file = import.write("roster.csv", broken);
    let (done, said) = import.run(&[], "roster", &file).await;
    assert!(!done);
    for place in ["roster.csv:3", "roster.csv:4", "roster.csv:5"] {
        assert!(said.contains(place), "{place} in:\n{said}");
    }
    assert!(!said.contains("roster.csv:2"), "the sound row is not blamed:\n{said}");
    let sound = import.write("sound.csv", ROSTER);
    let (done, said) = import.run(&[], "roster", &sound).await;
    assert!(done && said.contains("users: 4 new"), "{said}");

    let headless = import.write("headless.csv", "name,role\nx,student\n");
    let (done, said) = import.run(&[], "roster", &headless).await;
    assert!(!done && said.contains("email"), "{said}");
    let unclosed = import.write("unclosed.csv", "email,name,role,batch\n\"tess@hillside.example,Tess\n");
    assert!(!import.run(&[], "roster", &unclosed).await.0);
    let binary = import.folder.path().join("binary.csv");
    std::fs::write(&binary, [0xff, 0xfe, 0, 1, 2]).unwrap();
    assert!(!import.run(&[], "roster", &binary).await.0);
    let (done, said) = import.run(&[], "roster", &import.folder.path().join("missing.csv")).await;
    assert!(!done && said.contains("missing.csv"), "{said}");
}

/// A course of the dataset's shape, small enough to be written here.
fn small_dataset(folder: &Path) {
    let files = [
        ("courses.csv", "code_module,code_presentation,module_presentation_length\nAAA,2013J,268\n"),
        (
            "assessments.csv",
            "code_module,code_presentation,id_assessment,assessment_type,date,weight\nAAA,2013J,1752,TMA,19,10.0\n",
        ),
        (
            "studentInfo.csv",
            "code_module,code_presentation,id_student,gender,region,highest_education,imd_band,age_band,num_of_prev_attempts,studied_credits,disability,final_result\n\
             AAA,2013J,11391,M,East Anglian Region,HE Qualification,90-100%,55<=,0,240,N,Pass\n",
        ),
        (
            "studentRegistration.csv",
            "code_module,code_presentation,id_student,date_registration,date_unregistration\nAAA,2013J,11391,-159,\n",
        ),
        (
            "studentAssessment.csv",
            "id_assessment,id_student,date_submitted,is_banked,score\n1752,11391,18,0,78\n",
        ),
    ];
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

/// All 173,912 submissions where the dataset is at hand, else one course written here.
#[tokio::test]
async fn the_open_university_dataset_becomes_an_institute_with_a_dashboard() {
    let import = Import::new();
    let data = shared_data("oulad");
    let folder = data.clone().unwrap_or_else(|| {
        small_dataset(import.folder.path());
        import.folder.path().to_owned()
    });
    let (done, said) = import.run(&[], "oulad", &folder).await;
    assert!(done, "{said}");
    let submissions = if data.is_some() { 173_912 } else { 1 };
    assert!(said.contains(&format!("submissions: {submissions} new, 0 there already")), "{said}");

    // An admin of the institute sees the figures.
    let roster = import.write("admin.csv", "email,name,role,batch\nada@hillside.example,Ada Admin,admin,\n");
    assert!(import.run(&[], "roster", &roster).await.0);
    let store = import.folder.path().join("origin/origin.sqlite");
    let store = rusqlite::Connection::open(store).unwrap();
    let stored: i64 = store.query_row("SELECT count(*) FROM submissions", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, submissions);
    drop(store);
    let data = import.folder.path().join("origin").into_os_string();
    let mut origin = Program::new(
        &program("rollcall-origin"),
        ["serve".into(), "--data".into(), data, "--listen".into(), "127.0.0.1:0".into()],
    )
    .with_environment("ROLLCALL_ORIGIN_EDGE_SECRET", EDGE_SECRET);
    origin.start().await;
    let url = origin.says("listening ").await;
    assert_eq!(Person::stranger(&url).get("/health/ready").await.status, 200);
}
