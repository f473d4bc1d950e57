//! Institutes, batches, who teaches and who studies in them.

use super::transaction::Transaction;
use crate::store::accounts::{parse_revocation, parse_role};
use crate::store::directory::{Institute, ReadDirectory, StudiedBatch, TaughtBatch, WriteDirectory};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use crate::store::transaction::to_u64;
use rusqlite::Row;
use std::collections::BTreeMap;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::token::Role;

/// Without batches and guardianships.
fn read_entry(row: &Row<'_>) -> rusqlite::Result<DirectoryEntry> {
    let role: String = row.get(1)?;
    Ok(DirectoryEntry {
        user: row.get(0)?,
        role: parse_role(&role).ok_or(rusqlite::Error::InvalidQuery)?,
        active: row.get::<_, Option<i64>>(2)?.is_none(),
        batches: Vec::new(),
        guardian_of: Vec::new(),
        revocation: parse_revocation(row.get(3)?).map_err(|_| rusqlite::Error::InvalidQuery)?,
    })
}

impl ReadDirectory for Transaction<'_> {
    fn institute(&self) -> Result<Option<Institute>, StoreError> {
        self.one(
            "SELECT institute, name, time_zone, currency FROM institutes WHERE institute = ?1",
            (self.institute,),
            |row| {
                Ok(Institute {
                    institute: row.get(0)?,
                    name: row.get(1)?,
                    time_zone: row.get(2)?,
                    currency: row.get(3)?,
                })
            },
        )
    }

    fn batch_exists(&self, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM batches WHERE institute = ?1 AND batch = ?2";
        Ok(self.one(sql, (self.institute, batch), |_| Ok(()))?.is_some())
    }

    fn teaches(&self, user: &str, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM batch_teachers WHERE institute = ?1 AND batch = ?2 AND user = ?3";
        Ok(self.one(sql, (self.institute, batch, user), |_| Ok(()))?.is_some())
    }

    fn studies(&self, student: &str, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM enrolments WHERE institute = ?1 AND batch = ?2 AND student = ?3";
        Ok(self.one(sql, (self.institute, batch, student), |_| Ok(()))?.is_some())
    }

    fn share_batch(&self, one: &str, other: &str) -> Result<bool, StoreError> {
        let sql = "WITH mine(batch) AS (
                SELECT batch FROM batch_teachers WHERE institute = ?1 AND user = ?2
                UNION SELECT batch FROM enrolments WHERE institute = ?1 AND student = ?2)
             SELECT 1 FROM mine WHERE
                EXISTS (SELECT 1 FROM batch_teachers t
                        WHERE t.institute = ?1 AND t.batch = mine.batch AND t.user = ?3)
                OR EXISTS (SELECT 1 FROM enrolments e
                        WHERE e.institute = ?1 AND e.batch = mine.batch AND e.student = ?3)
             LIMIT 1";
        Ok(self.one(sql, (self.institute, one, other), |_| Ok(()))?.is_some())
    }

    fn taught_batches(&self, user: &str) -> Result<Vec<TaughtBatch>, StoreError> {
        self.all(
            "SELECT b.batch, b.title,
                    (SELECT count(*) FROM enrolments e WHERE e.institute = ?1 AND e.batch = b.batch)
             FROM batch_teachers t INDEXED BY batch_teachers_by_user
             CROSS JOIN batches b ON b.institute = t.institute AND b.batch = t.batch
             WHERE t.institute = ?1 AND t.user = ?2 ORDER BY b.batch",
            (self.institute, user),
            |row| Ok(TaughtBatch { batch: row.get(0)?, title: row.get(1)?, students: to_u64(row.get(2)?) }),
        )
    }

    fn studied_batches(&self, student: &str) -> Result<Vec<StudiedBatch>, StoreError> {
        let batches = self.all(
            "SELECT b.batch, b.title FROM enrolments e INDEXED BY enrolments_by_student
             CROSS JOIN batches b ON b.institute = e.institute AND b.batch = e.batch
             WHERE e.institute = ?1 AND e.student = ?2 ORDER BY b.batch",
            (self.institute, student),
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
        )?;
        let teachers = "SELECT u.name FROM batch_teachers t CROSS JOIN users u ON u.user = t.user
             WHERE t.institute = ?1 AND t.batch = ?2 ORDER BY u.name";
        batches
            .into_iter()
            .map(|(batch, title)| {
                let teachers = self.all(teachers, (self.institute, &batch), |row| row.get(0))?;
                Ok(StudiedBatch { batch, title, teachers })
            })
            .collect()
    }

    fn batch_students(&self, batch: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        self.all(
            "SELECT u.user, u.name FROM enrolments e CROSS JOIN users u ON u.user = e.student
             WHERE e.institute = ?1 AND e.batch = ?2 AND u.deactivated_at IS NULL
             ORDER BY u.name, u.user LIMIT ?3",
            (self.institute, batch, limit),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    fn directory_entry(&self, user: &str) -> Result<Option<DirectoryEntry>, StoreError> {
        let sql =
            "SELECT user, role, deactivated_at, revocation FROM users WHERE user = ?1 AND institute = ?2";
        let Some(mut entry) = self.one(sql, (user, self.institute), read_entry)? else { return Ok(None) };
        let batches = match entry.role {
            Role::Admin | Role::Guardian => None,
            Role::Teacher => {
                Some("SELECT batch FROM batch_teachers WHERE institute = ?1 AND user = ?2 ORDER BY batch")
            }
            Role::Student => {
                Some("SELECT batch FROM enrolments WHERE institute = ?1 AND student = ?2 ORDER BY batch")
            }
        };
        if let Some(sql) = batches {
            entry.batches = self.all(sql, (self.institute, user), |row| row.get(0))?;
        }
        let sql = "SELECT student FROM guardians WHERE institute = ?1 AND guardian = ?2 ORDER BY student";
        entry.guardian_of = self.all(sql, (self.institute, user), |row| row.get(0))?;
        Ok(Some(entry))
    }

    fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError> {
        let users = "SELECT user, role, deactivated_at, revocation FROM users WHERE institute = ?1";
        let entries = self.all(users, (self.institute,), read_entry)?;
        let mut entries: BTreeMap<String, DirectoryEntry> =
            entries.into_iter().map(|entry| (entry.user.clone(), entry)).collect();
        let pair = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let of = |sql: &str| self.all(sql, (self.institute,), pair);
        for (role, sql) in [
            (Role::Teacher, "SELECT user, batch FROM batch_teachers WHERE institute = ?1 ORDER BY batch"),
            (Role::Student, "SELECT student, batch FROM enrolments WHERE institute = ?1 ORDER BY batch"),
        ] {
            for (user, batch) in of(sql)? {
                if let Some(entry) = entries.get_mut(&user).filter(|entry| entry.role == role) {
                    entry.batches.push(batch);
                }
            }
        }
        for (guardian, student) in
            of("SELECT guardian, student FROM guardians WHERE institute = ?1 ORDER BY student")?
        {
            if let Some(entry) = entries.get_mut(&guardian) {
                entry.guardian_of.push(student);
            }
        }
        Ok(entries.into_values().collect())
    }
}

impl WriteDirectory for Transaction<'_> {
    fn add_institute(
        &self,
        name: &str,
        time_zone: &str,
        currency: &str,
        now: i64,
    ) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO institutes (institute, name, time_zone, currency, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            (self.institute, name, time_zone, currency, now),
        )?;
        Ok(added > 0)
    }

    fn add_batch(&self, batch: &str, title: &str) -> Result<bool, StoreError> {
        let sql = "INSERT INTO batches (institute, batch, title) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let added = self.run(sql, (self.institute, batch, title))? > 0;
        self.figures.add(Figure::Batches, "", i64::from(added));
        Ok(added)
    }

    fn change_batch(&self, batch: &str, title: &str) -> Result<(), StoreError> {
        let sql = "UPDATE batches SET title = ?3 WHERE institute = ?1 AND batch = ?2";
        self.run(sql, (self.institute, batch, title))?;
        Ok(())
    }

    fn change_institute(
        &self,
        name: Option<&str>,
        time_zone: Option<&str>,
        currency: Option<&str>,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE institutes SET name = coalesce(?2, name), time_zone = coalesce(?3, time_zone),
                 currency = coalesce(?4, currency)
             WHERE institute = ?1",
            (self.institute, name, time_zone, currency),
        )?;
        Ok(())
    }

    fn add_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO batch_teachers (institute, batch, user) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, (self.institute, batch, user))? > 0)
    }

    fn remove_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM batch_teachers WHERE institute = ?1 AND batch = ?2 AND user = ?3";
        Ok(self.run(sql, (self.institute, batch, user))? > 0)
    }

    fn remove_enrolment(&self, batch: &str, student: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM enrolments WHERE institute = ?1 AND batch = ?2 AND student = ?3";
        let removed = self.run(sql, (self.institute, batch, student))? > 0;
        self.figures.add(Figure::Enrolled, batch, -i64::from(removed));
        Ok(removed)
    }

    fn add_guardian(&self, guardian: &str, student: &str) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO guardians (institute, guardian, student) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, (self.institute, guardian, student))? > 0)
    }

    fn remove_guardian(&self, guardian: &str, student: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM guardians WHERE institute = ?1 AND guardian = ?2 AND student = ?3";
        Ok(self.run(sql, (self.institute, guardian, student))? > 0)
    }

    fn add_enrolment(&self, batch: &str, student: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO enrolments (institute, batch, student, enrolled_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING";
        let added = self.run(sql, (self.institute, batch, student, now))? > 0;
        self.figures.add(Figure::Enrolled, batch, i64::from(added));
        Ok(added)
    }
}
