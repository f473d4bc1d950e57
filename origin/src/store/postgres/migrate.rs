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
