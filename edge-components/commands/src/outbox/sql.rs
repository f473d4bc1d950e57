//! The statements of the outbox.
//!
//! Under other hosts the database `default` may be shared with other components: every name begins with `outbox`.

pub(super) const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS outbox (
         sequence INTEGER PRIMARY KEY AUTOINCREMENT,
         institute TEXT NOT NULL,
         user TEXT NOT NULL,
         device TEXT NOT NULL,
         key TEXT NOT NULL,
         hash BLOB NOT NULL,
         identity TEXT NOT NULL,
         command TEXT NOT NULL,
         accepted_at INTEGER NOT NULL,
         status TEXT NOT NULL DEFAULT 'pending',
         attempts INTEGER NOT NULL DEFAULT 0,
         http_status INTEGER,
         outcome TEXT,
         settled_at INTEGER,
         UNIQUE (institute, key)
     ) STRICT",
    "CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (institute, device, sequence) WHERE status = 'pending'",
    "CREATE INDEX IF NOT EXISTS outbox_settled ON outbox (settled_at) WHERE status <> 'pending'",
    "CREATE TABLE IF NOT EXISTS outbox_lease (
         institute TEXT NOT NULL,
         device TEXT NOT NULL,
         holder TEXT NOT NULL,
         expires_at INTEGER NOT NULL,
         PRIMARY KEY (institute, device)
     ) STRICT, WITHOUT ROWID",
];

pub(super) const FIND: &str =
    "SELECT user, device, hash, status, http_status, outcome FROM outbox WHERE institute = ?1 AND key = ?2";

pub(super) const HAS_PENDING: &str =
    "SELECT 1 FROM outbox WHERE institute = ?1 AND device = ?2 AND status = 'pending' LIMIT 1";

/// Adds nothing when the key is there, or when more than ?9 of the institute wait.
pub(super) const APPEND: &str =
    "INSERT INTO outbox (institute, user, device, key, hash, identity, command, accepted_at)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
     WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE institute = ?1 AND status = 'pending' LIMIT 1 OFFSET ?9)
     ON CONFLICT (institute, key) DO NOTHING
     RETURNING sequence";

/// With one `min`, SQLite takes the bare column `attempts` from the row that has it.
pub(super) const WAITING_DEVICES: &str =
    "SELECT institute, device, min(sequence) AS first, attempts FROM outbox WHERE status = 'pending'
     GROUP BY institute, device ORDER BY attempts, first LIMIT ?1";

pub(super) const LEASE: &str =
    "INSERT INTO outbox_lease (institute, device, holder, expires_at) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (institute, device) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
         WHERE outbox_lease.expires_at <= ?5 OR outbox_lease.holder = excluded.holder
     RETURNING expires_at";

pub(super) const RELEASE: &str =
    "DELETE FROM outbox_lease WHERE institute = ?1 AND device = ?2 AND holder = ?3";

pub(super) const NEXT: &str = "SELECT sequence, user, key, hash, identity, command, accepted_at FROM outbox
     WHERE institute = ?1 AND device = ?2 AND status = 'pending' ORDER BY sequence LIMIT 1";

pub(super) const SETTLE: &str =
    "UPDATE outbox SET status = ?2, http_status = ?3, outcome = ?4, settled_at = ?5, attempts = attempts + 1
     WHERE sequence = ?1 AND status = 'pending'";

pub(super) const COUNT_ATTEMPT: &str =
    "UPDATE outbox SET attempts = attempts + 1 WHERE sequence = ?1 AND status = 'pending'";

pub(super) const COUNT_PENDING: &str = "SELECT count(*) FROM outbox WHERE status = 'pending'";

pub(super) const PRUNE: &str =
    "DELETE FROM outbox WHERE sequence IN
         (SELECT sequence FROM outbox WHERE status <> 'pending' AND settled_at < ?1 ORDER BY settled_at LIMIT ?2)";

pub(super) const PRUNE_LEASES: &str = "DELETE FROM outbox_lease WHERE expires_at <= ?1";

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{Connection, params};

    fn database() -> Connection {
        let database = Connection::open_in_memory().unwrap();
        for statement in TABLES.into_iter().chain(TABLES) {
            database.execute_batch(statement).unwrap();
        }
        database
    }

    fn append(database: &Connection, device: &str, key: &str, pending_max: i64) -> bool {
        let parameters = params!["i", "u", device, key, b"hash".as_slice(), "{}", "{}", 5, pending_max - 1];
        database.prepare(APPEND).unwrap().exists(parameters).unwrap()
    }

    fn next(database: &Connection, device: &str) -> Option<(i64, String)> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(2)?));
        database.query_row(NEXT, params!["i", device], row).ok()
    }

    fn lease(database: &Connection, holder: &str, now: i64) -> bool {
        database.prepare(LEASE).unwrap().exists(params!["i", "d1", holder, now + 10, now]).unwrap()
    }

    #[test]
    fn a_key_is_appended_once_and_only_while_there_is_room() {
        let database = database();
        assert!(append(&database, "d1", "k1", 2));
        assert!(!append(&database, "d2", "k1", 2));
        assert!(append(&database, "d1", "k2", 2));
        assert!(!append(&database, "d1", "k3", 2));
        database.execute(SETTLE, params![1, "delivered", 200, "{}", 9]).unwrap();
        assert!(append(&database, "d1", "k3", 2));
    }

    #[test]
    fn a_device_is_served_in_order_and_settled_commands_do_not_come_again() {
        let database = database();
        for (device, key) in [("d1", "a"), ("d2", "b"), ("d1", "c")] {
            assert!(append(&database, device, key, 10));
        }
        assert_eq!(next(&database, "d1"), Some((1, "a".into())));
        database.execute(SETTLE, params![1, "refused", 403, "{}", 9]).unwrap();
        assert_eq!(next(&database, "d1"), Some((3, "c".into())));
        assert_eq!(next(&database, "d2"), Some((2, "b".into())));
        let settled_twice = database.execute(SETTLE, params![1, "delivered", 200, "{}", 9]).unwrap();
        assert_eq!(settled_twice, 0);
    }

    #[test]
    fn devices_that_were_tried_least_come_first() {
        let database = database();
        for (device, key) in [("d1", "a"), ("d2", "b"), ("d2", "c")] {
            append(&database, device, key, 10);
        }
        database.execute(COUNT_ATTEMPT, params![1]).unwrap();
        let mut statement = database.prepare(WAITING_DEVICES).unwrap();
        let devices: Vec<String> =
            statement.query_map(params![10], |row| row.get(1)).unwrap().map(Result::unwrap).collect();
        assert_eq!(devices, ["d2", "d1"]);
    }

    #[test]
    fn one_holder_has_the_lease_until_it_gives_it_back_or_is_late() {
        let database = database();
        assert!(lease(&database, "a", 0));
        assert!(!lease(&database, "b", 5));
        assert!(lease(&database, "a", 5));
        assert!(!lease(&database, "b", 14));
        assert!(lease(&database, "b", 15));
        database.execute(RELEASE, params!["i", "d1", "a"]).unwrap();
        assert!(!lease(&database, "c", 16));
        database.execute(RELEASE, params!["i", "d1", "b"]).unwrap();
        assert!(lease(&database, "c", 16));
    }

    #[test]
    fn old_receipts_go_a_few_at_a_time_and_what_waits_stays() {
        let database = database();
        for key in ["a", "b", "c", "d"] {
            append(&database, "d1", key, 10);
        }
        for sequence in 1..=3 {
            database.execute(SETTLE, params![sequence, "delivered", 200, "{}", sequence]).unwrap();
        }
        assert_eq!(database.execute(PRUNE, params![3, 1]).unwrap(), 1);
        assert_eq!(database.execute(PRUNE, params![3, 10]).unwrap(), 1);
        assert_eq!(database.execute(PRUNE, params![i64::MAX, 10]).unwrap(), 1);
        let left: i64 = database.query_row(COUNT_PENDING, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
    }
}
