//! Bringing a database to the newest schema.

use super::dial::Dialer;
use super::primary::{ENSURE_PARTITIONS, MONTHS_AHEAD, QUARTERS_AHEAD};
use crate::store::error::{OpenError, PostgresError};
use std::time::Duration;
use tokio_postgres::Client;

/// Names our lock among all advisory locks of the database; the number itself means nothing.
const LOCK: i64 = 0x0526_6f6c_6c63;
/// How long one process waits for another one's migration.
const LOCK_TIMEOUT: Duration = Duration::from_secs(300);

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// Migrates, or only checks, the database that `owner` reaches; how many migrations ran.
///
/// Safe when several processes start at once: one of them migrates, the others wait and find nothing to do.
pub(super) async fn migrate(owner: &Dialer, check_only: bool) -> Result<usize, OpenError> {
    let (mut client, _task) = owner.dial().await.map_err(PostgresError::from)?;
    let mut runner = migrations::migrations::runner();
    let newest = runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0);
    let applied = applied(&client).await?;
    if applied > newest {
        return Err(OpenError::NewerSchema { found: applied.into(), known: newest.into() });
    }
    if check_only {
        let up_to_date = applied == newest;
        return if up_to_date {
            Ok(0)
        } else {
            Err(OpenError::OlderSchema { found: applied.into(), known: newest.into() })
        };
    }
    let lock = format!(
        "SET lock_timeout = {}; SELECT pg_advisory_lock({LOCK}); SET lock_timeout = 0",
        LOCK_TIMEOUT.as_millis()
    );
    client.batch_execute(&lock).await.map_err(PostgresError::from)?;
    runner = runner.set_abort_divergent(true);
    let report = runner.run_async(&mut client).await;
    let ran = report?.applied_migrations().len();
    // Before anything is written: a row that is on its way to the default partition while its own is attached is refused.
    client
        .query_one(ENSURE_PARTITIONS, &[&QUARTERS_AHEAD, &MONTHS_AHEAD])
        .await
        .map_err(PostgresError::from)?;
    // The lock goes with the connection, whatever became of the migrations.
    Ok(ran)
}

/// The newest migration that the database has; 0 for an empty one.
async fn applied(client: &Client) -> Result<i32, OpenError> {
    let there = client.query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]).await;
    if !there.map_err(PostgresError::from)?.get::<_, bool>(0) {
        return Ok(0);
    }
    let newest = client.query_one("SELECT coalesce(max(version), 0) FROM refinery_schema_history", &[]).await;
    Ok(newest.map_err(PostgresError::from)?.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreError};
    use crate::testing::TestDatabase;
    use refinery::Target;
    use sync_protocol::token::Role;

    /// The last schema without the role of guardians.
    const BEFORE_GUARDIANS: i32 = 18;
    /// The last schema with a time up to which messages are read, and without figures.
    const BEFORE_ARRIVALS: i32 = 21;

    fn migrate_to(database: &TestDatabase, version: i32) {
        let url = database.server.url(&database.name);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (mut client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            let task = tokio::spawn(connection);
            let runner = migrations::migrations::runner().set_target(Target::Version(version));
            runner.run_async(&mut client).await.unwrap();
            drop(client);
            task.await.unwrap().unwrap();
        });
    }

    #[test]
    fn a_database_from_before_arrivals_and_figures_has_the_same_unread_and_is_counted() {
        let database = TestDatabase::create();
        migrate_to(&database, BEFORE_ARRIVALS);
        let at = |ms: i64| format!("to_timestamp({ms} / 1000.0)");
        database.sql(&format!(
            r#"INSERT INTO institutes VALUES ('i', 'I', 'UTC', 'USD', 7, now());
             INSERT INTO users ("user", institute, email, name, role, messages_read_at, created_at)
                 VALUES ('sam', 'i', 'sam@x', 'Sam', 'student', {read}, now()),
                     ('ann', 'i', 'ann@x', 'Ann', 'student', 'epoch', now()),
                     ('tom', 'i', 'tom@x', 'Tom', 'teacher', 'epoch', now());
             INSERT INTO batches VALUES ('i', 'b', 'B');
             INSERT INTO enrolments VALUES ('i', 'b', 'sam', now()), ('i', 'b', 'ann', now());
             INSERT INTO classes (institute, class, batch, title, room, teacher, starts_at, ends_at)
                 VALUES ('i', 'c', 'b', 'C', '', 'tom', {begin}, {end});
             INSERT INTO attendance (institute, class, student, mark, marks)
                 VALUES ('i', 'c', 'sam', 'late', '[]'), ('i', 'c', 'ann', 'present', NULL);
             INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at)
                 VALUES ('i', 'm1', 'tom', NULL, 'b', 'x', {m1}), ('i', 'm2', 'tom', 'sam', NULL, 'x', {read}),
                     ('i', 'm3', 'tom', NULL, 'b', 'x', {m3});
             INSERT INTO invoices (institute, invoice, student, title, amount_minor, paid_minor, due_on)
                 VALUES ('i', 'n', 'sam', 'N', 500, 200, '2026-01-01');
             INSERT INTO payments (institute, payment, invoice, amount_minor, method, recorded_by, paid_at)
                 VALUES ('i', 'p', 'n', 200, 'cash', 'tom', {day});
             INSERT INTO ledger VALUES ('i', 'invoice', 'n', 'sam', 'n', 500, now()),
                 ('i', 'payment', 'p', 'sam', 'n', -200, {day});"#,
            read = at(2_000),
            begin = at(5),
            end = at(6),
            m1 = at(1_000),
            m3 = at(2_001),
            day = at(86_400_000),
        ));
        let store = Store::connect(&database.config()).unwrap();
        let read = store.read_blocking::<_, StoreError>("i", |records| {
            crate::store::tests::same_unread_and_counted(records)
        });
        read.unwrap();
        // The owner's rows are under the rule again.
        let unforced = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace
             AND relkind IN ('r', 'p') AND relrowsecurity AND NOT relforcerowsecurity";
        assert_eq!(database.sql(unforced), "0");
    }

    #[test]
    fn a_database_from_before_guardians_goes_on_and_takes_them() {
        let database = TestDatabase::create();
        migrate_to(&database, BEFORE_GUARDIANS);
        let user = |id: &str, role: &str| {
            format!(
                r#"INSERT INTO users ("user", institute, email, name, role, created_at)
                 VALUES ('{id}', 'i', '{id}@x', '{id}', '{role}', now())"#
            )
        };
        database.sql("INSERT INTO institutes VALUES ('i', 'I', 'UTC', 'USD', 0, now())");
        for sql in [&user("parent", "student"), &user("sam", "student")] {
            database.sql(sql);
        }
        database.sql("INSERT INTO guardians VALUES ('i', 'parent', 'sam')");
        let refused = |role: &str| {
            database.sql(&format!(
                "DO $$ BEGIN {}; RAISE 'taken'; EXCEPTION WHEN check_violation THEN NULL; END $$",
                user("x", role)
            ))
        };
        refused("guardian");

        let store = Store::connect(&database.config()).unwrap();
        let kept = store.read_blocking::<_, StoreError>("i", |records| {
            Ok((records.account("parent")?.unwrap().role, records.directory_entry("parent")?.unwrap()))
        });
        let (role, entry) = kept.unwrap();
        assert_eq!((role, entry.guardian_of), (Role::Student, vec!["sam".to_owned()]));
        database.sql(&user("gita", "guardian"));
        refused("janitor");
        let added = store.write_blocking::<_, StoreError, _>("i", |tx| {
            tx.set_role("parent", Role::Guardian)?;
            tx.account("gita")
        });
        assert_eq!(added.unwrap().value.unwrap().role, Role::Guardian);
    }
}
