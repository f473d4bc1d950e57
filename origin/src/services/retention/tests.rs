//! What goes, what stays, and who waits for it: on both engines.

use super::*;
use crate::services::seed;
use crate::store::collections::{ACTIVITIES, MESSAGES, Selection};
use crate::store::{
    Activity, ActivityKind, Decision, DecisionStatus, NewMessage, NewNotification, NotificationId,
    RefreshToken, WriteTx,
};
use crate::testing::TestDatabase;
use std::sync::Arc;

const INSTITUTE: &str = "northside.example";
/// A few more than one transaction drops.
const OLD: u64 = ROWS as u64 + 5;

fn add_activities(tx: &WriteTx<'_>, user: &str, now: i64, days_ago: &[i64]) -> Result<(), StoreError> {
    for days in days_ago {
        tx.add_activity(&Activity {
            activity: format!("{:013}", now - days * DAY_MS),
            at: now - days * DAY_MS,
            user: user.to_owned(),
            kind: ActivityKind::SignedIn,
            device: "d".into(),
        })?;
    }
    Ok(())
}

async fn only_what_is_old_enough_goes(store: Store) {
    let now = unix_ms();
    let student = seed::user_id_of("student@northside.example");
    let user = student.clone();
    let written = store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
        for position in 0..=OLD {
            let id = NotificationId { revision: 1, position };
            let days = if position == OLD { 179 } else { 181 };
            let body = "{}".to_owned();
            let created_at = now - days * DAY_MS;
            tx.notify_user(&user, &NewNotification { id, kind: "k", body, created_at })?;
        }
        for (key, days) in [("young", 399), ("old", 401)] {
            let decision = Decision {
                user: user.clone(),
                device: "d".into(),
                request_hash: vec![1],
                status: DecisionStatus::Delivered,
                outcome: "{}".into(),
                revision: 1,
                entity_tag: None,
            };
            tx.add_decision(key, &decision, now - days * DAY_MS)?;
        }
        for (hash, days) in [([1; 32], 29), ([2; 32], 31)] {
            tx.add_refresh_token(&RefreshToken {
                token_hash: hash.to_vec(),
                family: "f".into(),
                user: user.clone(),
                device: "d".into(),
                issued_at: 0,
                expires_at: now - days * DAY_MS,
                rotated_at: None,
                revoked_at: None,
                successor: None,
            })?;
        }
        add_activities(tx, &user, now, &[1, 300, 460, 800])
    });
    written.await.unwrap();
    let retention = RetentionService::new(store.clone(), RetentionConfig::default());
    assert_eq!(retention.trim(now).await.unwrap(), OLD + 4);
    assert_eq!(retention.trim(now).await.unwrap(), 0);
    let left = store.read::<_, StoreError, _>(INSTITUTE, move |records| {
        let decisions = [records.decision("young")?.is_some(), records.decision("old")?.is_some()];
        let activities = Selection {
            filters: Vec::new(),
            sort: &ACTIVITIES.sorts[0],
            descending: false,
            after: None,
            limit: 10,
        };
        let activities = records.select(&ACTIVITIES, &activities)?.len();
        Ok((records.notifications(&student, None, 10)?.len(), decisions, activities))
    });
    assert_eq!(left.await.unwrap(), (1, [true, false], 2));
}

async fn on_sqlite(folder: &tempfile::TempDir) -> Store {
    let path = folder.path().to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&path).unwrap();
        seed::load(&store, unix_ms()).unwrap();
        store
    });
    opened.await.unwrap()
}

async fn on_postgres() -> (Store, Arc<TestDatabase>) {
    let opened = tokio::task::spawn_blocking(|| {
        let database = TestDatabase::create();
        let store = Store::connect(&database.config()).unwrap();
        seed::load(&store, unix_ms()).unwrap();
        (store, Arc::new(database))
    });
    opened.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_old_enough_goes_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    only_what_is_old_enough_goes(on_sqlite(&folder).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_old_enough_goes_on_postgres() {
    let (store, _database) = on_postgres().await;
    only_what_is_old_enough_goes(store).await;
}

/// Messages of years past, one in each quarter, and of today.
const YEARS: std::ops::RangeInclusive<i64> = 1..=4;

async fn store_with_messages(store: &Store, now: i64) {
    let teacher = seed::user_id_of("teacher@northside.example");
    let written = store.write::<_, StoreError, _>(INSTITUTE, move |tx| {
        for years in YEARS {
            tx.add_message(&NewMessage {
                message: format!("old-{years}"),
                author: teacher.clone(),
                recipient: None,
                batch: Some("maths-a".into()),
                text: "long ago".into(),
                posted_at: now - years * 365 * DAY_MS,
                arrived: None,
            })?;
        }
        Ok(())
    });
    written.await.unwrap();
}

async fn messages(store: &Store) -> Vec<String> {
    let read = store.read::<_, StoreError, _>(INSTITUTE, |records| {
        let sort = &MESSAGES.sorts[0];
        let all = Selection { filters: Vec::new(), sort, descending: false, after: None, limit: 100 };
        records.select(&MESSAGES, &all)
    });
    let texts = read.await.unwrap().into_iter().map(|row| format!("{:?}", row[0]));
    texts.filter(|message| message.contains("old-")).collect()
}

fn keeping(store: &Store, days: Option<u32>) -> RetentionService {
    let config = RetentionConfig { messages_days: days, ..RetentionConfig::default() };
    RetentionService::new(store.clone(), config)
}

async fn old_messages_go_if_that_is_wished(store: Store) {
    let now = unix_ms();
    store_with_messages(&store, now).await;
    assert_eq!(keeping(&store, None).trim(now).await.unwrap(), 0);
    assert_eq!(messages(&store).await.len(), 4, "without the setting all stay");
    // A quarter more or less, since Postgres drops whole ones.
    assert_eq!(keeping(&store, Some(365 * 2 + 180)).trim(now).await.unwrap(), 2);
    assert_eq!(messages(&store).await.len(), 2);
    assert_eq!(keeping(&store, Some(365 * 2 + 180)).trim(now).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_messages_go_if_that_is_wished_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    old_messages_go_if_that_is_wished(on_sqlite(&folder).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_messages_go_if_that_is_wished_on_postgres() {
    // The default partition has them.
    let (store, _database) = on_postgres().await;
    old_messages_go_if_that_is_wished(store).await;
}

/// Partitions from four years ago on, as a store has them that is as old.
async fn partitions_of_the_past(database: &TestDatabase, now: i64) {
    let since = now - 4 * 365 * DAY_MS;
    database.sql(&format!("SELECT ensure_message_partitions(to_timestamp({since} / 1000.0), 2)"));
}

fn partitions(database: &TestDatabase) -> Vec<String> {
    let sql =
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'messages'::regclass ORDER BY 1";
    database.sql(sql).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_quarters_go_whole_once_and_by_one_of_several_origins() {
    let (store, database) = on_postgres().await;
    let now = unix_ms();
    store_with_messages(&store, now).await;
    partitions_of_the_past(&database, now).await;
    let before = partitions(&database);
    assert!(before.len() >= 18, "{before:?}");
    let config = database.config();
    let others = tokio::task::spawn_blocking(move || Store::connect(&config).unwrap()).await.unwrap();
    let (one, other) = (keeping(&store, Some(400)), keeping(&others, Some(400)));
    let (one, other) = tokio::join!(one.trim(now), other.trim(now));
    // Who comes while another is at it goes on with other things: a second time finds what is left.
    let rest = keeping(&store, Some(400)).trim(now).await.unwrap();
    assert_eq!(one.unwrap() + other.unwrap() + rest, 3, "each message was counted by one of them");
    assert_eq!(messages(&store).await, [r#"Text("old-1")"#]);
    let after = partitions(&database);
    assert!(after.len() < before.len() - 9, "{after:?}");
    assert!(after.iter().all(|name| before.contains(name)) && after.contains(&"messages_other".to_owned()));
    let young = now - 400 * DAY_MS;
    let ended = database.sql(&format!(
        "SELECT count(*) FROM pg_class WHERE relispartition AND relname ~ '^messages_\\d'
         AND substring(pg_get_expr(relpartbound, oid) FROM 'TO \\(''([^'']*)''\\)')::timestamptz
             <= to_timestamp({young} / 1000.0)"
    ));
    assert_eq!(ended, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarter_that_somebody_reads_stays_for_now_and_nobody_waits_for_it() {
    let (store, database) = on_postgres().await;
    let now = unix_ms();
    store_with_messages(&store, now).await;
    partitions_of_the_past(&database, now).await;
    let before = partitions(&database);
    let reading = store.read::<_, StoreError, _>(INSTITUTE, {
        let (store, database) = (store.clone(), database.clone());
        move |records| {
            records.addressee("old-4")?;
            // In this transaction, which has the table in use until it ends.
            let trimmed = store.write_blocking::<_, StoreError, _>(INSTITUTE, move |tx| {
                tx.trim_messages(now - 400 * DAY_MS, ROWS)
            });
            let left = trimmed.unwrap().value;
            assert_eq!(left, Trimmed { rows: 0, left: Left::InUse });
            assert_eq!(partitions(&database), before);
            Ok(())
        }
    });
    reading.await.unwrap();
    assert_eq!(keeping(&store, Some(400)).trim(now).await.unwrap(), 3);
}

#[test]
fn decisions_outlive_what_an_edge_may_still_deliver() {
    let mut faults = Vec::new();
    let wrong = RetentionSettings {
        decisions_days: 30,
        notifications_days: 0,
        messages_days: Some(30),
        ..RetentionSettings::default()
    };
    wrong.check(&mut faults);
    assert_eq!(faults[0], "retention.decisions_days is 30, not 60 to 36500");
    assert_eq!(faults[2], "retention.messages_days is 30, not 90 to 36500");
    assert_eq!(faults.len(), 3);
}
