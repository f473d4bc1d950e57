//! An institute of a given size on a Postgres server of its own, with an origin before it.

use crate::recorded_sql::{self, Script};
use crate::requests::{self, Request};
use integration_tests::{Origin, PASSWORD, Person};
use std::path::Path;
use tempfile::TempDir;
use test_servers::Postgres;

const DATABASE: &str = "rollcall";
/// An institute of the size of the Open University's dataset, as the origin's own tests of query plans have it.
const ROWS: &str = include_str!("../../../origin/src/services/views/large_institute.sql");
const STUDENTS_IN_ROWS: &str = "28785";
const SUBMISSIONS_IN_ROWS: &str = "173912";
/// Students who sign in: enough that no row is always the one in the processor's cache.
pub(crate) const SIGNED_IN: u32 = 200;
/// Connections of pgbench: as many as the origin's pool has.
const PGBENCH_CLIENTS: &str = "16";

pub(crate) struct Institute {
    server: Postgres,
    origin: Origin,
    folder: TempDir,
}

impl Institute {
    pub(crate) async fn open(students: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let server = tokio::task::spawn_blocking(move || {
            let mut server = Postgres::start();
            // As in production: a commit is on the disk.
            for setting in ["fsync = on", "full_page_writes = on", "shared_buffers = '512MB'"] {
                server.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
            }
            server.kill9();
            server.start_again();
            server.create_database(DATABASE);
            server
        })
        .await
        .expect("the server starts");
        let origin = Origin::start_on_postgres(folder.path(), &server.url(DATABASE)).await;
        let submissions = (students * 6).to_string();
        let rows =
            ROWS.replace(STUDENTS_IN_ROWS, &students.to_string()).replace(SUBMISSIONS_IN_ROWS, &submissions);
        server.sql(DATABASE, &rows);
        server.sql(
            DATABASE,
            "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE email = 'student@northside.example') \
             WHERE institute = 'large.example'",
        );
        server.sql(DATABASE, "VACUUM ANALYZE");
        Self { server, origin, folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin.url())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn sign_in(&self, name: &str) -> Person {
        let email = format!("{name}@large.example");
        let person = Person::sign_in(self.origin.url(), &email, "bench").await;
        assert!(!person.token.is_empty(), "{email} signs in with {PASSWORD}");
        person
    }

    pub(crate) async fn requests(&self) -> Vec<Request> {
        vec![requests::student_dashboard(self).await, requests::grade_submission(self).await]
    }

    /// The SQL that the server is asked to execute while `work` runs, by the connection that executes most of it.
    pub(crate) async fn record<T>(&self, work: impl Future<Output = T>) -> Script {
        self.log_statements("all");
        let before = self.server.whole_log().len();
        work.await;
        self.log_statements("none");
        recorded_sql::busiest(&self.server.whole_log()[before..])
    }

    fn log_statements(&self, which: &str) {
        for setting in [format!("log_statement = '{which}'"), "log_line_prefix = '[%p] '".to_owned()] {
            self.server.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
        }
        self.server.sql("postgres", "SELECT pg_reload_conf()");
        // The server's processes read their settings before their next statement.
        self.server.wait_for(&format!("SELECT current_setting('log_statement') = '{which}'"));
    }

    /// Transactions a second.
    pub(crate) fn pgbench(&self, scripts: &[Script], seconds: u32) -> f64 {
        let files: Vec<_> = (0..scripts.len()).map(|n| self.folder().join(format!("{n}.sql"))).collect();
        for (script, file) in scripts.iter().zip(&files) {
            std::fs::write(file, script.text()).expect("a temporary file can be written");
        }
        let mut pgbench = self.server.command("pgbench", DATABASE);
        pgbench.env("PGOPTIONS", "-c role=rollcall_app");
        pgbench.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--client", PGBENCH_CLIENTS]);
        pgbench.args(["--time", &seconds.to_string()]);
        for file in &files {
            pgbench.arg("--file").arg(file);
        }
        let output = pgbench.output().expect("pgbench can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rest| rest.split_whitespace().next()).and_then(|rate| rate.parse().ok());
        rate.unwrap_or_else(|| panic!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}
