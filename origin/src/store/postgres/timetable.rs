//! Classes and who attended them.

use super::transaction::{Answer, Millis, Transaction, millis};
use crate::store::error::StoreError;
use crate::store::timetable::{
    AttendanceFigures, AttendanceRow, ClassChange, ClassConflict, ClassRow, MarkedClassRow, NewClass,
    ReadTimetable, WriteTimetable,
};
use crate::store::transaction::to_u64;
use std::collections::HashMap;
use tokio_postgres::Row;

pub(super) const CLASS: &str = r#"SELECT c.class, c.batch, c.title, c.room, c.teacher, u.name, c.starts_at, c.ends_at
     FROM classes c JOIN users u ON u."user" = c.teacher"#;

const FIGURES: &str = "count(*) FILTER (WHERE mark = 'present'), count(*) FILTER (WHERE mark = 'absent'),
     count(*) FILTER (WHERE mark = 'late'), count(*) FILTER (WHERE mark = 'excused'), count(marks)";

pub(super) fn read_class(row: &Row) -> Result<ClassRow, tokio_postgres::Error> {
    Ok(ClassRow {
        class: row.try_get(0)?,
        batch: row.try_get(1)?,
        title: row.try_get(2)?,
        room: row.try_get(3)?,
        teacher: row.try_get(4)?,
        teacher_name: row.try_get(5)?,
        starts_at: millis(row, 6)?,
        ends_at: millis(row, 7)?,
    })
}

fn read_figures(row: &Row) -> Result<AttendanceFigures, tokio_postgres::Error> {
    Ok(AttendanceFigures {
        present: to_u64(row.try_get(0)?),
        absent: to_u64(row.try_get(1)?),
        late: to_u64(row.try_get(2)?),
        excused: to_u64(row.try_get(3)?),
        conflicts: to_u64(row.try_get(4)?),
    })
}

impl Transaction<'_> {
    pub(super) async fn ask_classes_of(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
        limit: u32,
    ) -> Answer<Vec<ClassRow>> {
        // One search for each batch, each by its index and bounded by the limit; the first of all are kept.
        self.ask_all(
            r#"SELECT c.class, c.batch, c.title, c.room, c.teacher, u.name, c.starts_at, c.ends_at
             FROM unnest($2::text[]) own(batch) CROSS JOIN LATERAL (
                SELECT * FROM classes WHERE institute = $1 AND batch = own.batch
                    AND starts_at >= $3 AND starts_at < $4 AND cancelled_at IS NULL
                ORDER BY starts_at, class LIMIT $5
             ) c JOIN users u ON u."user" = c.teacher
             ORDER BY c.starts_at, c.class LIMIT $5"#,
            &[&self.institute, &batches, &Millis(from), &Millis(until), &i64::from(limit)],
            read_class,
        )
        .await
    }

    pub(super) async fn ask_classes_taught(
        &self,
        teacher: &str,
        from: i64,
        until: i64,
        limit: u32,
    ) -> Answer<Vec<ClassRow>> {
        let sql = format!(
            "{CLASS} WHERE c.institute = $1 AND c.teacher = $2 AND c.starts_at >= $3 AND c.starts_at < $4
                 AND c.cancelled_at IS NULL
             ORDER BY c.starts_at, c.class LIMIT $5"
        );
        let (from, until) = (Millis(from), Millis(until));
        self.ask_all(&sql, &[&self.institute, &teacher, &from, &until, &i64::from(limit)], read_class).await
    }

    pub(super) async fn ask_student_figures(&self, student: &str) -> Answer<AttendanceFigures> {
        let sql = format!("SELECT {FIGURES} FROM attendance WHERE institute = $1 AND student = $2");
        let figures = self.ask_one(&sql, &[&self.institute, &student], read_figures).await?;
        Ok(AttendanceFigures { conflicts: 0, ..figures.unwrap_or_default() })
    }

    pub(super) async fn ask_figures_of_batches(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
    ) -> Answer<AttendanceFigures> {
        let sql = format!(
            "SELECT {FIGURES} FROM classes c
             JOIN attendance a ON a.institute = c.institute AND a.class = c.class
             WHERE c.institute = $1 AND c.batch = ANY ($2) AND c.starts_at >= $3 AND c.starts_at < $4 AND c.cancelled_at IS NULL"
        );
        let params = (Millis(from), Millis(until));
        let figures =
            self.ask_one(&sql, &[&self.institute, &batches, &params.0, &params.1], read_figures).await?;
        Ok(figures.unwrap_or_default())
    }

    pub(super) async fn ask_figures_of_classes(
        &self,
        classes: &[String],
    ) -> Answer<HashMap<String, AttendanceFigures>> {
        let sql = format!(
            "SELECT {FIGURES}, class FROM attendance WHERE institute = $1 AND class = ANY ($2) GROUP BY class"
        );
        let read = |row: &Row| Ok((row.try_get(5)?, read_figures(row)?));
        Ok(self.ask_all(&sql, &[&self.institute, &classes], read).await?.into_iter().collect())
    }

    pub(super) async fn ask_conflicts_of_classes(&self, classes: &[String]) -> Answer<Vec<ClassConflict>> {
        self.ask_all(
            r#"SELECT a.class, a.student, u.name, a.marks::text
             FROM attendance a JOIN users u ON u."user" = a.student
             WHERE a.institute = $1 AND a.class = ANY ($2) AND a.marks IS NOT NULL ORDER BY u.name, a.student"#,
            &[&self.institute, &classes],
            |row| {
                Ok(ClassConflict {
                    class: row.try_get(0)?,
                    student: row.try_get(1)?,
                    name: row.try_get(2)?,
                    marks: row.try_get(3)?,
                })
            },
        )
        .await
    }
}

impl ReadTimetable for Transaction<'_> {
    fn class(&self, class: &str) -> Result<Option<ClassRow>, StoreError> {
        let sql = format!("{CLASS} WHERE c.institute = $1 AND c.class = $2");
        self.one(&sql, &[&self.institute, &class], read_class)
    }

    fn is_cancelled(&self, class: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM classes WHERE institute = $1 AND class = $2 AND cancelled_at IS NOT NULL";
        Ok(self.one(sql, &[&self.institute, &class], |_| Ok(()))?.is_some())
    }

    fn classes_of(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
        limit: u32,
    ) -> Result<Vec<ClassRow>, StoreError> {
        self.wait(self.ask_classes_of(batches, from, until, limit))
    }

    fn classes_taught(
        &self,
        teacher: &str,
        from: i64,
        until: i64,
        limit: u32,
    ) -> Result<Vec<ClassRow>, StoreError> {
        self.wait(self.ask_classes_taught(teacher, from, until, limit))
    }

    fn figures_of_batches(
        &self,
        batches: &[String],
        from: i64,
        until: i64,
    ) -> Result<AttendanceFigures, StoreError> {
        self.wait(self.ask_figures_of_batches(batches, from, until))
    }

    fn figures_of_classes(
        &self,
        classes: &[String],
    ) -> Result<HashMap<String, AttendanceFigures>, StoreError> {
        self.wait(self.ask_figures_of_classes(classes))
    }

    fn student_figures(&self, student: &str) -> Result<AttendanceFigures, StoreError> {
        self.wait(self.ask_student_figures(student))
    }

    fn mark_of(&self, class: &str, student: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT mark FROM attendance WHERE institute = $1 AND class = $2 AND student = $3";
        self.one(sql, &[&self.institute, &class, &student], |row| row.try_get(0))
    }

    fn marked_classes(&self, student: &str, limit: u32) -> Result<Vec<MarkedClassRow>, StoreError> {
        self.all(
            r#"SELECT c.class, c.batch, c.title, c.room, c.teacher, u.name, c.starts_at, c.ends_at, a.mark, a.remark
             FROM attendance a JOIN classes c ON c.institute = a.institute AND c.class = a.class
             JOIN users u ON u."user" = c.teacher
             WHERE a.institute = $1 AND a.student = $2 ORDER BY c.starts_at DESC, c.class LIMIT $3"#,
            &[&self.institute, &student, &i64::from(limit)],
            |row| {
                Ok(MarkedClassRow { class: read_class(row)?, mark: row.try_get(8)?, remark: row.try_get(9)? })
            },
        )
    }

    fn conflicts_of_classes(&self, classes: &[String]) -> Result<Vec<ClassConflict>, StoreError> {
        self.wait(self.ask_conflicts_of_classes(classes))
    }

    fn attendance(&self, class: &str) -> Result<Vec<AttendanceRow>, StoreError> {
        self.all(
            "SELECT student, mark, marks::text, document, heads::text, writers::text, remark,
                    remark_writers::text FROM attendance
             WHERE institute = $1 AND class = $2
             ORDER BY student",
            &[&self.institute, &class],
            |row| {
                Ok(AttendanceRow {
                    student: row.try_get(0)?,
                    mark: row.try_get(1)?,
                    marks: row.try_get(2)?,
                    document: row.try_get(3)?,
                    heads: row.try_get(4)?,
                    writers: row.try_get(5)?,
                    remark: row.try_get(6)?,
                    remark_writers: row.try_get(7)?,
                })
            },
        )
    }
}

impl WriteTimetable for Transaction<'_> {
    fn add_class(&self, class: &NewClass) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO classes (institute, class, batch, title, room, teacher, starts_at, ends_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &class.class,
                &class.batch,
                &class.title,
                &class.room,
                &class.teacher,
                &Millis(class.starts_at),
                &Millis(class.ends_at),
            ],
        )?;
        Ok(added > 0)
    }

    fn move_class(
        &self,
        class: &str,
        starts_at: i64,
        ends_at: i64,
        room: Option<&str>,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE classes SET starts_at = $3, ends_at = $4, room = coalesce($5, room)
             WHERE institute = $1 AND class = $2",
            &[&self.institute, &class, &Millis(starts_at), &Millis(ends_at), &room],
        )?;
        Ok(())
    }

    fn change_class(&self, class: &str, change: &ClassChange) -> Result<(), StoreError> {
        self.run(
            "UPDATE classes SET title = coalesce($3, title), room = coalesce($4, room),
                 teacher = coalesce($5, teacher), starts_at = coalesce($6::timestamptz, starts_at), ends_at = coalesce($7::timestamptz, ends_at)
             WHERE institute = $1 AND class = $2",
            &[
                &self.institute,
                &class,
                &change.title,
                &change.room,
                &change.teacher,
                &Millis::of(change.times.map(|times| times.0)),
                &Millis::of(change.times.map(|times| times.1)),
            ],
        )?;
        Ok(())
    }

    fn cancel_class(&self, class: &str, at: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE classes SET cancelled_at = $3
             WHERE institute = $1 AND class = $2 AND cancelled_at IS NULL";
        Ok(self.run(sql, &[&self.institute, &class, &Millis(at)])? > 0)
    }

    fn put_attendance(&self, class: &str, row: &AttendanceRow) -> Result<(), StoreError> {
        let before = self.one(
            "WITH before AS (SELECT mark, marks IS NOT NULL AS several FROM attendance
                 WHERE institute = $1 AND class = $2 AND student = $3)
             INSERT INTO attendance (institute, class, student, mark, marks, document, heads, writers,
                                     remark, remark_writers)
             VALUES ($1, $2, $3, $4, $5::text::json, $6, $7::text::json, $8::text::json,
                     $9, $10::text::json)
             ON CONFLICT (institute, class, student) DO UPDATE
             SET mark = excluded.mark, marks = excluded.marks, document = excluded.document,
                 heads = excluded.heads, writers = excluded.writers,
                 remark = excluded.remark, remark_writers = excluded.remark_writers
             RETURNING (SELECT mark FROM before), (SELECT several FROM before)",
            &[
                &self.institute,
                &class,
                &row.student,
                &row.mark,
                &row.marks,
                &row.document,
                &row.heads,
                &row.writers,
                &row.remark,
                &row.remark_writers,
            ],
            |found| Ok((found.try_get::<_, Option<String>>(0)?, found.try_get::<_, Option<bool>>(1)?)),
        )?;
        let before = before.as_ref().and_then(|(mark, several)| Some((mark.as_deref()?, (*several)?)));
        self.figures.mark(class, before, Some((&row.mark, row.marks.is_some())));
        Ok(())
    }

    fn remove_attendance(&self, class: &str, student: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM attendance WHERE institute = $1 AND class = $2 AND student = $3
             RETURNING mark, marks IS NOT NULL";
        let removed: Option<(String, bool)> = self
            .one(sql, &[&self.institute, &class, &student], |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
        self.figures.mark(class, removed.as_ref().map(|(mark, several)| (mark.as_str(), *several)), None);
        Ok(())
    }
}
