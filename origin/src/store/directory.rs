//! Institutes, batches, who teaches and who studies in them.

use super::error::StoreError;
use super::transaction::{Records, WriteTx, to_u64};

/// An institute as its views show it.
#[derive(Debug, Clone)]
pub(crate) struct Institute {
    pub(crate) institute: String,
    pub(crate) name: String,
    /// IANA name, for example `Asia/Kolkata`.
    pub(crate) time_zone: String,
    /// ISO 4217.
    pub(crate) currency: String,
}

/// A batch as its teacher sees it.
#[derive(Debug)]
pub(crate) struct TaughtBatch {
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) students: u64,
}

/// A batch as its student sees it.
#[derive(Debug)]
pub(crate) struct StudiedBatch {
    pub(crate) batch: String,
    pub(crate) title: String,
    /// Names, in order.
    pub(crate) teachers: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct InstituteCounts {
    pub(crate) admins: u64,
    pub(crate) teachers: u64,
    pub(crate) students: u64,
    pub(crate) batches: u64,
}

impl Records<'_> {
    pub(crate) fn institute(&self) -> Result<Option<Institute>, StoreError> {
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

    pub(crate) fn batch_exists(&self, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM batches WHERE institute = ?1 AND batch = ?2";
        Ok(self.one(sql, (self.institute, batch), |_| Ok(()))?.is_some())
    }

    pub(crate) fn teaches(&self, user: &str, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM batch_teachers WHERE institute = ?1 AND batch = ?2 AND user = ?3";
        Ok(self.one(sql, (self.institute, batch, user), |_| Ok(()))?.is_some())
    }

    pub(crate) fn studies(&self, student: &str, batch: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM enrolments WHERE institute = ?1 AND batch = ?2 AND student = ?3";
        Ok(self.one(sql, (self.institute, batch, student), |_| Ok(()))?.is_some())
    }

    /// Whether the two users meet in a batch, as teacher or student.
    pub(crate) fn share_batch(&self, one: &str, other: &str) -> Result<bool, StoreError> {
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

    pub(crate) fn taught_batches(&self, user: &str) -> Result<Vec<TaughtBatch>, StoreError> {
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

    pub(crate) fn studied_batches(&self, student: &str) -> Result<Vec<StudiedBatch>, StoreError> {
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

    pub(crate) fn institute_counts(&self) -> Result<InstituteCounts, StoreError> {
        let users = "SELECT count(*) FROM users WHERE institute = ?1 AND role = ?2";
        Ok(InstituteCounts {
            admins: self.number(users, (self.institute, "admin"))?,
            teachers: self.number(users, (self.institute, "teacher"))?,
            students: self.number(users, (self.institute, "student"))?,
            batches: self.number("SELECT count(*) FROM batches WHERE institute = ?1", (self.institute,))?,
        })
    }
}

impl WriteTx<'_> {
    /// Adds the institute unless it is there; whether it was added.
    pub(crate) fn add_institute(
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

    pub(crate) fn add_batch(&self, batch: &str, title: &str) -> Result<bool, StoreError> {
        let sql = "INSERT INTO batches (institute, batch, title) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, (self.institute, batch, title))? > 0)
    }

    pub(crate) fn add_teacher(&self, batch: &str, user: &str) -> Result<bool, StoreError> {
        let sql =
            "INSERT INTO batch_teachers (institute, batch, user) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, (self.institute, batch, user))? > 0)
    }

    pub(crate) fn add_enrolment(&self, batch: &str, student: &str, now: i64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO enrolments (institute, batch, student, enrolled_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING";
        Ok(self.run(sql, (self.institute, batch, student, now))? > 0)
    }
}
