//! An institute of a given size on a Postgres server of its own, with origins before it that keep views or do not.

use crate::recorded_sql::{self, Script};
use integration_tests::{Origin, PASSWORD, Person};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use test_servers::{Postgres, Redis};

const DATABASE: &str = "rollcall";
const INSTITUTE: &str = "large.example";
/// An institute of the size of the Open University's dataset, as the origin's own tests of query plans have it.
const ROWS: &str = include_str!("../../../origin/src/services/views/large_institute.sql");
const STUDENTS_IN_ROWS: &str = "28785";
const SUBMISSIONS_IN_ROWS: &str = "173912";
/// Students who sign in: enough that no row is always the one in the processor's cache.
pub(crate) const SIGNED_IN: u32 = 200;
/// Connections of pgbench: as many as the origin's pool has.
const PGBENCH_CLIENTS: &str = "16";

/// Where an origin keeps the views that it has computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keeps {
    Nothing,
    InRedis,
    InMemory,
}

pub(crate) struct Institute {
    server: Postgres,
    redis: Redis,
    folder: TempDir,
    /// In the order of [`Keeps`].
    origins: [Origin; 3],
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
        let redis = tokio::task::spawn_blocking(Redis::start).await.expect("the server starts");
        let settings = [("STORE__URL", server.url(DATABASE)), ("CACHE__LOCAL_MIB", "0".to_owned())];
        let keeps_nothing = start(folder.path(), "nothing", &settings).await;
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
        let url = ("CACHE__URL", redis.url());
        let [store, none] = settings;
        let in_redis = start(folder.path(), "redis", &[store.clone(), none, url]).await;
        let in_memory = start(folder.path(), "memory", &[store]).await;
        Self { server, redis, folder, origins: [keeps_nothing, in_redis, in_memory] }
    }

    pub(crate) fn url(&self, keeps: Keeps, path: &str) -> String {
        format!("{}{path}", self.origins[keeps as usize].url())
    }

    /// How often a second Redis answers a GET of so many bytes, which it was given before.
    pub(crate) fn redis_benchmark(&self, bytes: usize, connections: u32, seconds: u32) -> f64 {
        // It counts requests, not time: about as many as it makes in so many seconds.
        let requests = u64::from(seconds) * 100_000;
        let output = Command::new("redis-benchmark")
            .args(["-t", "set,get", "--csv", "-p", &self.redis.port().to_string()])
            .args(["-d", &bytes.to_string(), "-c", &connections.to_string(), "-n", &requests.to_string()])
            .output()
            .expect("redis-benchmark can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("\"GET\",\""));
        let rate = rate.and_then(|rest| rest.split('"').next()).and_then(|rate| rate.parse().ok());
        rate.unwrap_or_else(|| panic!("redis-benchmark: {said}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Length of a view's body.
    pub(crate) async fn view_bytes(&self, path: &str) -> usize {
        self.sign_in("student-1").await.get(path).await.body.len()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn sign_in(&self, name: &str) -> Person {
        let email = format!("{name}@large.example");
        let origin = &self.origins[Keeps::Nothing as usize];
        let person = Person::sign_in(origin.url(), &email, "bench").await;
        assert!(!person.token.is_empty(), "{email} signs in with {PASSWORD}");
        person
    }

    /// The longest transaction that the server is asked to execute while `work` runs.
    pub(crate) async fn record<T>(&self, work: impl Future<Output = T>) -> Script {
        self.log_statements("all");
        let before = self.server.whole_log().len();
        work.await;
        self.log_statements("none");
        recorded_sql::longest(&self.server.whole_log()[before..], INSTITUTE)
    }

    /// Lets the institute's next commit follow a revision. The origins take it for a gap in the feed, and know nothing of before.
    pub(crate) fn set_revision(&self, revision: u64) {
        let sql = format!("UPDATE institutes SET revision = {revision} WHERE institute = '{INSTITUTE}'");
        self.server.sql(DATABASE, &sql);
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

/// Starts an origin in a folder of its own, with settings as the environment names them.
async fn start(folder: &Path, name: &str, settings: &[(&str, String)]) -> Origin {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).expect("an own folder can be written");
    let named: Vec<_> =
        settings.iter().map(|(name, value)| (format!("ROLLCALL_ORIGIN_{name}"), value.as_str())).collect();
    let named: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Origin::start_with(&folder, &named).await
}
