//! Institutes, batches, who teaches and who studies in them.

use super::transaction::{Answer, Millis, Transaction};
use crate::store::accounts::{parse_revocation, parse_role};
use crate::store::directory::{Institute, ReadDirectory, StudiedBatch, TaughtBatch, WriteDirectory};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use crate::store::transaction::to_u64;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::revocation::Revocation;
use sync_protocol::token::Role;
use tokio_postgres::Row;

/// A user with the batches that they teach or study in, and the students whose guardian they are. `$1` is the institute.
const ENTRY: &str = r#"SELECT u."user", u.role, u.deactivated_at IS NULL,
        CASE u.role
            WHEN 'teacher' THEN ARRAY(SELECT t.batch FROM batch_teachers t
                WHERE t.institute = $1 AND t."user" = u."user" ORDER BY t.batch)
            WHEN 'student' THEN ARRAY(SELECT e.batch FROM enrolments e
                WHERE e.institute = $1 AND e.student = u."user" ORDER BY e.batch)
            ELSE ARRAY[]::text[]
        END,
        ARRAY(SELECT g.student FROM guardians g
            WHERE g.institute = $1 AND g.guardian = u."user" ORDER BY g.student),
        u.revocation::text
    FROM users u WHERE u.institute = $1"#;

/// An entry whose role and revocation are still texts.
struct RawEntry {
    entry: DirectoryEntry,
    role: String,
    revocation: Option<String>,
}

fn read_entry(row: &Row) -> Result<RawEntry, tokio_postgres::Error> {
    let entry = DirectoryEntry {
        user: row.try_get(0)?,
        role: Role::Student,
        active: row.try_get(2)?,
        batches: row.try_get(3)?,
        guardian_of: row.try_get(4)?,
        revocation: Revocation::default(),
    };
    Ok(RawEntry { entry, role: row.try_get(1)?, revocation: row.try_get(5)? })
}

fn parse_entry(raw: RawEntry) -> Result<DirectoryEntry, StoreError> {
    let RawEntry { entry, role, revocation } = raw;
    let role = parse_role(&role).ok_or(StoreError::Corrupt { what: "role", text: role })?;
    Ok(DirectoryEntry { role, revocation: parse_revocation(revocation)?, ..entry })
}

impl Transaction<'_> {
    pub(super) async fn ask_institute(&self) -> Answer<Option<Institute>> {
        self.ask_one(
            "SELECT institute, name, time_zone, currency FROM institutes WHERE institute = $1",
            &[&self.institute],
            |row| {
                Ok(Institute {
                    institute: row.try_get(0)?,
                    name: row.try_get(1)?,
                    time_zone: row.try_get(2)?,
                    currency: row.try_get(3)?,
                })
            },
        )
        .await
    }

    pub(super) async fn ask_taught_batches(&self, user: &str) -> Answer<Vec<TaughtBatch>> {
        self.ask_all(
            r#"SELECT b.batch, b.title,
                    (SELECT count(*) FROM enrolments e WHERE e.institute = $1 AND e.batch = b.batch)
             FROM batch_teachers t JOIN batches b ON b.institute = t.institute AND b.batch = t.batch
             WHERE t.institute = $1 AND t."user" = $2 ORDER BY b.batch"#,
            &[&self.institute, &user],
            |row| {
                Ok(TaughtBatch {
                    batch: row.try_get(0)?,
                    title: row.try_get(1)?,
                    students: to_u64(row.try_get(2)?),
                })
            },
        )
        .await
    }

    pub(super) async fn ask_studied_batches(&self, student: &str) -> Answer<Vec<StudiedBatch>> {
        self.ask_all(
            r#"SELECT b.batch, b.title, ARRAY(
                    SELECT u.name FROM batch_teachers t JOIN users u ON u."user" = t."user"
                    WHERE t.institute = $1 AND t.batch = b.batch ORDER BY u.name)
             FROM enrolments e JOIN batches b ON b.institute = e.institute AND b.batch = e.batch
             WHERE e.institute = $1 AND e.student = $2 ORDER BY b.batch"#,
            &[&self.institute, &student],
            |row| {
                Ok(StudiedBatch { batch: row.try_get(0)?, title: row.try_get(1)?, teachers: row.try_get(2)? })
            },
        )
        .await
    }
}

impl ReadDirectory for Transaction<'_> {
    fn institute(&self) -> Result<Option<Institute>, StoreError> {
        self.wait(self.ask_institute())
    }

    fn batch_exists(&self, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM batches WHERE institute = $1 AND batch = $2";
        Ok(self.one(sql, &[&self.institute, &batch], |_| Ok(()))?.is_some())
    }

    fn teaches(&self, user: &str, batch: &str) -> Result<bool, StoreError> {
        let sql = r#"SELECT 1 FROM batch_teachers WHERE institute = $1 AND batch = $2 AND "user" = $3"#;
        Ok(self.one(sql, &[&self.institute, &batch, &user], |_| Ok(()))?.is_some())
    }

    fn studies(&self, student: &str, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM enrolments WHERE institute = $1 AND batch = $2 AND student = $3";
        Ok(self.one(sql, &[&self.institute, &batch, &student], |_| Ok(()))?.is_some())
    }

    fn share_batch(&self, one: &str, other: &str) -> Result<bool, StoreError> {
        let sql = r#"WITH mine AS (
                SELECT batch FROM batch_teachers WHERE institute = $1 AND "user" = $2
                UNION SELECT batch FROM enrolments WHERE institute = $1 AND student = $2)
             SELECT 1 FROM mine WHERE
                EXISTS (SELECT FROM batch_teachers t
                        WHERE t.institute = $1 AND t.batch = mine.batch AND t."user" = $3)
                OR EXISTS (SELECT FROM enrolments e
                        WHERE e.institute = $1 AND e.batch = mine.batch AND e.student = $3)
             LIMIT 1"#;
        Ok(self.one(sql, &[&self.institute, &one, &other], |_| Ok(()))?.is_some())
    }

    fn taught_batches(&self, user: &str) -> Result<Vec<TaughtBatch>, StoreError> {
        self.wait(self.ask_taught_batches(user))
    }

    fn studied_batches(&self, student: &str) -> Result<Vec<StudiedBatch>, StoreError> {
        self.wait(self.ask_studied_batches(student))
    }

    fn batch_students(&self, batch: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        self.all(
            r#"SELECT u."user", u.name FROM enrolments e JOIN users u ON u."user" = e.student
             WHERE e.institute = $1 AND e.batch = $2 AND u.deactivated_at IS NULL
             ORDER BY u.name, u."user" LIMIT $3"#,
            &[&self.institute, &batch, &i64::from(limit)],
            |row| Ok((row.try_get(0)?, row.try_get(1)?)),
        )
    }

    fn directory_entry(&self, user: &str) -> Result<Option<DirectoryEntry>, StoreError> {
        let sql = format!(r#"{ENTRY} AND u."user" = $2"#);
        self.one(&sql, &[&self.institute, &user], read_entry)?.map(parse_entry).transpose()
    }

    fn directory(&self) -> Result<Vec<DirectoryEntry>, StoreError> {
        let sql = format!(r#"{ENTRY} ORDER BY u."user""#);
        self.all(&sql, &[&self.institute], read_entry)?.into_iter().map(parse_entry).collect()
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
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            &[&self.institute, &name, &time_zone, &currency, &Millis(now)],
        )?;
        Ok(added > 0)
    }

    fn add_batch(&self, batch: &str, title: &str) -> Result<bool, StoreError> {
        let sql = "INSERT INTO batches (institute, batch, title) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let added = self.run(sql, &[&self.institute, &batch, &title])? > 0;
        self.figures.add(Figure::Batches, "", i64::from(added));
        Ok(added)
    }

    fn change_batch(&self, batch: &str, title: &str) -> Result<(), StoreError> {
        let sql = "UPDATE batches SET title = $3 WHERE institute = $1 AND batch = $2";
        self.run(sql, &[&self.institute, &batch, &title])?;
        Ok(())
    }

    fn change_institute(
        &self,
        name: Option<&str>,
        time_zone: Option<&str>,
        currency: Option<&str>,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE institutes SET name = coalesce($2, name), time_zone = coalesce($3, time_zone),
                 currency = coalesce($4, currency)
             WHERE institute = $1",
            &[&self.institute, &name, &time_zone, &currency],
        )?;
        Ok(())
    }

    fn add_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError> {
        let sql = r#"INSERT INTO batch_teachers (institute, batch, "user") VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING"#;
        Ok(self.run(sql, &[&self.institute, &batch, &user])? > 0)
    }

    fn remove_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError> {
        let sql = r#"DELETE FROM batch_teachers WHERE institute = $1 AND batch = $2 AND "user" = $3"#;
        Ok(self.run(sql, &[&self.institute, &batch, &user])? > 0)
    }

    fn remove_enrolment(&self, batch: &str, student: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM enrolments WHERE institute = $1 AND batch = $2 AND student = $3";
        let removed = self.run(sql, &[&self.institute, &batch, &student])? > 0;
        self.figures.add(Figure::Enrolled, batch, -i64::from(removed));
        Ok(removed)
    }

    fn add_guardian(&self, guardian: &str, student: &str) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO guardians (institute, guardian, student) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, &[&self.institute, &guardian, &student])? > 0)
    }

    fn remove_guardian(&self, guardian: &str, student: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM guardians WHERE institute = $1 AND guardian = $2 AND student = $3";
        Ok(self.run(sql, &[&self.institute, &guardian, &student])? > 0)
    }

    fn add_enrolment(&self, batch: &str, student: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO enrolments (institute, batch, student, enrolled_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING";
        let added = self.run(sql, &[&self.institute, &batch, &student, &Millis(now)])? > 0;
        self.figures.add(Figure::Enrolled, batch, i64::from(added));
        Ok(added)
    }
}
